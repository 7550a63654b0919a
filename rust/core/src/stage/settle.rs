//! The end of every request: errors take the caller's shape, headers tell what was done, counters count.
//!
//! Money is settled by the guards in `account`: for whole answers before this stage, for streams when their last byte has
//! left or their client has gone.

use std::time::Instant;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Response};

use crate::arrival::Arrival;
use crate::body::Body;
use crate::dialect;
use crate::endpoint::{Dialect, Endpoint};
use crate::error::{Code, Error, Result};
use crate::exchange::{CacheUse, Exchange, RequestId};
use crate::number;
use crate::portkey;
use crate::refusal;
use crate::state::draw::Quotas;

/// Room for the headers of an error, so that the map never grows.
const ERROR_HEADERS: usize = 12;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const AMAZON_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AILINK_REQUEST_ID: HeaderName = HeaderName::from_static("x-ailink-request-id");
const MODEL: HeaderName = HeaderName::from_static("x-ailink-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-ailink-provider");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-ailink-deployment");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-ailink-attempts");
const CACHE: HeaderName = HeaderName::from_static("x-ailink-cache");
const SEMANTIC: HeaderName = HeaderName::from_static("x-ailink-cache-semantic");
const SIMILARITY: HeaderName = HeaderName::from_static("x-ailink-cache-similarity");
const CACHE_KEY: HeaderName = HeaderName::from_static("x-ailink-cache-key");
const GUARDRAILS: HeaderName = HeaderName::from_static("x-ailink-guardrails");
const POLICIES: HeaderName = HeaderName::from_static("x-ailink-policies");
const COST: HeaderName = HeaderName::from_static("x-ailink-cost");
const DROPPED: HeaderName = HeaderName::from_static("x-ailink-dropped");
const DECISION: HeaderName = HeaderName::from_static("x-ailink-decision");
const OVERHEAD: HeaderName = HeaderName::from_static("x-ailink-overhead");

pub fn run(mut exchange: Box<Exchange>, answer: Result<Response<Body>>) -> Response<Body> {
    let failed = answer.as_ref().err().map(|error| error.code);
    let mut response = match answer {
        Ok(mut response) => {
            // Streams took their admission with them; it was kept when they were reserved.
            if let Some(admission) = &mut exchange.admission {
                admission.keep();
            }
            stamp(response.headers_mut(), exchange.endpoint.dialect, &exchange.request_id);
            response
        }
        Err(error) => {
            if let Some(fill) = exchange.fill.take() {
                exchange.shard.shared.state.cache.refuse(&fill, &error, exchange.wall_us);
                fill.failed();
            }
            let metrics = &exchange.shard.metrics;
            metrics.error(error.code);
            error_response(exchange.endpoint.dialect, &error, &exchange.request_id)
        }
    };
    for ticket in std::mem::take(&mut exchange.tickets) {
        response = ticket.watch(response);
    }
    let metrics = &exchange.shard.metrics;
    metrics.request(exchange.endpoint.operation, response.status().as_u16());
    if exchange.asked_as_portkey {
        as_portkey(&exchange, &mut response);
    }
    if exchange.decision.is_some() {
        explain(&exchange, response.headers_mut());
    }
    if exchange.trace.traced {
        exchange.shard.answered.put(&exchange, response.status().as_u16(), failed);
    }
    let overhead = exchange.overhead(Instant::now());
    metrics.overhead.record(overhead);
    tell(&exchange, response.headers_mut(), u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX));
    response
}

/// The headers that Portkey's clients look for.
fn as_portkey(exchange: &Exchange, response: &mut Response<Body>) {
    let status = response.status();
    let headers = response.headers_mut();
    let semantic = !exchange.exact_only && exchange.plan.as_ref().is_some_and(|plan| plan.is_semantic());
    portkey::headers::tell(&exchange.headers, exchange.cache, semantic, headers);
    if let Some(deployment) = exchange.served.and_then(|index| exchange.deployment(index)) {
        portkey::headers::tell_provider(&deployment.provider_header, headers);
    }
    if let Some(plan) = &exchange.plan {
        plan.tell(status, headers);
    }
}

/// The answer to a caller who was refused at the door.
pub fn refused(arrival: &Arrival, endpoint: &Endpoint, error: &Error, quotas: &Quotas) -> Response<Body> {
    let metrics = &arrival.shard.metrics;
    metrics.error(error.code);
    let mut response = error_response(endpoint.dialect, error, &arrival.request_id);
    metrics.request(endpoint.operation, response.status().as_u16());
    let overhead = arrival.started.elapsed();
    metrics.overhead.record(overhead);
    let headers = response.headers_mut();
    refusal::tell(quotas, headers);
    headers.insert(OVERHEAD, number::header(u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)));
    response
}

/// Tells those who want to know why the request went where it went.
fn explain(exchange: &Exchange, headers: &mut HeaderMap) {
    let Some(decision) = &exchange.decision else { return };
    if decision.header
        && let Some(value) = decision.header_value(&exchange.request_id, &exchange.snapshot)
    {
        headers.insert(DECISION, value);
    }
    if decision.keep {
        let text = decision.json(&exchange.request_id, &exchange.snapshot).to_string();
        let keep = exchange.snapshot.settings.explain_keep as usize;
        exchange.shard.decisions.put(exchange.request_id, text, keep.div_ceil(exchange.shard.shared.state.threads));
    }
}

