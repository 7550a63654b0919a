//! How many bytes of a request make a token, learned per deployment from what its provider reports.
//!
//! An exponentially weighted mean over about 16 requests, in one word without a lock: a lost update among concurrent ones
//! is one sample less. Requests that are mostly something else than text (images in base64) give ratios that no text has;
//! those are left out, and so are short ones, where the fixed tokens of the format dominate.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes per token before anything was learned.
const FIRST: u32 = 4;
/// Fixed point.
const ONE: u32 = 1 << 12;
/// Share of a sample: 1 / 16.
const SHIFT: u32 = 4;
/// Bytes below which nothing is learned.
const SHORT: u32 = 256;

#[derive(Debug)]
pub struct Ratio(AtomicU32);

impl Default for Ratio {
    fn default() -> Self {
        Ratio(AtomicU32::new(FIRST * ONE))
    }
}

impl Ratio {
    /// Tokens that `bytes` of a request are likely to be.
    #[inline]
    pub fn estimate(&self, bytes: u32) -> u32 {
        let ratio = u64::from(self.0.load(Ordering::Relaxed)).max(1);
        u32::try_from((u64::from(bytes) * u64::from(ONE)).div_ceil(ratio)).unwrap_or(u32::MAX)
    }

    /// A provider counted `tokens` in `bytes`.
    pub fn learn(&self, bytes: u32, tokens: u64) {
        if bytes < SHORT || tokens == 0 {
            return;
        }
        let sample = u64::from(bytes) * u64::from(ONE) / tokens;
        let Ok(sample) = u32::try_from(sample) else { return };
        if !(ONE..=16 * ONE).contains(&sample) {
            return;
        }
        let old = self.0.load(Ordering::Relaxed);
        // Rounded away from the old value, so that the last step is made too.
        let step = (i64::from(sample) - i64::from(old)) / (1 << SHIFT);
        let next = i64::from(old) + if step == 0 { (i64::from(sample) - i64::from(old)).signum() } else { step };
        self.0.store(u32::try_from(next).unwrap_or(old), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_four_and_follows_what_is_reported() {
        let ratio = Ratio::default();
        assert_eq!([0, 1, 4, 5, 4_000].map(|bytes| ratio.estimate(bytes)), [0, 1, 1, 2, 1_000]);
        for _ in 0..400 {
            ratio.learn(3_000, 1_000);
        }
        assert_eq!(ratio.estimate(3_000), 1_000);
        assert_eq!(ratio.estimate(u32::MAX), u32::MAX / 3);
    }

    #[test]
    fn what_is_no_text_teaches_nothing() {
        let ratio = Ratio::default();
        for (bytes, tokens) in [(1_000_000, 1_105), (100, 90), (1_000, 0), (1_000, 5_000), (u32::MAX, 1)] {
            ratio.learn(bytes, tokens);
        }
        assert_eq!(ratio.estimate(4_000), 1_000);
    }
}
