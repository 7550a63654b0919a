//! Who asks: the caller of a request, or whom a trial names.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::exchange::Exchange;
use crate::kernel::condition::{Fact, Field, Holder, Metric};
use crate::kernel::cost::{Usage, cost};
use crate::snapshot::Deployment;
use crate::state::keys::{Key, Role};
use crate::state::scope::Aim;
use crate::state::subject::Subject;
use crate::state::subjects::Kind;
use crate::tags;

/// US dollars in a pico-dollar.
pub const PICO: f64 = 1e-12;

/// Identity by name, as trials and recorded requests have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Told {
    pub key_id: Option<String>,
    pub key_alias: Option<String>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub project: Option<String>,
    pub organization: Option<String>,
    pub tags: Vec<String>,
    pub estimated_cost: Option<f64>,
    pub budget_left: Option<f64>,
    pub budget_left_percent: Option<f64>,
}

/// Where identity comes from.
pub enum Who<'w> {
    Caller(&'w Exchange),
    Told(&'w Told),
}

impl Holder {
    pub fn kind(self) -> Kind {
        match self {
            Holder::Key => Kind::Key,
            Holder::User => Kind::User,
            Holder::Team => Kind::Team,
            Holder::Project => Kind::Project,
            Holder::Organization => Kind::Organization,
            Holder::Session => Kind::Session,
        }
    }

    /// The subject of a key that is its holder of this kind.
    pub fn of(self, key: &Key) -> Option<&Subject> {
        key.subjects.iter().find(|subject| subject.kind == self.kind()).map(|subject| &**subject)
    }

    /// The holder of this kind behind a request.
    pub fn behind(self, exchange: &Exchange) -> Option<&Subject> {
        match self {
            Holder::Session => exchange.extra.iter().find(|subject| subject.kind == Kind::Session).map(|one| &**one),
            holder => holder.of(exchange.key.as_deref()?),
        }
    }
}

impl Who<'_> {
    pub fn fact(&self, field: &Field, wall_us: i64) -> Fact<'_> {
        match self {
            Who::Caller(exchange) => caller(exchange, field, wall_us),
            Who::Told(told) => of_told(told, field),
        }
    }
}

fn some(value: Option<&str>) -> Fact<'_> {
    value.map_or(Fact::Missing, |value| Fact::Text(Cow::Borrowed(value)))
}

fn many(tags: Vec<String>) -> Fact<'static> {
    let facts: Vec<_> = tags.into_iter().map(|tag| Fact::Text(Cow::Owned(tag))).collect();
    if facts.is_empty() { Fact::Missing } else { Fact::Many(facts) }
}

/// Whether the key alone tells it.
pub fn is_of_key(field: &Field) -> bool {
    match field {
        Field::KeyId | Field::KeyAlias | Field::KeyRole => true,
        Field::Owner(holder) | Field::OwnerAlias(holder) => *holder != Holder::Session,
        _ => false,
    }
}

/// What the key alone tells; None: it takes more.
pub fn of_key<'k>(key: &'k Key, field: &Field) -> Option<Fact<'k>> {
    Some(match field {
        _ if !is_of_key(field) => return None,
        Field::KeyId => some(Some(&key.id)),
        Field::KeyAlias => some(key.alias.as_deref()),
        Field::KeyRole => some(Some(if key.role == Role::Admin { "admin" } else { "key" })),
        Field::Owner(holder) => some(holder.of(key).map(|subject| &*subject.id)),
        Field::OwnerAlias(holder) => {
            let alias = holder.of(key).and_then(Subject::alias);
            alias.map_or(Fact::Missing, |alias| Fact::Text(Cow::Owned(alias.to_string())))
        }
        _ => return None,
    })
}

fn caller<'e>(exchange: &'e Exchange, field: &Field, wall_us: i64) -> Fact<'e> {
    let Some(key) = exchange.key.as_deref() else { return Fact::Missing };
    if let Some(fact) = of_key(key, field) {
        return fact;
    }
    match field {
        Field::Tags => {
            let mut tags = tags::of(exchange);
            tags.extend(exchange.tags.iter().cloned());
            many(tags)
        }
        Field::EstimatedCost => estimate(exchange).map_or(Fact::Missing, Fact::Number),
        Field::BudgetLeft => budget(exchange).map_or(Fact::Missing, |(left, _)| Fact::Number(left)),
        Field::BudgetLeftPercent => budget(exchange).map_or(Fact::Missing, |(_, percent)| Fact::Number(percent)),
        Field::History(holder, metric, window_ms) => {
            let Some(subject) = holder.behind(exchange) else { return Fact::Missing };
            Fact::Number(history(subject, *metric, *window_ms, wall_us))
        }
        _ => Fact::Missing,
    }
}

