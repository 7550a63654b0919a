//! Limits that hold for each address, session, key, … by itself: each has a subject of its own, made when it is first seen
//! and forgotten when nothing is counted there any more.
//!
//! Their number is bounded: who comes when there are too many shares one counter with all others who do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use smallvec::SmallVec;

use super::leases::Leases;
use super::rules::{Metric, Now, Rule};
use super::scope::Each;
use super::subject::Subject;
use super::subjects::{Kind, Subjects};
use crate::clock::{monotonic_ns, wall_us};

/// So many at most; about a kilobyte each.
const MOST: u64 = 50_000;
/// The fewest that are worth looking through.
const FEWEST: u64 = 1_024;
/// When there are too many they are looked through this often.
const SWEEP_NS: u64 = 1_000_000_000;
/// The part of all who came when there were too many.
const OTHERS: &str = "\u{2026}";

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Rules of one subject that hold for each of something by itself.
#[derive(Debug)]
pub struct Template {
    pub each: Each,
    generation: u64,
    rules: Vec<Arc<Rule>>,
}

impl Template {
    /// Those of `rules` that hold for each of something, by what that is.
    pub fn of(rules: &[Arc<Rule>]) -> Vec<Template> {
        let mut found: Vec<Template> = Vec::new();
        for rule in rules {
            let Some(each) = rule.row.each else { continue };
            match found.iter_mut().find(|template| template.each == each) {
                Some(template) => template.rules.push(rule.clone()),
                None => {
                    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
                    found.push(Template { each, generation, rules: vec![rule.clone()] });
                }
            }
        }
        found
    }

    /// The rules of one part. Each has lines and paces of its own.
    fn rules(&self) -> Vec<Arc<Rule>> {
        let single = |rule: &Arc<Rule>| {
            let row = super::rules::LimitRule { each: None, ..rule.row.clone() };
            // It was compiled before.
            Rule::compile(row).ok().map(Arc::new)
        };
        self.rules.iter().filter_map(single).collect()
    }
}

/// How many parts there are, and when they are looked through.
#[derive(Debug, Default)]
pub struct Count {
    parts: AtomicU64,
    sweep_at: AtomicU64,
    swept_ns: AtomicU64,
}

impl Subject {
    /// What holds for each of something by itself.
    pub(super) fn templates(&self) -> Option<Arc<[Template]>> {
        if self.limits(Metric::PARTED) { self.cell.lock().templates.clone() } else { None }
    }

    /// Whether this part follows these templates.
    pub(super) fn is_of(&self, generation: u64) -> bool {
        self.cell.lock().generation == generation
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.cell.lock().generation = generation;
        self.known.store(true, Ordering::Release);
    }

    /// Says what people call a part of `whole`.
    pub(super) fn name_part(&self, whole: &Subject, shown: String) {
        let of = whole.describe(&whole.cell.lock());
        let alias = match whole.kind {
            Kind::Global => shown,
            _ => format!("{shown} with {}", of.replacen('T', "t", 1)),
        };
        self.placed.store(whole.is_placed(), Ordering::Relaxed);
        self.cell.lock().alias = Some(alias.into());
    }

    /// Nothing is counted here, and no other node waits for a part of it.
    pub(super) fn counts_nothing(&self, now: Now) -> bool {
        self.cell.lock().meters.iter_mut().all(|meter| {
            let idle = meter.shared(now).is_none_or(|(share, (_, taken))| share.lease.is_idle(taken));
            idle && meter.count.used(now) == 0
        })
    }
}

impl Subjects {
    /// The parts of `whole` that this request draws on; `value` names it where it has one: by what it is found, and what
    /// people call it.
    pub fn parts(
        &self,
        whole: &Subject,
        leases: Option<&Arc<Leases>>,
        value: impl Fn(Each) -> Option<(String, String)>,
        found: &mut SmallVec<[Arc<Subject>; 4]>,
    ) {
        for template in whole.templates().iter().flat_map(|templates| templates.iter()) {
            if let Some((name, shown)) = value(template.each) {
                found.push(self.part(whole, template, leases, (&name, &shown)));
            }
        }
    }

    fn part(
        &self,
        whole: &Subject,
        template: &Template,
        leases: Option<&Arc<Leases>>,
        (name, shown): (&str, &str),
    ) -> Arc<Subject> {
        let noun = template.each.noun();
        let id = |name: &str| format!("{noun} {name}@{}:{}", whole.kind.name(), whole.id);
        let own = id(name);
        if let Some(part) = self.find(Kind::Part, &own) {
            if part.is_of(template.generation) {
                return part;
            }
            return self.set_part(part, template, leases);
        }
        let (own, shown) = if self.has_room() { (own, shown) } else { (id(OTHERS), "any other") };
        let known = self.find(Kind::Part, &own);
        let part = known.unwrap_or_else(|| {
            self.count.parts.fetch_add(1, Ordering::Relaxed);
            self.cell(Kind::Part, &own)
        });
        part.name_part(whole, format!("{noun} '{shown}'"));
        self.set_part(part, template, leases)
    }

    fn set_part(&self, part: Arc<Subject>, template: &Template, leases: Option<&Arc<Leases>>) -> Arc<Subject> {
        let now = Now::at(Instant::now(), wall_us());
        part.set_rules(template.rules(), Vec::new(), now, leases);
        part.set_generation(template.generation);
        part
    }

    /// Whether there is room for one more, after those that count nothing any more have gone.
    fn has_room(&self) -> bool {
        let count = &self.count;
        let parts = count.parts.load(Ordering::Relaxed);
        if parts < count.sweep_at.load(Ordering::Relaxed).max(FEWEST) {
            return true;
        }
        let (swept, now) = (count.swept_ns.load(Ordering::Relaxed), monotonic_ns());
        let due = parts < MOST || now.saturating_sub(swept) >= SWEEP_NS;
        if due && count.swept_ns.compare_exchange(swept, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let left = self.sweep();
            count.parts.store(left, Ordering::Relaxed);
            count.sweep_at.store((left * 2).clamp(FEWEST, MOST), Ordering::Relaxed);
        }
        count.parts.load(Ordering::Relaxed) < MOST
    }

    /// Forgets parts that count nothing; how many are left.
    fn sweep(&self) -> u64 {
        let now = Now::at(Instant::now(), wall_us());
        self.retain(Kind::Part, |part| Arc::strong_count(part) > 1 || !part.counts_nothing(now))
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
