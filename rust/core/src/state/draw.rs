//! Takes from all limits of a request, or from none: locks the subjects that have limits in one order, checks
//! everything, and only then takes. Two requests that share no subject never meet.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::line::Rank;
use super::rules::{Amounts, Metric, Now, Rule};
use super::scope::Aim;
use super::subject::{Cell, Meter, Subject};
use super::subjects::Kind;
use crate::kernel::lease::Lack;
use crate::kernel::window::Refusal;

/// What was taken from one counter.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// Which of the request's payers.
    pub payer: u8,
    pub(super) metric: Metric,
    pub(super) serial: u64,
    pub(super) slot: u64,
    pub(super) amount: u64,
}

/// Few have more than two, and a request carries them through its whole life.
pub type Grants = SmallVec<[Granted; 2]>;

/// What is to be taken.
pub struct Ask<'a> {
    pub aim: Aim<'a>,
    /// Metrics that are asked about now.
    pub metrics: u8,
    pub amounts: Amounts,
    /// What of the amounts is no assumption, where the rest is one: what is assumed beyond a whole limit is taken to just
    /// fit it, what is known is not.
    pub elastic: Option<Amounts>,
    pub now: Now,
    pub rank: Rank,
}

impl Ask<'_> {
    fn amount(&self, rule: &Rule) -> u64 {
        let metric = rule.row.metric as usize;
        let amount = self.amounts[metric];
        self.elastic
            .map_or(amount, |known| amount.min((rule.row.max - rule.kept_from(self.rank.priority)).max(known[metric])))
    }
}

/// How the tightest limit of a kind stands.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub limit: u64,
    pub remaining: u64,
    pub reset_ns: u64,
}

impl Quota {
    /// Less is left of this one's limit, as a share.
    fn is_tighter(&self, other: &Quota) -> bool {
        let share = |one: &Quota, by: &Quota| u128::from(one.remaining) * u128::from(by.limit);
        share(self, other) < share(other, self)
    }
}

/// What `x-ratelimit-*` tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    requests: Option<Quota>,
    tokens: Option<Quota>,
    /// The limit that refused, until something is admitted after all.
    refused: Option<(Metric, Quota)>,
}

impl Quotas {
    fn of(&mut self, metric: Metric) -> Option<&mut Option<Quota>> {
        match metric {
            Metric::Requests => Some(&mut self.requests),
            Metric::InputTokens | Metric::OutputTokens | Metric::Tokens => Some(&mut self.tokens),
            Metric::Parallel | Metric::Spend => None,
        }
    }

    /// The limit that refuses is the one to tell of.
    fn refused(&mut self, worst: Box<Refused>) -> Box<Refused> {
        let Refusal { remaining, retry_after_ns } = worst.refusal;
        let quota = Quota { limit: worst.rule.row.max, remaining, reset_ns: retry_after_ns };
        self.refused = Some((worst.rule.row.metric, quota));
        worst
    }

    /// What is to be told of requests and of tokens.
    #[must_use]
    pub fn told(mut self) -> [Option<Quota>; 2] {
        if let Some((metric, quota)) = self.refused
            && let Some(known) = self.of(metric)
        {
            *known = Some(quota);
        }
        [self.requests, self.tokens]
    }

    fn note(&mut self, metric: Metric, quota: Quota) {
        if let Some(known) = self.of(metric)
            && known.is_none_or(|known| quota.is_tighter(&known))
        {
            *known = Some(quota);
        }
    }
}

/// A limit that has no room.
#[derive(Debug)]
pub struct Refused {
    pub kind: Kind,
    /// It is a place's: another deployment may have room.
    pub placed: bool,
    /// `The team 'x'`
    pub who: Cow<'static, str>,
    pub rule: Arc<Rule>,
    pub used: u64,
    pub asked: u64,
    pub refusal: Refusal,
    /// Only this node's share does not suffice: waiting for more may help.
    pub short: bool,
    /// There is room, but others have waited for it longer.
    pub queued: bool,
}

/// A soft limit that was passed.
#[derive(Debug)]
pub struct Passed {
    pub who: Cow<'static, str>,
    pub rule: Arc<Rule>,
    pub used: u64,
}

