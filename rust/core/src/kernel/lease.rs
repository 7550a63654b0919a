//! A node's share of a limit that several nodes have in common.
//!
//! The coordinator says how much a node may have taken in all, net of what it gave back; the node admits up to that
//! without asking. Both sides speak in totals, so a message that comes twice or late does no harm: a node that knows of
//! less than was granted uses less. The sum of all grants never exceeds the limit, so neither does what is admitted.

/// What was not drawn upon for so long rests: it is told of less often, until somebody draws upon it.
const REST_NS: u64 = 5_000_000_000;

/// How a share stands.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// What the totals are of: the end of a budget's period; 0 where nothing begins anew.
    period: u64,
    granted: u64,
    /// Below so much that is left, more is asked for ahead of need.
    low: u64,
    /// What requests have found missing since the last grant, and the smallest of them.
    wanted: u64,
    least: u64,
    /// The coordinator is to be asked and does not know it yet.
    queued: bool,
    /// All that other nodes have is too little: until then nobody asks for more than that again, and when more may come.
    exhausted_ns: u64,
    elsewhere: u64,
    renewed_ns: u64,
    /// When it was last drawn upon.
    used_ns: u64,
    /// The total that was reported last.
    reported: Option<(u64, u64)>,
}

/// Why a share does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// More may be had; `ask`: somebody has to ask for it.
    Short { ask: bool, left: u64 },
    /// The limit itself is reached, over all nodes.
    Exhausted { left: u64, renewed_ns: u64 },
}

/// What a node says of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub granted: u64,
    /// For how long nobody drew upon it.
    pub idle_ns: u64,
}

/// What the coordinator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub period: u64,
    pub granted: u64,
    pub low: u64,
    /// For how long asking again is useless, and until more comes.
    pub exhausted_ns: Option<(u64, u64)>,
    /// What might still be had from others, then.
    pub elsewhere: u64,
}

impl Lease {
    /// A new period: what was granted for the former one is void.
    fn see(&mut self, period: u64) {
        if self.period != period {
            *self = Lease { period, queued: self.queued, ..Lease::default() };
        }
    }

    /// What the totals are of.
    #[inline]
    pub fn period(&self) -> u64 {
        self.period
    }

    /// A new period, before which `ended` were taken: what was left is this node's in the new one too. The coordinator
    /// keeps it, so that nobody need be asked where all begin anew.
    #[cold]
    pub fn turn(&mut self, period: u64, ended: u64) {
        let left = if self.period == 0 { 0 } else { self.granted.saturating_sub(ended) };
        let (queued, used_ns) = (self.queued, self.used_ns);
        *self = Lease { period, granted: left, low: left / 2, queued, used_ns, ..Lease::default() };
    }

    /// Whether `n` more may be taken where `taken` are, in the period that [`Lease::turn`] named last.
    #[inline]
    pub fn fits(&self, taken: u64, n: u64, valid: bool) -> bool {
        valid && n <= self.granted.saturating_sub(taken)
    }

    /// As [`Lease::fits`]. Notes what is missing.
    ///
    /// # Errors
    /// [`Lack`].
    pub fn check(&mut self, (period, taken): (u64, u64), n: u64, now_ns: u64, valid: bool) -> Result<(), Lack> {
        self.see(period);
        let left = if valid { self.granted.saturating_sub(taken) } else { 0 };
        if n <= left {
            return Ok(());
        }
        if now_ns < self.exhausted_ns && n > left.saturating_add(self.elsewhere) {
            return Err(Lack::Exhausted { left, renewed_ns: self.renewed_ns.saturating_sub(now_ns) });
        }
        self.least = if self.wanted == 0 { n } else { self.least.min(n) };
        self.wanted = self.wanted.saturating_add(n);
        Err(Lack::Short { ask: !std::mem::replace(&mut self.queued, true), left })
    }

    /// What is left here, once nobody else has any more.
    pub fn last(&mut self, (period, taken): (u64, u64), now_ns: u64) -> Option<u64> {
        self.see(period);
        (now_ns < self.exhausted_ns).then(|| self.granted.saturating_sub(taken))
    }

    /// Something was taken, `taken` now in all. True: more should be asked for, ahead of need.
    pub fn took(&mut self, (period, taken): (u64, u64), now_ns: u64) -> bool {
        debug_assert_eq!(self.period, period);
        self.used_ns = now_ns;
        let ask = !self.queued && self.low > 0 && self.granted.saturating_sub(taken) < self.low;
        self.queued |= ask;
        ask
    }

