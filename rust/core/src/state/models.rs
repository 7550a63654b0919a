//! What a model group keeps across snapshots.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::kernel::percentile::Percentile95;
use crate::kernel::retry_budget::RetryBudget;
use crate::metrics::Counter;

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
    pub mirrored: Mirrored,
    pub hedged: Hedged,
    /// Requests that went by the strategy that stands in for one of the operator's own.
    pub otherwise: Counter,
    /// Requests that a full deployment left to others.
    pub spilled: Counter,
}

/// Second attempts while the first was waited for.
pub struct Hedged {
    pub budget: RetryBudget,
    /// Milliseconds to the first byte; measured where the model hedges.
    pub waits: Percentile95,
    pub sent: Counter,
    /// The second answered first.
    pub won: Counter,
    /// Not sent, because there were as many as may be.
    pub refused: Counter,
}

/// Requests that went to a mirror too.
#[derive(Default)]
pub struct Mirrored {
    in_flight: AtomicU32,
    pub sent: Counter,
    /// Not sent, because there were as many as may be.
    pub skipped: Counter,
}

impl Mirrored {
    /// One of at most `most` places; given back when it is dropped.
    pub fn enter(state: &Arc<ModelState>, most: u32) -> Option<InMirror> {
        let own = &state.mirrored;
        let taken = own.in_flight.fetch_update(SeqCst, SeqCst, |open| (open < most).then_some(open + 1));
        let counter = if taken.is_ok() { &own.sent } else { &own.skipped };
        counter.add(1);
        taken.ok().map(|_| InMirror(state.clone()))
    }
}

/// A request under way at a mirror.
pub struct InMirror(Arc<ModelState>);

impl Drop for InMirror {
    fn drop(&mut self) {
        self.0.mirrored.in_flight.fetch_sub(1, SeqCst);
    }
}

impl ModelState {
    pub fn new() -> Self {
        ModelState {
            retries: RetryBudget::new(RETRY_PERCENT, RETRY_PER_SECOND),
            failovers: RetryBudget::new(FAILOVER_PERCENT, RETRY_PER_SECOND),
            turns: AtomicU64::new(0),
            mirrored: Mirrored::default(),
            hedged: Hedged {
                budget: RetryBudget::new(0, 0),
                waits: Percentile95::default(),
                sent: Counter::default(),
                won: Counter::default(),
                refused: Counter::default(),
            },
            otherwise: Counter::default(),
            spilled: Counter::default(),
        }
    }

    /// Counts a request that is given out in turn.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Relaxed)
    }
}

impl Default for ModelState {
    fn default() -> Self {
        Self::new()
    }
}
