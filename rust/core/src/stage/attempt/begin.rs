//! The beginning of an answer, read before anything of it goes to the caller: what breaks off here is asked of another.
//!
//! A JSON answer is read whole, as far as it is short enough to be held. Of a stream the first event is awaited, or the
//! first comment, and what came with it is looked at; of sound the first bytes. Nothing that has arrived waits for what has
//! not.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::failed::Failed;
use crate::account::Ending;
use crate::dialect::{self, Format, Tap};
use crate::endpoint::Dialect;
use crate::error::{Code, Error};
use crate::exchange::{Answer, Exchange};
use crate::kernel::failure::Class;
use crate::metrics::Outcome;
use crate::patience::within;
use crate::snapshot::Deployment;
use crate::stage::relay::{is, is_json, lost, sounds, whole_max};
use crate::stream::Frames;
use crate::wire::sse;

/// Longest beginning of a first event that is held.
const HELD: usize = 32 * 1024;

/// What to wait for.
enum Until {
    /// The end, or more than so many bytes.
    End(usize),
    Event(Box<(Frames, Tap)>),
    /// Anything at all.
    Bytes,
    Nothing,
}

/// What has come.
enum Begun {
    Enough,
    Broken(Outcome, Error, Class),
}

/// Reads the beginning of a successful answer into it.
///
/// # Errors
/// It broke off, or the provider reports a failure; the attempt is settled then.
pub async fn begin(
    exchange: &mut Exchange,
    deployment: &Deployment,
    mut answer: Box<Answer>,
) -> Result<Box<Answer>, Failed> {
    let begun = match until(exchange, &answer) {
        Until::End(_) if answer.conn.came_whole(&mut answer.head.body, &mut answer.begun) => {
            let at = answer.received;
            answer.attempt.begun(at);
            return Ok(answer);
        }
        Until::Nothing => Begun::Enough,
        Until::End(longest) => whole(exchange, deployment, &mut answer, longest).await,
        Until::Event(watch) => event(exchange, deployment, &mut answer, watch).await,
        Until::Bytes => bytes(exchange, deployment, &mut answer).await,
    };
    let now = Instant::now();
    exchange.waited += now - answer.received;
    answer.received = now;
    match begun {
        Begun::Enough => {
            answer.attempt.begun(now);
            Ok(answer)
        }
        Begun::Broken(outcome, error, class) => {
            let status = answer.head.status.as_u16();
            answer.attempt.close(Ending::Estimated { status, outcome }, exchange.overhead(now), now);
            Err(Failed::attempt(error, class))
        }
    }
}

fn until(exchange: &Exchange, answer: &Answer) -> Until {
    let headers = &answer.head.headers;
    let operation = exchange.endpoint.operation;
    // What is compressed although nobody asked for it is read where it is relayed.
    if operation.is_session() || headers.contains_key(CONTENT_ENCODING) {
        return Until::Nothing;
    }
    let kind = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |kind| kind.as_bytes());
    if is_json(kind) {
        let longest = whole_max(exchange);
        let short = answer.head.body.remaining().is_none_or(|length| length <= longest as u64);
        return if short { Until::End(longest) } else { Until::Nothing };
    }
    if sounds(operation) && !is(kind, b"text/") {
        return Until::Bytes;
    }
    if !operation.generates() || !exchange.call.stream {
        return Until::Nothing;
    }
    let dialect = exchange.translation.map_or(exchange.endpoint.dialect, Format::dialect);
    let amazon = dialect == Dialect::Bedrock;
    let stream = if amazon { dialect::bedrock_converse::STREAM_TYPE } else { "text/event-stream" };
    if !is(kind, stream.as_bytes()) {
        return Until::Nothing;
    }
    Until::Event(Box::new((Frames::new(amazon), Tap::new(dialect))))
}

/// How long the provider may be silent from `now` on.
fn patience(exchange: &Exchange, deployment: &Deployment, now: Instant) -> Duration {
    let total = deployment.timeouts.total.saturating_sub(now - exchange.started);
    deployment.timeouts.idle.min(total)
}

fn silent(deployment: &Deployment) -> Begun {
    let text = format!("Provider '{}' stopped in the middle of its answer.", deployment.provider);
    Begun::Broken(Outcome::Timeout, Error::new(Code::UpstreamTimeout, text), Class::Timeout)
}

