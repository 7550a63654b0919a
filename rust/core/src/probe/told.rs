//! What Python asks and tells about health checks and weights.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Deserialize;

use super::health::{self, Told};
use crate::clock::monotonic_ns;
use crate::plane::{Plane, PlaneError};
use crate::state::given::ONE;

/// Weights of deployments by a strategy of the operator's own.
#[derive(Deserialize)]
struct Weights {
    weights: Vec<(String, f64)>,
    /// They hold for so long.
    for_ms: u64,
}

impl Plane {
    /// Whether this node checks the health of deployments; of several nodes one does.
    pub fn set_checking(&self, checking: bool) {
        self.shared.checking.store(checking, Relaxed);
    }

    /// What health checks have found: a MessagePack list of maps.
    pub fn health_findings(&self) -> Vec<u8> {
        let Some(shard) = self.shards.first() else { return vec![0x90] };
        rmp_serde::to_vec_named(&health::findings(&shard.snapshot())).unwrap_or_else(|_| vec![0x90])
    }

    /// Takes over what another node has found.
    ///
    /// # Errors
    /// The bytes are no such list.
    pub fn take_findings(&self, bytes: &[u8]) -> Result<(), PlaneError> {
        let told: Vec<Told> = rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("findings: {error}")))?;
        if let Some(shard) = self.shards.first() {
            health::take_over(&self.shared, &shard.snapshot(), told);
        }
        Ok(())
    }

    /// Gives deployments weights for a while; a map of `weights` and `for_ms`.
    ///
    /// # Errors
    /// The bytes are no such map, or a weight is none.
    pub fn give_weights(&self, bytes: &[u8]) -> Result<(), PlaneError> {
        let given: Weights = rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("weights: {error}")))?;
        if let Some((id, weight)) = given.weights.iter().find(|(_, weight)| !(0.0..=1e6).contains(weight)) {
            return Err(PlaneError(format!("the weight {weight} of {id:?} is not between 0 and 1,000,000")));
        }
        let Some(shard) = self.shards.first() else { return Ok(()) };
        let snapshot = shard.snapshot();
        let until = Duration::from_millis(given.for_ms).as_nanos();
        let until = monotonic_ns().saturating_add(u64::try_from(until).unwrap_or(u64::MAX));
        for (id, weight) in given.weights {
            if let Some(deployment) = snapshot.deployments.iter().find(|deployment| *deployment.id == *id) {
                deployment.state.given.give((weight * ONE as f64).round() as u64, until);
            }
        }
        Ok(())
    }
}
