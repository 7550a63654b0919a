//! Fetches a fresh answer behind a caller who was given a stale one.

use crate::account::Admission;
use crate::cache::flight::Part;
use crate::cache::key::CacheKey;
use crate::cache::terms::Terms;
use crate::cache::{Entry, Fill};
use crate::exchange::{CacheUse, Exchange};
use crate::pipeline;

/// Begins it unless it is under way; false when this request cannot be asked again, so that it must be asked now.
pub fn begin(exchange: &Exchange, key: &CacheKey, entry: &Entry) -> bool {
    let operation = exchange.endpoint.operation;
    let Some(mut again) = exchange.again() else { return false };
    let cache = &exchange.shard.shared.state.cache;
    let lead = match cache.flights.join(key) {
        Some(Part::Lead(lead)) => lead,
        // Somebody is at it.
        Some(Part::Follow(_)) => return true,
        None => return false,
    };
    again.fill = Some(Box::new(Fill {
        key: *key,
        epoch: cache.epoch(),
        ttl_us: entry.expires_us - entry.stored_us,
        stale_us: entry.stale_us - entry.expires_us,
        errors_us: 0,
        about: entry.about.clone(),
        keep: exchange.model().is_none_or(|model| {
            Terms::new(model.cache.of(operation), exchange.key.as_ref().and_then(|key| key.cache.as_deref())).store
        }),
        lead: Some(lead),
        lease: None,
        question: None,
        meaning: None,
        items: None,
        max_age_us: None,
        asked_us: exchange.wall_us,
    }));
    again.cache = CacheUse::Refresh;
    again.admission = Some(Admission::new(exchange.shard.clone()));
    tokio::spawn(pipeline::refresh(Box::new(again)));
    true
}
