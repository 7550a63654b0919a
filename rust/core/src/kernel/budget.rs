//! A counter that begins anew with every period of the calendar, or never.
//!
//! Boundaries of calendar periods are those of a civil clock: the zone's offset, and the one change of it that comes next
//! (daylight saving), are given by the caller, who knows zones. What was reserved in one period and is settled in the next
//! is settled in the period that reserved it, which nobody counts any more: the new one begins at zero.

use super::window::{Grant, Refusal};

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// Units of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
    Year,
}

/// Seconds east of UTC, and the next instant at which they change; `shift_us` 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    pub offset_s: i64,
    pub shift_us: i64,
    pub shifted_offset_s: i64,
}

impl Zone {
    fn offset(&self, at_us: i64) -> i64 {
        if self.shift_us != 0 && at_us >= self.shift_us { self.shifted_offset_s } else { self.offset_s }
    }

    /// The instant at which clocks of the zone show `local_s`.
    fn instant(&self, local_s: i64) -> i64 {
        let of = |offset: i64| local_s.saturating_sub(offset).saturating_mul(SECOND_US);
        let before = of(self.offset_s);
        if self.shift_us == 0 || before < self.shift_us { before } else { of(self.shifted_offset_s).max(self.shift_us) }
    }
}

/// What a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Lifetime,
    Calendar {
        unit: Unit,
        zone: Zone,
    },
    /// Periods of one length, one of which begins at `start_us`.
    Anchored {
        start_us: i64,
        length_us: i64,
    },
}

impl Span {
    /// The period that holds `now_us`: its first microsecond, and the first behind it.
    #[must_use]
    pub fn period(&self, now_us: i64) -> (i64, i64) {
        match *self {
            Span::Lifetime => (i64::MIN, i64::MAX),
            Span::Anchored { start_us, length_us } => {
                let length = length_us.max(1);
                let start = now_us.saturating_sub(now_us.saturating_sub(start_us).rem_euclid(length));
                (start, start.saturating_add(length))
            }
            Span::Calendar { unit, zone } => {
                let local_s = now_us.div_euclid(SECOND_US) + zone.offset(now_us);
                let (start_s, end_s) = civil_period(unit, local_s);
                // Where the clock is put back an hour comes twice: the period that was found must hold `now_us`.
                let (start, end) = (zone.instant(start_s), zone.instant(end_s));
                if now_us < start { (now_us, end) } else { (start, end.max(now_us + 1)) }
            }
        }
    }
}

/// A period in seconds of a local clock.
fn civil_period(unit: Unit, local_s: i64) -> (i64, i64) {
    let even = |length: i64, phase: i64| {
        let start = local_s - (local_s - phase).rem_euclid(length);
        (start, start + length)
    };
    match unit {
        Unit::Second => even(1, 0),
        Unit::Minute => even(60, 0),
        Unit::Hour => even(3_600, 0),
        Unit::Day => even(DAY_S, 0),
        // 1970-01-05 was a Monday.
        Unit::Week => even(7 * DAY_S, 4 * DAY_S),
        Unit::Month => {
            let (year, month) = month_of(local_s.div_euclid(DAY_S));
            let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (first_of(year, month) * DAY_S, first_of(next_year, next) * DAY_S)
        }
        Unit::Year => {
            let (year, _) = month_of(local_s.div_euclid(DAY_S));
            (first_of(year, 1) * DAY_S, first_of(year + 1, 1) * DAY_S)
        }
    }
}

/// Year and month of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years are counted from March, so
/// that the leap day comes last.
fn month_of(day: i64) -> (i64, i64) {
    const CYCLE: i64 = 146_097;
    let shifted = day + 719_468;
    let (cycle, of_cycle) = (shifted.div_euclid(CYCLE), shifted.rem_euclid(CYCLE));
    let of_cycle_year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * of_cycle_year + of_cycle_year / 4 - of_cycle_year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + of_cycle_year + i64::from(month <= 2), month)
}

/// The first of a month, in days from 1970-01-01.
fn first_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

/// One limit over the periods of a [`Span`]. Times are microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    span: Span,
    /// Nothing before it counts: where the counter was last set back by hand.
    since_us: i64,
    start_us: i64,
    end_us: i64,
    used: u64,
    /// Used in periods that have ended since somebody asked.
    ended: u64,
}

impl Budget {
    #[must_use]
    pub fn new(limit: u64, span: Span, since_us: i64) -> Self {
        // No period yet: the first look at a clock begins one.
        Self { limit, span, since_us, start_us: i64::MIN, end_us: i64::MIN, used: 0, ended: 0 }
    }

