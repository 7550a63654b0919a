//! `Idempotency-Key`: a repeat of a request joins the first while it is under way and gets the same answer afterwards,
//! byte for byte, streams too. It is billed once.
//!
//! Nothing runs in a task of its own: whoever of the readers is polled drives the answer on and records it for the others.
//! Success alone is remembered; after a failure a repeat is a new try, which is what clients repeat for, and one who was
//! told that people are asked first gets to know from their approval how it stands. When the last
//! reader has left, a request with a key of the caller's own goes on to its end, so that his repeat finds the answer; one
//! with a key that an official SDK made up ends, as without one.
//!
//! Where nodes share a Redis, what this node does not know is asked of the others ([`elsewhere`], [`nodes`]).

mod digests;
mod elsewhere;
pub mod nodes;
mod record;
mod waiting;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;

use crate::approval::ticket;
use crate::body::{Body, Broken, Source};
use crate::error::{Code, Error};
use crate::exchange::Exchange;
use crate::metrics::Repeat;
use crate::pipeline;
use crate::stage::settle;
use crate::state::repeats::{Digest, Repeats};
use digests::digests;
use elsewhere::{Place, Standing};
use record::{Answer, Record};
use waiting::Waiting;

pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST: usize = 255;
/// What the keys begin with that official SDKs make up.
const MADE_UP: &[u8] = b"stainless-";
/// Largest answer that is remembered.
const MOST_KEPT: usize = 1 << 20;
/// Most that is held for a reader who lags behind another.
const MOST_BEHIND: usize = 16 << 20;
/// How soon a request is looked at again that may be another node's.
const SOON: Duration = Duration::from_millis(5);
/// What a reader who is behind gets at once.
const PIECE: usize = 64 << 10;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Carries a request with a key of its own to its answer, or to that of the one it repeats.
pub async fn run(exchange: Box<Exchange>) -> Response<Body> {
    let Some((id, asked)) = digests(&exchange) else {
        exchange.shard.metrics.repeat(Repeat::Invalid);
        let text = format!("An Idempotency-Key has 1 to {LONGEST} characters, and there is one of them.");
        return settle::run(exchange, Err(Error::new(Code::InvalidRequest, text).param("Idempotency-Key")));
    };
    let lasts = exchange.headers.get(HEADER).is_some_and(|key| !key.as_bytes().starts_with(MADE_UP));
    let shard = exchange.shard.clone();
    let operation = exchange.endpoint.operation;
    let fresh = Arc::new(Shared::new(id, asked, lasts, shard.shared.state.repeats.clone()));
    let (shared, reader) = loop {
        let shared = fresh.repeats.enter(fresh.clone(), Instant::now());
        // From here on the reader answers for its place among the readers.
        let number = SERIAL.fetch_add(1, Ordering::Relaxed);
        let reader = Reader { number, at: 0, heir: false, shared: Some(shared.clone()) };
        // Which of two requests under one key is the first, the other nodes are about to tell.
        if shared.asked == asked || !shared.place.is_unsure() {
            break (shared, reader);
        }
        drop(reader);
        drop(shared);
        tokio::time::sleep(SOON).await;
    };
    if Arc::ptr_eq(&shared, &fresh) {
        let answering: Answering = match fresh.repeats.nodes() {
            None => {
                shard.metrics.repeat(Repeat::First);
                Box::pin(pipeline::through(exchange))
            }
            Some(nodes) => {
                fresh.place.set(Standing::Unsure);
                Box::pin(elsewhere::through(exchange, nodes, fresh.place.clone(), (id, asked)))
            }
        };
        shared.state.lock().work = Work::Answering(answering);
        return respond(reader, false).await;
    }
    if shared.asked != asked {
        drop(reader);
        shard.metrics.repeat(Repeat::Mismatch);
        return settle::run(exchange, Err(mismatch()));
    }
    drop(exchange);
    shard.metrics.repeat(if shared.is_over() { Repeat::Replayed } else { Repeat::Waited });
    let response = respond(reader, true).await;
    shard.metrics.request(operation, response.status().as_u16());
    response
}

fn mismatch() -> Error {
    let text = "This Idempotency-Key was used for another request.";
    Error::new(Code::IdempotencyMismatch, text).param("Idempotency-Key")
}

