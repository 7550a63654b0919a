//! Bodies that are polled through from the provider's socket: events with a tap, or plain bytes.
//!
//! There is no task and no queue between the two sockets, so back-pressure is the sockets' own, and a client that leaves
//! drops the source: the provider's connection is closed and the attempt settled in the same moment.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use tokio::time::Sleep;

use crate::account::{Admission, Attempt, Ending};
use crate::body::{Broken, Source};
use crate::dialect::{self, Seen, Tap};
use crate::endpoint::{Dialect, Operation};
use crate::error::{Code, Error};
use crate::exchange::{Answer, CacheUse, Exchange, RequestId};
use crate::late;
use crate::metrics::Outcome;
use crate::shard::{Phase, Shard};
use crate::state::DeploymentState;
use crate::state::cache::CacheKey;
use crate::upstream::{Conn, IoError};
use crate::wire::encoding::{EncodingError, Inflate};
use crate::wire::http1::{BodyDecoder, WireError};
use crate::wire::json::scan_object;
use crate::wire::sse::{self, Framer};

/// Longest event that is held together.
const EVENT_MAX: usize = 16 * 1024 * 1024;
/// Longest stream that is kept for the cache.
const CACHED_MAX: usize = 1024 * 1024;

/// The provider's side of a relayed body, with the clocks that watch it.
pub struct Upstream {
    conn: Option<Conn>,
    decoder: BodyDecoder,
    inflate: Option<Inflate>,
    keep_alive: bool,
    start: Bytes,
    status: u16,
    provider: Arc<str>,
    deployment: Arc<DeploymentState>,
    shard: Arc<Shard>,
    attempt: Attempt,
    overhead: Duration,
    idle: Duration,
    deadline: Instant,
    heard: Instant,
    /// How long the provider may be silent before a comment is due.
    comments: Option<Duration>,
    commented: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    _admission: Option<Admission>,
}

/// What came from the provider.
enum Heard {
    Data(Bytes),
    /// Nothing for so long that a comment is due.
    Quiet,
    End,
    Stop(Stop),
}

/// Why a stream stops before its end.
enum Stop {
    Io(IoError),
    Undecodable(EncodingError),
    Silent(Duration),
    TooLong,
    ShuttingDown,
}

impl Upstream {
    /// Takes over what the exchange holds for as long as the body lasts.
    pub fn new(exchange: &mut Exchange, answer: Answer, start: Bytes) -> Self {
        let now = Instant::now();
        let (provider, timeouts) = match exchange.deployment(answer.deployment) {
            Some(deployment) => (deployment.provider.clone(), Some(deployment.timeouts)),
            None => (Arc::from("unknown"), None),
        };
        let deployment = answer.attempt.deployment().clone();
        Upstream {
            conn: Some(answer.conn),
            decoder: answer.head.body,
            inflate: answer.inflate,
            keep_alive: answer.head.keep_alive,
            start,
            status: answer.head.status.as_u16(),
            provider,
            deployment,
            shard: exchange.shard.clone(),
            attempt: answer.attempt,
            overhead: exchange.overhead(now),
            idle: timeouts.map_or(Duration::from_secs(60), |timeouts| timeouts.idle),
            deadline: exchange.started + timeouts.map_or(Duration::from_secs(600), |timeouts| timeouts.total),
            heard: now,
            comments: None,
            commented: now,
            timer: None,
            _admission: exchange.admission.take(),
        }
    }

