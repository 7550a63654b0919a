//! A sliding-window limiter of 60 sub-slots that may refuse a little early and never admits too much.
//!
//! Time is cut into slots of 1/60 of the period (rounded up). A request is admitted if what was admitted in the current
//! slot and the 60 before it, plus its own weight, stays within the limit. Any window of one period touches at most 61
//! consecutive slots, so what was admitted in **any** window is at most the limit, wherever the window starts; the whole
//! limit may be taken at once. The price is that weight returns up to one slot (1.7 % of the period) late.
//!
//! A refund goes to the slot that reserved, so that it frees exactly what the reservation held, and nothing if that has
//! expired already. Time is given by the caller in nanoseconds of any steady clock; if it runs backwards the limiter stays
//! in the latest slot it has seen.
//!
//! The counts of the slots are allocated with the first request, in the narrowest integers that hold the limit: 122 bytes
//! for limits below 65,536, 488 at most. A check costs one comparison and one addition inside a slot, plus the clearing of
//! the slots that have passed since.
//!
//! ## Tried
//! * GCRA (8 bytes, 27 ns with clock and CAS): cannot refund, and a full burst plus the steady rate admits up to twice the
//!   limit in one window.
//! * Two buckets with a weighted previous one: 16 bytes, but only assumes that the previous window was even, so uneven
//!   traffic exceeds the limit in some window.

/// Slots which a window of one period can touch: 60 full lengths, split at both ends.
const SLOTS: u64 = 61;

/// Leave to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The slot that reserved, for [`Window::refund`].
    pub slot: u64,
    /// What is left of the limit.
    pub remaining: u64,
    /// Nanoseconds until the whole limit is free again if nothing else arrives.
    pub reset_ns: u64,
}

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Nanoseconds until the same request is admitted if nothing else arrives; `u64::MAX` if it exceeds the whole limit.
    pub retry_after_ns: u64,
    /// What is left of the limit (less than was asked for).
    pub remaining: u64,
}

/// One limit over one sliding period.
#[derive(Clone, Debug)]
pub struct Window {
    limit: u64,
    slot_ns: u64,
    /// The latest slot seen, counted from time 0.
    slot: u64,
    /// First nanosecond behind the latest slot.
    slot_end_ns: u64,
    /// Sum of `taken`.
    sum: u64,
    /// What each of the last 61 slots admitted; slot `s` lies at `s % 61`.
    taken: Ring,
}

impl Window {
    /// At most `limit` in any `period_ns` nanoseconds.
    #[must_use]
    pub fn new(limit: u64, period_ns: u64) -> Self {
        let slot_ns = period_ns.div_ceil(SLOTS - 1).max(1);
        Self { limit, slot_ns, slot: 0, slot_end_ns: slot_ns, sum: 0, taken: Ring::Empty }
    }

    /// Changes the limit; what was taken stays taken.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The limit as set.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How far back what was used still counts.
    #[must_use]
    pub fn reach_ns(&self) -> u64 {
        self.slot_ns.saturating_mul(SLOTS)
    }

    /// What was taken in the window that ends at `now_ns`.
    pub fn used(&mut self, now_ns: u64) -> u64 {
        self.see(now_ns);
        self.sum
    }

    /// Takes `n` at the time `now_ns`, or nothing at all.
    ///
    /// # Errors
    /// [`Refusal`] if the limit would be exceeded, with the time after which a retry succeeds.
    #[inline]
    pub fn try_take(&mut self, now_ns: u64, n: u64) -> Result<Grant, Refusal> {
        self.check(now_ns, n)?;
        Ok(self.take(now_ns, n))
    }

    /// Whether `n` could be taken at the time `now_ns`; takes nothing.
    ///
    /// # Errors
    /// As [`Window::try_take`].
    #[inline]
    pub fn check(&mut self, now_ns: u64, n: u64) -> Result<(), Refusal> {
        self.see(now_ns);
        let remaining = self.limit.saturating_sub(self.sum);
        if n > remaining {
            return Err(Refusal { retry_after_ns: self.wait(now_ns, n), remaining });
        }
        Ok(())
    }

