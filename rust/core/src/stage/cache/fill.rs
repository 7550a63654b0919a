//! The entry that comes of an answer that is not there yet.

use std::sync::Arc;

use super::asked::Asked;
use crate::cache::Fill;
use crate::cache::entry::About;
use crate::exchange::Exchange;

pub fn fill(exchange: &Exchange, asked: Asked) -> Box<Fill> {
    Box::new(Fill {
        key: asked.key,
        epoch: exchange.shard.shared.state.cache.epoch(),
        ttl_us: asked.ttl_us,
        stale_us: asked.stale_us,
        errors_us: asked.errors_us,
        about: about(exchange, asked.tenant.into(), asked.namespace),
        keep: asked.store,
        lead: None,
        lease: None,
        question: None,
        meaning: None,
        items: None,
        max_age_us: asked.max_age_us,
        asked_us: exchange.wall_us,
    })
}

fn about(exchange: &Exchange, tenant: Arc<[u8]>, namespace: Box<str>) -> About {
    About {
        tenant,
        key_id: exchange.key.as_ref().map_or_else(|| Arc::from(""), |key| key.id.clone()),
        model: exchange.model().map_or_else(|| Arc::from(""), |model| model.name.clone()),
        namespace,
        tags: exchange.key.iter().flat_map(|key| key.tags.iter()).chain(&exchange.tags).cloned().collect(),
    }
}
