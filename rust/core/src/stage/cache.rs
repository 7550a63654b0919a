//! The cache: off by default, behind the permission checks. A hit is answered here and costs nothing.
//!
//! What memory has is answered at once. A request that would have to wait (for an equal one that is being answered) parks,
//! and goes on in [`wait`]; nothing has been reserved for it yet.

pub mod asked;
mod fill;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AGE, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::Flow;
use super::parse::understand;
use crate::body::Body;
use crate::cache::control::wish;
use crate::cache::count::What;
use crate::cache::entry::{Entry, Worth};
use crate::cache::flight::{self, Joined};
use crate::cache::items::{Items, Wanted};
use crate::cache::key::CacheKey;
use crate::cache::semantic::Question;
use crate::cache::semantic::question::Within;
use crate::cache::terms::Own;
use crate::cache::{Fill, key, replay};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::{CacheUse, Exchange};
use crate::stage::{beneath, refresh, similar};
use asked::{Asked, Part};
use fill::fill;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if let Some(earlier) = exchange.fill.take() {
        // The model before this one had no answer.
        earlier.failed();
    }
    let (enabled, measure) = (exchange.snapshot.cache.enabled, exchange.snapshot.cache.measure);
    if !enabled && !measure || !cacheable(exchange.endpoint.operation) {
        return Ok(Flow::Next);
    }
    exchange.question = 0;
    if exchange.kept.as_ref().is_some_and(|kept| kept.goes_on()) {
        // What is said now becomes part of what was said before.
        return Ok(Flow::Next);
    }
    if measure {
        exchange.question = question(exchange);
    }
    if !enabled {
        return Ok(Flow::Next);
    }
    let timed = timed(exchange).then(Instant::now);
    let asked = match Asked::of(exchange)? {
        Part::None => return Ok(Flow::Next),
        Part::Bypass { only } => return bypass(exchange, only),
        Part::Full(asked) => asked,
    };
    exchange.hit = Some(asked.key);
    if !asked.refresh {
        let response = hit(exchange, &asked);
        if let Some(began) = timed {
            // Up to the next microsecond: what took 1.2 is not one of those that took 1.
            let micros = began.elapsed().as_nanos().div_ceil(1000);
            exchange.shard.metrics.cache_lookup.record(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        }
        if let Some(response) = response {
            return Ok(Flow::Answer(response));
        }
    }
    if asked.errors_us > 0 && !asked.refresh {
        refused(exchange, &asked.key, asked.max_age_us)?;
    }
    if asked.only {
        return Err(not_cached());
    }
    missing(exchange, asked)
}

/// Fails as the provider did when it was asked the same before, where that is remembered.
fn refused(exchange: &mut Exchange, key: &CacheKey, max_age_us: Option<i64>) -> Result<()> {
    let known = &exchange.shard.shared.state.cache.refusals;
    let Some(error) = known.get(key, exchange.wall_us, max_age_us) else { return Ok(()) };
    exchange.cache = CacheUse::Hit;
    exchange.fill = None;
    told(exchange, What::Hit, &Worth::default());
    Err(error)
}

/// One request of 64, so that nobody else reads the clock twice for it.
fn timed(exchange: &Exchange) -> bool {
    exchange.wall_us & 63 == 0
}

