//! Brings the provider's answer to the caller: whole JSON answers are checked and measured before they are sent, streams
//! are polled through from socket to socket with a tap for usage, everything else passes as bytes.

mod converted;
pub mod translated;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{self, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use serde::de::IgnoredAny;
use smallvec::SmallVec;

use super::{Flow, cache};
use crate::account::Ending;
use crate::body::{Body, Source};
use crate::cache::entry::Worth;
use crate::cache::flight::Herald;
use crate::cache::shared::Shared;
use crate::dialect;
use crate::endpoint::{Dialect, Operation};
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::guard::checks;
use crate::invoke::Chunks;
use crate::metrics::Outcome;
use crate::patience::within;
use crate::realtime;
use crate::stream::{EVENT_MAX, Events, Raw, Upstream};
use crate::upstream::IoError;
use crate::wire::encoding::{EncodingError, Inflate};
use crate::wire::http1::WireError;
use crate::wire::json::{JsonErrorKind, Kind, Value, scan_object};

/// Longest JSON answer that is read whole before it is sent; a longer one is passed on as it comes, its usage read in
/// passing. It bounds what a client that does not read can make us hold.
const WHOLE_MAX: usize = 256 * 1024;

/// The same for answers that are to be cached: what fits the cache is read whole.
pub fn whole_max(exchange: &Exchange) -> usize {
    match &exchange.fill {
        None => WHOLE_MAX,
        Some(_) => exchange.shard.shared.state.cache.max_entry_bytes().max(WHOLE_MAX),
    }
}

pub async fn run(exchange: &mut Exchange) -> Result<Flow> {
    let Some(mut answer) = exchange.answer.take() else {
        return Err(Error::new(Code::Internal, "relay ran before attempt"));
    };
    if let Some(coding) = answer.head.headers.remove(header::CONTENT_ENCODING) {
        answer.inflate = Inflate::for_coding(coding.as_bytes()).map_err(|error| undecodable(&error))?.map(Box::new);
    }
    exchange.served = Some(answer.deployment);
    if exchange.endpoint.operation.is_session() {
        return realtime::begin(exchange, *answer).map(Flow::Answer);
    }
    if deployment_is_enveloped(exchange, &answer) {
        answer.chunks = Some(Chunks::new(EVENT_MAX));
        answer.head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    if exchange.call.stream
        && let Some(policed) = &mut exchange.policed
    {
        answer.attempt.bill = Some(policed.bill.insert(Arc::default()).clone());
    }
    let formats = exchange.translation.zip(exchange.endpoint.operation.format());
    let context = formats.map(|(_, to)| translated::context(exchange, to));
    let recall = exchange.converted.and_then(|by| converted::recall(exchange, by, answer.deployment));
    // The request has been sent: its memory is free again, unless somebody else may have to answer it.
    if !checks::may_go_on(exchange) {
        exchange.call.body = Bytes::new();
        if let Some(admission) = &mut exchange.admission {
            admission.release_body();
        }
    }
    if let (Some(formats), Some(context)) = (formats, context) {
        return translated::run(exchange, answer, formats, context).await.map(Flow::Answer);
    }
    if let Some(recall) = recall {
        return Box::pin(converted::run(exchange, answer, recall)).await.map(Flow::Answer);
    }
    let content_type = answer.head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let amazon = || is(content_type, dialect::bedrock_converse::STREAM_TYPE.as_bytes());
    if is(content_type, b"text/event-stream") || exchange.endpoint.dialect == Dialect::Bedrock && amazon() {
        Ok(Flow::Answer(events(exchange, answer)))
    } else if is_json(content_type)
        && exchange.endpoint.operation != Operation::PassThrough
        && answer.head.body.remaining().is_none_or(|length| length <= whole_max(exchange) as u64)
    {
        whole(exchange, answer).await.map(Flow::Answer)
    } else if is_unfit(exchange.endpoint.operation, content_type) {
        let kind: String = String::from_utf8_lossy(content_type).chars().take(60).collect();
        let now = Instant::now();
        let ending = Ending::Estimated { status: answer.head.status.as_u16(), outcome: Outcome::InvalidResponse };
        answer.attempt.close(ending, exchange.overhead(now), now);
        let wanted = if sounds(exchange.endpoint.operation) { "what was asked for" } else { "JSON" };
        let text = format!("The provider's answer is of type '{kind}' instead of {wanted}.");
        Err(Error::new(Code::UpstreamInvalid, text))
    } else {
        let start = opening(exchange, &mut answer).await?;
        Ok(Flow::Answer(raw(exchange, answer, start)))
    }
}

/// The first bytes of what is sound, so that a body that cannot be read, or is none, is told before anything is sent.
async fn opening(exchange: &mut Exchange, answer: &mut Answer) -> Result<Bytes> {
    if !sounds(exchange.endpoint.operation) || !answer.begun.is_empty() {
        return Ok(Bytes::new());
    }
    let read = read_whole(exchange, answer, 0).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    // A transcript may be empty, speech is not.
    let read = match read {
        Ok(Whole::Complete(body)) if body.is_empty() && exchange.endpoint.operation == Operation::AudioSpeech => {
            Err((Outcome::InvalidResponse, Error::new(Code::UpstreamInvalid, "The provider's answer is empty.")))
        }
        Ok(Whole::Complete(start) | Whole::TooLong(start)) => Ok(start),
        Err(error) => Err(error),
    };
    read.map_err(|(outcome, error)| {
        let status = answer.head.status.as_u16();
        answer.attempt.close(Ending::Estimated { status, outcome }, exchange.overhead(now), now);
        error
    })
}

/// The provider streams events of another format in frames of Amazon's.
fn deployment_is_enveloped(exchange: &Exchange, answer: &Answer) -> bool {
    exchange.call.stream
        && exchange.deployment(answer.deployment).is_some_and(|deployment| deployment.stream_in_path)
        && answer
            .head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| is(kind.as_bytes(), dialect::bedrock_converse::STREAM_TYPE.as_bytes()))
}

pub fn is(content_type: &[u8], wanted: &[u8]) -> bool {
    content_type.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted))
}

