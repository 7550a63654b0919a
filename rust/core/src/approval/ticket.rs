//! What came of an approved request is told to the store, however it ends, and its answer is kept for repeats.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde::Serialize;

use super::desk;
use super::wire::{Answered, Blob, Headers};
use crate::body::{Body, Broken, Source};
use crate::shard::Shard;

pub const HEADER: HeaderName = HeaderName::from_static("x-ailink-approval");
/// Longest answer that is kept.
const LONGEST: usize = 8 << 20;
/// How often it is tried to tell.
const TRIES: u32 = 6;

/// The right to execute an approved request, and the duty to say what came of it.
pub struct Ticket {
    shard: Arc<Shard>,
    id: String,
    fence: i64,
    begun: bool,
    told: bool,
}

#[derive(Serialize)]
struct Done {
    id: String,
    fence: i64,
    outcome: &'static str,
    answer: Answered,
}

impl Ticket {
    pub fn new(shard: Arc<Shard>, id: String, fence: i64) -> Ticket {
        Ticket { shard, id, fence, begun: false, told: false }
    }

    /// From here on something may come of it.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// The answer, seen while it passes.
    pub fn watch(mut self, response: Response<Body>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            head.headers.insert(HEADER, id);
        }
        let (status, headers) = (head.status.as_u16(), kept(&head.headers));
        let body = match body.into_source() {
            Err(bytes) => {
                let whole = bytes.len() <= LONGEST;
                let body = Blob(if whole { bytes.clone() } else { Bytes::new() });
                self.tell(Answered { status, headers, body, whole }, true);
                Body::full(bytes)
            }
            Ok(inner) => Body::stream(Watch {
                inner: Some(inner),
                seen: BytesMut::new(),
                whole: true,
                about: Some((self, status, headers)),
            }),
        };
        Response::from_parts(head, body)
    }

    fn tell(&mut self, answer: Answered, ended: bool) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let outcome = match answer.status {
            200..=399 if ended => "executed",
            0 if self.begun => "unknown",
            // Nothing was done: somebody else may.
            0 => "returned",
            _ => "failed",
        };
        let (id, shard) = (std::mem::take(&mut self.id), self.shard.clone());
        let done = Done { id, fence: self.fence, outcome, answer };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            for attempt in 0..TRIES {
                match desk::ask::<bool>(&shard, "done", &done).await {
                    Ok(_) => return,
                    Err(error) if attempt + 1 == TRIES => {
                        tracing::error!(%error, id = done.id, "the outcome of an approved request cannot be recorded");
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(200 << attempt)).await,
                }
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tell(Answered::default(), false);
    }
}

/// Headers that are kept with an answer.
fn kept(headers: &HeaderMap) -> Headers {
    let wanted = |name: &HeaderName| {
        let name = name.as_str();
        name == "content-type" || name.starts_with("x-ailink-") || name == "x-request-id" || name == "retry-after"
    };
    let pairs = headers.iter().filter(|(name, _)| wanted(name));
    pairs.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_string()))).collect()
}

/// The response that an answer was kept of.
pub fn response(answered: &Answered) -> Response<Body> {
    let mut response = Response::new(Body::full(answered.body.0.clone()));
    *response.status_mut() = http::StatusCode::from_u16(answered.status).unwrap_or(http::StatusCode::OK);
    for (name, value) in &answered.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A stream whose end is told. When its reader leaves it is read to its end without him: it was executed, and his repeat
/// finds what it said.
struct Watch {
    inner: Option<Box<dyn Source>>,
    seen: BytesMut,
    whole: bool,
    about: Option<(Ticket, u16, Headers)>,
}

impl Watch {
    fn end(&mut self, ended: bool) {
        let Some((mut ticket, status, headers)) = self.about.take() else { return };
        let whole = self.whole && ended;
        let body = if whole { std::mem::take(&mut self.seen).freeze() } else { Bytes::new() };
        let status = if ended { status } else { 502 };
        ticket.tell(Answered { status, headers, body: Blob(body), whole }, ended);
    }
}

impl Source for Watch {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let data = std::task::ready!(inner.poll_data(cx));
        match &data {
            Some(Ok(data)) if self.whole && self.seen.len() + data.len() <= LONGEST => {
                self.seen.extend_from_slice(data);
            }
            Some(Ok(_)) => {
                self.whole = false;
                self.seen = BytesMut::new();
            }
            Some(Err(_)) => self.end(false),
            None => self.end(true),
        }
        Poll::Ready(data)
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.as_ref()?.remaining()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.about.is_none() {
            return;
        }
        let runtime = tokio::runtime::Handle::try_current();
        let (Ok(runtime), Some(inner)) = (runtime, self.inner.take()) else {
            return self.end(false);
        };
        let mut rest = Watch {
            inner: Some(inner),
            seen: std::mem::take(&mut self.seen),
            whole: self.whole,
            about: self.about.take(),
        };
        runtime.spawn(async move { while let Some(Ok(_)) = std::future::poll_fn(|cx| rest.poll_data(cx)).await {} });
    }
}
