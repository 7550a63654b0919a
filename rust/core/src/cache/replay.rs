//! A stored answer as the caller asked for it: whole or as a stream, whichever way it was stored.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use tokio::time::Sleep;

use super::entry::{Entry, Form};
use crate::account::Admission;
use crate::body::{Body, Broken, Source};
use crate::dialect::{Context, Format, Tap, translate};
use crate::endpoint::{Dialect, Operation};
use crate::exchange::Exchange;
use crate::stream::Frames;

/// The answer to this request, if the entry can give it. Nothing that streams have no steps for is left out: such an answer
/// is asked for anew.
pub fn response(exchange: &mut Exchange, entry: &Entry, pace: Duration) -> Option<Response<Body>> {
    let format = format(exchange.endpoint.operation);
    let usage = exchange.call.include_usage == Some(true);
    let body = match (entry.form, format, exchange.call.stream) {
        (Form::Whole, _, false) | (_, None, _) => entry.body.clone(),
        (Form::Stream { usage: told, usage_at }, Some(format), true) => {
            // Only OpenAI's chat lets the caller choose.
            match usage_at.filter(|_| !usage) {
                _ if format == Format::Chat && usage && !told => return None,
                None => entry.body.clone(),
                Some(at) => without(&entry.body, at)?,
            }
        }
        (Form::Whole, Some(format), true) => {
            Bytes::from(translate::unfold(format, &entry.body, context(exchange, format)).ok()??)
        }
        (Form::Stream { usage: told, .. }, Some(format), false) => {
            if format == Format::Chat && !told {
                return None;
            }
            folded(format, &entry.body, &context(exchange, format))?
        }
    };
    let streamed = format.filter(|_| exchange.call.stream);
    let body = match streamed.filter(|_| !pace.is_zero()) {
        Some(format) => Body::stream(Paced::new(format, &body, pace, exchange.admission.take())?),
        None => Body::full(body),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = match (streamed, format) {
        (Some(format), _) => HeaderValue::from_static(format.stream_type()),
        (None, Some(_)) => HeaderValue::from_static("application/json"),
        (None, None) => entry.content_type.clone(),
    };
    headers.insert(CONTENT_TYPE, kind);
    if streamed.is_some() {
        as_stream(headers);
    }
    let age = (exchange.wall_us - entry.stored_us).max(0) / 1_000_000;
    headers.insert(AGE, HeaderValue::from(age));
    Some(response)
}

/// The time between two events of a stream that is replayed.
pub fn pace(exchange: &Exchange) -> Duration {
    exchange.model().map_or(Duration::ZERO, |model| model.cache.of(exchange.endpoint.operation).pace)
}

/// The format that answers can be turned about in. Plain completions are written, but not read.
pub fn format(operation: Operation) -> Option<Format> {
    operation.format().filter(|format| *format != Format::Completions)
}

/// What says on the way that a stream is one.
pub fn as_stream(headers: &mut http::HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// What a format wants to know of the request that is answered.
pub fn context(exchange: &Exchange, format: Format) -> Context {
    let restamp = exchange.snapshot.settings.restamp_model;
    Context {
        id: exchange.request_id.to_string(),
        created: exchange.wall_us / 1_000_000,
        started: Some(exchange.started),
        include_usage: exchange.call.include_usage == Some(true),
        model: exchange.model().filter(|_| restamp).map(|model| model.name.to_string()),
        request: translate::remembered(format, &exchange.call.body),
        kept: Bytes::new(),
    }
}

fn without(body: &Bytes, (start, end): (u32, u32)) -> Option<Bytes> {
    Some([body.get(..start as usize)?, body.get(end as usize..)?].concat().into())
}

fn framed(format: Format, body: &Bytes) -> Option<crate::wire::sse::Batch> {
    Frames::new(format == Format::Converse).push(body.clone()).ok()
}

/// A complete stream as the whole answer that says the same.
pub fn folded(format: Format, stream: &Bytes, context: &Context) -> Option<Bytes> {
    let batch = framed(format, stream)?;
    translate::fold(format, batch.events(), context).ok().map(Bytes::from)
}

/// How a complete stream is laid out.
pub fn form(dialect: Dialect, stream: &Bytes) -> Form {
    let mut tap = Tap::new(dialect);
    let mut usage_at = None;
    if dialect == Dialect::OpenAi
        && let Some(batch) = framed(Format::Chat, stream)
    {
        let mut start = 0;
        for end in &batch.ends {
            let seen = tap.event(batch.bytes.get(start as usize..*end as usize).unwrap_or_default());
            if seen.usage_only {
                usage_at = Some((start, *end));
            }
            start = *end;
        }
    }
    Form::Stream { usage: dialect != Dialect::OpenAi || tap.usage().is_some(), usage_at }
}

/// Events one by one, a moment between them.
struct Paced {
    bytes: Bytes,
    ends: std::vec::IntoIter<u32>,
    at: usize,
    pace: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    _admission: Option<Admission>,
}

impl Paced {
    fn new(format: Format, body: &Bytes, pace: Duration, admission: Option<Admission>) -> Option<Self> {
        let batch = framed(format, body)?;
        let ends: Vec<u32> = batch.ends.iter().copied().collect();
        Some(Paced { bytes: batch.bytes, ends: ends.into_iter(), at: 0, pace, timer: None, _admission: admission })
    }
}

impl Source for Paced {
    fn poll_data(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(timer) = &mut self.timer {
            std::task::ready!(timer.as_mut().poll(cx));
        }
        let Some(end) = self.ends.next() else { return Poll::Ready(None) };
        let event = self.at..(end as usize).min(self.bytes.len());
        self.at = event.end;
        self.timer = Some(Box::pin(tokio::time::sleep(self.pace)));
        Poll::Ready(Some(Ok(self.bytes.slice(event))))
    }
}
