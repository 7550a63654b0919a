//! The weight of a deployment that a strategy of the operator's own gave it, until it is too old.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Weights are told in thousandths.
pub const ONE: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Given {
    weight: AtomicU64,
    until: AtomicU64,
}

impl Given {
    pub fn give(&self, weight: u64, until: u64) {
        self.weight.store(weight, Relaxed);
        self.until.store(until, Relaxed);
    }

    /// In thousandths; None: nothing was given, or too long ago.
    pub fn weight(&self, now: u64) -> Option<u64> {
        (now < self.until.load(Relaxed)).then(|| self.weight.load(Relaxed))
    }
}
