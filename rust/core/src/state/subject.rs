//! One subject: its limits with their counters, and what it has spent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::draw::Granted;
use super::rules::{Amounts, Count, LimitRule, Metric, Now, Rule};
use super::subjects::Kind;

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
    pub(super) cell: Mutex<Cell>,
}

#[derive(Default)]
pub(super) struct Cell {
    pub(super) alias: Option<Arc<str>>,
    spend_pico: i128,
    pub(super) meters: Vec<Meter>,
}

/// A rule and its counter.
pub(super) struct Meter {
    /// Names the counter in grants that outlive a change of the rules.
    pub(super) serial: u64,
    pub(super) rule: Arc<Rule>,
    pub(super) count: Count,
    /// The soft limit's passing was told in this slot.
    pub(super) told: u64,
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
    pub(super) fn new(order: u64, kind: Kind, id: &str) -> Subject {
        Subject {
            order,
            kind,
            id: id.into(),
            ledger_id: AtomicU32::new(0),
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

    pub(super) fn describe(&self, cell: &Cell) -> String {
        match (self.kind, &cell.alias) {
            (Kind::Key, _) => "This API key".to_string(),
            (Kind::Global, _) => "This gateway".to_string(),
            (kind, Some(alias)) => format!("The {} '{alias}'", kind.name()),
            (kind, None) => format!("The {} '{}'", kind.name(), self.id),
        }
    }
}
