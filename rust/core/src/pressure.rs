//! Whether an I/O thread keeps up with what arrives.
//!
//! A timer that fires late says how long ready work has to wait. One late tick is a pause of the machine; when even the
//! *shortest* wait of a second is long, work is queueing up faster than it is done (CoDel's criterion). Then a part of the
//! requests is turned away before their bodies are read: more from second to second while that lasts, less afterwards.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The shortest wait of a second may be this long.
const TARGET: Duration = Duration::from_millis(100);
/// Of 1,000 requests so many more, or fewer, are turned away each second.
const MORE: u32 = 200;
const FEWER: u32 = 100;
/// Never all: what is let in tells how it goes on.
const MOST: u32 = 900;

#[derive(Debug, Default)]
pub struct Pressure(AtomicU32);

impl Pressure {
    /// Takes in the shortest wait of the last second.
    pub fn look(&self, shortest: Duration) {
        let now = self.0.load(Relaxed);
        let next = if shortest > TARGET { (now + MORE).min(MOST) } else { now.saturating_sub(FEWER) };
        self.0.store(next, Relaxed);
    }

    /// Whether a request that can wait (`low`), or another one, is to be turned away.
    pub fn sheds(&self, low: bool) -> bool {
        match self.0.load(Relaxed) {
            0 => false,
            _ if low => true,
            part => fastrand::u32(..1_000) < part,
        }
    }

    /// Of 1,000 requests, so many are turned away.
    pub fn part(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheds_more_while_it_lasts_and_recovers() {
        let pressure = Pressure::default();
        pressure.look(Duration::from_millis(99));
        assert!(!pressure.sheds(true));
        for _ in 0..3 {
            pressure.look(Duration::from_millis(150));
        }
        assert_eq!(pressure.part(), 600);
        assert!(pressure.sheds(true));
        let shed = (0..10_000).filter(|_| pressure.sheds(false)).count();
        assert!((5_500..6_500).contains(&shed), "{shed}");
        for _ in 0..10 {
            pressure.look(Duration::from_secs(1));
        }
        assert_eq!(pressure.part(), MOST);
        for _ in 0..9 {
            pressure.look(Duration::ZERO);
        }
        assert!(!pressure.sheds(true));
    }
}
