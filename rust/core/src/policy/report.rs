//! What the plane tells about guardrails and policies.

use super::trial::{Trial, Tried};
use crate::plane::{Plane, PlaneError};

impl Plane {
    /// The counts per guardrail, the latest verdicts, and the counts of shadow by key, as MessagePack.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn guard_report(&self) -> Result<Vec<u8>, PlaneError> {
        let guards = &self.shared.state.guards;
        let counts: Vec<_> = guards
            .cells()
            .iter()
            .map(|cell| {
                let of = |output, shadow| cell.get(output, shadow);
                (cell.name.clone(), [of(false, false), of(true, false), of(false, true), of(true, true)])
            })
            .collect();
        rmp_serde::to_vec_named(&(counts, guards.latest(), guards.shadows()))
            .map_err(|error| PlaneError(error.to_string()))
    }

    /// The counts per policy, the latest verdicts, and the counts of shadow by key, as MessagePack.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn policy_report(&self) -> Result<Vec<u8>, PlaneError> {
        let record = &self.shared.state.policies;
        let counts: Vec<_> = record
            .cells()
            .iter()
            .map(|cell| {
                let of = |shadow| cell.get(false, shadow) + cell.get(true, shadow);
                (cell.name.clone(), [of(false), of(true)])
            })
            .collect();
        rmp_serde::to_vec_named(&(counts, record.latest(), record.shadows()))
            .map_err(|error| PlaneError(error.to_string()))
    }

    /// Something changed with these approvals: whoever waits for them looks.
    pub fn approvals_changed(&self, ids: &[String]) {
        self.shared.state.approvals.ring(ids);
    }

    /// What policies would do with the requests kept from a period: a JSON list.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn policy_replay(&self, trial: &[u8], from_us: i64, to_us: i64) -> Result<String, PlaneError> {
        let trial: Trial = rmp_serde::from_slice(trial).map_err(|error| PlaneError(error.to_string()))?;
        let tried = Tried::compile(&trial.policies, &trial.guardrails).map_err(PlaneError)?;
        let kept = self.shared.state.past.between(from_us, to_us);
        let outcomes: Vec<_> = kept.iter().map(|kept| tried.run(kept)).collect();
        serde_json::to_string(&outcomes).map_err(|error| PlaneError(error.to_string()))
    }
}
