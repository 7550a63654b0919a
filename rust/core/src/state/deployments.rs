//! What a deployment keeps across snapshots: its idle connections, how many are open, its counters, its health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kernel::breaker::{Breaker, Pass};
use crate::kernel::ewma::Ewma;
use crate::kernel::quota::Quota;
use crate::kernel::ratio::Ratio;
use crate::metrics::DeploymentMetrics;
use crate::upstream::Pool;

pub struct DeploymentState {
    pub id: String,
    pub provider: String,
    pub model: String,
    pub pool: Pool,
    pub metrics: DeploymentMetrics,
    pub health: Breaker,
    /// Bytes per token of its requests.
    pub tokens: Ratio,
    /// Microseconds to the first byte, nanoseconds per token of output; measured where a strategy asks for it.
    pub first_byte: Ewma,
    pub per_token: Ewma,
    pub quota: Quota,
    open: AtomicU32,
}

impl DeploymentState {
    pub fn new(threads: usize, id: &str, provider: &str, model: &str) -> Self {
        DeploymentState {
            id: id.to_string(),
            provider: provider.to_string(),
            model: model.to_string(),
            pool: Pool::new(threads),
            metrics: DeploymentMetrics::new(threads),
            health: Breaker::default(),
            tokens: Ratio::default(),
            first_byte: Ewma::default(),
            per_token: Ewma::default(),
            quota: Quota::default(),
            open: AtomicU32::new(0),
        }
    }

    /// Takes one of at most `limit` places (0 = no limit); given back when the guard is dropped.
    pub fn enter(self: &Arc<Self>, limit: u32, pass: Pass) -> Option<InFlight> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let guard = InFlight { deployment: self.clone(), pass };
        (limit == 0 || before < limit).then_some(guard)
    }

    pub fn in_flight(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// One attempt in flight at a deployment.
pub struct InFlight {
    deployment: Arc<DeploymentState>,
    pass: Pass,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.deployment.open.fetch_sub(1, Ordering::Relaxed);
        if self.pass == Pass::Probe {
            self.deployment.health.leave();
        }
    }
}
