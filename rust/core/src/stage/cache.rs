//! The exact cache: off by default, per key, after the permission checks. A hit is answered here and costs nothing.
//!
//! The key is a hash over tenant, operation, model and the bytes of the body. Only `model` is left out of the bytes, since
//! an alias and its model are the same question; a streamed and a whole answer are cached apart.

use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use sha2::{Digest, Sha256};

use super::Flow;
use crate::body::Body;
use crate::endpoint::Operation;
use crate::error::Result;
use crate::exchange::{CacheUse, Exchange};

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if !exchange.snapshot.cache.enabled || !cacheable(exchange.endpoint.operation) || exchange.call.boundary.is_some() {
        return Ok(Flow::Next);
    }
    if refuses(&exchange.headers) {
        exchange.cache = CacheUse::Bypass;
        return Ok(Flow::Next);
    }
    let key = hash(exchange);
    let metrics = &exchange.shard.metrics;
    let Some(entry) = exchange.shard.shared.state.cache.get(&key) else {
        metrics.cache_misses.add(1);
        exchange.cache = CacheUse::Miss(key);
        return Ok(Flow::Next);
    };
    metrics.cache_hits.add(1);
    exchange.cache = CacheUse::Hit;
    let mut response = Response::new(Body::full(entry.body.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, entry.content_type.clone());
    headers.insert(AGE, HeaderValue::from(entry.stored.elapsed().as_secs()));
    Ok(Flow::Answer(response))
}

fn cacheable(operation: Operation) -> bool {
    use Operation as Op;
    matches!(
        operation,
        Op::Chat
            | Op::Completions
            | Op::Embeddings
            | Op::Fim
            | Op::Messages
            | Op::Moderations
            | Op::Rerank
            | Op::GenerateContent
            | Op::StreamGenerateContent
            | Op::EmbedContent
            | Op::BatchEmbedContents
            | Op::CohereChat
            | Op::CohereEmbed
    )
}

/// The caller asked for a fresh answer, or for his not to be kept.
fn refuses(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| matches!(directive.trim(), "no-cache" | "no-store"))
}

fn hash(exchange: &Exchange) -> [u8; 32] {
    let call = &exchange.call;
    let mut hasher = Sha256::new();
    let mut text = |part: &[u8]| {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    text(exchange.key.as_ref().map_or(b"".as_slice(), |key| key.id.as_bytes()));
    text(exchange.model().map_or(b"".as_slice(), |model| model.name.as_bytes()));
    text(&[exchange.endpoint.operation as u8, u8::from(call.stream)]);
    let (before, after) = match call.model_span {
        Some((start, end)) => (call.body.get(..start as usize), call.body.get(end as usize..)),
        None => (Some(&call.body[..]), None),
    };
    text(before.unwrap_or_default());
    text(after.unwrap_or_default());
    hasher.finalize().into()
}