    /// What is to be asked for, now that somebody asks: what is granted, what is missing, the least that helps anybody.
    /// Nobody need ask ahead of need again before there is a decision.
    pub fn asking(&mut self, period: u64) -> (u64, u64, u64) {
        self.see(period);
        self.queued = false;
        self.low = 0;
        (self.granted, std::mem::take(&mut self.wanted), std::mem::take(&mut self.least))
    }

    /// The count begins at another total, with as much left as before.
    pub fn rebase(&mut self, before: u64, now: u64) {
        self.granted = now.saturating_add(self.granted.saturating_sub(before));
    }

    /// Which period it is now.
    pub fn asked_of(&mut self, period: u64) {
        self.see(period);
    }

    /// Puts a decision in force; one about another period is void.
    pub fn decide(&mut self, decision: &Decision, now_ns: u64) {
        if decision.period == self.period {
            if decision.granted > self.granted {
                // Nobody could have drawn upon it before.
                self.used_ns = now_ns;
            }
            self.granted = decision.granted;
            self.low = decision.low;
            let (again, renewed) = decision.exhausted_ns.unwrap_or_default();
            self.exhausted_ns = if again > 0 { now_ns.saturating_add(again) } else { 0 };
            self.elsewhere = decision.elsewhere;
            self.renewed_ns = now_ns.saturating_add(renewed);
        }
    }

    /// Gives up all but `keep` of what is left; the new total. It may be had from others now.
    pub fn shrink(&mut self, (period, taken): (u64, u64), keep: u64) -> u64 {
        self.see(period);
        let kept = self.granted.min(taken.saturating_add(keep));
        if kept < self.granted {
            self.elsewhere = self.elsewhere.saturating_add(self.granted - kept);
            self.granted = kept;
            self.low = 0;
        }
        self.granted
    }

    /// The limit is another one: what is left becomes the same part of it.
    pub fn scale(&mut self, (period, taken): (u64, u64), before: u64, now: u64) {
        self.see(period);
        let left = u128::from(self.granted.saturating_sub(taken)) * u128::from(now) / u128::from(before.max(1));
        self.shrink((period, taken), u64::try_from(left).unwrap_or(u64::MAX));
    }

    /// How it stands, if anything changed since that was told last or something is left, and whether it rests from now on.
    pub fn report(&mut self, (period, taken): (u64, u64), now_ns: u64, all: bool) -> (Option<Told>, bool) {
        self.see(period);
        let granted = self.granted.max(taken);
        let changed = self.reported != Some((taken, granted));
        let idle_ns = now_ns.saturating_sub(self.used_ns);
        let rests = !changed && !self.queued && idle_ns >= REST_NS;
        if rests {
            // The first to draw upon it has it told of again.
            self.low = granted - taken + 1;
        }
        self.reported = Some((taken, granted));
        ((all || changed || granted > taken).then_some(Told { granted: self.granted, idle_ns }), rests)
    }

