//! One subject: its limits with their counters, and what it has spent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::draw::Granted;
use super::leases::Leases;
use super::parts::Template;
use super::rules::{Amounts, Count, LimitRule, Metric, Now, Rule};
use super::scope::Aim;
use super::share::Share;
use super::subjects::Kind;
use crate::clock::monotonic_ns;
use crate::kernel::condition::Metric as History;
use crate::kernel::window::{Grant, Window};

/// One subject.
pub struct Subject {
    /// Its place in the order of locking.
    pub(super) order: u64,
    pub kind: Kind,
    pub id: Arc<str>,
    /// Metrics that have limits here, a bit each.
    /// Its number in the ledger's dictionary, where rows name it by itself.
    ledger_id: AtomicU32,
    pub(super) metrics: AtomicU8,
    pub(super) blocked: AtomicBool,
    pub(super) known: AtomicBool,
    /// A deployment or provider, or a part of one: asked about when it is chosen, and passed over without room.
    pub(super) placed: AtomicBool,
    /// Something is tallied here.
    tallied: AtomicBool,
    pub(super) cell: Mutex<Cell>,
}

#[derive(Default)]
pub(super) struct Cell {
    pub(super) alias: Option<Arc<str>>,
    spend_pico: i128,
    pub(super) meters: Vec<Meter>,
    /// What holds for each of something by itself.
    pub(super) templates: Option<Arc<[Template]>>,
    /// Of a part: which of the templates it was made of.
    pub(super) generation: u64,
    /// What policies ask about the past.
    tallies: Vec<Tally>,
}

/// How much there was of something within a window; refuses nothing.
struct Tally {
    metric: History,
    window_ms: u64,
    count: Window,
}

/// A rule and its counter.
pub(super) struct Meter {
    /// Names the counter in grants that outlive a change of the rules.
    pub(super) serial: u64,
    pub(super) rule: Arc<Rule>,
    pub(super) count: Count,
    /// The soft limit's passing was told in this slot.
    pub(super) told: u64,
    /// Where the limit is shared with other nodes.
    pub(super) share: Option<Box<Share>>,
}

impl Meter {
    fn new(rule: Arc<Rule>, leases: Option<&Arc<Leases>>) -> Meter {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let count = Count::new(&rule.row);
        // What is only told is told by each node of its own.
        let leases = leases.filter(|_| !rule.row.soft);
        let share = leases.map(|leases| Box::new(Share::new(leases.clone())));
        Meter { serial, rule, count, told: 0, share }
    }

    pub(super) fn take(&mut self, now: Now, n: u64) -> Grant {
        let grant = self.count.take(now, n);
        if let Some(share) = &mut self.share {
            share.net = share.net.saturating_add(n);
        }
        grant
    }
}