    /// Changes the limit; what was taken stays taken.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Where what counts at `now_us` begins.
    pub fn begins(&mut self, now_us: i64) -> i64 {
        self.see(now_us);
        self.start_us.max(self.since_us)
    }

    /// Names the period that holds `now_us`, as grants do.
    pub fn period(&mut self, now_us: i64) -> u64 {
        self.see(now_us);
        self.end_us.cast_unsigned()
    }

    pub fn used(&mut self, now_us: i64) -> u64 {
        self.see(now_us);
        self.used
    }

    /// What was used in periods that have ended since this was asked last.
    pub fn ended(&mut self) -> u64 {
        std::mem::take(&mut self.ended)
    }

    /// Whether `n` could be taken at `now_us`; takes nothing.
    ///
    /// # Errors
    /// [`Refusal`] if the limit would be exceeded: wait until the period ends.
    pub fn check(&mut self, now_us: i64, n: u64) -> Result<(), Refusal> {
        self.see(now_us);
        let remaining = self.limit.saturating_sub(self.used);
        if n <= remaining {
            return Ok(());
        }
        let retry_after_ns = if n > self.limit { u64::MAX } else { self.until_end(now_us) };
        Err(Refusal { retry_after_ns, remaining })
    }

    /// Takes `n` whether the limit allows it or not. The grant's slot names the period.
    pub fn take(&mut self, now_us: i64, n: u64) -> Grant {
        self.see(now_us);
        self.used = self.used.saturating_add(n);
        Grant {
            slot: self.end_us.cast_unsigned(),
            remaining: self.limit.saturating_sub(self.used),
            reset_ns: self.until_end(now_us),
        }
    }

    /// Adds `n` to what was taken under a grant, beyond the limit if it must be.
    pub fn charge(&mut self, slot: u64, n: u64) {
        if slot == self.end_us.cast_unsigned() {
            self.used = self.used.saturating_add(n);
        }
    }

    /// Gives back `n` of what was taken under a grant; nothing happens if its period is over.
    pub fn refund(&mut self, slot: u64, n: u64) {
        if slot == self.end_us.cast_unsigned() {
            self.used = self.used.saturating_sub(n);
        }
    }

    /// Counts `n` that were used at `at_us`, before this counter was made.
    pub fn seed(&mut self, now_us: i64, at_us: i64, n: u64) {
        if at_us >= self.begins(now_us) && at_us < self.end_us {
            self.used = self.used.saturating_add(n);
        }
    }

    #[inline]
    fn see(&mut self, now_us: i64) {
        if now_us >= self.end_us {
            (self.start_us, self.end_us) = self.span.period(now_us);
            self.ended = self.ended.saturating_add(std::mem::take(&mut self.used));
        } else if now_us < self.start_us {
            self.go_back(now_us);
        }
    }

    /// A clock that goes back a little leaves the latest period in force: who steps over midnight twice does not spend
    /// twice. One that goes back by more than a period was wrong before, by a year perhaps: what it counted goes on to
    /// count, but not until then.
    #[cold]
    fn go_back(&mut self, now_us: i64) {
        if self.start_us.saturating_sub(now_us) > self.end_us.saturating_sub(self.start_us) {
            (self.start_us, self.end_us) = self.span.period(now_us);
        }
    }

