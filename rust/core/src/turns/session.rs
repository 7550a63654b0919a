//! The connection: messages wait for their turn, pings keep it alive, a shutdown ends it between two responses.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as Fault;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::Session;
use super::turn::error_event;
use crate::patience::within;
use crate::realtime::link::{End, Sink, Source, close, fault};
use crate::shard::{Phase, Shard};

/// How often the client is asked for a sign of life, and after how long a silence it is taken for dead.
const PING: Duration = Duration::from_secs(20);
const DEAD: Duration = Duration::from_secs(65);
/// How long the client's connection may take to become free.
const HAND_OVER: Duration = Duration::from_secs(10);
/// How old a connection may become, as at `OpenAI`.
const AGE: Duration = Duration::from_secs(3600);
/// Messages that may wait for their turn.
const WAITING: usize = 8;
const BUFFER: usize = 8 * 1024;

/// The client.
pub struct Link {
    sink: Sink<TokioIo<Upgraded>>,
    source: Source<TokioIo<Upgraded>>,
    waiting: VecDeque<Utf8Bytes>,
    pings: Interval,
    heard: Instant,
    stall: Duration,
}

impl Session {
    /// Answers messages until there is a reason to end.
    pub async fn run(mut self, upgrade: OnUpgrade) {
        let Some(Ok(upgraded)) = within(HAND_OVER, upgrade).await else { return };
        let limits = &self.shard.shared.options.limits;
        let longest = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let stall = Duration::from_millis(limits.write_stall_ms);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let (sink, source) = socket.split();
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = Link { sink, source, waiting: VecDeque::new(), pings, heard: Instant::now(), stall };
        let end = self.serve(&mut link).await;
        if let Some((error, frame)) = end.for_client("") {
            let event = error.map(|error| error_event(&error));
            close(link.sink, link.source, event, frame).await;
        }
    }

    async fn serve(&mut self, link: &mut Link) -> End {
        loop {
            let next = match link.next(&self.shard, self.started + AGE).await {
                Ok(message) => self.turn(&message, link).await,
                Err(end) => return end,
            };
            if let Err(end) = next {
                return end;
            }
        }
    }
}

impl Link {
    /// The next message.
    async fn next(&mut self, shard: &Shard, deadline: Instant) -> Result<Utf8Bytes, End> {
        if let Some(message) = self.waiting.pop_front() {
            return Ok(message);
        }
        let idle = Instant::now() + Duration::from_millis(shard.shared.options.limits.session_idle_ms);
        loop {
            let changed = shard.shared.phase_changed.notified();
            if shard.shared.phase() >= Phase::Draining {
                return Err(End::ShuttingDown);
            }
            tokio::select! {
                biased;
                message = self.source.next() => {
                    if let Some(text) = self.take(message)? {
                        return Ok(text);
                    }
                }
                _ = self.pings.tick() => self.ping().await?,
                () = tokio::time::sleep_until(idle.min(deadline).into()) => {
                    return Err(if Instant::now() >= deadline { End::TooOld } else { End::Idle });
                }
                () = changed => {}
            }
        }
    }

    /// Waits for something while the client is listened to: one that leaves does not wait for it.
    pub async fn meanwhile<F: Future>(&mut self, shard: &Shard, mut what: Pin<&mut F>) -> Result<F::Output, End> {
        loop {
            let changed = shard.shared.phase_changed.notified();
            if shard.shared.phase() == Phase::Cut {
                return Err(End::ShuttingDown);
            }
            tokio::select! {
                biased;
                out = &mut what => return Ok(out),
                message = self.source.next(), if self.waiting.len() < WAITING => {
                    if let Some(text) = self.take(message)? {
                        self.waiting.push_back(text);
                    }
                }
                _ = self.pings.tick() => self.ping().await?,
                () = changed => {}
            }
        }
    }

    fn take(&mut self, message: Option<Result<Message, Fault>>) -> Result<Option<Utf8Bytes>, End> {
        self.heard = Instant::now();
        match message {
            None => Err(End::Lost { client: true }),
            Some(Err(error)) => Err(fault(true, &error)),
            Some(Ok(Message::Close(frame))) => Err(End::Closed { by_client: true, frame }),
            Some(Ok(Message::Text(text))) => Ok(Some(text)),
            Some(Ok(Message::Binary(_))) => {
                Err(End::Broken { client: true, code: CloseCode::Unsupported, reason: "messages are text" })
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        // Who is not listened to, because enough of his messages wait, cannot have been heard.
        if self.heard.elapsed() > DEAD && self.waiting.len() < WAITING {
            return Err(End::Lost { client: true });
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    /// # Errors
    /// The client takes nothing any more.
    pub async fn send(&mut self, message: Message) -> Result<(), End> {
        match within(self.stall, self.sink.send(message)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(End::Lost { client: true }),
        }
    }
}
