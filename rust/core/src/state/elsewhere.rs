//! What other nodes told of a deployment: requests in flight there, what they used of its quota this minute, until when it
//! rests. Told every second through Redis; what is older than [`HOLDS`] says nothing any more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Three times the pace at which nodes tell.
pub const HOLDS: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Elsewhere {
    /// It holds until then; 0: there are no other nodes.
    until: AtomicU64,
    in_flight: AtomicU32,
    requests: AtomicU64,
    tokens: AtomicU64,
    /// The latest rest that was heard of: it is not passed on.
    rests_until: AtomicU64,
}

/// One deployment at one node, or at all the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub in_flight: u32,
    pub requests: u64,
    pub tokens: u64,
}

impl Elsewhere {
    pub fn load(&self, now: u64) -> Load {
        if self.until.load(Relaxed) <= now {
            return Load::default();
        }
        Load {
            in_flight: self.in_flight.load(Relaxed),
            requests: self.requests.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
        }
    }

    pub fn told(&self, load: Load, now: u64) {
        self.in_flight.store(load.in_flight, Relaxed);
        self.requests.store(load.requests, Relaxed);
        self.tokens.store(load.tokens, Relaxed);
        let holds = u64::try_from(HOLDS.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(now.saturating_add(holds), Relaxed);
    }

    /// Another node heard that it rests until then.
    pub fn rests(&self, until: u64) {
        self.rests_until.fetch_max(until, Relaxed);
    }

    /// Whether a rest until then is this node's own to tell.
    pub fn is_own(&self, until: u64) -> bool {
        until > self.rests_until.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_grows_old_and_is_not_told_again() {
        let elsewhere = Elsewhere::default();
        assert_eq!(elsewhere.load(1), Load::default());
        let load = Load { in_flight: 2, requests: 30, tokens: 400 };
        elsewhere.told(load, 1);
        assert_eq!(elsewhere.load(1_000_000_000), load);
        assert_eq!(elsewhere.load(4_000_000_000), Load::default());
        elsewhere.rests(50);
        assert!(elsewhere.is_own(51));
        assert!(!elsewhere.is_own(50));
    }
}