/// What memory does not have: joins those who are at it, waits for the tiers beneath, or asks.
fn missing(exchange: &mut Exchange, asked: Asked) -> Result<Flow> {
    let refresh = asked.refresh;
    let semantic = asked.semantic;
    let within = Within { max_age_us: asked.max_age_us, threshold: asked.threshold };
    let wanted = Wanted { fresh: refresh, max_age_us: asked.max_age_us };
    let mut fill = fill(exchange, asked);
    if exchange.endpoint.operation == Operation::Embeddings
        && let Some(response) = by_item(exchange, &mut fill, wanted)?
    {
        return Ok(Flow::Answer(response));
    }
    exchange.cache = if refresh { CacheUse::Refresh } else { CacheUse::Miss };
    if similar::wanted(exchange, semantic) {
        fill.question = Question::of(exchange, &fill.about.tenant, &fill.about.namespace, within).map(Arc::new);
    }
    // A purge between the look and here would have to be waited for by nobody.
    let flights = &exchange.shard.shared.state.cache.flights;
    let joined = if exchange.snapshot.cache.single_flight && !refresh { flights.join(&fill.key) } else { None };
    match joined {
        Some(flight::Part::Follow(follow)) => {
            exchange.fill = Some(fill);
            exchange.follow = Some(Box::new(follow));
            return Ok(Flow::Park);
        }
        Some(flight::Part::Lead(lead)) => fill.lead = Some(lead),
        None => {}
    }
    let asks = fill.question.is_some() || !refresh && exchange.shard.shared.state.cache.is_tiered();
    exchange.fill = Some(fill);
    if asks {
        return Ok(Flow::Park);
    }
    missed(exchange);
    Ok(Flow::Next)
}

/// What a parked request waits for. `None`: it asks for itself.
///
/// # Errors
/// The one waited for was refused, and that is remembered.
pub async fn wait(exchange: &mut Exchange) -> Result<Option<Response<Body>>> {
    let Some(follow) = exchange.follow.take() else { return Ok(elsewhere(exchange).await) };
    // OpenAI's chat alone lets the caller choose whether a stream tells its usage.
    let streamed = exchange.call.stream.then_some(exchange.call.include_usage == Some(true));
    let began = std::time::Instant::now();
    let joined = follow.wait(streamed).await;
    exchange.waited += began.elapsed();
    let mut how = CacheUse::Hit;
    let response = match joined {
        Joined::Lead(lead) => {
            if let Some(fill) = &mut exchange.fill {
                fill.lead = Some(lead);
            }
            return Ok(elsewhere(exchange).await);
        }
        Joined::Entry(entry, similarity) => {
            let pace = replay::pace(exchange);
            let response = replay::response(exchange, &entry, pace);
            if response.is_some() {
                told(exchange, What::Joined, &entry.worth);
                how = similarity.map_or(CacheUse::Hit, CacheUse::Semantic);
            }
            response
        }
        Joined::Stream(reader) => {
            let admission = exchange.admission.take();
            let mut response = Response::new(Body::stream(reader.with(admission)));
            let format = replay::format(exchange.endpoint.operation);
            let kind = format.map_or("text/event-stream", crate::dialect::Format::stream_type);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            replay::as_stream(response.headers_mut());
            response.headers_mut().insert(AGE, HeaderValue::from(0));
            told(exchange, What::Joined, &Worth::default());
            Some(response)
        }
        Joined::Alone => {
            if let Some((key, age)) = exchange.fill.as_ref().map(|fill| (fill.key, fill.max_age_us)) {
                refused(exchange, &key, age)?;
            }
            None
        }
    };
    if response.is_some() {
        exchange.fill = None;
        exchange.cache = how;
    } else {
        missed(exchange);
    }
    Ok(response)
}

/// The answer from the tiers beneath memory, or that to a similar question.
async fn elsewhere(exchange: &mut Exchange) -> Option<Response<Body>> {
    if let Some(response) = beneath::look(exchange).await {
        return Some(response);
    }
    let response = Box::pin(similar::look(exchange)).await;
    if response.is_none() {
        missed(exchange);
    }
    response
}

/// What is asked, whoever asks: what a cache would go by.
fn question(exchange: &Exchange) -> u64 {
    let wish = wish(exchange).unwrap_or_default();
    if wish.no_store || exchange.model().is_none() {
        return 0;
    }
    let own = exchange.key.as_ref().and_then(|key| key.cache.as_deref());
    let namespace = wish.namespace.as_deref().or(own.and_then(Own::namespace)).unwrap_or_default();
    let key = key::of(exchange, b"", namespace);
    let hash = key.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
    // Positive in the ledger's numbers, and never 0.
    (hash >> 1 & !1).max(2) | u64::from(wish.refresh)
}