/// What a draw tells besides its grants.
#[derive(Default)]
pub struct Told {
    pub quotas: Quotas,
    pub passed: Vec<Passed>,
    /// How long the request is to wait before it goes on.
    pub pace: Option<Duration>,
}

/// What a caller is told to wait when only the share of this node is used up.
const SHORT_NS: u64 = 1_000_000_000;

type Locked<'s> = SmallVec<[(u8, &'s Subject, MutexGuard<'s, Cell>); 8]>;

/// Takes what is asked for from every limit of `payers` that concerns it, or nothing at all.
///
/// # Errors
/// The limit that will have room last.
pub fn draw<'s>(
    payers: impl Iterator<Item = &'s Subject>,
    ask: &Ask<'_>,
    grants: &mut Grants,
    told: &mut Told,
) -> Result<(), Box<Refused>> {
    let mut locked = lock(payers, ask.metrics);
    let mut worst: Option<Box<Refused>> = None;
    for (_, subject, cell) in &mut locked {
        check(subject, cell, ask, &mut worst);
    }
    if worst.is_none() {
        for (_, subject, cell) in &mut locked {
            check_shares(subject, cell, ask, &mut worst);
        }
    }
    if let Some(worst) = worst {
        return Err(told.quotas.refused(worst));
    }
    told.quotas.refused = None;
    for (payer, subject, cell) in &mut locked {
        let mut passed = None;
        for meter in cell.meters.iter_mut().filter(|meter| concerns(subject, meter, ask)) {
            let metric = meter.rule.row.metric;
            let amount = ask.amount(&meter.rule);
            let grant = meter.take(ask.now, amount);
            let serial = meter.serial;
            let pace = meter.rule.pace(ask.now.ns, grant.remaining);
            told.pace = told.pace.max(pace);
            if let Some((share, totals)) = meter.shared(ask.now)
                && share.lease.took(totals, ask.now.ns)
            {
                share.leases.call((subject.kind, subject.id.clone(), serial));
            }
            grants.push(Granted { payer: *payer, metric, serial: meter.serial, slot: grant.slot, amount });
            if meter.rule.row.soft {
                if grant.remaining == 0 && meter.told != grant.slot.wrapping_add(1) {
                    meter.told = grant.slot.wrapping_add(1);
                    passed = Some((meter.rule.clone(), meter.count.used(ask.now)));
                }
            } else {
                let quota = Quota { limit: meter.count.limit(), remaining: grant.remaining, reset_ns: grant.reset_ns };
                told.quotas.note(metric, quota);
            }
        }
        if let Some((rule, used)) = passed {
            told.passed.push(Passed { who: subject.describe(cell), rule, used });
        }
    }
    Ok(())
}

/// Whether there is room, without taking it.
///
/// # Errors
/// As [`draw`].
pub fn peek<'s>(
    payers: impl Iterator<Item = &'s Subject>,
    ask: &Ask<'_>,
    quotas: &mut Quotas,
) -> Result<(), Box<Refused>> {
    let mut worst = None;
    for subject in payers.filter(|subject| subject.limits(ask.metrics)) {
        check(subject, &mut subject.cell.lock(), ask, &mut worst);
    }
    worst.map_or(Ok(()), |worst| Err(quotas.refused(worst)))
}

/// Locks, in the order that all requests lock in, the subjects that limit any of `metrics`.
fn lock<'s>(payers: impl Iterator<Item = &'s Subject>, metrics: u8) -> Locked<'s> {
    let mut limited: SmallVec<[(u8, &Subject); 8]> =
        (0..=u8::MAX).zip(payers).filter(|(_, subject)| subject.limits(metrics | own(subject))).collect();
    limited.sort_unstable_by_key(|(_, subject)| subject.order);
    // A key may name a subject twice: it is charged once.
    limited.dedup_by_key(|(_, subject)| subject.order);
    limited.into_iter().map(|(payer, subject)| (payer, subject, subject.cell.lock())).collect()
}

/// All limits of a deployment and its provider are asked about together, when it is chosen.
fn own(subject: &Subject) -> u8 {
    if subject.is_placed() { Metric::ARRIVAL } else { 0 }
}

