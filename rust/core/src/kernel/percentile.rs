//! The 95th percentile of what was measured lately, in one word, without a lock: it moves up by much with each sample above
//! it and down by a nineteenth of that with each below, so that it rests where one in twenty is above. (The idea is that of
//! frugal streaming, Ma, Muthukrishnan and Sandler 2013; steps are in proportion, so that no scale has to be known.)

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Samples before there is a value; until then it is the largest, as it would be of so many.
const LEAST: u32 = 20;
const UP: f32 = 1.095;
const DOWN: f32 = 0.995;

/// Value and number of samples, 32 bits each.
#[derive(Debug, Default)]
pub struct Percentile95(AtomicU64);

impl Percentile95 {
    /// Takes a sample in. Not finite or not positive ones are ignored.
    pub fn record(&self, sample: f32) {
        if !sample.is_finite() || sample <= 0.0 {
            return;
        }
        let _always = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let (value, count) = unpack(packed);
            let moved = match (count < LEAST, sample > value) {
                (true, true) => sample,
                (true, false) => value,
                (false, true) => value * UP,
                (false, false) => value * DOWN,
            };
            Some(u64::from(moved.to_bits()) << 32 | u64::from(count.saturating_add(1)))
        });
    }

    /// None while too little was measured.
    pub fn read(&self) -> Option<f32> {
        let (value, count) = unpack(self.0.load(Relaxed));
        (count >= LEAST).then_some(value)
    }
}

#[allow(clippy::cast_possible_truncation)]
fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn above(samples: impl Iterator<Item = f32>) -> f32 {
        let found = Percentile95::default();
        let (mut above, mut all) = (0.0, 0.0);
        for sample in samples {
            if let Some(value) = found.read() {
                above += f32::from(u8::from(sample > value));
                all += 1.0;
            }
            found.record(sample);
        }
        above / all
    }

    #[test]
    fn one_in_twenty_is_above() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut draws = [0.0f32; 40_000].map(|_| -random.f32().max(1e-6).ln() * 100.0);
        assert!((0.04..0.06).contains(&above(draws.iter().copied())));
        // It follows when everything takes ten times as long, and back.
        draws[10_000..20_000].iter_mut().for_each(|draw| *draw *= 10.0);
        assert!((0.04..0.06).contains(&above(draws.iter().copied())));
        assert!((0.04..0.06).contains(&above(std::iter::repeat_n(250.0, 40_000))));
    }

    #[test]
    fn nothing_is_said_of_little() {
        let found = Percentile95::default();
        for sample in [1.0, f32::NAN, -1.0, 0.0] {
            found.record(sample);
        }
        assert_eq!(found.read(), None);
        (0..19).for_each(|_| found.record(2.0));
        assert_eq!(found.read(), Some(2.0));
    }
}
