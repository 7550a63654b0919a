//! What a model group keeps across snapshots.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::retry_budget::RetryBudget;

/// Retries at a deployment that just failed add at most this to the load, plus a trickle so that a quiet group can retry at
/// all: with a thousand requests a second no more than 1.16 attempts per request.
const RETRY_PERCENT: u32 = 15;
const RETRY_PER_SECOND: u32 = 10;
/// Going on to another deployment is what a group is for. Breakers end it when all are down; should they be turned off,
/// this does.
const FAILOVER_PERCENT: u32 = 100;

pub struct ModelState {
    /// Attempts at a deployment that was asked already for the same request.
    pub retries: RetryBudget,
    /// Attempts at another deployment.
    pub failovers: RetryBudget,
    turns: AtomicU64,
}

impl ModelState {
    pub fn new() -> Self {
        ModelState {
            retries: RetryBudget::new(RETRY_PERCENT, RETRY_PER_SECOND),
            failovers: RetryBudget::new(FAILOVER_PERCENT, RETRY_PER_SECOND),
            turns: AtomicU64::new(0),
        }
    }

    /// Counts a request that is given out in turn.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for ModelState {
    fn default() -> Self {
        Self::new()
    }
}
