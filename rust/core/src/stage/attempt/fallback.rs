//! Another model in place of one that could not answer.

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::stage::{Flow, Stage};

/// Hands the request to the first fallback model that was not tried and that the key may use.
pub fn fall_back(exchange: &mut Exchange, error: Error) -> Result<Flow> {
    let next = exchange.model().and_then(|model| {
        let mut fallbacks = model.fallbacks.iter().filter(|index| !exchange.visited.contains(index));
        fallbacks.find_map(|index| {
            let fallback = exchange.snapshot.models.get(*index as usize)?;
            let allowed = exchange.key.as_ref().is_some_and(|key| key.may_use(&fallback.name));
            let mut deployments = fallback.deployments.iter().filter_map(|index| exchange.deployment(*index));
            let serves = deployments.any(|deployment| exchange.eligible(deployment));
            (allowed && serves).then(|| fallback.name.to_string())
        })
    });
    match next {
        Some(name) => {
            exchange.shard.metrics.fallbacks.add(1);
            exchange.call.model = name;
            Ok(Flow::Again(Stage::Authorize))
        }
        None => Err(error),
    }
}
