//! This node's share of a limit that several nodes have in common, beside the counter it is of.

use std::sync::Arc;

use super::leases::{After, Leases, Standing, Which};
use super::rules::{Count, Now};
use super::subject::{Meter, Subject};
use crate::kernel::lease::{Decision, Lease};

/// This node's share of a limit.
pub(super) struct Share {
    pub(super) leases: Arc<Leases>,
    pub(super) lease: Lease,
    /// Taken from a sliding window since the counter was made, net of what [`Share::slide`] forgets.
    pub(super) net: u64,
    /// The most that the coordinator may have heard of, of this period.
    told: u64,
}

impl Share {
    pub(super) fn new(leases: Arc<Leases>) -> Share {
        Share { leases, lease: Lease::default(), net: 0, told: 0 }
    }

    /// Of what the coordinator cannot have heard of, only what is in the window now counts: its place is this node's to
    /// fill again. The coordinator keeps it for this node, whole, as long as leases hold. `used`: all in the window.
    fn slide(&mut self, used: u64) {
        if self.net > self.told {
            self.net = self.told + used.min(self.net - self.told);
        }
    }
}

impl Meter {
    /// The share with the period and what is taken in it.
    #[inline]
    pub(super) fn shared(&mut self, now: Now) -> Option<(&mut Share, (u64, u64))> {
        let share = self.share.as_mut()?;
        let taken = match &mut self.count {
            Count::Sliding(_) => share.net,
            count => count.used(now),
        };
        let period = self.count.period(now);
        if share.lease.period() != period {
            // What the coordinator has heard of may be more than was used in the end.
            share.lease.turn(period, self.count.ended().max(std::mem::take(&mut share.told)));
        }
        Some((share, (period, taken)))
    }

    /// Takes account of what has left a sliding window unheard of.
    pub(super) fn slide(&mut self, now: Now) {
        if let (Some(share), Count::Sliding(window)) = (&mut self.share, &mut self.count) {
            share.slide(window.used(now.ns));
        }
    }

    /// How the share stands, to be told.
    fn telling(&mut self, subject: &Subject, now: Now) -> Option<Standing> {
        self.slide(now);
        let (share, (_, taken)) = self.shared(now)?;
        share.told = share.told.max(taken);
        self.standing(subject, now)
    }

    fn standing(&mut self, subject: &Subject, now: Now) -> Option<Standing> {
        let (_, (period, taken)) = self.shared(now)?;
        let row = &self.rule.row;
        Some(Standing {
            kind: subject.kind,
            id: subject.id.to_string(),
            serial: self.serial,
            metric: row.metric,
            window: row.window.clone(),
            models: row.models.clone(),
            endpoints: row.endpoints.clone(),
            providers: row.providers.clone(),
            max: row.max,
            period,
            taken,
            granted: 0,
            wanted: 0,
            least: 0,
            idle_ms: 0,
        })
    }
}

impl Subject {
    fn lease<T>(&self, serial: u64, act: impl FnOnce(&mut Meter) -> Option<T>) -> Option<T> {
        self.cell.lock().meters.iter_mut().find(|meter| meter.serial == serial).and_then(act)
    }

    /// What is to be asked of the coordinator for a counter.
    pub(super) fn lease_call(&self, serial: u64, now: Now) -> Option<Standing> {
        self.lease(serial, |meter| {
            let standing = meter.standing(self, now)?;
            let (share, (period, _)) = meter.shared(now)?;
            let (granted, wanted, least) = share.lease.asking(period);
            Some(Standing { granted, wanted, least, ..standing })
        })
    }

    /// How a counter's share stands, if that is worth telling, and what it does next; `None`: there is no such counter.
    pub(super) fn lease_report(&self, serial: u64, now: Now, which: Which) -> Option<(Option<Standing>, After)> {
        self.lease(serial, |meter| {
            let used = meter.count.used(now);
            let sliding = matches!(meter.count, Count::Sliding(_));
            meter.slide(now);
            if let Some(share) = meter.share.as_mut().filter(|_| which == Which::Anew && sliding) {
                share.lease.rebase(std::mem::replace(&mut share.net, used), used);
                share.told = used;
            }
            let standing = meter.telling(self, now)?;
            let (share, totals) = meter.shared(now)?;
            let (told, rests) = share.lease.report(totals, now.ns, which != Which::Changed);
            let told =
                told.map(|told| Standing { granted: told.granted, idle_ms: told.idle_ns / 1_000_000, ..standing });
            let after = match (used == 0 && share.lease.is_idle(totals.1), rests) {
                (true, _) => After::Over,
                (false, true) => After::Rests,
                (false, false) => After::Active,
            };
            Some((told, after))
        })
    }

    /// Puts a decision in force; false: there is no such counter any more.
    pub(super) fn lease_decide(&self, serial: u64, decision: &Decision, now: Now) -> bool {
        let decided = self.lease(serial, |meter| {
            let (share, (period, _)) = meter.shared(now)?;
            share.lease.asked_of(period);
            share.lease.decide(decision, now.ns);
            Some(())
        });
        decided.is_some()
    }

    /// Gives up all but `keep` of what is left.
    pub(super) fn lease_shrink(&self, serial: u64, keep: u64, now: Now) -> Option<Standing> {
        self.lease(serial, |meter| {
            let standing = meter.telling(self, now)?;
            let (share, totals) = meter.shared(now)?;
            let granted = share.lease.shrink(totals, keep);
            Some(Standing { granted, ..standing })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_the_window_unheard_of_may_be_used_again() -> std::io::Result<()> {
        let mut share = Share::new(Arc::new(Leases::new()?));
        (share.net, share.told) = (100, 70);
        share.slide(500);
        assert_eq!(share.net, 100, "all of it may be in the window");
        share.slide(10);
        assert_eq!(share.net, 80);
        share.slide(0);
        assert_eq!(share.net, 70, "what was told of is the coordinator's to forget");
        share.net = 50;
        share.slide(0);
        assert_eq!(share.net, 50, "given back meanwhile");
        Ok(())
    }
}
