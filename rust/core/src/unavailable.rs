//! What a caller is told when no deployment of a model takes requests: the cause at each, and when to come back.

use std::fmt::Write;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::kernel::breaker::{Cause, State};
use crate::snapshot::{Model, Snapshot};

/// Most deployments named.
const NAMED: usize = 8;

/// 429 when all of them are rate limited by their providers, otherwise 503.
pub fn unavailable(snapshot: &Snapshot, model: &Model, indices: impl Iterator<Item = u32>, now: u64) -> Error {
    let mut text = format!("No deployment of the model '{}' takes requests now: ", model.name);
    let (mut count, mut limited, mut soonest) = (0, 0, u64::MAX);
    for deployment in indices.filter_map(|index| snapshot.deployments.get(index as usize)) {
        let health = &deployment.state.health;
        let (cause, left) = match health.state(now) {
            State::Open { left_ns } => (health.cause(), left_ns),
            State::Closed | State::HalfOpen => (health.cause(), 0),
        };
        limited += usize::from(cause == Cause::RateLimited);
        soonest = soonest.min(left);
        if count < NAMED {
            let comma = if count == 0 { "" } else { "; " };
            let seconds = left.div_ceil(1_000_000_000);
            let _ = write!(text, "{comma}{} at {}: {}, {seconds} s", deployment.id, deployment.provider, cause.name());
        }
        count += 1;
    }
    if count > NAMED {
        let _ = write!(text, "; and {} more", count - NAMED);
    }
    text.push('.');
    let code = if limited == count { Code::RateLimited } else { Code::NoDeployment };
    Error::new(code, text)
        // Rounded up to the millisecond the header is written in.
        .retry_after(Duration::from_millis((soonest / 1_000_000).min(3_600_000) + 1))
}
