//! What routing has to know of every deployment of a model, side by side in memory: a hundred deployments' rows are half a
//! megabyte, their places four kilobytes.

use super::Deployment;
use crate::endpoint::Operation;

/// A deployment among those of its model.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: u32,
    pub weight: u32,
    pub tier: u32,
    /// A bit per operation: served as it is asked for.
    native: u64,
    /// A bit per operation: served, if need be by another one.
    served: u64,
}

const _: () = assert!(Operation::COUNT <= 64);

impl Place {
    pub fn of(index: u32, deployment: &Deployment) -> Self {
        let bits = |serves: &dyn Fn(Operation) -> bool| {
            let served = Operation::ALL.iter().copied().filter(|operation| serves(*operation));
            served.fold(0, |bits, operation| bits | 1 << operation as u64)
        };
        Place {
            index,
            weight: deployment.weight,
            tier: deployment.tier,
            native: bits(&|operation| deployment.template(operation).is_some()),
            served: bits(&|operation| deployment.asked(operation, false).is_some()),
        }
    }

    /// Whether the deployment speaks the caller's format.
    pub fn is_native(&self, operation: Operation) -> bool {
        self.native & 1 << operation as u64 != 0
    }

    /// Whether the deployment can answer such a call.
    pub fn serves(&self, operation: Operation) -> bool {
        self.served & 1 << operation as u64 != 0
    }
}