    fn until_end(&self, now_us: i64) -> u64 {
        if self.end_us == i64::MAX {
            return u64::MAX;
        }
        u64::try_from(self.end_us.saturating_sub(now_us)).unwrap_or(0).saturating_mul(1_000)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utc(unit: Unit) -> Span {
        Span::Calendar { unit, zone: Zone::default() }
    }

    fn us(day: i64, hour: i64) -> i64 {
        (day * DAY_S + hour * 3_600) * SECOND_US
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        // Every day of 400 years: the month found holds it, and months follow each other without a gap.
        let (mut start, mut months) = (first_of(1970, 1), 0);
        for year in 1970..2370 {
            for month in 1..=12 {
                assert_eq!(first_of(year, month), start);
                let next = if month == 12 { first_of(year + 1, 1) } else { first_of(year, month + 1) };
                assert!((28..=31).contains(&(next - start)));
                for day in start..next {
                    assert_eq!(month_of(day), (year, month));
                }
                start = next;
                months += 1;
            }
        }
        assert_eq!((months, start), (4_800, 146_097));
        assert_eq!(month_of(-1), (1969, 12));
    }

    #[test]
    fn periods_hold_their_time() {
        let now = us(20_000, 13) + 1_234_567;
        for unit in [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
            let (start, end) = utc(unit).period(now);
            assert!(start <= now && now < end, "{unit:?}");
            assert_eq!(utc(unit).period(end).0, end, "{unit:?}");
            assert_eq!(utc(unit).period(start - 1).1, start, "{unit:?}");
        }
        assert_eq!(utc(Unit::Week).period(us(4, 0)).0, us(4, 0));
        let anchored = Span::Anchored { start_us: us(10, 7), length_us: us(30, 0) };
        assert_eq!(anchored.period(us(75, 0)), (us(70, 7), us(100, 7)));
        assert_eq!(anchored.period(us(0, 0)), (us(-20, 7), us(10, 7)));
    }

    #[test]
    fn days_follow_daylight_saving() {
        // Berlin, 2026-10-25: at 01:00 UTC the clock goes from 03:00 back to 02:00; that day has 25 hours.
        let shift_us = 1_792_890_000 * SECOND_US;
        let zone = Zone { offset_s: 7_200, shift_us, shifted_offset_s: 3_600 };
        let span = Span::Calendar { unit: Unit::Day, zone };
        let hour = 3_600 * SECOND_US;
        let (start, end) = span.period(shift_us);
        assert_eq!((start, end), (shift_us - 3 * hour, shift_us + 22 * hour));
        assert_eq!(span.period(shift_us - hour), (start, end));
        assert_eq!(span.period(end), (end, end + 24 * hour));
        // New York, 2027-03-14: 07:00 UTC, the clock goes from 02:00 to 03:00; 23 hours.
        let shift_us = 1_805_007_600 * SECOND_US;
        let zone = Zone { offset_s: -5 * 3_600, shift_us, shifted_offset_s: -4 * 3_600 };
        let span = Span::Calendar { unit: Unit::Day, zone };
        let (start, end) = span.period(shift_us + hour);
        assert_eq!((start, end), (shift_us - 2 * hour, shift_us + 21 * hour));
        // The hour that comes twice belongs to one period per coming, and no instant to none.
        for zone in [zone, Zone { offset_s: 7_200, shift_us, shifted_offset_s: 3_600 }] {
            let span = Span::Calendar { unit: Unit::Hour, zone };
            for minute in -180..180 {
                let now = shift_us + minute * 60 * SECOND_US;
                let (start, end) = span.period(now);
                assert!(start <= now && now < end, "{minute}: {start} {end}");
            }
        }
    }

    #[test]
    fn a_period_begins_at_zero_and_settles_its_own() {
        let mut budget = Budget::new(100, utc(Unit::Day), 0);
        let grant = budget.take(us(5, 23), 60);
        assert_eq!(grant.remaining, 40);
        assert_eq!(budget.check(us(5, 23), 41).unwrap_err().retry_after_ns, 3_600_000_000_000);
        assert_eq!(budget.check(us(5, 23), 101).unwrap_err().retry_after_ns, u64::MAX);
        assert!(budget.check(us(6, 0), 100).is_ok());
        let next = budget.take(us(6, 0), 10);
        budget.refund(grant.slot, 60);
        budget.charge(grant.slot, 60);
        assert_eq!(budget.used(us(6, 1)), 10);
        budget.charge(next.slot, 500);
        assert_eq!(budget.used(us(6, 1)), 510);
        // The clock goes back: still the latest period.
        assert_eq!(budget.used(us(5, 0)), 510);
        budget.refund(next.slot, 1_000);
        assert_eq!(budget.used(us(6, 1)), 0);
    }

    #[test]
    fn a_clock_that_was_far_ahead_does_not_shut_until_then() {
        let mut budget = Budget::new(100, utc(Unit::Hour), 0);
        budget.take(us(5, 10), 60);
        let ahead = budget.take(us(370, 10), 70);
        // By a period: the latest one stays in force, and nothing is spent twice.
        assert_eq!(budget.check(us(370, 9), 40).unwrap_err().retry_after_ns, 7_200_000_000_000);
        // Right again: what was counted counts until this hour is over.
        assert_eq!(budget.check(us(5, 10), 40).unwrap_err().retry_after_ns, 3_600_000_000_000);
        budget.refund(ahead.slot, 70);
        assert_eq!(budget.used(us(5, 10)), 70);
        assert_eq!(budget.used(us(5, 11)), 0);
        assert_eq!(budget.ended(), 130);
    }

    #[test]
    fn a_lifetime_has_no_end_and_may_be_set_back() {
        let mut budget = Budget::new(100, Span::Lifetime, us(10, 0));
        budget.seed(us(20, 0), us(9, 23), 50);
        budget.seed(us(20, 0), us(10, 0), 30);
        assert_eq!(budget.used(us(20, 0)), 30);
        let refusal = budget.check(us(20, 0), 71).unwrap_err();
        assert_eq!((refusal.retry_after_ns, refusal.remaining), (u64::MAX, 70));
        assert!(budget.check(us(20, 0), 70).is_ok());
    }
}
