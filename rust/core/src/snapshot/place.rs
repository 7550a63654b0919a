//! What routing has to know of every deployment of a model, side by side in memory: a hundred deployments' rows are half a
//! megabyte, their places ten kilobytes.

use std::sync::Arc;

use super::Deployment;
use crate::endpoint::Operation;
use crate::kernel::price::Price;
use crate::kernel::quota;
use crate::state::DeploymentState;

/// A deployment among those of its model.
#[derive(Debug)]
pub struct Place {
    pub index: u32,
    pub weight: u32,
    pub tier: u32,
    /// Its service tier, by its number in [`super::service_tiers::ServiceTiers`].
    pub service_tier: u32,
    /// Of its id, the same on every node.
    pub hash: u64,
    /// The boundaries that it keeps within.
    pub kept: u64,
    pub quota: quota::Limits,
    pub price: Option<Arc<Price>>,
    pub state: Arc<DeploymentState>,
    /// A bit per operation: served as it is asked for.
    native: u64,
    /// A bit per operation: served, if need be by another one.
    served: u64,
}

const _: () = assert!(Operation::COUNT <= 64);

impl Place {
    pub fn of(index: u32, deployment: &Deployment, service_tier: u32) -> Self {
        let bits = |serves: &dyn Fn(Operation) -> bool| {
            let served = Operation::ALL.iter().copied().filter(|operation| serves(*operation));
            served.fold(0, |bits, operation| bits | 1 << operation as u64)
        };
        Place {
            index,
            weight: deployment.weight,
            tier: deployment.tier,
            service_tier,
            hash: deployment.hash,
            kept: deployment.kept,
            quota: deployment.quota,
            price: deployment.price.clone(),
            state: deployment.state.clone(),
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