    /// Takes `n` whether the limit allows it or not.
    #[inline]
    pub fn take(&mut self, now_ns: u64, n: u64) -> Grant {
        self.see(now_ns);
        self.charge(self.slot, n);
        Grant {
            slot: self.slot,
            remaining: self.limit.saturating_sub(self.sum),
            reset_ns: self.until_free(self.slot, now_ns),
        }
    }

    /// Adds `n` to what `slot` took, beyond the limit if it must be; nothing happens if the slot has left the window.
    /// Returns how much was added.
    pub fn charge(&mut self, slot: u64, n: u64) -> u64 {
        if n > 0 && slot <= self.slot && self.slot - slot < SLOTS {
            let room = u64::MAX - self.sum;
            let n = n.min(room);
            self.taken.add(index(slot), n, self.limit);
            self.sum += n;
            return n;
        }
        0
    }

    /// Gives back `n` of what `slot` reserved; nothing happens if the slot has left the window.
    /// Returns how much was given back.
    pub fn refund(&mut self, slot: u64, n: u64) -> u64 {
        if slot <= self.slot && self.slot - slot < SLOTS {
            let back = self.taken.sub(index(slot), n);
            self.sum -= back;
            return back;
        }
        0
    }

    /// Counts `n` that were used at `at_ns`, before this window was made.
    pub fn seed(&mut self, now_ns: u64, at_ns: u64, n: u64) {
        self.see(now_ns);
        self.charge(at_ns.min(now_ns) / self.slot_ns, n);
    }

    #[inline]
    fn see(&mut self, now_ns: u64) {
        if now_ns >= self.slot_end_ns {
            self.advance(now_ns);
        }
    }

    /// Moves to the slot of `now_ns`, forgetting those that leave the window.
    fn advance(&mut self, now_ns: u64) {
        let slot = now_ns / self.slot_ns;
        if slot - self.slot >= SLOTS || self.sum == 0 {
            self.taken.clear();
            self.sum = 0;
        } else {
            let mut at = index(self.slot);
            for _ in self.slot..slot {
                at = if at + 1 == SLOTS as usize { 0 } else { at + 1 };
                self.sum -= self.taken.sub(at, u64::MAX);
            }
        }
        self.slot = slot;
        self.slot_end_ns = (slot + 1).saturating_mul(self.slot_ns);
    }

    /// Nanoseconds until enough slots have left for `n` more.
    #[cold]
    fn wait(&self, now_ns: u64, n: u64) -> u64 {
        let Some(keep) = self.limit.checked_sub(n) else {
            return u64::MAX;
        };
        let mut left = self.sum;
        let mut slot = (self.slot + 1).saturating_sub(SLOTS);
        while left > keep && slot <= self.slot {
            left -= self.taken.get(index(slot));
            slot += 1;
        }
        self.until_free(slot.saturating_sub(1), now_ns)
    }

    /// Nanoseconds until `slot` has left the window.
    fn until_free(&self, slot: u64, now_ns: u64) -> u64 {
        (slot + SLOTS).saturating_mul(self.slot_ns).saturating_sub(now_ns)
    }
}

/// One count per slot, as narrow as the limit allows.
#[derive(Clone, Debug)]
enum Ring {
    Empty,
    Narrow(Box<[u16; SLOTS as usize]>),
    Middle(Box<[u32; SLOTS as usize]>),
    Wide(Box<[u64; SLOTS as usize]>),
}

impl Ring {
    fn get(&self, at: usize) -> u64 {
        match self {
            Ring::Empty => 0,
            Ring::Narrow(counts) => counts[at].into(),
            Ring::Middle(counts) => counts[at].into(),
            Ring::Wide(counts) => counts[at],
        }
    }

    #[inline]
    fn add(&mut self, at: usize, n: u64, limit: u64) {
        let total = self.get(at) + n;
        match self {
            Ring::Narrow(counts) if u16::try_from(total).is_ok() => counts[at] = total as u16,
            Ring::Middle(counts) if u32::try_from(total).is_ok() => counts[at] = total as u32,
            Ring::Wide(counts) => counts[at] = total,
            _ => {
                self.widen(limit.max(total));
                self.add(at, n, limit);
            }
        }
    }

