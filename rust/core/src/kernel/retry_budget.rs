//! A retry budget in the manner of Finagle: retries may be at most a share of the requests of the last ten seconds, plus a
//! small constant rate, so that retries cannot multiply the load of a provider that is failing.
//!
//! Ten slots of one second hold the requests and the retries in them. All threads share one budget through atomics; a
//! retry is entered first and taken out again if that was too much, so threads racing for the last one may both be
//! refused, but never both be admitted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Seconds for which a request counts.
const WINDOW: u32 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// Bounds retries to a share of requests; see the module's text.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u32,
    per_second: u32,
    requests: [Slot; WINDOW as usize],
    retries: [Slot; WINDOW as usize],
}

/// A count together with the second it belongs to, each 32 bits, so that both change at once.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

impl Slot {
    /// Adds `n` at `second`, dropping a count of an older second. Saturates; returns whether anything was added.
    fn add(&self, second: u32, n: u32) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |packed| {
                let (at, count) = unpack(packed);
                // A newer second means that the caller's clock is behind; it counts there.
                if at < second { Some(pack(second, n)) } else { Some(pack(at, count.checked_add(n)?)) }
            })
            .is_ok()
    }

    /// Takes one out again, unless its second has passed meanwhile.
    fn take_back(&self, second: u32) {
        let _expired = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let (at, count) = unpack(packed);
            (at >= second).then(|| pack(at, count.saturating_sub(1)))
        });
    }

    /// The count, if it belongs to the ten seconds up to `second` (or later ones, for a clock that is behind).
    fn count(&self, second: u32) -> u64 {
        let (at, count) = unpack(self.0.load(Relaxed));
        if at.saturating_add(WINDOW) > second { u64::from(count) } else { 0 }
    }
}

fn pack(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

#[allow(clippy::cast_possible_truncation)]
fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

impl RetryBudget {
    /// Allows retries up to `percent` of the requests of the last ten seconds, plus `per_second` for each of these seconds.
    #[must_use]
    pub fn new(percent: u32, per_second: u32) -> Self {
        Self { percent, per_second, requests: Default::default(), retries: Default::default() }
    }

    /// Counts a request (not a retry) at `now_ns`, nanoseconds of any steady clock.
    pub fn deposit(&self, now_ns: u64) {
        let second = second(now_ns);
        // A saturated slot only under-counts requests.
        let _counted = slot(&self.requests, second).add(second, 1);
    }

    /// Asks for a retry at `now_ns`; `true` if it may be made, and then it is counted.
    pub fn withdraw(&self, now_ns: u64) -> bool {
        self.withdraw_of(now_ns, self.percent, u64::from(self.per_second) * u64::from(WINDOW))
    }

    /// The same with another share, and so many within ten seconds whatever the load.
    pub fn withdraw_of(&self, now_ns: u64, percent: u32, constant: u64) -> bool {
        let second = second(now_ns);
        let own = slot(&self.retries, second);
        if !own.add(second, 1) {
            return false;
        }
        let sum = |slots: &[Slot]| slots.iter().map(|slot| slot.count(second)).sum::<u64>();
        let allowed = u128::from(sum(&self.requests)) * u128::from(percent) / 100 + u128::from(constant);
        let within = u128::from(sum(&self.retries)) <= allowed;
        if !within {
            own.take_back(second);
        }
        within
    }
}

/// The second of a time, counted from 1: 0 marks a slot never used.
fn second(now_ns: u64) -> u32 {
    u32::try_from(now_ns / SECOND_NS).unwrap_or(u32::MAX - WINDOW).saturating_add(1)
}

fn slot(slots: &[Slot; WINDOW as usize], second: u32) -> &Slot {
    &slots[(second % WINDOW) as usize]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// The slow twin keeps the second of every request and retry.
        #[test]
        fn agrees_with_the_twin(
            percent in 0_u32..150,
            per_second in 0_u32..4,
            start in 0_u64..100_000,
            steps in prop::collection::vec((prop_oneof![0_u64..3_000, Just(10_000)], prop_oneof![Just(0), 0_u64..12], 0_u32..8), 1..60),
        ) {
            let budget = RetryBudget::new(percent, per_second);
            let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut now = start * SECOND_NS;
            for (step, deposits, withdrawals) in steps {
                now += step * 1_000_000;
                let second = now / SECOND_NS;
                let recent = |seconds: &[u64]| seconds.iter().filter(|at| *at + 10 > second).count() as u64;
                for _ in 0..deposits {
                    budget.deposit(now);
                    requests.push(second);
                }
                for _ in 0..withdrawals {
                    let allowed = recent(&requests) * u64::from(percent) / 100 + u64::from(per_second) * 10;
                    let expected = recent(&retries) < allowed;
                    prop_assert_eq!(budget.withdraw(now), expected);
                    if expected {
                        retries.push(second);
                    }
                }
            }
        }
    }

    #[test]
    fn allows_a_share_and_a_constant_rate() {
        let budget = RetryBudget::new(20, 1);
        let taken = |now| (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(taken(0), 10);
        for _ in 0..100 {
            budget.deposit(3 * SECOND_NS);
        }
        assert_eq!(taken(3 * SECOND_NS), 20);
        // The first ten expire ten seconds later, the others three after them.
        assert_eq!(taken(10 * SECOND_NS), 10);
        assert_eq!(taken(13 * SECOND_NS), 0);
        assert_eq!(taken(20 * SECOND_NS), 10);
        assert!(!RetryBudget::new(100, 0).withdraw(0));
    }

    #[test]
    fn survives_a_clock_that_jumps() {
        let budget = RetryBudget::new(100, 0);
        for now in [u64::MAX, 0, 5 * SECOND_NS, u64::MAX / 2, 25 * SECOND_NS, u64::MAX] {
            budget.deposit(now);
            let _ = budget.withdraw(now);
        }
        // Behind what was seen: what was counted later still counts, nothing is admitted twice.
        let budget = RetryBudget::new(100, 0);
        budget.deposit(100 * SECOND_NS);
        assert!(budget.withdraw(100 * SECOND_NS));
        assert!(!budget.withdraw(95 * SECOND_NS));
        assert!(!budget.withdraw(0));
    }

    #[test]
    fn never_admits_more_from_many_threads() {
        let budget = RetryBudget::new(10, 0);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..5_000)
                            .filter(|_| {
                                budget.deposit(SECOND_NS);
                                budget.withdraw(SECOND_NS)
                            })
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(admitted <= 4_000);
        // Refusals that only lost the race are made good.
        let rest = (0..5_000).filter(|_| budget.withdraw(SECOND_NS)).count();
        assert_eq!(admitted + rest, 4_000);
    }
}
