//! A mean that forgets: exponentially weighted by time, so that a burst counts no more than a trickle.
//!
//! Mean and time of the last sample share one word, so that threads update them together without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A sample this old counts for a third.
const TAU_NS: f64 = 10e9;
/// A sample counts for at least this much, however shortly it follows another.
const LEAST: f64 = 0.05;
/// What was not measured for this long looks half as large, so that it is tried again.
const FADE_NS: f64 = 60e9;
/// Times are kept in units of 2^20 ns, about a millisecond: 52 days before they wrap.
const TICK: u32 = 20;

#[derive(Debug, Default)]
pub struct Ewma(AtomicU64);

impl Ewma {
    /// Takes a sample in. Not finite or negative ones are ignored.
    pub fn record(&self, sample: f64, now_ns: u64) {
        if !sample.is_finite() || sample < 0.0 {
            return;
        }
        let _always = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let mean = match unpack(packed) {
                None => sample,
                Some((mean, at)) => {
                    let passed = age(now_ns, at);
                    let part = (1.0 - (-passed / TAU_NS).exp()).max(LEAST);
                    mean + (sample - mean) * part
                }
            };
            Some(pack(mean, now_ns))
        });
    }

    /// The mean as it looks now; None without a sample.
    pub fn read(&self, now_ns: u64) -> Option<f64> {
        let (mean, at) = unpack(self.0.load(Relaxed))?;
        Some(mean / (1.0 + age(now_ns, at) / FADE_NS))
    }
}

#[allow(clippy::cast_possible_truncation)]
fn ticks(now_ns: u64) -> u32 {
    (now_ns >> TICK) as u32
}

/// Nanoseconds since `at`; 0 for a clock that is behind.
fn age(now_ns: u64, at: u32) -> f64 {
    let passed = ticks(now_ns).wrapping_sub(at);
    if passed > u32::MAX / 2 { 0.0 } else { f64::from(passed) * f64::from(1u32 << TICK) }
}

#[allow(clippy::cast_possible_truncation)]
fn pack(mean: f64, now_ns: u64) -> u64 {
    // The lowest bit of the mean marks the word as used.
    u64::from((mean as f32).to_bits() | 1) << 32 | u64::from(ticks(now_ns))
}

#[allow(clippy::cast_possible_truncation)]
fn unpack(packed: u64) -> Option<(f64, u32)> {
    (packed != 0).then(|| (f64::from(f32::from_bits((packed >> 32) as u32)), packed as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn follows_and_fades() {
        let mean = Ewma::default();
        assert_eq!(mean.read(S), None);
        mean.record(100.0, S);
        assert!((mean.read(S).unwrap() - 100.0).abs() < 0.1);
        // A burst of the same moment moves it little by little, a sample long after moves it nearly all the way.
        mean.record(200.0, S);
        assert!((mean.read(S).unwrap() - 105.0).abs() < 0.1);
        mean.record(500.0, 100 * S);
        assert!((mean.read(100 * S).unwrap() - 500.0).abs() < 1.0);
        assert!((mean.read(160 * S).unwrap() - 250.0).abs() < 1.0);
        mean.record(f64::NAN, 160 * S);
        mean.record(-1.0, 160 * S);
        assert!(mean.read(0).unwrap() > 499.0, "a clock that is behind");
    }

    #[test]
    fn converges_on_what_is_measured() {
        let mean = Ewma::default();
        for step in 0..1_000 {
            mean.record(if step < 500 { 10.0 } else { 40.0 }, step * S / 10);
        }
        assert!((mean.read(100 * S).unwrap() - 40.0).abs() < 1.0);
    }
}
