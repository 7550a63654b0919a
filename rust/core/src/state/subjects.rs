//! Who and what is limited, and what each has used. Subjects live outside the snapshot, found by kind and id, and survive
//! every change of their settings.
//!
//! A request draws on several: its key, the key's team and organization, the model, … [`draw`] takes from all their
//! limits or from none: it locks the subjects that have limits in one order, checks everything, and only then takes. Two
//! requests that share no subject never meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::Deserialize;
use smallvec::SmallVec;

use super::rules::{Amounts, Count, LimitRule, Metric, Now, Rule, SubjectRow};
use crate::kernel::window::Refusal;

macro_rules! kinds {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// What a subject is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Kind { $($variant),+ }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),+];
            pub const COUNT: usize = Kind::ALL.len();

            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name),+ }
            }

            pub fn parse(name: &str) -> Option<Kind> {
                match name { $($name => Some(Kind::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    Global = "global",
    Organization = "organization",
    Team = "team",
    Project = "project",
    User = "user",
    Member = "member",
    Key = "key",
    Customer = "customer",
    Tag = "tag",
    Model = "model",
    Provider = "provider",
    Deployment = "deployment",
    Endpoint = "endpoint",
}

impl Kind {
    /// Found by what a request asks for instead of by whose it is.
    fn is_scope(self) -> bool {
        matches!(self, Kind::Global | Kind::Model | Kind::Provider | Kind::Deployment | Kind::Endpoint)
    }
}

/// One subject.
pub struct Subject {
    /// Its place in the order of locking.
    order: u64,
    pub kind: Kind,
    pub id: Arc<str>,
    /// Metrics that have limits here, a bit each.
    metrics: AtomicU8,
    blocked: AtomicBool,
    known: AtomicBool,
    cell: Mutex<Cell>,
}

#[derive(Default)]
struct Cell {
    alias: Option<Arc<str>>,
    spend_pico: i128,
    meters: Vec<Meter>,
}

/// A rule and its counter.
struct Meter {
    /// Names the counter in grants that outlive a change of the rules.
    serial: u64,
    rule: Arc<Rule>,
    count: Count,
    /// The soft limit's passing was told in this slot.
    told: u64,
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A rule that has just come into force, with its counter still empty.
pub struct Fresh {
    meter: Meter,
    spend_before: i128,
}

impl Fresh {
    pub fn rule(&self) -> &Rule {
        &self.meter.rule
    }

    /// Where what counts begins, if anything from before can count.
    pub fn begins(&mut self, now: Now) -> Option<i64> {
        self.meter.count.begins(now)
    }

    pub fn seed(&mut self, now: Now, at_us: i64, n: u64) {
        self.meter.count.seed(now, at_us, n);
    }
}

impl Subject {
    fn new(order: u64, kind: Kind, id: &str) -> Subject {
        Subject {
            order,
            kind,
            id: id.into(),
            metrics: AtomicU8::new(0),
            blocked: AtomicBool::new(false),
            known: AtomicBool::new(false),
            cell: Mutex::default(),
        }
    }

    /// Whether any of these metrics is limited here.
    #[inline]
    pub fn limits(&self, metrics: u8) -> bool {
        self.metrics.load(Ordering::Relaxed) & metrics != 0
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// A row stands behind it, not only a key that mentions it.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Counters for those of `rules` that count what nothing here counts yet.
    pub fn fresh(&self, rules: &[Arc<Rule>]) -> Vec<(usize, Fresh)> {
        let cell = self.cell.lock();
        let new = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| !cell.meters.iter().any(|meter| meter.rule.counts_as(&rule.row)));
        new.map(|(index, rule)| {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let count = Count::new(&rule.row);
            let meter = Meter { serial, rule: rule.clone(), count, told: 0 };
            (index, Fresh { meter, spend_before: cell.spend_pico })
        })
        .collect()
    }

    /// Puts rules in place of the former ones. Counters that count the same go on, `fresh` ones come in.
    pub fn set_rules(&self, rules: Vec<Arc<Rule>>, fresh: Vec<(usize, Fresh)>, now: Now) {
        let mut fresh: HashMap<usize, Fresh> = fresh.into_iter().collect();
        let mut cell = self.cell.lock();
        let mut old = std::mem::take(&mut cell.meters);
        let mut bits = 0;
        for (index, rule) in rules.into_iter().enumerate() {
            bits |= rule.row.metric.bit();
            let kept = old.iter().position(|meter| meter.rule.counts_as(&rule.row));
            let meter = match (kept, fresh.remove(&index)) {
                (Some(at), _) => {
                    let mut meter = old.swap_remove(at);
                    meter.count.set_limit(rule.row.max);
                    Meter { rule, ..meter }
                }
                (None, Some(mut new)) => {
                    // What was settled since the past was looked up.
                    let since = u64::try_from(cell.spend_pico - new.spend_before).unwrap_or(0);
                    if rule.row.metric == Metric::Spend && rule.row.models.is_none() && since > 0 {
                        new.meter.count.seed(now, now.us, since);
                    }
                    new.meter
                }
                (None, None) => {
                    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
                    Meter { serial, count: Count::new(&rule.row), rule, told: 0 }
                }
            };
            cell.meters.push(meter);
        }
        cell.meters.shrink_to_fit();
        self.metrics.store(bits, Ordering::Release);
    }

    /// What was spent before this process began.
    pub fn seed_spend(&self, pico: i128) {
        self.cell.lock().spend_pico = pico;
    }

    pub fn spend(&self) -> i128 {
        self.cell.lock().spend_pico
    }

    /// What each limit stands at.
    pub fn usage(&self, now: Now) -> Vec<(LimitRule, u64)> {
        let mut cell = self.cell.lock();
        cell.meters.iter_mut().map(|meter| (meter.rule.row.clone(), meter.count.used(now))).collect()
    }

    /// Turns reservations into what was used, and counts the cost.
    pub fn settle<'g>(&self, cost: i64, grants: impl Iterator<Item = &'g Granted>, actual: &Amounts) {
        let mut cell = self.cell.lock();
        cell.spend_pico += i128::from(cost);
        for grant in grants {
            // The rules may have changed meanwhile; a counter that is gone needs no settlement.
            if let Some(meter) = cell.meters.iter_mut().find(|meter| meter.serial == grant.serial) {
                meter.count.settle(grant.slot, grant.amount, actual[grant.metric as usize]);
            }
        }
    }

    fn describe(&self, cell: &Cell) -> String {
        match (self.kind, &cell.alias) {
            (Kind::Key, _) => "This API key".to_string(),
            (Kind::Global, _) => "This gateway".to_string(),
            (kind, Some(alias)) => format!("The {} '{alias}'", kind.name()),
            (kind, None) => format!("The {} '{}'", kind.name(), self.id),
        }
    }
}

/// What was taken from one counter.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// Which of the request's payers.
    pub payer: u8,
    metric: Metric,
    serial: u64,
    slot: u64,
    amount: u64,
}

pub type Grants = SmallVec<[Granted; 6]>;

/// What is to be taken.
pub struct Ask<'a> {
    pub model: &'a str,
    /// Metrics that are asked about now.
    pub metrics: u8,
    pub amounts: Amounts,
    pub now: Now,
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
    pub requests: Option<Quota>,
    pub tokens: Option<Quota>,
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
        if let Some(quota) = self.of(worst.rule.row.metric) {
            let Refusal { remaining, retry_after_ns } = worst.refusal;
            *quota = Some(Quota { limit: worst.rule.row.max, remaining, reset_ns: retry_after_ns });
        }
        worst
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
    /// `The team 'x'`
    pub who: String,
    pub rule: Arc<Rule>,
    pub used: u64,
    pub asked: u64,
    pub refusal: Refusal,
}

/// A soft limit that was passed.
#[derive(Debug)]
pub struct Passed {
    pub who: String,
    pub rule: Arc<Rule>,
    pub used: u64,
}

/// What a draw tells besides its grants.
#[derive(Default)]
pub struct Told {
    pub quotas: Quotas,
    pub passed: Vec<Passed>,
}

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
    if let Some(worst) = worst {
        return Err(told.quotas.refused(worst));
    }
    for (payer, subject, cell) in &mut locked {
        let mut passed = None;
        for meter in cell.meters.iter_mut().filter(|meter| concerns(meter, ask)) {
            let metric = meter.rule.row.metric;
            let amount = ask.amounts[metric as usize];
            let grant = meter.count.take(ask.now, amount);
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
        (0..=u8::MAX).zip(payers).filter(|(_, subject)| subject.limits(metrics)).collect();
    limited.sort_unstable_by_key(|(_, subject)| subject.order);
    // A key may name a subject twice: it is charged once.
    limited.dedup_by_key(|(_, subject)| subject.order);
    limited.into_iter().map(|(payer, subject)| (payer, subject, subject.cell.lock())).collect()
}

fn concerns(meter: &Meter, ask: &Ask<'_>) -> bool {
    meter.rule.row.metric.bit() & ask.metrics != 0 && meter.rule.concerns(ask.model)
}

#[inline]
fn check(subject: &Subject, cell: &mut Cell, ask: &Ask<'_>, worst: &mut Option<Box<Refused>>) {
    let mut found = None;
    for meter in cell.meters.iter_mut().filter(|meter| !meter.rule.row.soft && concerns(meter, ask)) {
        let asked = ask.amounts[meter.rule.row.metric as usize];
        if let Err(refusal) = meter.count.check(ask.now, asked) {
            let longest = worst.as_ref().map_or(0, |worst| worst.refusal.retry_after_ns);
            if found.is_none() && worst.is_none() || refusal.retry_after_ns > longest {
                found = Some((meter.rule.clone(), meter.count.used(ask.now), asked, refusal));
            }
        }
    }
    if let Some((rule, used, asked, refusal)) = found {
        *worst = Some(Box::new(Refused { who: subject.describe(cell), rule, used, asked, refusal }));
    }
}

const SHARDS: usize = 64;

type Shard = RwLock<[HashMap<Arc<str>, Arc<Subject>>; Kind::COUNT]>;

/// Subjects that a request may draw on without naming them.
#[derive(Default)]
struct Scopes {
    by_kind: [HashMap<Arc<str>, Arc<Subject>>; Kind::COUNT],
}

/// All subjects.
pub struct Subjects {
    shards: Box<[Shard]>,
    hasher: RandomState,
    next: AtomicU64,
    scopes: ArcSwap<Scopes>,
    /// Some scope has a row.
    scoped: AtomicBool,
    /// Rows by kind.
    known: [AtomicU64; Kind::COUNT],
}

impl Default for Subjects {
    fn default() -> Self {
        Subjects {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
            scopes: ArcSwap::default(),
            scoped: AtomicBool::new(false),
            known: Default::default(),
        }
    }
}

impl Subjects {
    fn shard(&self, id: &str) -> &Shard {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    /// The subject of this name, made when first asked for.
    pub fn cell(&self, kind: Kind, id: &str) -> Arc<Subject> {
        let shard = self.shard(id);
        if let Some(found) = shard.read()[kind as usize].get(id) {
            return found.clone();
        }
        let mut shard = shard.write();
        let map = &mut shard[kind as usize];
        if let Some(found) = map.get(id) {
            return found.clone();
        }
        let order = self.next.fetch_add(1, Ordering::Relaxed);
        let made = Arc::new(Subject::new(order, kind, id));
        map.insert(made.id.clone(), made.clone());
        made
    }

    /// The subject of this name, if a row stands behind it.
    pub fn find(&self, kind: Kind, id: &str) -> Option<Arc<Subject>> {
        self.shard(id).read()[kind as usize].get(id).filter(|subject| subject.is_known()).cloned()
    }

    /// What a row says of a subject besides its limits.
    pub fn put(&self, row: &SubjectRow) -> Arc<Subject> {
        let subject = self.cell(row.kind, &row.id);
        subject.cell.lock().alias = row.alias.as_deref().map(Arc::from);
        subject.blocked.store(row.blocked, Ordering::Relaxed);
        if !subject.known.swap(true, Ordering::AcqRel) {
            self.known[row.kind as usize].fetch_add(1, Ordering::AcqRel);
        }
        if row.kind.is_scope() {
            self.rescope(|scopes| {
                scopes.by_kind[row.kind as usize].insert(subject.id.clone(), subject.clone());
            });
        }
        subject
    }

    /// Takes a row away. What was used stays counted, should it come back.
    pub fn remove(&self, kind: Kind, id: &str) -> bool {
        let Some(subject) = self.find(kind, id) else { return false };
        if subject.known.swap(false, Ordering::AcqRel) {
            self.known[kind as usize].fetch_sub(1, Ordering::AcqRel);
        }
        subject.blocked.store(false, Ordering::Relaxed);
        subject.cell.lock().meters.clear();
        subject.metrics.store(0, Ordering::Release);
        if kind.is_scope() {
            self.rescope(|scopes| {
                scopes.by_kind[kind as usize].remove(id);
            });
        }
        true
    }

    fn rescope(&self, change: impl Fn(&mut Scopes)) {
        self.scopes.rcu(|current| {
            let mut next = Scopes { by_kind: current.by_kind.clone() };
            change(&mut next);
            next
        });
        let scoped = self.scopes.load().by_kind.iter().any(|map| !map.is_empty());
        self.scoped.store(scoped, Ordering::Release);
    }

    /// Whether there are rows of this kind.
    #[inline]
    pub fn has(&self, kind: Kind) -> bool {
        self.known[kind as usize].load(Ordering::Acquire) > 0
    }

    /// Whether any limit hangs on what is asked for instead of on who asks.
    #[inline]
    pub fn has_scopes(&self) -> bool {
        self.scoped.load(Ordering::Acquire)
    }

    /// The scopes of these names that have limits.
    pub fn scopes(&self, names: &[(Kind, &str)], found: &mut SmallVec<[Arc<Subject>; 4]>) {
        let scopes = self.scopes.load();
        found.extend(names.iter().filter_map(|(kind, id)| scopes.by_kind[*kind as usize].get(*id).cloned()));
    }
}

#[cfg(test)]
#[path = "subjects_tests.rs"]
mod tests;
