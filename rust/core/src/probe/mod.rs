//! What the gateway asks deployments on its own account: whether they are well, and how busy an engine is.
//!
//! A look at each that is due, a few times a second, on one I/O thread; each question is a task of its own. Nothing of it is
//! a caller's traffic: no key pays, no counter of requests moves, no strategy measures it.

mod call;
pub mod engine;
pub mod health;
mod shared;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::shard::{Phase, Shard};

/// When something is to be asked next; one question at a time.
#[derive(Debug, Default)]
pub struct Due {
    at: AtomicU64,
    busy: AtomicBool,
}

impl Due {
    /// Whether it is to be asked now; then [`Due::done`] is to be called. The first time falls anywhere within `every`, the
    /// others a tenth of it sooner or later, so that many deployments are not asked at once.
    pub fn begin(&self, now: u64, every: Duration) -> bool {
        let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
        let at = self.at.load(Relaxed);
        if at == 0 {
            self.at.store(now + fastrand::u64(..every), Relaxed);
            return false;
        }
        // A shorter interval holds at once.
        if now < at && at - now <= every + every / 10 {
            return false;
        }
        if self.busy.swap(true, Relaxed) {
            return false;
        }
        self.at.store(now + every - every / 10 + fastrand::u64(..=every / 5), Relaxed);
        true
    }

    pub fn done(&self) {
        self.busy.store(false, Relaxed);
    }
}

/// Asks what is due. Called a few times a second.
pub fn tick(shard: &Arc<Shard>) {
    let snapshot = shard.snapshot();
    if !snapshot.probed || shard.shared.phase() != Phase::Serving {
        return;
    }
    let now = monotonic_ns();
    let checking = shard.shared.checking.load(Relaxed);
    for (place, model) in snapshot.models.iter().enumerate() {
        for index in &model.deployments {
            let Some(deployment) = snapshot.deployments.get(*index as usize) else { continue };
            if let Some(check) = deployment.check.as_ref().filter(|_| checking)
                && deployment.state.checked.due.begin(now, check.every)
            {
                tokio::spawn(health::run(shard.clone(), snapshot.clone(), place, *index as usize));
            }
            if let Some(poll) = &deployment.engine
                && deployment.state.engine.due.begin(now, poll.every)
            {
                tokio::spawn(engine::run(shard.clone(), snapshot.clone(), *index as usize));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_about_as_often_as_asked() {
        let (due, every) = (Due::default(), Duration::from_secs(10));
        let second = 1_000_000_000;
        assert!(!due.begin(second, every), "the first falls within the interval");
        assert!(due.begin(11 * second, every));
        assert!(!due.begin(30 * second, every), "under way");
        due.done();
        assert!(due.begin(30 * second, every));
        due.done();
        assert!(!due.begin(38 * second, every));
        assert!(due.begin(38 * second, Duration::from_secs(1)), "a shorter interval holds at once");
    }
}
