//! Idle connections by where they lead: deployments at one place share them, whatever their models and credentials, so that a
//! request finds one that was used a moment ago.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::upstream::{Origin, Pool};

/// The pools of all places that deployments in force lead to.
#[derive(Default)]
pub struct Pools {
    by_place: Mutex<BTreeMap<Place, Arc<Pool>>>,
}

/// What connections must have in common to be shared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    origin: String,
    /// Whether only public addresses were connected to.
    guarded: bool,
    idle: Duration,
}

impl Pools {
    /// The pool of a place, whose connections rest for at most `idle`.
    pub fn of(&self, origin: &Origin, idle: Duration, threads: usize) -> Arc<Pool> {
        let place = Place { origin: origin.to_string(), guarded: origin.is_guarded(), idle };
        self.by_place.lock().entry(place).or_insert_with(|| Arc::new(Pool::new(threads, idle))).clone()
    }

    /// Drops what rested for too long on `thread`, and the pools that no snapshot refers to any more.
    pub fn sweep(&self, thread: usize) {
        self.by_place.lock().retain(|_, pool| {
            pool.sweep(thread);
            Arc::strong_count(pool) > 1
        });
    }

    /// How many connections rest, by origin.
    pub fn idle(&self) -> BTreeMap<String, usize> {
        let mut idle = BTreeMap::new();
        for (place, pool) in self.by_place.lock().iter() {
            *idle.entry(place.origin.clone()).or_default() += pool.idle();
        }
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::origin::BaseUrl;

    #[test]
    fn deployments_at_one_place_share_their_connections() {
        let pools = Pools::default();
        let of = |url: &str, guarded: bool, idle| {
            let origin = BaseUrl::parse(url).expect("valid").origin;
            let origin = if guarded { origin.guarded().expect("it is on a network") } else { origin };
            pools.of(&origin, Duration::from_secs(idle), 1)
        };
        let one = of("https://api.openai.com/v1", false, 20);
        assert!(Arc::ptr_eq(&one, &of("https://api.openai.com/other", false, 20)));
        for other in [
            of("http://api.openai.com/v1", false, 20),
            of("https://api.openai.com:8443/v1", false, 20),
            of("https://eu.api.openai.com/v1", false, 20),
            of("https://api.openai.com/v1", true, 20),
            of("https://api.openai.com/v1", false, 5),
            of("unix:/run/x.sock:/v1", false, 20),
        ] {
            assert!(!Arc::ptr_eq(&one, &other));
        }
        pools.sweep(0);
        let left: Vec<String> = pools.idle().into_keys().collect();
        assert_eq!(left, ["https://api.openai.com:443"], "nobody refers to the others any more");
    }
}