/// What a subject did within a window, as far as it was counted: since the first question about it.
pub fn history(subject: &Subject, metric: Metric, window_ms: u64, _wall_us: i64) -> f64 {
    let used = subject.tally(metric, window_ms, crate::clock::monotonic_ns());
    if metric == Metric::Spend { used as f64 * PICO } else { used as f64 }
}

/// What is left of the budget of whose the request is that has least left: US dollars, and in a hundred parts of it. Budgets
/// for some providers alone are asked when one is chosen.
fn budget(exchange: &Exchange) -> Option<(f64, f64)> {
    let aim = Aim {
        model: exchange.model().map_or("", |model| &model.name),
        endpoint: exchange.endpoint.operation.name(),
        provider: "",
    };
    let now = exchange.now();
    let own = exchange.key.iter().flat_map(|key| key.subjects.iter());
    let budgets = own.chain(exchange.extra.iter()).filter_map(|subject| subject.budget(&aim, now));
    let (left, limit) = budgets.min_by_key(|(left, _)| *left)?;
    let percent = if limit == 0 { 0.0 } else { left as f64 / limit as f64 * 100.0 };
    Some((left as f64 * PICO, percent))
}

/// What the request may come to at the model's first deployment with a price, US dollars.
pub fn estimate(exchange: &Exchange) -> Option<f64> {
    let model = exchange.model()?;
    let mut places = model.deployments.iter().filter_map(|index| exchange.deployment(*index));
    places.find_map(|place| estimate_at(exchange, place)).map(|pico| pico as f64 * PICO)
}

/// What the request may come to at a deployment, pico-USD; None without a price.
pub fn estimate_at(exchange: &Exchange, deployment: &Deployment) -> Option<i64> {
    let price = deployment.price.as_deref()?;
    let call = &exchange.call;
    let output = if exchange.endpoint.operation.generates() {
        let known = Some(u64::from(deployment.max_output)).filter(|most| *most > 0).unwrap_or(u64::MAX);
        let assumed = u64::from(exchange.snapshot.settings.assumed_output);
        call.max_output.unwrap_or(assumed).min(known).saturating_mul(call.choices)
    } else {
        0
    };
    let usage = Usage { input: u64::from(call.est_input), output, ..Usage::default() };
    cost(price, &usage)
}

fn of_told<'t>(told: &'t Told, field: &Field) -> Fact<'t> {
    match field {
        Field::KeyId => some(told.key_id.as_deref()),
        Field::KeyAlias => some(told.key_alias.as_deref()),
        Field::KeyRole => some(Some("key")),
        Field::Owner(holder) => some(match holder {
            Holder::Key => told.key_id.as_deref(),
            Holder::User => told.user.as_deref(),
            Holder::Team => told.team.as_deref(),
            Holder::Project => told.project.as_deref(),
            Holder::Organization => told.organization.as_deref(),
            // Read off the headers.
            Holder::Session => None,
        }),
        Field::Tags => many(told.tags.clone()),
        Field::EstimatedCost => told.estimated_cost.map_or(Fact::Missing, Fact::Number),
        Field::BudgetLeft => told.budget_left.map_or(Fact::Missing, Fact::Number),
        Field::BudgetLeftPercent => told.budget_left_percent.map_or(Fact::Missing, Fact::Number),
        // Nothing is counted in a trial.
        Field::History(..) => Fact::Number(0.0),
        _ => Fact::Missing,
    }
}

/// The caller of a request by name.
pub fn identity_of(exchange: &Exchange) -> Told {
    let Some(key) = exchange.key.as_deref() else { return Told::default() };
    let id = |holder: Holder| holder.of(key).map(|subject| subject.id.to_string());
    let mut tags = tags::of(exchange);
    tags.extend(exchange.tags.iter().cloned());
    tags.sort_unstable();
    tags.dedup();
    let (budget_left, budget_left_percent) = budget(exchange).unzip();
    Told {
        key_id: Some(key.id.to_string()),
        key_alias: key.alias.as_deref().map(str::to_string),
        user: id(Holder::User),
        team: id(Holder::Team),
        project: id(Holder::Project),
        organization: id(Holder::Organization),
        tags,
        estimated_cost: estimate(exchange),
        budget_left,
        budget_left_percent,
    }
}