/// Operations whose answers follow from their requests.
fn cacheable(operation: Operation) -> bool {
    use Operation as Op;
    matches!(
        operation,
        Op::Chat
            | Op::Completions
            | Op::Fim
            | Op::Messages
            | Op::Responses
            | Op::GenerateContent
            | Op::StreamGenerateContent
            | Op::CohereChat
            | Op::Converse
            | Op::ConverseStream
            | Op::Embeddings
            | Op::EmbedContent
            | Op::BatchEmbedContents
            | Op::CohereEmbed
            | Op::Moderations
            | Op::Rerank
            | Op::ImagesGenerations
            | Op::ImagesEdits
            | Op::ImagesVariations
            | Op::AudioTranscriptions
            | Op::AudioTranslations
    )
}

fn bypass(exchange: &mut Exchange, only: bool) -> Result<Flow> {
    if only {
        return Err(not_cached());
    }
    exchange.cache = CacheUse::Bypass;
    told(exchange, What::Bypass, &Worth::default());
    Ok(Flow::Next)
}

fn not_cached() -> Error {
    let text = "There is no cached answer to this request, and it asked for nothing else (only-if-cached).";
    // RFC 9111, section 5.2.1.7.
    Error::new(Code::InvalidRequest, text).status(504)
}

/// The answer from memory, if it is there and young enough.
fn hit(exchange: &mut Exchange, asked: &Asked) -> Option<Response<Body>> {
    let now_us = exchange.wall_us;
    let entry: Arc<Entry> = exchange.shard.shared.state.cache.get(&asked.key, now_us)?;
    let age_us = now_us - entry.stored_us;
    if asked.max_age_us.is_some_and(|age| age_us > age) {
        return None;
    }
    let stale = entry.expires_us <= now_us;
    if stale && !refresh::begin(exchange, &asked.key, &entry) {
        return None;
    }
    let response = replay::response(exchange, &entry, asked.pace)?;
    exchange.cache = CacheUse::Hit;
    told(exchange, if stale { What::Stale } else { What::Hit }, &entry.worth);
    Some(response)
}

/// Looks the inputs of a list up one by one; asks only for those that are not known.
fn by_item(exchange: &mut Exchange, fill: &mut Fill, wanted: Wanted) -> Result<Option<Response<Body>>> {
    let about = &fill.about;
    let Some(items) = Items::look_up(exchange, &about.tenant, &about.namespace, wanted) else { return Ok(None) };
    if let Some(body) = items.answer() {
        exchange.cache = CacheUse::Hit;
        told(exchange, What::Hit, &items.worth());
        let mut response = Response::new(Body::full(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let age = (exchange.wall_us - items.oldest_us()).max(0) / 1_000_000;
        response.headers_mut().insert(AGE, HeaderValue::from(age));
        return Ok(Some(response));
    }
    if items.known() > 0
        && let Some(rest) = items.rest(exchange)
    {
        told(exchange, What::Hit, &items.worth());
        understand(exchange, rest)?;
    }
    fill.items = Some(Box::new(items));
    Ok(None)
}

fn missed(exchange: &Exchange) {
    exchange.shard.metrics.cache_misses.add(1);
    told(exchange, What::Miss, &Worth::default());
}

/// Counts what was done, and what it saved.
pub fn told(exchange: &Exchange, what: What, worth: &Worth) {
    if !matches!(what, What::Miss | What::Bypass) {
        exchange.shard.metrics.cache_hits.add(1);
    }
    if let (Some(model), Some(key)) = (exchange.model(), &exchange.key) {
        exchange.shard.cache.note(&model.name, &key.id, exchange.endpoint.operation, what, worth);
    }
}

/// Keeps a whole answer, and gives it to those who wait for it. Returns what the caller gets.
pub fn keep(exchange: &mut Exchange, content_type: HeaderValue, body: Bytes, worth: Worth) -> Bytes {
    let Some(fill) = exchange.fill.take() else { return body };
    exchange.shard.shared.state.cache.keep_whole(fill, content_type, body, worth)
}
