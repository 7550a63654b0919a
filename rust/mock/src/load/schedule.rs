//! When the requests of one thread are due.

use std::time::Duration;

use super::exchange::Exchange;
use super::plan::{Pace, Plan};

/// A thread's share of the schedule: it sends the requests `index`, `index + threads`, …
pub struct Schedule<'a> {
    plan: &'a Plan,
    threads: u64,
    next_seq: u64,
    /// Of an open schedule.
    next_due_ns: u64,
    measure_from_ns: u64,
    end_ns: u64,
    /// Requests that a closed loop may send at once.
    credit: u64,
    random: fastrand::Rng,
}

impl<'a> Schedule<'a> {
    /// The share of thread `index`; everything starts at `start_ns`.
    pub fn new(plan: &'a Plan, index: usize, start_ns: u64) -> Self {
        let (index, threads) = (index as u64, plan.threads.max(1) as u64);
        let measure_from_ns = start_ns + nanoseconds(plan.warmup);
        let mut schedule = Self {
            plan,
            threads,
            next_seq: index,
            next_due_ns: start_ns,
            measure_from_ns,
            end_ns: measure_from_ns + nanoseconds(plan.duration),
            credit: 0,
            random: fastrand::Rng::with_seed(plan.seed.wrapping_add(index)),
        };
        match plan.pace {
            Pace::Closed { connections } => {
                let (share, extra) = (connections as u64 / threads, connections as u64 % threads);
                schedule.credit = share + u64::from(index < extra);
            }
            // The threads' even gaps interleave.
            Pace::Open { .. } => schedule.next_due_ns += schedule.gap_ns() * index / threads,
        }
        schedule
    }

    /// Is everything sent that is to be sent?
    pub fn is_over(&self, now: u64) -> bool {
        let all = self.plan.requests.is_some_and(|requests| self.next_seq >= requests);
        match self.plan.pace {
            Pace::Open { .. } => all || self.next_due_ns >= self.end_ns,
            Pace::Closed { .. } => all || now >= self.end_ns,
        }
    }

    /// The next request, if one is due.
    pub fn next(&mut self, now: u64) -> Option<Exchange> {
        if self.is_over(now) {
            return None;
        }
        let due_ns = match self.plan.pace {
            Pace::Closed { .. } => {
                self.credit = self.credit.checked_sub(1)?;
                now
            }
            Pace::Open { .. } if self.next_due_ns > now => return None,
            Pace::Open { .. } => {
                let due_ns = self.next_due_ns;
                self.next_due_ns += self.gap_ns();
                due_ns
            }
        };
        let seq = self.next_seq;
        self.next_seq += self.threads;
        let measured = due_ns >= self.measure_from_ns && due_ns < self.end_ns;
        Some(Exchange::new(self.plan, seq, due_ns, measured))
    }

    /// When an open schedule has its next request.
    pub fn due(&self, now: u64) -> Option<u64> {
        (matches!(self.plan.pace, Pace::Open { .. }) && !self.is_over(now)).then_some(self.next_due_ns)
    }

    /// A closed loop may send one more.
    pub fn allow(&mut self) {
        self.credit += 1;
    }

    fn gap_ns(&mut self) -> u64 {
        let Pace::Open { rate, poisson } = self.plan.pace else {
            return 0;
        };
        let mean = 1e9 * self.threads as f64 / rate;
        // 1 - f64() lies in (0, 1], so the logarithm is finite.
        let gap = if poisson { -mean * (1.0 - self.random.f64()).ln() } else { mean };
        (gap as u64).max(1)
    }
}

/// A duration as the clock counts.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::{Expect, Template, Terminator};

    fn plan(pace: Pace, threads: usize) -> Plan {
        let second = Duration::from_secs(1);
        let contains = Vec::new();
        Plan {
            target: ([127, 0, 0, 1], 1).into(),
            template: Template::new("h", "/", &[], Vec::new(), ""),
            pace,
            duration: second,
            warmup: Duration::ZERO,
            requests: None,
            timeout: second,
            threads,
            max_connections: 1,
            expect: Expect { status: 200, contains, events: 0, terminator: Terminator::Done },
            slow: None,
            leave: None,
            log: None,
            seed: 1,
        }
    }

    #[test]
    fn threads_share_an_even_schedule() {
        let plan = plan(Pace::Open { rate: 1000.0, poisson: false }, 2);
        let mut due = Vec::new();
        for index in 0..2 {
            let mut schedule = Schedule::new(&plan, index, 5_000);
            // Long after the end: all that was due comes, late, and keeps its time.
            while let Some(exchange) = schedule.next(u64::MAX) {
                due.push((exchange.due_ns, exchange.seq));
            }
        }
        due.sort_unstable();
        assert_eq!(due.len(), 1000);
        assert!(due.iter().zip(0..).all(|((at, seq), index)| (*at, *seq) == (5_000 + index * 1_000_000, index)));
    }

    #[test]
    fn a_closed_loop_sends_what_it_is_allowed() {
        let plan = plan(Pace::Closed { connections: 3 }, 2);
        let mut schedule = Schedule::new(&plan, 0, 0);
        assert!(schedule.next(1).is_some() && schedule.next(1).is_some() && schedule.next(1).is_none());
        schedule.allow();
        assert!(schedule.next(2).is_some());
        schedule.allow();
        assert!(schedule.next(1_000_000_001).is_none() && schedule.is_over(1_000_000_001));
    }
}
