//! New counters learn from the ledger what was used before they were made, so that neither a restart nor a change of a
//! limit forgets what was spent.
//!
//! Sliding windows below an hour begin empty: what they would remember is gone by the time it matters.

use std::collections::HashMap;

use super::State;
use super::rules::{Metric, Now, WindowRow};
use super::scope::Aim;
use super::subject::Fresh;
use super::subjects::{Kind, Subject};
use crate::ledger::{DictKind, LedgerError, Past};

const DAY_US: i64 = 86_400_000_000;
const REMEMBERED_MS: u64 = 3_600_000;

/// Counters of one subject that are to learn.
pub struct Learner<'a> {
    pub subject: &'a Subject,
    pub parents: &'a [(Kind, String)],
    pub fresh: &'a mut [(usize, Fresh)],
}

/// What of a row is the subject's.
enum Match {
    All,
    /// A column of [`ids`] and the id in it.
    Is(usize, u32),
    Both([(usize, u32); 2]),
    /// Any of these ids in a column.
    In(usize, Vec<u32>),
}

/// From where a counter counts.
struct Need {
    learner: usize,
    fresh: usize,
    begins: i64,
    sliding: bool,
}

fn ids(past: &Past) -> [u32; 9] {
    let Past { key, org, team, user, project, customer, tags, model, deployment, .. } = *past;
    [key, org, team, user, project, customer, tags, model, deployment]
}

