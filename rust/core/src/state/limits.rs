//! Brings limits into force: rows are checked, new counters learn from the ledger what was used before, and only then
//! take their place.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::State;
use super::rules::{LimitRule, Now, Rule, SubjectRow};
use super::seed::{Learner, learn};
use super::subjects::{Kind, Subject};
use crate::clock::wall_us;
use crate::ledger::DictKind;
use crate::plane::PlaneError;

/// The limits that a subject shall have.
pub struct Change {
    pub subject: Arc<Subject>,
    pub rules: Vec<Arc<Rule>>,
    pub parents: Vec<(Kind, String)>,
}

/// Puts limits in force.
///
/// # Errors
/// The ledger could not say what was used before.
pub fn install(state: &State, changes: Vec<Change>) -> Result<(), PlaneError> {
    let now = Now::at(Instant::now(), wall_us());
    let mut fresh: Vec<_> =
        changes.iter().map(|change| change.subject.fresh(&change.rules, state.leases.as_ref())).collect();
    let learners = changes.iter().zip(&mut fresh).map(|(change, fresh)| Learner {
        subject: &change.subject,
        parents: &change.parents,
        fresh,
    });
    let mut learners: Vec<_> = learners.filter(|learner| !learner.fresh.is_empty()).collect();
    learn(state, &mut learners, now).map_err(|error| PlaneError(format!("what was used before: {error}")))?;
    for (change, fresh) in changes.into_iter().zip(fresh) {
        change.subject.set_rules(change.rules, fresh, now, state.leases.as_ref());
    }
    Ok(())
}

/// Adds or replaces subjects and takes others away.
///
/// # Errors
/// Names the subject and the limit at fault; nothing is changed then.
pub fn apply(state: &State, rows: Vec<SubjectRow>, removals: &[(Kind, String)]) -> Result<usize, PlaneError> {
    let mut checked = Vec::with_capacity(rows.len());
    for mut row in rows {
        let fail = |what: String| PlaneError(format!("{} {:?}: {what}", row.kind.name(), row.id));
        if row.kind == Kind::Key {
            return Err(fail("a key's limits stand in its own row".to_string()));
        }
        if row.kind == Kind::Global && !row.id.is_empty() {
            return Err(fail("the whole gateway has no id".to_string()));
        }
        let rules: Result<Vec<_>, String> =
            std::mem::take(&mut row.limits).into_iter().map(|rule| Rule::compile(rule).map(Arc::new)).collect();
        let rules = rules.map_err(fail)?;
        checked.push((row, rules));
    }
    let customers: Vec<_> = checked
        .iter()
        .filter(|(row, _)| row.kind == Kind::Customer)
        .map(|(row, _)| (DictKind::Customer, &*row.id))
        .collect();
    let numbers =
        state.ledger.intern_all(&customers).map_err(|error| PlaneError(format!("ledger dictionary: {error}")))?;
    for ((_, id), number) in customers.iter().zip(numbers) {
        state.subjects.cell(Kind::Customer, id).set_ledger_id(number);
    }
    let count = checked.len();
    let changes = checked
        .into_iter()
        .map(|(row, rules)| Change { subject: state.subjects.put(&row), rules, parents: row.parents })
        .collect();
    install(state, changes)?;
    for (kind, id) in removals {
        state.subjects.remove(*kind, id);
    }
    Ok(count)
}

#[derive(Serialize)]
struct Usage {
    #[serde(flatten)]
    rule: LimitRule,
    used: u64,
}

/// How the limits of subjects stand.
///
/// # Errors
/// The bytes are no list of kind and id.
pub fn usage(state: &State, subjects: &[u8]) -> Result<Vec<u8>, PlaneError> {
    let names: Vec<(Kind, String)> =
        rmp_serde::from_slice(subjects).map_err(|error| PlaneError(format!("subjects: {error}")))?;
    let now = Now::at(Instant::now(), wall_us());
    let of = |(kind, id): &(Kind, String)| -> Vec<Usage> {
        let usage = state.subjects.cell(*kind, id).usage(now);
        usage.into_iter().map(|(rule, used)| Usage { rule, used }).collect()
    };
    let all: Vec<Vec<Usage>> = names.iter().map(of).collect();
    rmp_serde::to_vec_named(&all).map_err(|error| PlaneError(error.to_string()))
}