    /// Nothing is left and nothing was taken: there is nothing to tell.
    #[must_use]
    pub fn is_idle(&self, taken: u64) -> bool {
        self.granted <= taken && !self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(period: u64, granted: u64) -> Decision {
        Decision { period, granted, low: 0, exhausted_ns: None, elsewhere: 0 }
    }

    #[test]
    fn nothing_is_taken_beyond_the_grant() {
        let mut lease = Lease::default();
        assert_eq!(lease.check((7, 0), 2, 0, true), Err(Lack::Short { ask: true, left: 0 }));
        assert_eq!(lease.check((7, 0), 3, 0, true), Err(Lack::Short { ask: false, left: 0 }));
        assert_eq!(lease.asking(7), (0, 5, 2));
        lease.decide(&granted(7, 4), 0);
        assert_eq!(lease.check((7, 0), 4, 0, true), Ok(()));
        assert_eq!(lease.check((7, 2), 3, 0, true), Err(Lack::Short { ask: true, left: 2 }));
        // A lease that has lapsed admits nothing; the next period begins with nothing.
        assert_eq!(lease.check((7, 0), 1, 0, false), Err(Lack::Short { ask: false, left: 0 }));
        assert_eq!(lease.check((8, 0), 1, 0, true), Err(Lack::Short { ask: false, left: 0 }));
        lease.decide(&granted(7, 100), 0);
        assert_eq!(lease.check((8, 0), 1, 0, true), Err(Lack::Short { ask: false, left: 0 }));
    }

    #[test]
    fn what_is_exhausted_is_not_asked_for_again_at_once() {
        let mut lease = Lease::default();
        lease.decide(&Decision { exhausted_ns: Some((100, 900)), ..granted(0, 5) }, 50);
        assert_eq!(lease.check((0, 5), 1, 60, true), Err(Lack::Exhausted { left: 0, renewed_ns: 890 }));
        assert_eq!(lease.check((0, 5), 1, 150, true), Err(Lack::Short { ask: true, left: 0 }));
    }

    #[test]
    fn what_was_exhausted_with_the_last_of_it_here_is_asked_for_by_those_whom_that_suffices_when_it_is_given_back() {
        let mut lease = Lease::default();
        lease.decide(&Decision { exhausted_ns: Some((100, 900)), ..granted(0, 5) }, 50);
        assert_eq!(lease.shrink((0, 0), u64::MAX), 5);
        assert_eq!(lease.check((0, 0), 6, 60, true), Err(Lack::Exhausted { left: 5, renewed_ns: 890 }));
        assert_eq!(lease.shrink((0, 0), 0), 0);
        assert_eq!(lease.check((0, 0), 6, 60, true), Err(Lack::Exhausted { left: 0, renewed_ns: 890 }));
        assert_eq!(lease.check((0, 0), 5, 60, true), Err(Lack::Short { ask: true, left: 0 }));
        assert_eq!(lease.asking(0), (0, 5, 5));
    }

    #[test]
    fn what_others_have_is_asked_for_by_those_whom_it_suffices() {
        let mut lease = Lease::default();
        lease.decide(&Decision { exhausted_ns: Some((100, 900)), elsewhere: 4, ..granted(0, 5) }, 50);
        assert_eq!(lease.check((0, 3), 7, 60, true), Err(Lack::Exhausted { left: 2, renewed_ns: 890 }));
        assert_eq!(lease.check((0, 3), 6, 60, true), Err(Lack::Short { ask: true, left: 2 }));
        assert_eq!(lease.check((0, 3), 3, 60, true), Err(Lack::Short { ask: false, left: 2 }));
        assert_eq!(lease.asking(0), (5, 9, 3));
    }

    #[test]
    fn more_is_asked_for_ahead_of_need_and_given_back_on_demand() {
        let mut lease = Lease::default();
        lease.decide(&Decision { low: 3, ..granted(0, 10) }, 0);
        assert!(!lease.took((0, 7), 1));
        assert!(lease.took((0, 8), 2));
        assert!(!lease.took((0, 9), 3), "it is asked for already");
        assert_eq!(lease.shrink((0, 9), 0), 9);
        assert_eq!(lease.report((0, 9), 10, false), (Some(Told { granted: 9, idle_ns: 7 }), false));
        assert_eq!(lease.report((0, 9), 10, false), (None, false));
    }

    #[test]
    fn what_nobody_draws_upon_rests_until_somebody_does() {
        let mut lease = Lease::default();
        lease.decide(&granted(0, 10), 0);
        assert!(!lease.took((0, 2), 1));
        let told = |idle_ns| Some(Told { granted: 10, idle_ns });
        assert_eq!(lease.report((0, 2), REST_NS + 1, false), (told(REST_NS), false), "it was not told before");
        assert_eq!(lease.report((0, 2), REST_NS, false), (told(REST_NS - 1), false));
        assert_eq!(lease.report((0, 2), REST_NS + 1, false), (told(REST_NS), true));
        assert!(lease.took((0, 3), REST_NS + 2), "it is in use again");
        assert!(!lease.took((0, 4), REST_NS + 3));
        assert_eq!(lease.asking(0), (10, 0, 0));
        assert!(!lease.took((0, 5), REST_NS + 4), "somebody asks already");
    }

    #[test]
    fn a_lower_limit_leaves_the_same_part_of_it() {
        let mut lease = Lease::default();
        lease.decide(&granted(0, 110), 0);
        lease.scale((0, 10), 1_000, 50);
        assert!(lease.fits(10, 5, true));
        assert!(!lease.fits(10, 6, true));
        lease.scale((0, 10), 50, 1_000);
        assert!(!lease.fits(10, 6, true), "more comes from the coordinator alone");
    }

    #[test]
    fn what_is_left_at_the_end_of_a_period_is_left_in_the_next() {
        let mut lease = Lease::default();
        lease.turn(7, 50);
        assert!(!lease.fits(0, 1, true), "nothing was granted yet");
        lease.decide(&granted(7, 10), 0);
        lease.turn(8, 4);
        assert!(lease.fits(0, 6, true));
        assert!(!lease.fits(0, 7, true));
        lease.decide(&granted(7, 100), 0);
        assert!(!lease.fits(0, 7, true), "it was about the former period");
        assert!(lease.took((8, 4), 1), "half of it is gone");
    }
}