/// JSON, or what does not say what it is.
pub fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let suffix = kind.len().checked_sub(5).and_then(|at| kind.get(at..));
    kind.is_empty()
        || kind.eq_ignore_ascii_case(b"application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}

/// Whether an answer of this type cannot be one to such a request.
fn is_unfit(operation: Operation, content_type: &[u8]) -> bool {
    if sounds(operation) {
        // Pages are what proxies before a provider say when it is not there.
        return is(content_type, b"text/html") || is(content_type, b"application/xhtml");
    }
    !is_json(content_type) && operation != Operation::PassThrough
}

/// Operations whose answers may be anything but a page: sound, subtitles, plain text.
pub fn sounds(operation: Operation) -> bool {
    matches!(operation, Operation::AudioSpeech | Operation::AudioTranscriptions | Operation::AudioTranslations)
}

/// Reads a JSON answer to its end, so that usage and cost are known and a broken one never reaches the caller.
async fn whole(exchange: &mut Exchange, mut answer: Box<Answer>) -> Result<Response<Body>> {
    let read = read_whole(exchange, &mut answer, whole_max(exchange)).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    let body = match read {
        Ok(Whole::Complete(body)) => body,
        Ok(Whole::TooLong(start)) => return Ok(raw(exchange, answer, start)),
        Err((outcome, error)) => {
            let status = answer.head.status.as_u16();
            answer.attempt.close(Ending::Estimated { status, outcome }, exchange.overhead(now), now);
            return Err(error);
        }
    };
    let status = answer.head.status;
    let dialect = exchange.endpoint.dialect;
    let name = dialect::usage_name(dialect, exchange.endpoint.operation);
    let Ok([usage, model, service]) = check(&body, [name, "model", dialect::tier_name(dialect)]) else {
        answer.attempt.progress.plain(body.len());
        let ending = Ending::Estimated { status: status.as_u16(), outcome: Outcome::InvalidResponse };
        answer.attempt.close(ending, exchange.overhead(now), now);
        return Err(Error::new(Code::UpstreamInvalid, "The provider's answer is not valid JSON."));
    };
    let usage = usage.filter(|value| value.kind == Kind::Object).map(|value| value.raw(&body));
    let usage = match exchange.endpoint.operation {
        // Told in several places.
        Operation::Rerank => dialect::family::rerank_usage(&body),
        Operation::Invoke => dialect::family::told_by_amazon(&answer.head.headers),
        operation => dialect::usage(dialect, operation, usage),
    };
    let ending = match usage {
        Some(mut usage) => {
            if service.is_some() {
                usage.service = dialect::service(dialect, &body, service);
            }
            Ending::Reported { status: status.as_u16(), usage }
        }
        None => {
            // Only what generates text is priced by its length.
            if exchange.endpoint.operation.generates() {
                answer.attempt.progress.plain(body.len());
            }
            Ending::Estimated { status: status.as_u16(), outcome: Outcome::Success }
        }
    };
    let cost = answer.attempt.close(ending, exchange.overhead(now), now);
    exchange.cost_pico = Some(cost);
    let worth = Worth::new(cost, ending.usage(), 0);
    give_back(exchange, &mut answer.head.keep_alive, answer.conn, answer.deployment);
    let body = restamped(exchange, body, model);
    let body = match answer.head.headers.get(CONTENT_TYPE) {
        Some(kind) if exchange.fill.is_some() => cache::keep(exchange, kind.clone(), body, worth),
        _ => body,
    };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    *response.headers_mut() = forwardable(answer.head.headers);
    Ok(response)
}

enum Whole {
    Complete(Bytes),
    TooLong(Bytes),
}

async fn read_whole(exchange: &Exchange, answer: &mut Answer, longest: usize) -> Result<Whole, (Outcome, Error)> {
    if answer.head.body.is_end() && answer.inflate.is_none() {
        return Ok(Whole::Complete(std::mem::take(&mut answer.begun)));
    }
    let Some(deployment) = exchange.deployment(answer.deployment) else {
        return Err((Outcome::InvalidResponse, Error::new(Code::Internal, "the deployment is not in the snapshot")));
    };
    let total = deployment.timeouts.total.saturating_sub(answer.received - exchange.started);
    let limit = deployment.timeouts.idle.min(total);
    let mut first = std::mem::take(&mut answer.begun);
    let mut grown = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body));
        let frame = within(limit, frame).await.ok_or_else(|| {
            let text = format!("Provider '{}' stopped in the middle of its answer.", deployment.provider);
            (Outcome::Timeout, Error::new(Code::UpstreamTimeout, text))
        })?;
        match frame {
            None if grown.is_empty() => return Ok(Whole::Complete(first)),
            None => return Ok(Whole::Complete(grown.freeze())),
            Some(Ok(data)) if first.is_empty() && grown.is_empty() && answer.inflate.is_none() => first = data,
            Some(Ok(data)) => {
                let data = match answer.inflate.as_mut().map(|inflate| inflate.feed(&data)) {
                    None => data,
                    Some(Ok(decoded)) => decoded,
                    Some(Err(error)) => return Err((Outcome::InvalidResponse, undecodable(&error))),
                };
                if grown.is_empty() {
                    grown.extend_from_slice(&std::mem::take(&mut first));
                }
                grown.extend_from_slice(&data);
                if grown.len() > longest {
                    return Ok(Whole::TooLong(grown.freeze()));
                }
            }
            Some(Err(error)) => return Err(lost(&deployment.provider, &error)),
        }
    }
}

