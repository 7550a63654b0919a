//! When keys were used last, and from where.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::state::subjects::Subject;

/// A key's counters.
pub struct KeyState {
    pub subject: Arc<Subject>,
    last_used_us: AtomicI64,
    last_used_from: Mutex<Option<IpAddr>>,
    /// Waits among the uses that are to be told.
    fresh: AtomicBool,
}

impl KeyState {
    pub fn new(subject: Arc<Subject>) -> Self {
        let (last_used_us, last_used_from) = (AtomicI64::new(0), Mutex::new(None));
        KeyState { subject, last_used_us, last_used_from, fresh: AtomicBool::new(false) }
    }

    /// When it was used last, microseconds since 1970, and from where; 0 and nowhere: not since the start.
    pub fn last_used(&self) -> (i64, Option<IpAddr>) {
        (self.last_used_us.load(Ordering::Relaxed), *self.last_used_from.lock())
    }
}

/// When a key was used last, microseconds since 1970, and from where.
pub type Use = (Arc<str>, i64, IpAddr);

/// Keys that were used since somebody asked last.
#[derive(Default)]
pub struct Uses(Mutex<Vec<Arc<KeyState>>>);

impl Uses {
    /// Remembers a use, at second resolution so that a busy key is not written on every request. Of what all keys share
    /// it takes a lock once per key between two looks.
    pub fn note(&self, key: &Arc<KeyState>, now_us: i64, from: impl FnOnce() -> IpAddr) {
        if now_us - key.last_used_us.load(Ordering::Relaxed) <= 1_000_000 {
            return;
        }
        key.last_used_us.store(now_us, Ordering::Relaxed);
        *key.last_used_from.lock() = Some(from());
        if !key.fresh.swap(true, Ordering::AcqRel) {
            self.0.lock().push(key.clone());
        }
    }

    /// Last uses of the keys that were used since this was asked last.
    pub fn take(&self) -> Vec<Use> {
        let taken = std::mem::take(&mut *self.0.lock());
        let told = |key: Arc<KeyState>| {
            // First: a use from now on is one for the next look.
            key.fresh.store(false, Ordering::Release);
            let (used_us, from) = key.last_used();
            Some((key.subject.id.clone(), used_us, from?))
        };
        taken.into_iter().filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::keys::Keys;

    #[test]
    fn a_use_is_told_once_and_the_next_one_again() {
        let keys = Keys::new(&[7; 32]);
        let (key, uses) = (keys.cell("k"), &keys.uses);
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!(key.last_used(), (0, None));
        uses.note(&key, 5_000_000, || here);
        // Within a second of it: not looked at.
        uses.note(&key, 6_000_000, || there);
        assert_eq!(uses.take(), [("k".into(), 5_000_000, here)]);
        assert_eq!(uses.take(), []);
        uses.note(&key, 6_000_001, || there);
        uses.note(&key, 8_000_000, || here);
        assert_eq!(uses.take(), [("k".into(), 8_000_000, here)]);
        assert_eq!(key.last_used(), (8_000_000, Some(here)));
    }
}