async fn respond(mut reader: Reader, replayed: bool) -> Response<Body> {
    let (status, mut headers) = std::future::poll_fn(|cx| reader.poll_head(cx)).await;
    if replayed || reader.shared.as_ref().is_some_and(|shared| shared.place.is_borrowed()) {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let mut response = Response::new(reader.into_body());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A request that several may wait for.
pub struct Shared {
    pub id: Digest,
    asked: Digest,
    /// It goes on when nobody waits any more.
    lasts: bool,
    repeats: Arc<Repeats>,
    /// Among the nodes.
    place: Arc<Place>,
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

struct State {
    work: Work,
    head: Option<(StatusCode, HeaderMap)>,
    /// What has come, from byte `base` on.
    recorded: BytesMut,
    base: usize,
    /// All of it, once it has ended.
    whole: Bytes,
    end: Option<Result<(), String>>,
    readers: usize,
    /// It is or will be remembered.
    kept: bool,
}

enum Work {
    None,
    Answering(Answering),
    Streaming(Box<dyn Source>),
}

impl Shared {
    fn new(id: Digest, asked: Digest, lasts: bool, repeats: Arc<Repeats>) -> Self {
        let state = State {
            work: Work::None,
            head: None,
            recorded: BytesMut::new(),
            base: 0,
            whole: Bytes::new(),
            end: None,
            readers: 1,
            kept: true,
        };
        Shared { id, asked, lasts, repeats, place: Arc::default(), state: Mutex::new(state), waiting: Arc::default() }
    }

    /// One reader more; not if nobody reads any more what is still to come.
    pub fn join(&self) -> bool {
        let mut state = self.state.lock();
        let open = state.kept && (state.readers > 0 || state.end.is_some());
        state.readers += usize::from(open);
        open
    }

    /// The answer is there, to its end.
    fn is_over(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// The answer has ended; to be followed by [`Shared::kept`], with the lock let go.
    fn ended(&self, state: &mut State, end: Result<(), String>) {
        let asked_first = |(status, headers): &(StatusCode, HeaderMap)| {
            *status == StatusCode::ACCEPTED && headers.contains_key(&ticket::HEADER)
        };
        let success = state.head.as_ref().is_some_and(|head| head.0.is_success() && !asked_first(head));
        let whole = success && end.is_ok() && state.base == 0 && !tells_failure(&state.recorded);
        state.end = Some(end);
        state.work = Work::None;
        // What is not kept stays listed until its last reader leaves, closed to others by `join`.
        state.kept &= whole && !self.place.is_borrowed();
        state.whole = state.recorded.split().freeze();
    }

    /// Hands the answer over to be remembered, here and for other nodes.
    fn keep(self: &Arc<Self>) {
        let state = self.state.lock();
        let head = state.head.clone().filter(|_| state.kept && state.end.is_some());
        let body = state.whole.clone();
        drop(state);
        // Where there is nothing to be remembered it is given back here.
        let claim = self.place.claim();
        let Some((status, headers)) = head else { return };
        let bytes = body.len();
        if let Some(nodes) = self.repeats.nodes() {
            let answer = Some(Answer { status, headers, body });
            nodes.keep(self.id, Record { asked: self.asked, answer }, claim);
        }
        self.repeats.keep(self.clone(), bytes, Instant::now());
    }
}

/// Whether a stream that came to its end ended with an error.
fn tells_failure(body: &[u8]) -> bool {
    let tail = &body[body.len().saturating_sub(4_096)..];
    let last = tail.strip_suffix(b"data: [DONE]\n\n").unwrap_or(tail).trim_ascii_end();
    let from = memchr::memmem::rfind(last, b"\n\n").map_or(0, |at| at + 2);
    let event = last.get(from..).unwrap_or_default();
    event.starts_with(b"event: error") || event.starts_with(b"data: {\"error\"")
}

/// One who waits for the answer.
struct Reader {
    number: u64,
    at: usize,
    /// Reads for one who has left.
    heir: bool,
    /// Taken by a drop.
    shared: Option<Arc<Shared>>,
}

impl Reader {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<(StatusCode, HeaderMap)> {
        let Some(shared) = &self.shared else { return Poll::Pending };
        let mut state = shared.state.lock();
        if let Some(head) = &state.head {
            return Poll::Ready(head.clone());
        }
        // Before it is asked, so that no call is lost.
        shared.waiting.add(self.number, cx.waker());
        let Work::Answering(answering) = &mut state.work else { return Poll::Pending };
        let waker = Waker::from(shared.waiting.clone());
        let response = std::task::ready!(answering.as_mut().poll(&mut Context::from_waker(&waker)));
        let (parts, body) = response.into_parts();
        state.head = Some((parts.status, parts.headers.clone()));
        match body.into_source() {
            Ok(source) => state.work = Work::Streaming(source),
            Err(bytes) => {
                state.kept &= bytes.len() <= MOST_KEPT;
                state.recorded = BytesMut::from(&bytes[..]);
                shared.ended(&mut state, Ok(()));
            }
        }
        let ended = state.end.is_some();
        drop(state);
        if ended {
            shared.keep();
        }
        shared.waiting.wake_by_ref();
        Poll::Ready((parts.status, parts.headers))
    }

    /// What has come already, from where the reader stands.
    fn recorded(&mut self, state: &State) -> Option<Result<Bytes, Broken>> {
        let Some(from) = self.at.checked_sub(state.base) else {
            return Some(Err(Broken("another reader of this answer was too far ahead".to_string())));
        };
        let piece = if state.end.is_some() {
            state.whole.get(from..).map(|_| state.whole.slice(from..))
        } else {
            state.recorded.get(from..).map(|rest| Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]))
        };
        let piece = piece.filter(|piece| !piece.is_empty())?;
        self.at += piece.len();
        Some(Ok(piece))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(shared) = self.shared.clone() else { return Poll::Ready(None) };
        let mut state = shared.state.lock();
        if let Some(piece) = self.recorded(&state) {
            return Poll::Ready(Some(piece));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(end.clone().err().map(|why| Err(Broken(why))));
        }
        shared.waiting.add(self.number, cx.waker());
        let Work::Streaming(source) = &mut state.work else { return Poll::Pending };
        let waker = Waker::from(shared.waiting.clone());
        let data = std::task::ready!(source.poll_data(&mut Context::from_waker(&waker)));
        let data = match data {
            Some(Ok(data)) => {
                self.at += data.len();
                record(&mut state, &data);
                Some(Ok(data))
            }
            Some(Err(broken)) => {
                shared.ended(&mut state, Err(broken.0.clone()));
                Some(Err(broken))
            }
            None => {
                shared.ended(&mut state, Ok(()));
                None
            }
        };
        let (others, ended, kept) = (state.readers > 1, state.end.is_some(), state.kept);
        drop(state);
        if !kept {
            // Other nodes need not wait for it either.
            drop(shared.place.claim());
        }
        if ended {
            shared.keep();
        }
        if others {
            shared.waiting.wake_by_ref();
        }
        Poll::Ready(data)
    }

    /// What is left for a body.
    fn into_body(self) -> Body {
        let whole = self.shared.as_ref().and_then(|shared| {
            let state = shared.state.lock();
            let whole = matches!(state.end, Some(Ok(()))) && state.base == 0;
            whole.then(|| state.whole.clone())
        });
        whole.map_or_else(|| Body::stream(self), Body::full)
    }
}

fn record(state: &mut State, data: &Bytes) {
    let most = if state.readers > 1 { MOST_BEHIND } else { MOST_KEPT };
    if state.recorded.len() + data.len() <= most {
        state.recorded.extend_from_slice(data);
        state.kept &= state.base + state.recorded.len() <= MOST_KEPT;
    } else {
        // Too much to keep: nobody joins it any more, and who reads now has read it.
        state.base += state.recorded.len() + data.len();
        state.recorded = BytesMut::new();
        state.kept = false;
    }
}

impl Source for Reader {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.poll_next(cx)
    }

    fn remaining(&self) -> Option<u64> {
        let state = self.shared.as_ref()?.state.lock();
        let known = state.base + state.recorded.len() + state.whole.len();
        let behind = known.checked_sub(self.at)? as u64;
        match (&state.work, &state.end) {
            (_, Some(_)) => Some(behind),
            (Work::Streaming(source), None) => Some(source.remaining()? + behind),
            _ => None,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.state.lock();
        let alone = state.readers == 1;
        // His repeat may come: the answer is read to its end, in this reader's place.
        let inherits = alone && !self.heir && state.end.is_none() && shared.lasts && state.kept;
        if let Some(runtime) = tokio::runtime::Handle::try_current().ok().filter(|_| inherits) {
            drop(state);
            let heir = Reader { number: self.number, at: self.at, heir: true, shared: Some(shared) };
            runtime.spawn(finish(heir));
            return;
        }
        state.readers -= 1;
        let work = if alone { std::mem::replace(&mut state.work, Work::None) } else { Work::None };
        let gone = alone && !(state.kept && state.end.is_some());
        drop(state);
        // Its own guards settle it.
        drop(work);
        if gone {
            drop(shared.place.claim());
            shared.repeats.forget(&shared);
        }
        shared.waiting.wake_by_ref();
    }
}

/// Reads to the end for nobody.
async fn finish(mut reader: Reader) {
    std::future::poll_fn(|cx| reader.poll_head(cx)).await;
    while let Some(Ok(_)) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {}
}