pub fn lost(provider: &str, error: &IoError) -> (Outcome, Error) {
    let text = format!("The answer of provider '{provider}' broke off: {error}.");
    match error {
        IoError::Wire(WireError::Truncated) => (Outcome::ConnectionLost, Error::new(Code::UpstreamReset, text)),
        IoError::Wire(_) => (Outcome::InvalidResponse, Error::new(Code::UpstreamInvalid, text)),
        _ => (Outcome::ConnectionLost, Error::new(Code::UpstreamReset, text)),
    }
}

fn undecodable(error: &EncodingError) -> Error {
    Error::new(Code::UpstreamInvalid, format!("The provider's answer cannot be read: {error}."))
}

/// Refuses what is not JSON; finds the top-level members otherwise.
fn check(body: &Bytes, names: [&str; 3]) -> Result<[Option<Value>; 3], ()> {
    match scan_object(body, &names) {
        Ok(scan) => Ok(scan.fields),
        // Some providers answer with a bare array.
        Err(error) if error.kind == JsonErrorKind::NotAnObject => {
            serde_json::from_slice::<IgnoredAny>(body).map(|_| [None; 3]).map_err(|_| ())
        }
        Err(_) => Err(()),
    }
}

/// Writes the public model name over the provider's, where compatibility asks for it.
fn restamped(exchange: &Exchange, body: Bytes, span: Option<Value>) -> Bytes {
    let (true, Some(span), Some(model)) = (exchange.snapshot.settings.restamp_model, span, exchange.model()) else {
        return body;
    };
    let range = span.range();
    let (Some(before), Some(after)) = (body.get(..range.start), body.get(range.end..)) else { return body };
    [before, &model.name_json, after].concat().into()
}

