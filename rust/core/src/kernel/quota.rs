//! How much of a deployment's quota is used: counted here per minute, and as the provider says it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const MINUTE_NS: u64 = 60_000_000_000;
/// Used parts are told in millionths.
pub const WHOLE: u64 = 1_000_000;
/// Tokens a minute that a deployment is taken to have when nobody says how many.
const ASSUMED: u64 = 1_000_000;

/// What a deployment may be sent per minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Quota {
    requests: Minute,
    tokens: Minute,
    /// The provider's word: what is left, in millionths, and the time it was said.
    told: AtomicU64,
}

/// A count of the current minute: 24 bits of minute, 40 bits of count.
#[derive(Debug, Default)]
struct Minute(AtomicU64);

const COUNT: u64 = (1 << 40) - 1;

impl Minute {
    fn add(&self, n: u64, now_ns: u64) {
        let minute = minute(now_ns);
        let _always = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let before = if packed >> 40 == minute { packed & COUNT } else { 0 };
            Some(minute << 40 | before.saturating_add(n).min(COUNT))
        });
    }

    fn read(&self, now_ns: u64) -> u64 {
        let packed = self.0.load(Relaxed);
        if packed >> 40 == minute(now_ns) { packed & COUNT } else { 0 }
    }
}

fn minute(now_ns: u64) -> u64 {
    (now_ns / MINUTE_NS + 1) & 0xff_ffff
}

impl Quota {
    pub fn request(&self, now_ns: u64) {
        self.requests.add(1, now_ns);
    }

    pub fn tokens(&self, n: u64, now_ns: u64) {
        self.tokens.add(n, now_ns);
    }

    /// The provider said how much is left of something: the scarcest of a minute's words counts.
    pub fn told(&self, left: u64, of: u64, now_ns: u64) {
        if of == 0 {
            return;
        }
        let left = (u128::from(left.min(of)) * u128::from(WHOLE) / u128::from(of)) as u64;
        // 24 bits hold a million; the rest is the time in 2^26 ns, about 67 ms.
        self.told.store((now_ns >> 26).max(1) << 24 | left, Relaxed);
    }

    /// The used part, in millionths of the quota; more than [`WHOLE`] beyond it.
    /// `others`: requests and tokens that were counted elsewhere.
    pub fn used(&self, limits: &Limits, others: (u64, u64), now_ns: u64) -> u64 {
        let part = |count: u64, limit: u64| match count.checked_mul(WHOLE) {
            // Wide division is many times as slow, and hardly ever needed.
            Some(scaled) => scaled / limit.max(1),
            None => u64::try_from(u128::from(count) * u128::from(WHOLE) / u128::from(limit.max(1))).unwrap_or(u64::MAX),
        };
        let told = self.told.load(Relaxed);
        let fresh = told != 0 && (now_ns >> 26).saturating_sub(told >> 24) < MINUTE_NS >> 26;
        let told = fresh.then(|| WHOLE.saturating_sub(told & 0xff_ffff));
        let (all_requests, all_tokens) = self.counted(now_ns);
        let (all_requests, all_tokens) = (all_requests.saturating_add(others.0), all_tokens.saturating_add(others.1));
        let requests = limits.requests.map(|limit| part(all_requests, limit));
        let tokens = limits.tokens.map(|limit| part(all_tokens, limit));
        let known = [told, requests, tokens].into_iter().flatten().max();
        known.unwrap_or_else(|| part(all_tokens, ASSUMED))
    }

    /// Requests and tokens counted here within the minute.
    pub fn counted(&self, now_ns: u64) -> (u64, u64) {
        (self.requests.read(now_ns), self.tokens.read(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: (u64, u64) = (0, 0);

    #[test]
    fn the_scarcest_counts() {
        let quota = Quota::default();
        let limits = Limits { requests: Some(10), tokens: Some(1_000) };
        assert_eq!(quota.used(&limits, NOBODY, 5), 0);
        quota.request(5);
        quota.tokens(500, 5);
        assert_eq!(quota.used(&limits, NOBODY, 5), WHOLE / 2);
        assert_eq!(quota.used(&Limits::default(), NOBODY, 5), 500);
        quota.told(1, 10, 5);
        assert_eq!(quota.used(&limits, NOBODY, 5), WHOLE * 9 / 10);
        quota.tokens(1_000, 5);
        assert_eq!(quota.used(&limits, NOBODY, 5), WHOLE * 3 / 2);
        assert_eq!(quota.used(&limits, (20, 0), 5), WHOLE * 21 / 10);
        // A minute later all is forgotten.
        assert_eq!(quota.used(&limits, NOBODY, MINUTE_NS + 100_000_000), 0);
    }
}