async fn whole(exchange: &Exchange, deployment: &Deployment, answer: &mut Answer, longest: usize) -> Begun {
    let mut grown = BytesMut::new();
    let mut limit = patience(exchange, deployment, answer.received);
    loop {
        let frame = poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body));
        match within(limit, frame).await {
            None => return silent(deployment),
            Some(Some(Ok(data))) if answer.begun.is_empty() && grown.is_empty() => answer.begun = data,
            Some(Some(Ok(data))) => {
                if grown.is_empty() {
                    grown.extend_from_slice(&std::mem::take(&mut answer.begun));
                }
                grown.extend_from_slice(&data);
                if grown.len() > longest {
                    answer.begun = grown.freeze();
                    return Begun::Enough;
                }
                limit = patience(exchange, deployment, Instant::now());
            }
            Some(Some(Err(error))) => {
                let (outcome, error) = lost(&deployment.provider, &error);
                return Begun::Broken(outcome, error, Class::Connection);
            }
            Some(None) => {
                if !grown.is_empty() {
                    answer.begun = grown.freeze();
                }
                return Begun::Enough;
            }
        }
    }
}

async fn bytes(exchange: &Exchange, deployment: &Deployment, answer: &mut Answer) -> Begun {
    let limit = patience(exchange, deployment, answer.received);
    match within(limit, poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body))).await {
        None => silent(deployment),
        Some(Some(Ok(data))) => {
            answer.begun = data;
            Begun::Enough
        }
        Some(Some(Err(error))) => {
            let (outcome, error) = lost(&deployment.provider, &error);
            Begun::Broken(outcome, error, Class::Connection)
        }
        // Whether it may be empty is seen where it is relayed.
        Some(None) => Begun::Enough,
    }
}

async fn event(
    exchange: &Exchange,
    deployment: &Deployment,
    answer: &mut Answer,
    mut watch: Box<(Frames, Tap)>,
) -> Begun {
    let mut held = BytesMut::new();
    let mut limit = patience(exchange, deployment, answer.received);
    let begun = loop {
        let frame = poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body));
        match within(limit, frame).await {
            None => break silent(deployment),
            Some(Some(Ok(data))) => {
                if held.is_empty() && answer.begun.is_empty() {
                    answer.begun = data.clone();
                } else {
                    held.extend_from_slice(&std::mem::take(&mut answer.begun));
                    held.extend_from_slice(&data);
                }
                match look(deployment, &mut watch, data) {
                    Some(begun) => break begun,
                    None if held.len() > HELD => break Begun::Enough,
                    None => limit = patience(exchange, deployment, Instant::now()),
                }
            }
            Some(Some(Err(error))) => {
                let (outcome, error) = lost(&deployment.provider, &error);
                break Begun::Broken(outcome, error, Class::Connection);
            }
            Some(None) => {
                let text = format!("The stream of provider '{}' ended before it said anything.", deployment.provider);
                let error = Error::new(Code::UpstreamReset, text);
                break Begun::Broken(Outcome::ConnectionLost, error, Class::Connection);
            }
        }
    };
    if !held.is_empty() {
        answer.begun = held.freeze();
    }
    if matches!(begun, Begun::Broken(..)) {
        answer.attempt.progress.told = watch.1.early_input();
    }
    begun
}

/// Looks at the events of one read; None: it completed none.
fn look(deployment: &Deployment, (frames, tap): &mut (Frames, Tap), data: Bytes) -> Option<Begun> {
    // What is no stream of events is told where it is relayed.
    let Ok(batch) = frames.push(data) else { return Some(Begun::Enough) };
    let mut start = 0;
    for end in &batch.ends {
        let event = batch.bytes.get(start..*end as usize).unwrap_or_default();
        start = *end as usize;
        let seen = tap.event(event);
        if seen.error {
            return Some(failed(deployment, event));
        }
        if seen.text > 0 || seen.finished || seen.terminal {
            return Some(Begun::Enough);
        }
    }
    (!batch.ends.is_empty()).then_some(Begun::Enough)
}

/// A failure that the provider reports where its answer should begin. What blames the request is the caller's to see.
fn failed(deployment: &Deployment, event: &[u8]) -> Begun {
    let words = String::from_utf8_lossy(event).to_ascii_lowercase();
    let says = |names: &[&str]| names.iter().any(|name| words.contains(name));
    if says(&["invalid_request", "validationexception", "content_filter", "context_length", "invalid_argument"]) {
        return Begun::Enough;
    }
    let limited = says(&["rate_limit", "throttling", "resource_exhausted"]);
    let class = if limited { Class::RateLimit } else { Class::ServerError };
    let outcome = if limited { Outcome::RateLimited } else { Outcome::ServerError };
    let said = dialect::error_message(&sse::data(event)).unwrap_or_else(|| "it gives no reason.".to_string());
    let text = format!("Provider '{}' reports a failure: {said}", deployment.provider);
    Begun::Broken(outcome, Error::new(Code::UpstreamInvalid, text), class)
}