/// Fills counters with what the ledger knows.
///
/// # Errors
/// Of the ledger's database.
pub fn learn(state: &State, learners: &mut [Learner<'_>], now: Now) -> Result<(), LedgerError> {
    let (mut by_id, mut others) = (HashMap::<(usize, u32), Vec<usize>>::new(), Vec::new());
    let mut needs = Vec::new();
    for (index, learner) in learners.iter_mut().enumerate() {
        let mut wanted = Vec::new();
        for (at, (_, fresh)) in learner.fresh.iter_mut().enumerate() {
            let sliding = match &fresh.rule().row.window {
                Some(WindowRow::Sliding { length_ms }) if *length_ms < REMEMBERED_MS => continue,
                window => matches!(window, Some(WindowRow::Sliding { .. })),
            };
            if let Some(begins) = fresh.begins(now) {
                wanted.push(Need { learner: index, fresh: at, begins, sliding });
            }
        }
        if wanted.is_empty() {
            continue;
        }
        let Some(rows) = match_of(state, learner.subject, learner.parents) else { continue };
        let numbers = needs.len()..needs.len() + wanted.len();
        needs.extend(wanted);
        match rows {
            Match::Is(column, id) => by_id.entry((column, id)).or_default().extend(numbers),
            other => others.push((other, numbers)),
        }
    }
    if needs.is_empty() {
        return Ok(());
    }
    let whole = |need: &Need| need.begins.rem_euclid(DAY_US) == 0;
    let exact = needs.iter().filter(|need| need.sliding || !whole(need)).map(|need| need.begins).min();
    let since = needs.iter().filter(|need| !need.sliding).map(|need| need.begins).min().unwrap_or(i64::MAX / 2);
    let places = places(state, learners);
    let kept = state.ledger.oldest_us()?.unwrap_or(i64::MIN);
    state.ledger.past(since, exact, &mut |past| {
        let ids = ids(past);
        let mut give = |number: usize| {
            if let Some(need) = needs.get(number) {
                seed(state, learners, need, (past, &places, kept), now);
            }
        };
        for (column, id) in ids.iter().enumerate() {
            by_id.get(&(column, *id)).into_iter().flatten().copied().for_each(&mut give);
        }
        for (rows, numbers) in &others {
            let is = |(column, id): &(usize, u32)| ids.get(*column) == Some(id);
            let mine = match rows {
                Match::All => true,
                Match::Is(column, id) => is(&(*column, *id)),
                Match::Both(pairs) => pairs.iter().all(is),
                Match::In(column, any) => ids.get(*column).is_some_and(|id| any.contains(id)),
            };
            if mine {
                numbers.clone().for_each(&mut give);
            }
        }
    })
}

/// Providers by the number of their deployments, if any counter is about some of them alone.
fn places(state: &State, learners: &[Learner<'_>]) -> HashMap<u32, String> {
    let about = |(_, fresh): &(usize, Fresh)| fresh.rule().row.providers.is_some();
    if !learners.iter().any(|learner| learner.fresh.iter().any(about)) {
        return HashMap::new();
    }
    let number = |id: &str| state.ledger.lookup(DictKind::Deployment, id);
    state.deployments().iter().filter_map(|one| Some((number(&one.id)?, one.provider.clone()))).collect()
}

fn seed(
    state: &State,
    learners: &mut [Learner<'_>],
    need: &Need,
    (past, places, kept): (&Past, &HashMap<u32, String>, i64),
    now: Now,
) {
    let Need { begins, sliding, .. } = *need;
    // The day in which a period began is counted attempt by attempt, those after it by their sums.
    // Where those attempts are not kept any more it counts whole: rather too much than too little.
    let first_whole = if begins < kept {
        begins - begins.rem_euclid(DAY_US)
    } else {
        begins.saturating_add((DAY_US - begins.rem_euclid(DAY_US)) % DAY_US)
    };
    let counts = match past.day {
        true => !sliding && past.at_us >= first_whole,
        false => past.at_us >= begins && (sliding || past.at_us < first_whole),
    };
    let Some((_, fresh)) = learners.get_mut(need.learner).and_then(|learner| learner.fresh.get_mut(need.fresh)) else {
        return;
    };
    if !counts {
        return;
    }
    let model = state.ledger.text(past.model);
    let provider = places.get(&past.deployment).map_or("", String::as_str);
    // The ledger does not say by which endpoint: such counters begin empty.
    let aim = Aim { model: model.as_deref().unwrap_or(""), endpoint: "", provider };
    if !fresh.rule().concerns(&aim) {
        return;
    }
    let n = match fresh.rule().row.metric {
        Metric::Requests => past.attempts,
        Metric::Parallel => return,
        Metric::InputTokens => past.input,
        Metric::OutputTokens => past.output,
        Metric::Tokens => past.input.saturating_add(past.output),
        Metric::Spend => u64::try_from(past.cost.max(0)).unwrap_or(u64::MAX),
    };
    fresh.seed(now, past.at_us, n);
}

/// Which rows are a subject's; `None`: none, or the ledger does not know it.
fn match_of(state: &State, subject: &Subject, parents: &[(Kind, String)]) -> Option<Match> {
    let column = |kind: Kind| {
        Some(match kind {
            Kind::Key => (0, DictKind::Key),
            Kind::Organization => (1, DictKind::Org),
            Kind::Team => (2, DictKind::Team),
            Kind::User => (3, DictKind::User),
            Kind::Project => (4, DictKind::Project),
            Kind::Customer => (5, DictKind::Customer),
            Kind::Model => (7, DictKind::Model),
            Kind::Deployment => (8, DictKind::Deployment),
            Kind::Global | Kind::Member | Kind::Tag | Kind::Provider | Kind::Endpoint | Kind::Session | Kind::Part => {
                return None;
            }
        })
    };
    let known = |kind: Kind, id: &str| {
        let (column, dict) = column(kind)?;
        Some((column, state.ledger.lookup(dict, id)?))
    };
    match subject.kind {
        Kind::Global => Some(Match::All),
        Kind::Member => {
            let [(first, one), (second, other)] = parents else { return None };
            Some(Match::Both([known(*first, one)?, known(*second, other)?]))
        }
        Kind::Provider => {
            let deployments = state.deployments();
            let ours = deployments.iter().filter(|deployment| *deployment.provider == *subject.id);
            Some(Match::In(8, ours.filter_map(|one| state.ledger.lookup(DictKind::Deployment, &one.id)).collect()))
        }
        Kind::Tag => {
            let holds = |text: &str| {
                serde_json::from_str::<Vec<String>>(text).is_ok_and(|tags| tags.iter().any(|tag| **tag == *subject.id))
            };
            let sets = state.ledger.names(DictKind::Tags);
            Some(Match::In(6, sets.into_iter().filter(|(_, text)| holds(text)).map(|(id, _)| id).collect()))
        }
        Kind::Endpoint | Kind::Session => None,
        kind => known(kind, &subject.id).map(|(column, id)| Match::Is(column, id)),
    }
}
