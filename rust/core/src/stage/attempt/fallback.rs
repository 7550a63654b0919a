//! Another model in place of one that could not answer.

use super::retry::statuses;
use crate::error::{Error, Result};
use crate::exchange::{Exchange, marks};
use crate::kernel::failure::Class;
use crate::snapshot::Model;
use crate::stage::{Flow, Stage};

/// Most models tried in place of the first (LiteLLM's `max_fallbacks`).
const MOST: usize = 5;

/// Why another model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No attempt could be made.
    Nobody,
    /// What the last attempt died of.
    Failure(Class),
    /// The request may cost more than it is allowed to, or than is left.
    Cost,
}

impl From<Option<Class>> for Why {
    fn from(class: Option<Class>) -> Why {
        class.map_or(Why::Nobody, Why::Failure)
    }
}

/// Hands the request to the first fallback model that was not tried and that the key may use.
pub fn fall_back(exchange: &mut Exchange, why: Why, error: Error) -> Result<Flow> {
    if let Some(plan) = &mut exchange.plan {
        // The config says what stands in; the models it names may come again with other providers.
        if !plan.advance(&statuses(&error)) {
            return Err(error);
        }
        exchange.visited.clear();
        exchange.shard.metrics.fallbacks.add(1);
        return Ok(Flow::Again(Stage::Authorize));
    }
    let snapshot = exchange.snapshot.clone();
    if let Some(model) = exchange.model.and_then(|index| snapshot.models.get(index as usize)) {
        // What it names for itself goes before what is left of those that it stood in for.
        exchange.standins.insert_many(0, list(model, why).iter().copied());
    }
    // A mirror is to show how its model does.
    let may = exchange.visited.len() <= MOST && exchange.marks & marks::MIRROR == 0;
    while may && !exchange.standins.is_empty() {
        let index = exchange.standins.remove(0);
        let Some(fallback) = snapshot.models.get(index as usize) else { continue };
        let allowed = exchange.key.as_ref().is_some_and(|key| key.may_use(&fallback.name));
        let mut deployments = fallback.deployments.iter().filter_map(|index| exchange.deployment(*index));
        let serves = deployments.any(|deployment| exchange.eligible(deployment, fallback.routing.translation));
        if allowed && serves && exchange.within(fallback) && !exchange.visited.contains(&index) {
            exchange.shard.metrics.fallbacks.add(1);
            exchange.call.model = fallback.name.to_string();
            return Ok(Flow::Again(Stage::Authorize));
        }
    }
    Err(error)
}

/// The fallbacks for a failure of this class: those of its own kind, or else the general ones.
fn list(model: &Model, why: Why) -> &[u32] {
    let fallbacks = &model.routing.fallbacks;
    let own = match why {
        Why::Failure(Class::ContextWindow) => &fallbacks.context_window,
        Why::Failure(Class::ContentPolicy) => &fallbacks.content_policy,
        Why::Failure(Class::RateLimit) => &fallbacks.rate_limit,
        Why::Failure(class) if !class.falls_back() => return &[],
        Why::Cost => &fallbacks.cost,
        Why::Failure(_) | Why::Nobody => &fallbacks.general,
    };
    if own.is_empty() { &fallbacks.general } else { own }
}
