//! Beginnings of prompts that were sent to a provider lately.

use quick_cache::sync::Cache;

/// Most that are remembered.
const MOST: usize = 65_536;
/// How long a provider keeps one.
const KEPT_US: i64 = 300 * 1_000_000;

/// By their hash: when each was seen last, microseconds since 1970.
pub struct Prefixes(Cache<[u8; 32], i64>);

impl Default for Prefixes {
    fn default() -> Self {
        Prefixes(Cache::new(MOST))
    }
}

impl Prefixes {
    /// Whether it was seen in the last five minutes; from now on it was.
    pub fn seen(&self, hash: [u8; 32], now_us: i64) -> bool {
        let before = self.0.get(&hash);
        self.0.insert(hash, now_us);
        before.is_some_and(|before| now_us - before < KEPT_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_known_for_five_minutes() {
        let prefixes = Prefixes::default();
        assert!(!prefixes.seen([1; 32], 0));
        assert!(prefixes.seen([1; 32], KEPT_US - 1));
        assert!(!prefixes.seen([2; 32], 5));
        assert!(!prefixes.seen([1; 32], 2 * KEPT_US));
    }
}
