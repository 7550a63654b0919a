//! Fetches a fresh answer behind a caller who was given a stale one.

use crate::account::Admission;
use crate::cache::flight::Part;
use crate::cache::key::CacheKey;
use crate::cache::{Entry, Fill};
use crate::exchange::{CacheUse, Exchange};
use crate::pipeline;

/// Begins it unless it is under way; false when this request cannot be asked again, so that it must be asked now.
pub fn begin(exchange: &Exchange, key: &CacheKey, entry: &Entry) -> bool {
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
        about: entry.about.clone(),
        keep: true,
        lead: Some(lead),
        lease: None,
        items: None,
        asked_us: exchange.wall_us,
    }));
    again.cache = CacheUse::Refresh;
    again.admission = Some(Admission::new(exchange.shard.clone()));
    tokio::spawn(pipeline::refresh(Box::new(again)));
    true
}

impl Exchange {
    /// The same request once more, without its caller. `None` for one that a config object has rewritten.
    fn again(&self) -> Option<Exchange> {
        if self.plan.is_some() {
            return None;
        }
        Some(Exchange {
            started: std::time::Instant::now(),
            wall_us: self.wall_us,
            request_id: crate::exchange::RequestId::new(self.wall_us),
            shard: self.shard.clone(),
            snapshot: self.snapshot.clone(),
            endpoint: self.endpoint,
            headers: self.headers.clone(),
            query: self.query.clone(),
            path_model: self.path_model.clone(),
            client: self.client,
            inbound: None,
            upgrade: None,
            connection: self.connection.clone(),
            uri: None,
            signed: None,
            key: self.key.clone(),
            call: self.call.clone(),
            model: self.model,
            admission: None,
            admitted: true,
            extra: self.extra.clone(),
            share_until: None,
            customer: self.customer,
            tags: self.tags.clone(),
            quotas: self.quotas,
            guards: smallvec::SmallVec::new(),
            policed: None,
            policies_told: Vec::new(),
            guarded: Vec::new(),
            cache: CacheUse::Off,
            fill: None,
            follow: None,
            hit: None,
            plan: None,
            provider: self.provider.clone(),
            candidates: smallvec::SmallVec::new(),
            unavailable: None,
            forced: false,
            decision: None,
            visited: smallvec::SmallVec::new(),
            reservation: None,
            attempts: 0,
            waited: std::time::Duration::ZERO,
            dropped: smallvec::SmallVec::new(),
            answer: None,
            translation: None,
            converted: None,
            kept: None,
            object: None,
            served: None,
            cost_pico: None,
        })
    }
}