    /// Takes away up to `n`; returns how much that was.
    #[inline]
    fn sub(&mut self, at: usize, n: u64) -> u64 {
        match self {
            Ring::Empty => 0,
            Ring::Narrow(counts) => {
                let back = n.min(counts[at].into());
                counts[at] -= back as u16;
                back
            }
            Ring::Middle(counts) => {
                let back = n.min(counts[at].into());
                counts[at] -= back as u32;
                back
            }
            Ring::Wide(counts) => {
                let back = n.min(counts[at]);
                counts[at] -= back;
                back
            }
        }
    }

    fn clear(&mut self) {
        match self {
            Ring::Empty => {}
            Ring::Narrow(counts) => counts.fill(0),
            Ring::Middle(counts) => counts.fill(0),
            Ring::Wide(counts) => counts.fill(0),
        }
    }

    /// The same counts in integers that hold `most`.
    #[cold]
    fn widen(&mut self, most: u64) {
        let counts: [u64; SLOTS as usize] = std::array::from_fn(|at| self.get(at));
        *self = if u16::try_from(most).is_ok() {
            Ring::Narrow(Box::new(counts.map(|count| count as u16)))
        } else if u32::try_from(most).is_ok() {
            Ring::Middle(Box::new(counts.map(|count| count as u32)))
        } else {
            Ring::Wide(Box::new(counts))
        };
    }
}