    /// What comes next; the connection goes back to its pool by itself.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if !self.start.is_empty() {
            return Poll::Ready(Heard::Data(std::mem::take(&mut self.start)));
        }
        let Some(conn) = self.conn.as_mut() else { return Poll::Ready(Heard::End) };
        match conn.poll_frame(cx, &mut self.decoder) {
            Poll::Ready(Some(Ok(data))) => {
                self.heard = Instant::now();
                Poll::Ready(self.decoded(data))
            }
            Poll::Ready(Some(Err(error))) => {
                self.conn = None;
                Poll::Ready(Heard::Stop(Stop::Io(error)))
            }
            Poll::Ready(None) => {
                if let Some(conn) = self.conn.take().filter(|_| self.keep_alive) {
                    self.deployment.pool.put(self.shard.index, conn);
                }
                Poll::Ready(Heard::End)
            }
            Poll::Pending => self.poll_clocks(cx),
        }
    }

    fn decoded(&mut self, data: Bytes) -> Heard {
        match self.inflate.as_mut().map(|inflate| inflate.feed(&data)) {
            None => Heard::Data(data),
            Some(Ok(decoded)) => Heard::Data(decoded),
            Some(Err(error)) => {
                self.conn = None;
                Heard::Stop(Stop::Undecodable(error))
            }
        }
    }

    /// Notices silence. The timer is armed once and re-armed when it fires early, not with every event.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if self.shard.shared.phase() == Phase::Cut {
            self.conn = None;
            return Poll::Ready(Heard::Stop(Stop::ShuttingDown));
        }
        loop {
            let silent = self.heard + self.idle;
            let comment = self.comments.map(|interval| self.heard.max(self.commented) + interval);
            let due = comment.map_or(silent, |comment| comment.min(silent)).min(self.deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                self.conn = None;
                return Poll::Ready(Heard::Stop(Stop::TooLong));
            }
            if now >= silent {
                self.conn = None;
                return Poll::Ready(Heard::Stop(Stop::Silent(self.idle)));
            }
            if comment.is_some_and(|comment| now >= comment) {
                self.commented = now;
                return Poll::Ready(Heard::Quiet);
            }
            timer.as_mut().reset(due.into());
        }
    }

    fn close(&mut self, ending: Ending) {
        self.attempt.close(ending, self.overhead, Instant::now());
    }

    fn estimated(&mut self, outcome: Outcome) {
        self.close(Ending::Estimated { status: self.status, outcome });
    }

    fn describe(&self, stop: &Stop) -> (Outcome, Error) {
        let provider = &self.provider;
        match stop {
            Stop::Io(IoError::Wire(error)) if *error != WireError::Truncated => {
                let text = format!("The stream of provider '{provider}' broke off: {error}.");
                (Outcome::InvalidResponse, Error::new(Code::UpstreamInvalid, text))
            }
            Stop::Io(error) => {
                let text = format!("The stream of provider '{provider}' broke off: {error}.");
                (Outcome::ConnectionLost, Error::new(Code::UpstreamReset, text))
            }
            Stop::Undecodable(error) => {
                let text = format!("The stream of provider '{provider}' cannot be read: {error}.");
                (Outcome::InvalidResponse, Error::new(Code::UpstreamInvalid, text))
            }
            Stop::Silent(idle) => {
                let text = format!("Provider '{provider}' sent nothing for {} s.", idle.as_secs_f32());
                (Outcome::Timeout, Error::new(Code::UpstreamTimeout, text))
            }
            Stop::TooLong => {
                let text = "The request reached its total time limit.";
                (Outcome::Timeout, Error::new(Code::UpstreamTimeout, text))
            }
            Stop::ShuttingDown => {
                let text = "The gateway is shutting down; the stream was cut after its drain time.";
                (Outcome::ClientGone, Error::new(Code::Draining, text))
            }
        }
    }
}

/// Plain bytes. Of JSON, head and tail are kept, where providers put the usage.
pub struct Raw {
    upstream: Upstream,
    dialect: Dialect,
    operation: Operation,
    head: BytesMut,
    tail: BytesMut,
}

/// How much of head and tail of a long answer is kept.
const KEPT: usize = 8 * 1024;

impl Raw {
    pub fn new(exchange: &Exchange, upstream: Upstream) -> Self {
        let (dialect, operation) = (exchange.endpoint.dialect, exchange.endpoint.operation);
        Raw { upstream, dialect, operation, head: BytesMut::new(), tail: BytesMut::new() }
    }

