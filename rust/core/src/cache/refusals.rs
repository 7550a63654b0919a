//! Refusals of providers that are told again for a while, where that is asked for: what is wrong with a request is wrong
//! the next time, too. In memory alone, few and short; a purge, whatever it is for, takes all of them.

use std::sync::Arc;

use super::key::CacheKey;
use crate::error::{Code, Error};

const MOST: usize = 1_024;
/// Longest text of one.
const LONGEST: usize = 16 << 10;

#[derive(Debug)]
struct Refusal {
    error: Error,
    /// Microseconds since 1970.
    since_us: i64,
    until_us: i64,
}

pub struct Refusals(quick_cache::sync::Cache<CacheKey, Arc<Refusal>>);

impl Default for Refusals {
    fn default() -> Self {
        Refusals(quick_cache::sync::Cache::new(MOST))
    }
}

impl Refusals {
    /// The refusal of this request, if one is known that is not older than `max_age_us`.
    pub fn get(&self, key: &CacheKey, now_us: i64, max_age_us: Option<i64>) -> Option<Error> {
        let found = self.0.get(key)?;
        let young = found.until_us > now_us && max_age_us.is_none_or(|most| now_us - found.since_us <= most);
        young.then(|| found.error.clone())
    }

    /// Remembers a refusal if asking again would bring the same.
    pub fn put(&self, key: CacheKey, error: &Error, now_us: i64, ttl_us: i64) {
        if ttl_us > 0 && lasts(error) {
            let until_us = now_us.saturating_add(ttl_us);
            self.0.insert(key, Arc::new(Refusal { error: error.clone(), since_us: now_us, until_us }));
        }
    }

    pub fn clear(&self) {
        self.0.clear();
    }
}

/// What the provider says of the request itself: not of credentials, quotas or its own troubles.
fn lasts(error: &Error) -> bool {
    let length = error.body.as_ref().map_or(error.message.len(), bytes::Bytes::len);
    error.code == Code::UpstreamStatus && matches!(error.status, Some(400 | 404 | 413 | 422)) && length <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn refused(status: u16) -> Error {
        Error::new(Code::UpstreamStatus, "no").status(status)
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_again_for_a_while() {
        let known = Refusals::default();
        let key = [7; 32];
        known.put(key, &refused(400), 0, 10 * SECOND);
        assert_eq!(known.get(&key, 9 * SECOND, None).and_then(|error| error.status), Some(400));
        assert!(known.get(&key, 10 * SECOND, None).is_none());
        assert!(known.get(&key, 9 * SECOND, Some(5 * SECOND)).is_none());
        assert!(known.get(&[8; 32], SECOND, None).is_none());
        known.clear();
        assert!(known.get(&key, SECOND, None).is_none());
    }

    #[test]
    fn what_may_pass_is_never_told_again() {
        let known = Refusals::default();
        let long = Error::new(Code::UpstreamStatus, "x".repeat(LONGEST + 1)).status(400);
        let own = Error::new(Code::InvalidRequest, "ours").status(400);
        let others = [401, 403, 408, 409, 429, 500, 503].map(refused);
        for (place, error) in others.iter().chain([&long, &own]).enumerate() {
            let key = [u8::try_from(place).expect("few"); 32];
            known.put(key, error, 0, SECOND);
            assert!(known.get(&key, 0, None).is_none(), "{error}");
        }
        known.put([1; 32], &refused(404), 0, 0);
        assert!(known.get(&[1; 32], 0, None).is_none());
    }
}
