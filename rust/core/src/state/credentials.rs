//! Provider credentials: slots that a snapshot refers to by id and that are filled by a push; pools of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::kernel::breaker::{Cause, Settings, Sign};
use crate::metrics::Counter;

/// A secret value. Not printable, not serializable, wiped when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(value: Vec<u8>) -> Self {
        Secret(Zeroizing::new(value))
    }

    /// The bytes, for the request head and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Where the current value of one credential sits.
#[derive(Default)]
pub struct CredentialSlot {
    value: ArcSwapOption<Secret>,
    /// Left out of its pool until then, on the monotonic clock; 0: never was.
    rests_until: AtomicU64,
    cause: AtomicU8,
    /// Attempts made with it, and those refused because of it; counted in pools.
    pub used: Counter,
    pub refused: Counter,
}

impl CredentialSlot {
    pub fn push(&self, secret: Secret) {
        if self.value.load().as_ref().is_none_or(|known| known.0 != secret.0) {
            self.rests_until.store(0, Relaxed);
        }
        self.value.store(Some(std::sync::Arc::new(secret)));
    }

    /// Nothing was pushed yet, or what was has ended.
    pub fn is_empty(&self) -> bool {
        self.value.load().as_ref().is_none_or(|secret| secret.0.is_empty())
    }

    pub fn load(&self) -> arc_swap::Guard<Option<std::sync::Arc<Secret>>> {
        self.value.load()
    }
}

const MS: u64 = 1_000_000;

/// Several credentials of one deployment, used in turn. One that is refused or limited rests; the others go on.
pub struct KeyPool {
    slots: Vec<Arc<CredentialSlot>>,
    turn: AtomicUsize,
}

impl KeyPool {
    /// None for less than two: a single one has its deployment's breaker.
    pub fn new(slots: Vec<Arc<CredentialSlot>>) -> Option<Arc<KeyPool>> {
        (slots.len() > 1).then(|| Arc::new(KeyPool { slots, turn: AtomicUsize::new(0) }))
    }

    /// The next one that does not rest; when all do, the one whose rest ends first.
    pub fn next(self: &Arc<Self>, now: u64) -> PooledKey {
        let turn = self.turn.fetch_add(1, Relaxed);
        let places = (0..self.slots.len()).map(|step| turn.wrapping_add(step) % self.slots.len());
        let best = places.min_by_key(|place| self.slots.get(*place).map_or(u64::MAX, |slot| slot.rest(now)));
        let key = PooledKey { pool: self.clone(), place: best.unwrap_or(0) };
        if let Some(slot) = key.slot() {
            slot.used.add(1);
        }
        key
    }

    /// Whether one of them does not rest.
    pub fn has_fresh(&self, now: u64) -> bool {
        self.slots.iter().any(|slot| slot.rest(now) == 0)
    }

    pub fn slots(&self) -> &[Arc<CredentialSlot>] {
        &self.slots
    }
}

impl CredentialSlot {
    /// For how many nanoseconds more it rests. One without a value never gets up.
    pub fn rest(&self, now: u64) -> u64 {
        if self.is_empty() { u64::MAX } else { self.rests_until.load(Relaxed).saturating_sub(now) }
    }

    /// Why it rested last.
    pub fn cause(&self) -> &'static str {
        let code = self.cause.load(Relaxed);
        Cause::ALL.iter().find(|(cause, _)| *cause as u8 == code).map_or("none", |(_, name)| name)
    }
}

/// The one of a pool that an attempt is made with.
pub struct PooledKey {
    pool: Arc<KeyPool>,
    place: usize,
}

impl PooledKey {
    pub fn slot(&self) -> Option<&Arc<CredentialSlot>> {
        self.pool.slots.get(self.place)
    }

    /// From 1.
    pub fn number(&self) -> usize {
        self.place + 1
    }

    /// What is left of a sign for the deployment: a key that is refused or limited rests, and as long as another does not, the
    /// deployment is fine. Else it is limited until the first gets up, or refused when all are.
    pub fn heard(&self, sign: Sign, now: u64, settings: &Settings) -> Option<Sign> {
        let (cause, ms) = match sign {
            Sign::RateLimited { wait_ms } => (Cause::RateLimited, wait_ms.unwrap_or(settings.limited_ms)),
            Sign::Credential => (Cause::Credential, settings.open_max_ms),
            other => return Some(other),
        };
        if let Some(slot) = self.slot() {
            slot.refused.add(1);
            slot.cause.store(cause as u8, Relaxed);
            slot.rests_until.fetch_max(now.saturating_add(ms.saturating_mul(MS)), Relaxed);
        }
        let usable = self.pool.slots.iter().filter(|slot| !slot.is_empty());
        let shortest = usable.clone().map(|slot| slot.rest(now)).min().unwrap_or(0);
        if shortest == 0 {
            return None;
        }
        let refused = Cause::Credential as u8;
        if usable.clone().all(|slot| slot.cause.load(Relaxed) == refused) {
            return Some(Sign::Credential);
        }
        Some(Sign::RateLimited { wait_ms: Some(shortest.div_ceil(MS)) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        consecutive: 5,
        percent: 50,
        minimum: 20,
        window_ms: 10_000,
        allowed_fails: None,
        allowed_of: [None; 4],
        open_ms: 5_000,
        open_max_ms: 60_000,
        limited_ms: 5_000,
        probes: 1,
        slow_start_ms: 0,
        alone: false,
    };
    const LIMITED: Sign = Sign::RateLimited { wait_ms: Some(2_000) };

    fn pool(count: usize) -> Arc<KeyPool> {
        let slot = |number: usize| {
            let slot = CredentialSlot::default();
            slot.push(Secret::new(format!("key-{number}").into_bytes()));
            Arc::new(slot)
        };
        KeyPool::new((0..count).map(slot).collect()).unwrap()
    }

    #[test]
    fn keys_take_turns_and_rest() {
        let pool = pool(3);
        let drawn = |now| pool.next(now).number();
        assert_eq!([drawn(1), drawn(1), drawn(1), drawn(1)], [1, 2, 3, 1]);
        // The second is limited for two seconds; the deployment does not hear of it.
        assert_eq!(pool.next(1).heard(LIMITED, 1, &SETTINGS), None);
        assert_eq!([drawn(1), drawn(1), drawn(1)], [3, 1, 3]);
        assert!(pool.has_fresh(1));
        let later = 2_001 * MS;
        let mut seen = [drawn(later), drawn(later), drawn(later)];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn a_deployment_hears_when_all_rest() {
        let keys = pool(2);
        assert_eq!(keys.next(1).heard(Sign::Credential, 1, &SETTINGS), None);
        assert_eq!(keys.next(1).heard(LIMITED, 1, &SETTINGS), Some(LIMITED));
        assert!(!keys.has_fresh(1));
        let refused = pool(2);
        assert_eq!(refused.next(1).heard(Sign::Credential, 1, &SETTINGS), None);
        assert_eq!(refused.next(1).heard(Sign::Credential, 1, &SETTINGS), Some(Sign::Credential));
        // A new value gets up at once.
        refused.slots()[0].push(Secret::new(b"another".to_vec()));
        assert!(refused.has_fresh(2));
        assert_eq!(refused.next(2).heard(Sign::Failure, 2, &SETTINGS), Some(Sign::Failure));
    }
}