    fn keep(&mut self, data: &Bytes) {
        if self.operation == Operation::AudioSpeech {
            return;
        }
        let room = KEPT.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..room]);
        self.tail.extend_from_slice(&data[data.len().saturating_sub(KEPT)..]);
        if self.tail.len() > 2 * KEPT {
            let _ = self.tail.split_to(self.tail.len() - KEPT);
        }
    }

    fn settle(&mut self) {
        let member = dialect::usage_member(&self.tail).or_else(|| dialect::usage_member(&self.head));
        match dialect::usage(self.dialect, self.operation, member) {
            Some(usage) => self.upstream.close(Ending::Reported { status: self.upstream.status, usage }),
            None => self.upstream.estimated(Outcome::Success),
        }
    }
}

impl Source for Raw {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match std::task::ready!(self.upstream.poll(cx)) {
                Heard::Data(data) if !data.is_empty() => {
                    self.keep(&data);
                    return Poll::Ready(Some(Ok(data)));
                }
                Heard::Data(_) | Heard::Quiet => {}
                Heard::Stop(stop) => {
                    let (outcome, error) = self.upstream.describe(&stop);
                    self.upstream.estimated(outcome);
                    self.upstream.shard.metrics.error(error.code);
                    return Poll::Ready(Some(Err(Broken(error.to_string()))));
                }
                Heard::End => {
                    self.settle();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        let rest = self.upstream.decoder.remaining().filter(|_| self.upstream.inflate.is_none())?;
        Some(rest + self.upstream.start.len() as u64)
    }
}

/// Server-sent events: whole events only, byte for byte, less the usage event that only the gateway asked for.
pub struct Events {
    upstream: Upstream,
    framer: Framer,
    tap: Tap,
    dialect: Dialect,
    request_id: RequestId,
    hide_usage: bool,
    has_terminator: bool,
    restamp: Option<Bytes>,
    collect: Option<(CacheKey, BytesMut)>,
    terminated: bool,
    finished: bool,
    failed: bool,
    done: bool,
}

impl Events {
    pub fn new(exchange: &Exchange, mut upstream: Upstream) -> Self {
        let patience = exchange.snapshot.settings.keepalive_comment_ms;
        upstream.comments = (patience > 0).then(|| Duration::from_millis(patience));
        let deployment = exchange.served.and_then(|index| exchange.deployment(index));
        let dialect = exchange.endpoint.dialect;
        Events {
            framer: Framer::new(EVENT_MAX),
            tap: Tap::new(dialect),
            dialect,
            request_id: exchange.request_id,
            hide_usage: deployment.is_some_and(|deployment| exchange.asks_for_usage(deployment)),
            has_terminator: exchange.endpoint.operation.generates(),
            restamp: exchange
                .model()
                .filter(|_| exchange.snapshot.settings.restamp_model)
                .map(|model| model.name_json.clone()),
            collect: match exchange.cache {
                CacheUse::Miss(key) => Some((key, BytesMut::new())),
                _ => None,
            },
            upstream,
            terminated: false,
            finished: false,
            failed: false,
            done: false,
        }
    }

    /// Looks at the events of one read and gives what may be passed on of them.
    fn pass(&mut self, batch: &sse::Batch) -> Bytes {
        let mut start = 0;
        // As long as nothing is left out, the bytes read are the bytes sent.
        let mut edited: Option<BytesMut> = None;
        for end in &batch.ends {
            let range = start..*end as usize;
            let event = batch.bytes.get(range.clone()).unwrap_or_default();
            let seen = self.tap.event(event);
            self.note(&seen);
            let hidden = self.hide_usage && seen.usage_only;
            let replaced = if hidden { None } else { self.restamp(event) };
            if (hidden || replaced.is_some()) && edited.is_none() {
                edited = Some(BytesMut::from(batch.bytes.get(..start).unwrap_or_default()));
            }
            if let Some(edited) = edited.as_mut().filter(|_| !hidden) {
                edited.extend_from_slice(replaced.as_deref().unwrap_or(event));
            }
            start = range.end;
        }
        edited.map_or_else(|| batch.bytes.clone(), BytesMut::freeze)
    }