/// Puts the connection back when another request may use it.
fn give_back(exchange: &Exchange, keep_alive: &mut bool, conn: crate::upstream::Conn, deployment: u32) {
    if *keep_alive && let Some(deployment) = exchange.deployment(deployment) {
        deployment.pool.put(exchange.shard.index, conn);
    }
}

/// A stream of events.
fn events(exchange: &mut Exchange, mut answer: Box<Answer>) -> Response<Body> {
    let status = answer.head.status;
    let mut headers = forwardable(std::mem::take(&mut answer.head.headers));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    let upstream = Upstream::new(exchange, answer, Bytes::new());
    let herald = exchange.fill.as_ref().and_then(|fill| Some(fill.lead.as_ref()?.herald()));
    let source = Events::new(exchange, upstream);
    let mut response = Response::new(shared(exchange, herald, source));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A stream as a body. Where equal requests may wait for it, they can listen.
fn shared(exchange: &Exchange, herald: Option<Herald>, source: impl Source + 'static) -> Body {
    let Some(herald) = herald else { return Body::stream(source) };
    let shared = Shared::new(Box::new(source));
    herald.streams(&shared, exchange.call.include_usage == Some(true));
    Body::stream(shared.reader())
}

/// Bytes of any kind, as they come; `start` was read already.
fn raw(exchange: &mut Exchange, mut answer: Box<Answer>, start: Bytes) -> Response<Body> {
    let status = answer.head.status;
    let headers = forwardable(std::mem::take(&mut answer.head.headers));
    let upstream = Upstream::new(exchange, answer, start);
    let kind = headers.get(CONTENT_TYPE).cloned();
    let mut source = Raw::new(exchange, upstream, kind);
    if exchange.endpoint.operation == Operation::Invoke {
        source.told = dialect::family::told_by_amazon(&headers);
    }
    let mut response = Response::new(Body::stream(source));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Headers of a provider that say nothing to our caller: about its coding, its own cookies, its own host.
const KEPT_BACK: [HeaderName; 9] = [
    header::CONTENT_ENCODING,
    header::TRAILER,
    header::UPGRADE,
    header::SERVER,
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::VIA,
    header::WWW_AUTHENTICATE,
];

const REQUEST_IDS: [HeaderName; 2] = [HeaderName::from_static("request-id"), HeaderName::from_static("x-request-id")];
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// What of a provider's headers reaches the caller. Its request id is kept under a name of its own.
fn forwardable(mut headers: HeaderMap) -> HeaderMap {
    let here = |name: &&HeaderName| KEPT_BACK.contains(name) || REQUEST_IDS.contains(name);
    let gone: SmallVec<[HeaderName; 8]> = headers.keys().filter(here).cloned().collect();
    let mut id = None;
    for name in gone {
        let value = headers.remove(&name);
        if name == REQUEST_IDS[0] || name == REQUEST_IDS[1] && id.is_none() {
            id = value;
        }
    }
    headers.extend(id.map(|id| (UPSTREAM_REQUEST_ID, id)));
    headers
}