/// Whether another place may have room where this rule has none.
fn is_place(subject: &Subject, rule: &Rule) -> bool {
    subject.is_placed() || rule.row.providers.is_some()
}

fn concerns(subject: &Subject, meter: &Meter, ask: &Ask<'_>) -> bool {
    meter.rule.bit() & (ask.metrics | own(subject)) != 0 && meter.rule.concerns(&ask.aim)
}

#[inline]
fn check(subject: &Subject, cell: &mut Cell, ask: &Ask<'_>, worst: &mut Option<Box<Refused>>) {
    let mut found = None;
    for meter in cell.meters.iter_mut().filter(|meter| !meter.rule.row.soft && concerns(subject, meter, ask)) {
        let asked = ask.amount(&meter.rule);
        let kept = meter.rule.kept_from(ask.rank.priority);
        let mut queued = false;
        let checked = match meter.count.check(ask.now, asked.saturating_add(kept)) {
            Ok(()) if meter.rule.line.as_ref().is_some_and(|line| !line.lets(ask.rank)) => {
                queued = true;
                Err(Refusal { retry_after_ns: SHORT_NS, remaining: 0 })
            }
            checked => checked,
        };
        if let Err(refusal) = checked {
            let longest = worst.as_ref().map_or(0, |worst| worst.refusal.retry_after_ns);
            if found.is_none() && worst.is_none() || refusal.retry_after_ns > longest {
                found = Some((meter.rule.clone(), meter.count.used(ask.now), asked, refusal, queued));
            }
        }
    }
    if let Some((rule, used, asked, refusal, queued)) = found {
        let (kind, placed, who) = (subject.kind, is_place(subject, &rule), subject.describe(cell));
        *worst = Some(Box::new(Refused { kind, placed, who, rule, used, asked, refusal, short: false, queued }));
    }
}

/// Whether this node's shares suffice, where the limits are other nodes' too. What is short is called for, all of it.
#[inline]
fn check_shares(subject: &Subject, cell: &mut Cell, ask: &Ask<'_>, worst: &mut Option<Box<Refused>>) {
    if cell.meters.iter().any(|meter| meter.share.is_some()) {
        short_shares(subject, cell, ask, worst);
    }
}

#[cold]
#[inline(never)]
fn short_shares(subject: &Subject, cell: &mut Cell, ask: &Ask<'_>, worst: &mut Option<Box<Refused>>) {
    let mut found = None;
    for meter in cell.meters.iter_mut().filter(|meter| concerns(subject, meter, ask)) {
        let asked = ask.amount(&meter.rule);
        let (rule, serial) = (meter.rule.clone(), meter.serial);
        let asked = asked.saturating_add(rule.kept_from(ask.rank.priority));
        let Some((share, totals)) = meter.shared(ask.now) else { continue };
        let valid = share.leases.are_valid(ask.now);
        if share.lease.fits(totals.1, asked, valid) {
            continue;
        }
        meter.slide(ask.now);
        let Some((share, totals)) = meter.shared(ask.now) else { continue };
        let (short, refusal) = match share.lease.check(totals, asked, ask.now.ns, valid) {
            Ok(()) => continue,
            Err(Lack::Short { ask: call, left }) => {
                if call {
                    share.leases.call((subject.kind, subject.id.clone(), serial));
                }
                (true, Refusal { remaining: left, retry_after_ns: SHORT_NS })
            }
            Err(Lack::Exhausted { left, renewed_ns }) => {
                (false, Refusal { remaining: left, retry_after_ns: renewed_ns.max(SHORT_NS) })
            }
        };
        // One that is reached for good outweighs those that may get more.
        if worst.as_ref().is_none_or(|worst| worst.short) {
            found = Some((rule, meter.count.used(ask.now), asked, refusal, short));
        }
    }
    if let Some((rule, used, asked, refusal, short)) = found {
        let (kind, placed, who) = (subject.kind, is_place(subject, &rule), subject.describe(cell));
        *worst = Some(Box::new(Refused { kind, placed, who, rule, used, asked, refusal, short, queued: false }));
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "draw_twin_tests.rs"]
mod twin_tests;