/// The headers that explain an answer.
fn tell(exchange: &Exchange, headers: &mut HeaderMap, overhead_us: u64) {
    if let Some(model) = exchange.model() {
        headers.insert(MODEL, model.header.clone());
    }
    if let Some(deployment) = exchange.served.and_then(|index| exchange.deployment(index)) {
        headers.insert(PROVIDER, deployment.provider_header.clone());
        headers.insert(DEPLOYMENT, deployment.id_header.clone());
    }
    if exchange.attempts > 0 {
        headers.insert(ATTEMPTS, number::header(exchange.attempts.into()));
    }
    let cache = match exchange.cache {
        CacheUse::Off => None,
        CacheUse::Bypass => Some("bypass"),
        CacheUse::Miss => Some("miss"),
        CacheUse::Refresh => Some("refresh"),
        CacheUse::Hit => Some("hit"),
        CacheUse::Semantic(_) => Some("semantic"),
    };
    if let Some(cache) = cache {
        headers.insert(CACHE, HeaderValue::from_static(cache));
    }
    if let CacheUse::Semantic(similarity) = exchange.cache {
        let text = format!("{}.{:04}", similarity / 10_000, similarity % 10_000);
        headers.extend(HeaderValue::from_str(&text).ok().map(|text| (SIMILARITY, text)));
    }
    if exchange.exact_only {
        headers.insert(SEMANTIC, HeaderValue::from_static("off"));
    }
    if let Some(key) = &exchange.hit {
        headers.insert(CACHE_KEY, hex(key));
    }
    if !exchange.dropped.is_empty() {
        headers.extend(HeaderValue::from_str(&exchange.dropped.join(", ")).ok().map(|dropped| (DROPPED, dropped)));
    }
    if let Some(cost) = exchange.cost_pico {
        headers.insert(COST, usd(cost));
    }
    if !exchange.guarded.is_empty() {
        headers.extend(HeaderValue::from_str(&exchange.guarded.join(", ")).ok().map(|told| (GUARDRAILS, told)));
    }
    if !exchange.policies_told.is_empty() {
        let told = HeaderValue::from_str(&exchange.policies_told.join(", "));
        headers.extend(told.ok().map(|told| (POLICIES, told)));
    }
    refusal::tell(&exchange.quotas, headers);
    headers.insert(OVERHEAD, number::header(overhead_us));
}

/// The request id under our own name and under those that official SDKs read.
pub fn stamp(headers: &mut HeaderMap, dialect: Dialect, id: &RequestId) {
    let id = id.header();
    match dialect {
        Dialect::Anthropic => _ = headers.insert(ANTHROPIC_REQUEST_ID, id.clone()),
        Dialect::Bedrock => _ = headers.insert(AMAZON_REQUEST_ID, id.clone()),
        Dialect::OpenAi | Dialect::Responses | Dialect::Gemini | Dialect::Cohere => {}
    }
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(AILINK_REQUEST_ID, id);
}

/// An error in the caller's dialect, with the request id.
pub fn error_response(dialect: Dialect, error: &Error, id: &RequestId) -> Response<Body> {
    let body = match &error.body {
        Some(body) => body.clone(),
        None => dialect::error_body(dialect, error, std::str::from_utf8(&id.text()).unwrap_or_default()),
    };
    let mut response = Response::new(Body::full(body));
    *response.headers_mut() = HeaderMap::with_capacity(ERROR_HEADERS);
    *response.status_mut() = error.http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = error.retry_after {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER, number::header(millis.div_ceil(1000).max(1)));
        headers.insert(HeaderName::from_static("retry-after-ms"), number::header(millis.max(1)));
    }
    if error.code == Code::UpgradeRequired {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if dialect == Dialect::Bedrock {
        let kind = HeaderValue::from_static(dialect::bedrock_converse::error_type(error));
        headers.insert(HeaderName::from_static("x-amzn-errortype"), kind);
    }
    if error.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    stamp(headers, dialect, id);
    response
}

/// As 64 hex digits.
fn hex(key: &[u8; 32]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(key) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Pico-USD as a decimal number of USD, exact.
fn usd(pico: i64) -> HeaderValue {
    const USD: u64 = 1_000_000_000_000;
    let pico = pico.unsigned_abs();
    let (whole, fraction) = (pico / USD, pico % USD);
    let mut text = [b'0'; 40];
    let mut whole_text = itoa::Buffer::new();
    let whole = whole_text.format(whole).as_bytes();
    text[..whole.len()].copy_from_slice(whole);
    let mut end = whole.len();
    if fraction > 0 {
        text[end] = b'.';
        let mut rest = fraction;
        for digit in text[end + 1..end + 13].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        end += 13;
        while text[end - 1] == b'0' {
            end -= 1;
        }
    }
    HeaderValue::from_bytes(&text[..end]).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_decimals() {
        for (pico, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (150_000, "0.00000015"),
            (1_000_000_000_000, "1"),
            (12_500_000_000_000, "12.5"),
        ] {
            assert_eq!(usd(pico).to_str().expect("ASCII"), text);
        }
    }
}
