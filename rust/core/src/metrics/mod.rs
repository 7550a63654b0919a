//! Counters and histograms of the plane, one set per I/O thread, merged when scraped.
//!
//! Names and labels are bounded: operation, status class, error code, deployment. Never a key or a user.

mod exposition;
mod probes;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::endpoint::Operation;
use crate::error::Code;
use crate::kernel::cost::Usage;

pub use exposition::{Exposition, Pico, Seconds, label};

/// Upper bounds of the overhead histogram, in microseconds.
const OVERHEAD_US: [u64; 14] = [10, 20, 30, 50, 75, 100, 200, 300, 500, 1_000, 2_500, 5_000, 20_000, 100_000];
/// Upper bounds of the latency histograms, in microseconds.
const LATENCY_US: [u64; 16] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    60_000_000,
    120_000_000,
    600_000_000,
];

/// Upper bounds of the histograms of the cache, in microseconds.
const CACHE_US: [u64; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 20_000, 100_000, 500_000, 2_000_000];

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) -> i64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    over: Counter,
    sum_us: Counter,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        Histogram {
            bounds,
            buckets: [const { Counter(AtomicU64::new(0)) }; N],
            over: Counter::default(),
            sum_us: Counter::default(),
        }
    }

    pub fn record(&self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| us <= *bound);
        bucket.and_then(|bucket| self.buckets.get(bucket)).unwrap_or(&self.over).add(1);
        self.sum_us.add(us);
    }

    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum::<u64>() + self.over.get()
    }
}

/// Times of a tier of the cache.
pub type CacheTimes = Histogram<14>;

/// Nothing measured yet.
pub fn cache_times() -> CacheTimes {
    Histogram::new(&CACHE_US)
}

/// What became of one upstream attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Success,
    ClientError,
    RateLimited,
    ServerError,
    ConnectFailed,
    ConnectionLost,
    Timeout,
    InvalidResponse,
    ClientGone,
    /// Another attempt at the same request answered before it.
    Superseded,
}

impl Outcome {
    /// Every outcome with its name, in the order of their codes.
    pub const ALL: [(Outcome, &'static str); 10] = [
        (Outcome::Success, "success"),
        (Outcome::ClientError, "client_error"),
        (Outcome::RateLimited, "rate_limited"),
        (Outcome::ServerError, "server_error"),
        (Outcome::ConnectFailed, "connect_failed"),
        (Outcome::ConnectionLost, "connection_lost"),
        (Outcome::Timeout, "timeout"),
        (Outcome::InvalidResponse, "invalid_response"),
        (Outcome::ClientGone, "client_gone"),
        (Outcome::Superseded, "superseded"),
    ];
}

/// What a request with an `Idempotency-Key` turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Repeat {
    /// Nobody asked before.
    First,
    /// The answer was there.
    Replayed,
    /// It got the answer of one that was under way, here or on another node.
    Waited,
    /// It waited for another node, which failed, died or let go of it.
    TakenOver,
    /// The first for this node, which could not ask the others.
    Alone,
    /// In Redis stands what none of the nodes wrote.
    Foreign,
    /// Something else was asked under the key.
    Mismatch,
    /// No key that can be used.
    Invalid,
}

impl Repeat {
    /// Every one with its name, in the order of their codes.
    pub const ALL: [(Repeat, &'static str); 8] = [
        (Repeat::First, "first"),
        (Repeat::Replayed, "replayed"),
        (Repeat::Waited, "waited"),
        (Repeat::TakenOver, "taken_over"),
        (Repeat::Alone, "alone"),
        (Repeat::Foreign, "foreign"),
        (Repeat::Mismatch, "mismatch"),
        (Repeat::Invalid, "invalid"),
    ];
}

/// Counters of one I/O thread.
pub struct ShardMetrics {
    requests: [[Counter; 6]; Operation::COUNT],
    errors: [Counter; 64],
    repeats: [Counter; Repeat::ALL.len()],
    pub overhead: Histogram<14>,
    pub connections: Counter,
    pub connections_open: Gauge,
    pub in_flight: Gauge,
    pub body_bytes: Gauge,
    pub shell_in_flight: Gauge,
    pub retries: Counter,
    pub fallbacks: Counter,
    pub cache_hits: Counter,
    pub cache_misses: Counter,
    /// Key and lookup in memory, of one request in 64.
    pub cache_lookup: CacheTimes,
    pub panics: Counter,
}

impl ShardMetrics {
    pub fn new() -> Self {
        ShardMetrics {
            requests: std::array::from_fn(|_| Default::default()),
            errors: [const { Counter(AtomicU64::new(0)) }; 64],
            repeats: Default::default(),
            overhead: Histogram::new(&OVERHEAD_US),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            in_flight: Gauge::default(),
            body_bytes: Gauge::default(),
            shell_in_flight: Gauge::default(),
            retries: Counter::default(),
            fallbacks: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_lookup: cache_times(),
            panics: Counter::default(),
        }
    }

    pub fn request(&self, operation: Operation, status: u16) {
        let class = usize::from(status / 100).min(5);
        self.requests[operation as usize][class].add(1);
    }

    pub fn repeat(&self, repeat: Repeat) {
        self.repeats[repeat as usize].add(1);
    }

    pub fn error(&self, code: Code) {
        if let Some(counter) = self.errors.get(code as usize) {
            counter.add(1);
        }
    }
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counters of one deployment, per I/O thread.
pub struct DeploymentMetrics {
    threads: Box<[CachePadded<DeploymentCounters>]>,
}

pub struct DeploymentCounters {
    outcomes: [Counter; 10],
    input: Counter,
    output: Counter,
    cached: Counter,
    written: Counter,
    cost_pico: Counter,
    latency: Histogram<16>,
    first_byte: Histogram<16>,
}

impl DeploymentCounters {
    fn new() -> Self {
        DeploymentCounters {
            outcomes: Default::default(),
            input: Counter::default(),
            output: Counter::default(),
            cached: Counter::default(),
            written: Counter::default(),
            cost_pico: Counter::default(),
            latency: Histogram::new(&LATENCY_US),
            first_byte: Histogram::new(&LATENCY_US),
        }
    }

    pub fn record(&self, outcome: Outcome, usage: &Usage, cost_pico: i64, latency: Duration) {
        self.outcomes[outcome as usize].add(1);
        self.input.add(usage.prompt().saturating_sub(usage.cached()).saturating_sub(usage.written()));
        self.output.add(usage.answer());
        self.cached.add(usage.cached());
        self.written.add(usage.written());
        self.cost_pico.add(u64::try_from(cost_pico).unwrap_or(0));
        self.latency.record(latency);
    }

    pub fn first_byte(&self, wait: Duration) {
        self.first_byte.record(wait);
    }
}

impl DeploymentMetrics {
    pub fn new(threads: usize) -> Self {
        DeploymentMetrics {
            threads: (0..threads.max(1)).map(|_| CachePadded::new(DeploymentCounters::new())).collect(),
        }
    }

    pub fn of(&self, thread: usize) -> &DeploymentCounters {
        &self.threads[thread % self.threads.len()]
    }

    fn sum(&self, pick: impl Fn(&DeploymentCounters) -> u64) -> u64 {
        self.threads.iter().map(|thread| pick(thread)).sum()
    }
}