    fn note(&mut self, seen: &Seen) {
        if seen.text > 0 {
            self.upstream.attempt.progress.content(seen.text);
        }
        self.finished |= seen.finished;
        self.failed |= seen.error;
        if seen.terminal && !self.terminated {
            self.terminated = true;
            self.settle();
        }
    }

    fn settle(&mut self) {
        let status = self.upstream.status;
        match self.tap.usage() {
            Some(usage) => self.upstream.close(Ending::Reported { status, usage }),
            None if self.failed => self.upstream.estimated(Outcome::ServerError),
            None => self.upstream.estimated(Outcome::Success),
        }
    }

    fn restamp(&self, event: &[u8]) -> Option<Vec<u8>> {
        let name = self.restamp.as_ref()?;
        let data = event.strip_prefix(b"data: ")?;
        let scan = scan_object(data.trim_ascii_end(), &["model"]).ok()?;
        let model = scan.fields[0]?;
        let offset = event.len() - data.len();
        let before = event.get(..offset + model.start as usize)?;
        Some([before, name, event.get(offset + model.end as usize..)?].concat())
    }

    fn keep(&mut self, bytes: &Bytes) {
        if let Some((_, kept)) = &mut self.collect {
            kept.extend_from_slice(bytes);
            if kept.len() > CACHED_MAX {
                self.collect = None;
            }
        }
    }

    /// The provider has ended the stream.
    fn end(&mut self) -> Poll<Option<Result<Bytes, Broken>>> {
        self.done = true;
        if self.terminated {
            if let Some((key, kept)) = self.collect.take().filter(|_| !self.failed) {
                let content_type = HeaderValue::from_static("text/event-stream");
                self.upstream.shard.shared.state.cache.put(key, content_type, kept.freeze());
            }
            return Poll::Ready(None);
        }
        // An event without its blank line would be dropped by every reader: it is not passed on.
        if self.finished && self.framer.pending() == 0 && self.dialect == Dialect::OpenAi {
            // Some providers leave the terminator out; the answer itself is complete.
            self.settle();
            return Poll::Ready(Some(Ok(Bytes::from_static(b"data: [DONE]\n\n"))));
        }
        if self.failed || !self.has_terminator {
            self.settle();
            return Poll::Ready(None);
        }
        let text = format!("The stream of provider '{}' ended before its last event.", self.upstream.provider);
        self.fail(Outcome::ConnectionLost, &Error::new(Code::UpstreamReset, text))
    }

    /// Ends the stream with the dialect's error event.
    fn fail(&mut self, outcome: Outcome, error: &Error) -> Poll<Option<Result<Bytes, Broken>>> {
        self.done = true;
        self.upstream.conn = None;
        if self.terminated {
            return Poll::Ready(None);
        }
        self.upstream.attempt.progress.told = self.tap.early_input();
        self.upstream.estimated(outcome);
        self.upstream.shard.metrics.error(error.code);
        let event = dialect::error_event(self.dialect, error, &self.request_id.to_string());
        Poll::Ready(Some(Ok(event)))
    }
}

impl Source for Events {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.done {
            return Poll::Ready(None);
        }
        loop {
            let data = match std::task::ready!(self.upstream.poll(cx)) {
                Heard::Data(data) => data,
                Heard::Quiet => return Poll::Ready(Some(Ok(late::COMMENT))),
                Heard::Stop(stop) => {
                    let (outcome, error) = self.upstream.describe(&stop);
                    return self.fail(outcome, &error);
                }
                Heard::End => return self.end(),
            };
            let batch = match self.framer.push(data) {
                Ok(batch) => batch,
                Err(error) => {
                    let error =
                        Error::new(Code::UpstreamInvalid, format!("The provider's stream is not valid: {error}."));
                    return self.fail(Outcome::InvalidResponse, &error);
                }
            };
            let bytes = self.pass(&batch);
            if !bytes.is_empty() {
                self.keep(&bytes);
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The attempt settles itself; what the provider told about the input makes the estimate better.
        self.upstream.attempt.progress.told = self.tap.early_input();
    }
}