/// Different questions about the past of one subject.
const TALLIES: usize = 64;

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
    pub(super) fn new(order: u64, kind: Kind, id: &str) -> Subject {
        Subject {
            order,
            kind,
            id: id.into(),
            ledger_id: AtomicU32::new(0),
            metrics: AtomicU8::new(0),
            blocked: AtomicBool::new(false),
            known: AtomicBool::new(false),
            placed: AtomicBool::new(matches!(kind, Kind::Deployment | Kind::Provider)),
            tallied: AtomicBool::new(false),
            cell: Mutex::default(),
        }
    }

    /// Whether any of these metrics is limited here.
    #[inline]
    pub fn limits(&self, metrics: u8) -> bool {
        self.metrics.load(Ordering::Relaxed) & metrics != 0
    }

    pub fn ledger_id(&self) -> u32 {
        self.ledger_id.load(Ordering::Relaxed)
    }

    pub fn set_ledger_id(&self, id: u32) {
        self.ledger_id.store(id, Ordering::Relaxed);
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// A row stands behind it, not only a key that mentions it.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Counters for those of `rules` that count what nothing here counts yet.
    pub fn fresh(&self, rules: &[Arc<Rule>], leases: Option<&Arc<Leases>>) -> Vec<(usize, Fresh)> {
        let cell = self.cell.lock();
        let new = rules.iter().enumerate().filter(|(_, rule)| {
            rule.row.each.is_none() && !cell.meters.iter().any(|meter| meter.rule.counts_as(&rule.row))
        });
        new.map(|(index, rule)| {
            let meter = Meter::new(rule.clone(), leases);
            (index, Fresh { meter, spend_before: cell.spend_pico })
        })
        .collect()
    }

    /// Puts rules in place of the former ones. Counters that count the same go on, `fresh` ones come in.
    pub fn set_rules(&self, rules: Vec<Arc<Rule>>, fresh: Vec<(usize, Fresh)>, now: Now, leases: Option<&Arc<Leases>>) {
        let mut fresh: HashMap<usize, Fresh> = fresh.into_iter().collect();
        let templates = Template::of(&rules);
        let mut bits = if templates.is_empty() { 0 } else { Metric::PARTED };
        let mut cell = self.cell.lock();
        cell.templates = Some(templates).filter(|templates| !templates.is_empty()).map(Arc::from);
        let mut old = std::mem::take(&mut cell.meters);
        for (index, rule) in rules.into_iter().enumerate().filter(|(_, rule)| rule.row.each.is_none()) {
            bits |= rule.bit();
            let kept = old.iter().position(|meter| meter.rule.counts_as(&rule.row));
            let meter = match (kept, fresh.remove(&index)) {
                (Some(at), _) => {
                    let mut meter = old.swap_remove(at);
                    let before = meter.count.limit();
                    meter.count.set_limit(rule.row.max);
                    if let Some((share, totals)) = meter.shared(now).filter(|_| rule.row.max < before) {
                        share.lease.scale(totals, before, rule.row.max);
                    }
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
                (None, None) => Meter::new(rule, leases),
            };
            cell.meters.push(meter);
        }
        cell.meters.shrink_to_fit();
        self.metrics.store(bits, Ordering::Release);
    }

    /// It stands for a place to go to, of which there may be others.
    #[inline]
    pub fn is_placed(&self) -> bool {
        self.placed.load(Ordering::Relaxed)
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

    /// What is left of its budget with the least left, and the budget, pico-USD. What is only told is none. Where nodes share
    /// it, others' spending is known once the limit is reached.
    pub fn budget(&self, aim: &Aim<'_>, now: Now) -> Option<(u64, u64)> {
        if !self.limits(Metric::Spend.bit()) {
            return None;
        }
        let mut cell = self.cell.lock();
        let counted = |meter: &&mut Meter| {
            meter.rule.row.metric == Metric::Spend && !meter.rule.row.soft && meter.rule.concerns(aim)
        };
        let budgets = cell.meters.iter_mut().filter(counted).map(|meter| {
            let limit = meter.count.limit();
            let left = limit.saturating_sub(meter.count.used(now));
            let least = meter.shared(now).and_then(|(share, totals)| share.lease.last(totals, now.ns));
            (least.map_or(left, |least| least.min(left)), limit)
        });
        budgets.min_by_key(|(left, _)| *left)
    }

    /// How much there was within the last `window_ms`; counted from the first question on.
    pub fn tally(&self, metric: History, window_ms: u64, now_ns: u64) -> u64 {
        let mut cell = self.cell.lock();
        if let Some(tally) =
            cell.tallies.iter_mut().find(|tally| tally.metric == metric && tally.window_ms == window_ms)
        {
            return tally.count.used(now_ns);
        }
        if cell.tallies.len() < TALLIES {
            let count = Window::new(u64::MAX >> 1, window_ms.saturating_mul(1_000_000));
            cell.tallies.push(Tally { metric, window_ms, count });
            self.tallied.store(true, Ordering::Release);
        }
        0
    }

    /// Whether somebody wants to know what is done here.
    #[inline]
    pub fn is_tallied(&self) -> bool {
        self.tallied.load(Ordering::Relaxed)
    }

    /// Counts what an attempt used for those who ask about the past.
    pub fn count(&self, cost: i64, used: &Amounts) {
        let now = monotonic_ns();
        for tally in &mut self.cell.lock().tallies {
            let amount = match tally.metric {
                History::Requests => used[Metric::Requests as usize],
                History::Tokens => used[Metric::Tokens as usize],
                History::Spend => u64::try_from(cost).unwrap_or(0),
            };
            tally.count.take(now, amount);
        }
    }

    /// What people call it.
    pub fn alias(&self) -> Option<Arc<str>> {
        self.cell.lock().alias.clone()
    }

    /// Turns reservations into what was used, and counts the cost.
    pub fn settle<'g>(&self, cost: i64, grants: impl Iterator<Item = &'g Granted>, actual: &Amounts) {
        let mut cell = self.cell.lock();
        cell.spend_pico += i128::from(cost);
        for grant in grants {
            // The rules may have changed meanwhile; a counter that is gone needs no settlement.
            if let Some(meter) = cell.meters.iter_mut().find(|meter| meter.serial == grant.serial) {
                let (more, less) = meter.count.settle(grant.slot, grant.amount, actual[grant.metric as usize]);
                if let Some(share) = &mut meter.share {
                    share.net = share.net.saturating_add(more).saturating_sub(less);
                }
            }
        }
    }

    pub(super) fn describe(&self, cell: &Cell) -> Cow<'static, str> {
        match (self.kind, &cell.alias) {
            (Kind::Key, _) => "This API key".into(),
            (Kind::Global, _) => "This gateway".into(),
            (Kind::Part, Some(alias)) => format!("The {alias}").into(),
            (kind, Some(alias)) => format!("The {} '{alias}'", kind.name()).into(),
            (kind, None) => format!("The {} '{}'", kind.name(), self.id).into(),
        }
    }
}