/// Where a slot lies in the ring.
#[inline(always)]
fn index(slot: u64) -> usize {
    (slot % SLOTS) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow twin: every admission with its time, nothing else.
    #[derive(Default)]
    struct Twin {
        admitted: Vec<(u64, u64)>,
    }

    impl Twin {
        /// The most that any window of `period` nanoseconds holds: the fullest one starts at an admission.
        fn fullest(&self, period: u64) -> u64 {
            let held = |start: u64| -> u64 {
                let inside = self.admitted.iter().filter(|(at, _)| (start..start + period).contains(at));
                inside.map(|(_, n)| n).sum()
            };
            self.admitted.iter().map(|(start, _)| held(*start)).max().unwrap_or(0)
        }

        /// What was admitted within `length` nanoseconds before `now`.
        fn since(&self, now: u64, length: u64) -> u64 {
            self.admitted.iter().filter(|(at, _)| at + length > now).map(|(_, n)| n).sum()
        }
    }

    /// Steps in time: within a slot, over some slots, and over whole periods.
    fn steps() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
        let step = |period: u64| {
            prop_oneof![
                Just(0),
                Just(1),
                0..period / 100 + 2,
                period / 60 - 1..period / 60 + 2,
                0..period / 4,
                period - 3..period + 3,
                0..period * 3
            ]
        };
        prop::collection::vec((step(6_000), 0_u64..8, prop::bool::weighted(0.15)), 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Never above the limit in any window, and never a refusal that the last period and slot do not justify.
        #[test]
        fn holds_in_every_window(steps in steps(), limit in 1_u64..40, period in 5_990_u64..6_010, start in 0_u64..1_000_000) {
            let mut window = Window::new(limit, period);
            let mut twin = Twin::default();
            let mut granted: Vec<(Grant, u64, u64)> = Vec::new();
            let slot = period.div_ceil(60);
            let mut now = start;
            for (step, n, refund) in steps {
                now += step;
                if refund && let Some((grant, at, n)) = granted.pop() {
                    window.refund(grant.slot, n);
                    let place = twin.admitted.iter().rposition(|entry| *entry == (at, n)).unwrap();
                    twin.admitted.remove(place);
                }
                match window.try_take(now, n) {
                    Ok(grant) => {
                        twin.admitted.push((now, n));
                        granted.push((grant, now, n));
                        prop_assert!(grant.remaining + twin.since(now, period) <= limit);
                        prop_assert!(grant.reset_ns >= period && grant.reset_ns <= period + 2 * slot + 60);
                    }
                    Err(refusal) => {
                        prop_assert!(twin.since(now, 61 * slot) + n > limit, "refused early");
                        prop_assert!(refusal.remaining < n);
                        if n > limit {
                            prop_assert_eq!(refusal.retry_after_ns, u64::MAX);
                        } else {
                            let then = now + refusal.retry_after_ns;
                            prop_assert!(window.clone().try_take(then, n).is_ok(), "retry refused");
                            prop_assert!(window.clone().try_take(then - 1, n).is_err(), "retry could come earlier");
                        }
                    }
                }
                prop_assert!(twin.fullest(period) <= limit);
            }
        }

        /// Backwards, to the far future and with extreme weights: no panic, no wrap, still no more than the limit at once.
        #[test]
        fn survives_any_history(
            history in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u8..4), 1..60),
            limit in any::<u64>(),
            period in prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>(), 0_u64..1_000],
        ) {
            let mut window = Window::new(limit, period);
            for (now, n, action) in history {
                match action {
                    0 => {
                        window.refund(now, n);
                    }
                    1 => window.set_limit(n),
                    _ => match window.try_take(now, n) {
                        Ok(grant) => prop_assert!(grant.remaining <= window.limit() - n),
                        Err(refusal) => prop_assert!(refusal.remaining < n),
                    },
                }
                prop_assert_eq!(window.sum, (0..61).map(|at| window.taken.get(at)).sum::<u64>());
            }
        }
    }

    #[test]
    fn allows_the_full_burst_and_then_waits() {
        let mut window = Window::new(100, 60_000);
        for taken in 1..=100 {
            assert_eq!(window.try_take(500, 1).unwrap(), Grant { slot: 0, remaining: 100 - taken, reset_ns: 60_500 });
        }
        let refusal = window.try_take(1_700, 1).unwrap_err();
        assert_eq!(refusal, Refusal { retry_after_ns: 61_000 - 1_700, remaining: 0 });
        assert!(window.try_take(60_999, 1).is_err());
        assert_eq!(window.try_take(61_000, 100).unwrap().remaining, 0);
    }

    #[test]
    fn refunds_to_the_slot_that_reserved() {
        let mut window = Window::new(10, 60_000);
        let early = window.try_take(0, 6).unwrap();
        let late = window.try_take(30_000, 4).unwrap();
        window.refund(early.slot, 6);
        assert_eq!(window.try_take(30_000, 1).unwrap().remaining, 5);
        window.refund(late.slot, 1);
        // All that is held was taken at 30 s, so nothing is freed when the first slot leaves.
        assert_eq!(window.try_take(61_000, 7).unwrap_err().remaining, 6);
        // Out of the window: nothing to give back; twice: no more than was taken.
        assert!(window.try_take(61_000, 1).is_ok());
        window.refund(early.slot, 6);
        window.refund(late.slot, 1_000);
        assert_eq!(window.try_take(61_000, 9).unwrap().remaining, 0);
        window.refund(u64::MAX, 5);
        assert!(window.try_take(61_000, 1).is_err());
    }

    #[test]
    fn stays_in_the_latest_slot_when_time_runs_backwards() {
        let mut window = Window::new(2, 60_000);
        assert!(window.try_take(100_000, 1).is_ok());
        let grant = window.try_take(10_000, 1).unwrap();
        assert_eq!(grant.slot, 100);
        let refusal = window.try_take(0, 1).unwrap_err();
        assert!(window.try_take(refusal.retry_after_ns, 1).is_ok());
    }

    #[test]
    fn follows_a_changed_limit() {
        let mut window = Window::new(5, 60_000);
        assert!(window.try_take(0, 5).is_ok());
        window.set_limit(3);
        assert_eq!(window.try_take(1, 1).unwrap_err(), Refusal { retry_after_ns: 60_999, remaining: 0 });
        window.set_limit(6);
        assert_eq!(window.try_take(1, 1).unwrap().remaining, 0);
        window.set_limit(0);
        assert_eq!(window.try_take(1, 1).unwrap_err().retry_after_ns, u64::MAX);
    }
}
