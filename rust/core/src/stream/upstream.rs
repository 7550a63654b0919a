//! The provider's side of a relayed body, with the clocks that watch it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use crate::account::{Admission, Attempt, Ending};
use crate::cache::entry::Worth;
use crate::error::{Code, Error};
use crate::exchange::{Answer, Exchange};
use crate::invoke::Chunks;
use crate::metrics::Outcome;
use crate::shard::{Phase, Shard};
use crate::upstream::{Conn, IoError, Pool};
use crate::wire::encoding::{EncodingError, Inflate};
use crate::wire::http1::{BodyDecoder, WireError};

/// The provider's side of a relayed body, with the clocks that watch it.
pub struct Upstream {
    pub conn: Option<Conn>,
    pub decoder: BodyDecoder,
    pub inflate: Option<Box<Inflate>>,
    chunks: Option<Chunks>,
    keep_alive: bool,
    pub start: Bytes,
    pub status: u16,
    pub provider: Arc<str>,
    pool: Option<Arc<Pool>>,
    pub shard: Arc<Shard>,
    /// What the answer came to, once it is settled.
    pub worth: Worth,
    pub attempt: Attempt,
    overhead: Duration,
    idle: Duration,
    deadline: Instant,
    heard: Instant,
    /// How long the provider may be silent before a comment is due.
    pub comments: Option<Duration>,
    commented: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    _admission: Option<Admission>,
}

/// What came from the provider.
pub enum Heard {
    Data(Bytes),
    /// Nothing for so long that a comment is due.
    Quiet,
    End,
    Stop(Stop),
}

/// Why a stream stops before its end.
pub enum Stop {
    Io(IoError),
    Undecodable(EncodingError),
    Unframed(String),
    Silent(Duration),
    TooLong,
    ShuttingDown,
}

impl Upstream {
    /// Takes over what the exchange holds for as long as the body lasts.
    pub fn new(exchange: &mut Exchange, answer: Box<Answer>, start: Bytes) -> Self {
        let now = Instant::now();
        let (provider, timeouts, pool) = match exchange.deployment(answer.deployment) {
            Some(deployment) => (deployment.provider.clone(), Some(deployment.timeouts), Some(deployment.pool.clone())),
            None => (Arc::from("unknown"), None, None),
        };
        Upstream {
            conn: Some(answer.conn),
            decoder: answer.head.body,
            inflate: answer.inflate,
            chunks: answer.chunks,
            keep_alive: answer.head.keep_alive,
            start: if start.is_empty() { answer.begun } else { start },
            status: answer.head.status.as_u16(),
            provider,
            pool,
            shard: exchange.shard.clone(),
            worth: Worth::default(),
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
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
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
                if let (Some(pool), Some(conn)) = (&self.pool, self.conn.take().filter(|_| self.keep_alive)) {
                    pool.put(self.shard.index, conn);
                }
                Poll::Ready(Heard::End)
            }
            Poll::Pending => self.poll_clocks(cx),
        }
    }

    fn decoded(&mut self, data: Bytes) -> Heard {
        match self.inflate.as_mut().map(|inflate| inflate.feed(&data)) {
            None => self.opened(data),
            Some(Ok(decoded)) => self.opened(decoded),
            Some(Err(error)) => {
                self.conn = None;
                Heard::Stop(Stop::Undecodable(error))
            }
        }
    }

    /// Without its envelopes.
    fn opened(&mut self, data: Bytes) -> Heard {
        let Some(chunks) = &mut self.chunks else { return Heard::Data(data) };
        match chunks.feed(data) {
            Ok(events) => Heard::Data(events),
            Err(reason) => {
                self.conn = None;
                Heard::Stop(Stop::Unframed(reason))
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

    pub fn close(&mut self, ending: Ending) {
        let cost = self.attempt.close(ending, self.overhead, Instant::now());
        if cost > 0 {
            self.worth = Worth::new(cost, ending.usage(), 0);
        }
    }

    pub fn estimated(&mut self, outcome: Outcome) {
        self.close(Ending::Estimated { status: self.status, outcome });
    }

    pub fn describe(&self, stop: &Stop) -> (Outcome, Error) {
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
            Stop::Unframed(reason) => {
                let text = format!("The stream of provider '{provider}' is not valid: {reason}.");
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
