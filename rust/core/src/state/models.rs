//! What a model group keeps across snapshots.

use crate::kernel::retry_budget::RetryBudget;

/// Retries may add a fifth to the load, plus a trickle so that a quiet group can retry at all (Finagle's figures).
const RETRY_PERCENT: u32 = 20;
const RETRY_PER_SECOND: u32 = 10;

pub struct ModelState {
    pub retries: RetryBudget,
}

impl ModelState {
    pub fn new() -> Self {
        ModelState { retries: RetryBudget::new(RETRY_PERCENT, RETRY_PER_SECOND) }
    }
}

impl Default for ModelState {
    fn default() -> Self {
        Self::new()
    }
}
