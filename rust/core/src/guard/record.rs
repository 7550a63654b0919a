//! What guardrails did: counters per rule, and the latest verdicts.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::Finding;
use crate::exchange::RequestId;
use crate::ledger::{self, Verdicts};

/// Verdicts kept.
const KEPT: usize = 1024;
/// Rules counted; later ones share a cell.
const RULES: usize = 16_384;
/// Pairs of rule and key counted in shadow; later keys share a pair.
const PAIRS: usize = 65_536;

/// Requests and answers in which a rule found something.
#[derive(Debug, Default)]
pub struct RuleCell {
    pub name: String,
    counts: [[AtomicU64; 2]; 2],
    /// Checks that could not be made.
    pub errors: AtomicU64,
}

impl RuleCell {
    /// One of its own, that nobody else counts in.
    pub fn alone(name: &str) -> RuleCell {
        RuleCell { name: name.to_string(), ..RuleCell::default() }
    }

    pub fn get(&self, output: bool, shadow: bool) -> u64 {
        self.counts[usize::from(output)][usize::from(shadow)].load(Ordering::Relaxed)
    }
}

/// One rule that found something in one request or answer. Never the text itself.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub time_us: i64,
    pub request_id: String,
    pub rule: String,
    pub label: String,
    pub action: &'static str,
    pub shadow: bool,
    pub side: &'static str,
    pub place: String,
    pub model: String,
    pub key: String,
    pub matches: u32,
    pub length: u32,
}

impl Verdict {
    /// What was found, not yet where.
    pub fn of(finding: &Finding) -> Verdict {
        Verdict {
            time_us: 0,
            request_id: String::new(),
            rule: finding.rule.name.to_string(),
            label: finding.label.to_string(),
            action: finding.rule.action.name(),
            shadow: finding.rule.shadow,
            side: "",
            place: finding.place.clone(),
            model: String::new(),
            key: String::new(),
            matches: finding.matches,
            length: u32::try_from(finding.range.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Outlives every snapshot.
#[derive(Debug, Default)]
pub struct Record {
    rules: Mutex<HashMap<String, Arc<RuleCell>>>,
    latest: Mutex<VecDeque<Verdict>>,
    /// What would have been acted on, by rule and key.
    shadows: Mutex<HashMap<(String, String), u64>>,
    /// Texts that could not be looked at.
    pub failures: AtomicU64,
    /// Where verdicts become rows, and whether they are of policies.
    kept: Option<(Arc<Verdicts>, bool)>,
}

impl Record {
    /// One whose verdicts stand in the ledger, too.
    pub fn kept(verdicts: Arc<Verdicts>, policies: bool) -> Record {
        Record { kept: Some((verdicts, policies)), ..Record::default() }
    }

    /// The cell of a rule.
    pub fn rule(&self, name: &str) -> Arc<RuleCell> {
        let mut rules = self.rules.lock();
        let name = if rules.len() < RULES || rules.contains_key(name) { name } else { "others" };
        rules
            .entry(name.to_string())
            .or_insert_with(|| Arc::new(RuleCell { name: name.to_string(), ..RuleCell::default() }))
            .clone()
    }

    /// Takes a verdict. Only what was found comes here, so the lock is not on the path of a clean request.
    pub fn note(&self, cell: &RuleCell, verdict: Verdict) {
        let output = verdict.side == "output";
        cell.counts[usize::from(output)][usize::from(verdict.shadow)].fetch_add(1, Ordering::Relaxed);
        if verdict.shadow {
            let mut shadows = self.shadows.lock();
            let mut pair = (verdict.rule.clone(), verdict.key.clone());
            if shadows.len() >= PAIRS && !shadows.contains_key(&pair) {
                pair.1 = "others".to_string();
            }
            *shadows.entry(pair).or_default() += 1;
        }
        if let Some((verdicts, policy)) = &self.kept {
            verdicts.keep(row(&verdict, *policy));
        }
        let mut latest = self.latest.lock();
        if latest.len() >= KEPT {
            latest.pop_front();
        }
        latest.push_back(verdict);
    }

    /// All cells, by name.
    pub fn cells(&self) -> Vec<Arc<RuleCell>> {
        let mut cells: Vec<_> = self.rules.lock().values().cloned().collect();
        cells.sort_by(|one, other| one.name.cmp(&other.name));
        cells
    }

    /// What would have been acted on: rule, key, how often.
    pub fn shadows(&self) -> Vec<(String, String, u64)> {
        let shadows = self.shadows.lock();
        let mut all: Vec<_> = shadows.iter().map(|((rule, key), count)| (rule.clone(), key.clone(), *count)).collect();
        all.sort_unstable();
        all
    }

    /// The latest verdicts, oldest first.
    pub fn latest(&self) -> Vec<Verdict> {
        self.latest.lock().iter().cloned().collect()
    }
}

fn row(verdict: &Verdict, policy: bool) -> ledger::Verdict {
    ledger::Verdict {
        at_us: verdict.time_us,
        request_id: RequestId::parse(&verdict.request_id).unwrap_or(RequestId([0; 16])).0,
        policy,
        rule: verdict.rule.clone(),
        label: verdict.label.clone(),
        action: verdict.action,
        shadow: verdict.shadow,
        side: verdict.side,
        place: verdict.place.clone(),
        matches: verdict.matches,
        model: verdict.model.clone(),
        key: verdict.key.clone(),
    }
}
