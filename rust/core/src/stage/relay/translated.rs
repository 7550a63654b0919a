//! Answers of providers that speak another format than the caller.

use std::time::Instant;

use bytes::Bytes;
use http::header::{self, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};

use super::{Whole, cache, forwardable, give_back, is, is_json, read_whole, shared};
use crate::account::Ending;
use crate::body::Body;
use crate::cache::entry::Worth;
use crate::dialect::{self, Context, Fault, Format, translate};
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::metrics::Outcome;
use crate::stream::{Collect, Translated, Upstream};

/// Longest whole answer that is translated. Longer ones are no answers of a conversation.
pub const TRANSLATED_MAX: usize = 32 * 1024 * 1024;

/// What the caller's codec must know of the request; taken before the request's memory is given back.
pub fn context(exchange: &Exchange, format: Format) -> Context {
    let restamp = exchange.snapshot.settings.restamp_model;
    Context {
        id: exchange.request_id.to_string(),
        created: exchange.wall_us / 1_000_000,
        started: Some(exchange.started),
        include_usage: exchange.call.include_usage == Some(true),
        model: exchange.model().filter(|_| restamp).map(|model| model.name.to_string()),
        request: translate::remembered(format, &exchange.call.body),
        kept: exchange.kept.as_ref().map_or_else(Bytes::new, |kept| kept.said().into()),
    }
}

pub async fn run(
    exchange: &mut Exchange,
    answer: Box<Answer>,
    pair: (Format, Format),
    context: Context,
) -> Result<Response<Body>> {
    let content_type = answer.head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    if exchange.call.stream && is(content_type, pair.0.stream_type().as_bytes()) {
        return Ok(stream(exchange, answer, pair, context));
    }
    if !is_json(content_type) {
        let kind: String = String::from_utf8_lossy(content_type).chars().take(60).collect();
        let text = format!("The provider's answer is of type '{kind}' instead of JSON.");
        return Err(spoilt(exchange, answer, text));
    }
    whole(exchange, answer, pair, context).await
}

fn stream(
    exchange: &mut Exchange,
    mut answer: Box<Answer>,
    (from, to): (Format, Format),
    context: Context,
) -> Response<Body> {
    let status = answer.head.status;
    let mut headers = forwardable(std::mem::take(&mut answer.head.headers));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(to.stream_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    let upstream = Upstream::new(exchange, answer, Bytes::new());
    let herald = exchange.fill.as_ref().and_then(|fill| Some(fill.lead.as_ref()?.herald()));
    let source = Translated::new(exchange, upstream, (from, to), context);
    let mut response = Response::new(shared(exchange, herald, source));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn whole(
    exchange: &mut Exchange,
    mut answer: Box<Answer>,
    (from, to): (Format, Format),
    context: Context,
) -> Result<Response<Body>> {
    let read = read_whole(exchange, &mut answer, TRANSLATED_MAX).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    let status = answer.head.status;
    let body = match read {
        Ok(Whole::Complete(body)) => body,
        Ok(Whole::TooLong(_)) => {
            let text = format!("The provider's answer is longer than {TRANSLATED_MAX} bytes.");
            return Err(spoilt(exchange, answer, text));
        }
        Err((outcome, error)) => {
            answer.attempt.close(Ending::Estimated { status: status.as_u16(), outcome }, exchange.overhead(now), now);
            return Err(error);
        }
    };
    // A provider that does not stream was asked for one: the caller gets what he asked for.
    let translated = if exchange.call.stream {
        translate::replay(from, to, &body, context)
    } else {
        translate::answer(from, to, &body, &context)
    };
    let (written, usage) = match translated {
        Ok(translated) => translated,
        Err(fault) => {
            answer.attempt.progress.plain(body.len());
            // Some report failures with status 200.
            let said =
                Some(&body).filter(|body| dialect::is_error_shape(body)).and_then(|body| dialect::error_message(body));
            let text = said.map_or_else(|| invalid(&fault), |said| format!("The provider reports a failure: {said}"));
            return Err(spoilt(exchange, answer, text));
        }
    };
    let ending = match usage {
        Some(usage) => Ending::Reported { status: status.as_u16(), usage },
        None => {
            answer.attempt.progress.plain(body.len());
            Ending::Estimated { status: status.as_u16(), outcome: Outcome::Success }
        }
    };
    let cost = answer.attempt.close(ending, exchange.overhead(now), now);
    exchange.cost_pico = Some(cost);
    give_back(exchange, &mut answer.head.keep_alive, answer.conn, answer.deployment);
    let written = Bytes::from(written);
    let kind = if exchange.call.stream { to.stream_type() } else { "application/json" };
    let kind = HeaderValue::from_static(kind);
    if exchange.fill.is_some() {
        let worth = Worth::new(cost, usage.as_ref(), 0);
        if exchange.call.stream {
            let mut collect = Collect::new(exchange);
            collect.keep(&written);
            collect.put(&exchange.shard.shared.state, exchange.endpoint.dialect, kind.clone(), worth);
        } else {
            cache::keep(exchange, kind.clone(), written.clone(), worth);
        }
    }
    let mut headers = forwardable(answer.head.headers);
    headers.insert(CONTENT_TYPE, kind);
    let mut response = Response::new(Body::full(written));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What is wrong with a provider's answer.
pub fn invalid(fault: &Fault) -> String {
    match fault {
        Fault::Invalid { path, reason } if path.is_empty() => format!("The provider's answer is not valid: {reason}."),
        Fault::Invalid { path, reason } => format!("The provider's answer is not valid at '{path}': {reason}."),
        Fault::Unsupported(unsupported) => {
            format!("The provider's answer cannot be translated: {}.", unsupported.feature.what())
        }
    }
}

/// Settles an attempt whose answer is of no use.
pub fn spoilt(exchange: &Exchange, mut answer: Box<Answer>, text: String) -> Error {
    let now = Instant::now();
    let ending = Ending::Estimated { status: answer.head.status.as_u16(), outcome: Outcome::InvalidResponse };
    answer.attempt.close(ending, exchange.overhead(now), now);
    Error::new(Code::UpstreamInvalid, text)
}
