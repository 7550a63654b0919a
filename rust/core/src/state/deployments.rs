//! What a deployment keeps across snapshots: how many requests are at it, its counters, its health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::queue::Queue;
use crate::kernel::breaker::{Breaker, Pass};
use crate::kernel::ewma::Ewma;
use crate::kernel::limiter::{Limiter, Settings};
use crate::kernel::quota::Quota;
use crate::kernel::ratio::Ratio;
use crate::metrics::{Counter, DeploymentMetrics};
use crate::probe::engine::Engine;
use crate::probe::health::Checked;
use crate::state::elsewhere::Elsewhere;
use crate::state::given::Given;

/// What strategies ask of every deployment of a model comes first, in two lines of a cache that are fetched together.
#[repr(C, align(128))]
pub struct DeploymentState {
    open: AtomicU32,
    /// What other nodes told of it.
    pub elsewhere: Elsewhere,
    /// Microseconds to the first byte, nanoseconds per token of output; measured where a strategy asks for it.
    pub first_byte: Ewma,
    pub per_token: Ewma,
    /// Its weight by a strategy of the operator's own.
    pub given: Given,
    pub quota: Quota,
    /// What its engine says of itself.
    pub engine: Engine,
    pub health: Breaker,
    pub id: String,
    pub provider: String,
    pub model: String,
    pub metrics: DeploymentMetrics,
    /// Bytes per token of its requests.
    pub tokens: Ratio,
    /// What health checks found.
    pub checked: Checked,
    pub limiter: Limiter,
    pub queue: Queue,
    /// Requests turned away because it was full.
    pub shed: Counter,
}

/// A strategy's look at one ends before its engine is told of.
const _: () = assert!(std::mem::offset_of!(DeploymentState, engine) <= 128);

impl DeploymentState {
    pub fn new(threads: usize, id: &str, provider: &str, model: &str) -> Self {
        DeploymentState {
            open: AtomicU32::new(0),
            elsewhere: Elsewhere::default(),
            first_byte: Ewma::default(),
            per_token: Ewma::default(),
            given: Given::default(),
            quota: Quota::default(),
            engine: Engine::default(),
            health: Breaker::default(),
            id: id.to_string(),
            provider: provider.to_string(),
            model: model.to_string(),
            metrics: DeploymentMetrics::new(threads),
            tokens: Ratio::default(),
            checked: Checked::default(),
            limiter: Limiter::default(),
            queue: Queue::default(),
            shed: Counter::default(),
        }
    }

    /// Takes one of at most `connections` places (0 = no limit), and of those the deployment was found to bear; given back
    /// when the guard is dropped.
    pub fn enter(self: &Arc<Self>, connections: u32, overload: &Settings, pass: Pass) -> Result<InFlight, Full> {
        let adaptive = overload.most > 0;
        if adaptive && pass == Pass::Usual && self.queue.waiting() > 0 {
            return Err(Full::Limit);
        }
        let limit = if adaptive { self.limiter.limit(overload) } else { u32::MAX };
        let connections = if connections == 0 { u32::MAX } else { connections };
        match self.open.fetch_update(SeqCst, SeqCst, |open| (open < connections.min(limit)).then_some(open + 1)) {
            Ok(before) => {
                if adaptive {
                    self.limiter.entered(before + 1, limit);
                }
                Ok(InFlight { deployment: self.clone(), pass, adaptive: adaptive.then_some(*overload) })
            }
            Err(open) => {
                if pass == Pass::Probe {
                    self.health.leave();
                }
                if open >= connections {
                    return Err(Full::Connections);
                }
                self.limiter.entered(open, limit);
                Err(Full::Limit)
            }
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.open.load(SeqCst)
    }

    /// At all nodes, as far as it is known.
    pub fn in_flight_everywhere(&self, now: u64) -> u32 {
        self.in_flight().saturating_add(self.elsewhere.load(now).in_flight)
    }

    /// Gives free places to those who wait for one.
    pub fn hand_over(self: &Arc<Self>, overload: &Settings) {
        while self.queue.waiting() > 0 {
            let limit = self.limiter.limit(overload);
            let taken = self.open.fetch_update(SeqCst, SeqCst, |open| (open < limit).then_some(open + 1));
            let Ok(before) = taken else { return };
            self.limiter.entered(before + 1, limit);
            // Unless somebody takes it, the guard gives the place back, and looks again.
            let place = InFlight { deployment: self.clone(), pass: Pass::Usual, adaptive: Some(*overload) };
            match self.queue.next() {
                Some(waiter) => drop(waiter.send(place)),
                None => drop(place),
            }
        }
    }
}

impl InFlight {
    /// It tries a deployment that was out.
    pub fn tries(mut self, pass: Pass) -> Self {
        self.pass = pass;
        self
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many connections as the configuration allows.
    Connections,
    /// As many requests as it was found to bear.
    Limit,
}

/// One attempt in flight at a deployment.
#[derive(Debug)]
pub struct InFlight {
    deployment: Arc<DeploymentState>,
    pass: Pass,
    adaptive: Option<Settings>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.deployment.open.fetch_sub(1, SeqCst);
        if self.pass == Pass::Probe {
            self.deployment.health.leave();
        }
        if let Some(settings) = &self.adaptive {
            self.deployment.limiter.left();
            if self.deployment.queue.waiting() > 0 {
                self.deployment.hand_over(settings);
            }
        }
    }
}

impl std::fmt::Debug for DeploymentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentState").field("id", &self.id).finish_non_exhaustive()
    }
}
