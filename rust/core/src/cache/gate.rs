//! The patience of requests with a tier beneath memory: a time-out for each, and a rest after failures in a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use super::entry::Entry;
use super::lease::Lease;
use crate::clock::monotonic_ns;
use crate::metrics::{CacheTimes, cache_times};

/// Failures in a row after which a tier is left alone, and for how long.
const FAILURES: u32 = 5;
pub const REST: Duration = Duration::from_secs(5);
/// Longest part of an error that is kept.
const TROUBLE: usize = 300;

/// What the thread of a tier says to a question.
pub trait Reply {
    /// The tier could not be asked.
    fn failure() -> Self;

    fn is_failure(&self) -> bool;
}

pub struct Counts {
    /// Whose they are, for logs.
    what: &'static str,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub errors: AtomicU64,
    pub timeouts: AtomicU64,
    pub skipped: AtomicU64,
    pub foreign: AtomicU64,
    pub writes: AtomicU64,
    pub dropped: AtomicU64,
    /// Of reads that were answered.
    pub reads: CacheTimes,
    last_error: Mutex<Option<String>>,
}

impl Default for Counts {
    fn default() -> Self {
        let [hits, misses, errors, timeouts, skipped, foreign, writes, dropped] = Default::default();
        let (reads, last_error) = (cache_times(), Mutex::default());
        let what = "a tier of the cache";
        Counts { what, hits, misses, errors, timeouts, skipped, foreign, writes, dropped, reads, last_error }
    }
}

impl Counts {
    /// A read or a write failed.
    pub fn failed(&self, error: impl std::fmt::Display) {
        let text: String = error.to_string().chars().take(TROUBLE).collect();
        let mut last = self.last_error.lock();
        if last.as_ref() != Some(&text) {
            tracing::warn!(error = text, "{} failed", self.what);
            *last = Some(text);
        }
    }
}

/// What operators see. `foreign`: values that were not ours, or damaged.
#[derive(Debug, Serialize)]
pub struct TierReport {
    pub open: bool,
    pub hits: u64,
    pub misses: u64,
    pub errors: u64,
    pub timeouts: u64,
    pub skipped: u64,
    pub foreign: u64,
    pub writes: u64,
    pub dropped: u64,
    /// Of reads that were answered.
    pub mean_us: u64,
    pub read_us: u64,
    pub last_error: Option<String>,
}

pub enum Got {
    Entry(Box<Entry>),
    Nothing,
    /// The lease is this node's.
    Taken(Lease),
    Failed,
}

impl Reply for Got {
    fn failure() -> Self {
        Got::Failed
    }

    fn is_failure(&self) -> bool {
        matches!(self, Got::Failed)
    }
}

pub struct Gate {
    pub timeout: Duration,
    pub counts: Arc<Counts>,
    failures: AtomicU32,
    /// On the monotonic clock.
    rests_until: AtomicU64,
}

impl Gate {
    pub fn new(timeout: Duration) -> Self {
        Gate { timeout, counts: Arc::default(), failures: AtomicU32::new(0), rests_until: AtomicU64::new(0) }
    }

    /// One that is spoken of by another name than a tier of the cache.
    pub fn of(what: &'static str, timeout: Duration) -> Self {
        Gate { counts: Arc::new(Counts { what, ..Counts::default() }), ..Gate::new(timeout) }
    }

    pub fn rests(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) > monotonic_ns()
    }

    /// Asks the tier's thread by `send`, which says whether there was room, and waits for its answer.
    pub async fn ask<R: Reply>(&self, send: impl FnOnce(oneshot::Sender<R>) -> bool) -> R {
        let (reply, answer) = oneshot::channel();
        let began = monotonic_ns();
        if self.rests() || !send(reply) {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return R::failure();
        }
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(got)) if !got.is_failure() => {
                self.failures.store(0, Ordering::Relaxed);
                self.counts.reads.record(Duration::from_nanos(monotonic_ns() - began));
                got
            }
            Ok(_) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                self.failed();
                R::failure()
            }
            Err(_) => {
                self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
                self.failed();
                R::failure()
            }
        }
    }

    /// The entry among the answers of a tier, counted.
    pub fn found(&self, got: Got) -> Option<Entry> {
        match got {
            Got::Entry(entry) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Some(*entry)
            }
            Got::Nothing => {
                self.counts.misses.fetch_add(1, Ordering::Relaxed);
                None
            }
            Got::Taken(_) | Got::Failed => None,
        }
    }

    fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.failures.store(0, Ordering::Relaxed);
            let rest = u64::try_from(REST.as_nanos()).unwrap_or(u64::MAX);
            self.rests_until.store(monotonic_ns() + rest, Ordering::Relaxed);
        }
    }

    pub fn report(&self) -> TierReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        TierReport {
            open: self.rests(),
            hits: get(&counts.hits),
            misses: get(&counts.misses),
            errors: get(&counts.errors),
            timeouts: get(&counts.timeouts),
            skipped: get(&counts.skipped),
            foreign: get(&counts.foreign),
            writes: get(&counts.writes),
            dropped: get(&counts.dropped),
            mean_us: counts.reads.sum_us() / (get(&counts.hits) + get(&counts.misses)).max(1),
            read_us: counts.reads.sum_us(),
            last_error: counts.last_error.lock().clone(),
        }
    }
}
