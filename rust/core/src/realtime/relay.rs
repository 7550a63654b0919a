//! Messages both ways, one task per session: a side that does not take what it is sent stops the other one's reading, so
//! nothing piles up. Pings keep both connections alive; silence, age, size and a shutdown are watched.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Session;
use super::link::{Client, End, Provider, Pulse, Sink, Source, close, error_event, fault};
use super::meter::Meter;
use super::tap;
use crate::patience::within;
use crate::shard::{Phase, Shard};
use crate::wire::json::Value;

/// How often each side is asked for a sign of life, and after how many silent ones it is taken for dead.
const PING: Duration = Duration::from_secs(20);
const DEAD: Duration = Duration::from_secs(65);
/// How often a session looks at the clock, and how often while the process leaves.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_LEAVING: Duration = Duration::from_millis(100);
/// How long the client's connection may take to become free for the session.
const HAND_OVER: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 * 1024;

impl Session {
    /// Carries the session to its end. Whatever is held is given back when this returns, or is dropped.
    pub async fn run(self, upgrade: OnUpgrade) {
        let Some(Ok(upgraded)) = within(HAND_OVER, upgrade).await else { return };
        let Session { shard, conn, mut meter, model, deadline, _connection, _open, _admission } = self;
        let config = config(&shard);
        let (stream, read) = conn.into_parts();
        let provider = WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Client, Some(config)).await;
        let client = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let id = meter.request_id();
        let name = meter.provider().to_string();
        let ends = relay(&shard, client, provider, &mut meter, &model, deadline).await;
        // What was used is settled before anybody is told.
        drop(meter);
        let Ends { end, client: (client_sink, client_source), provider: (provider_sink, provider_source) } = ends;
        let to_provider = async {
            if let Some(frame) = end.for_provider() {
                close(provider_sink, provider_source, None, frame).await;
            }
        };
        let to_client = async {
            if let Some((error, frame)) = end.for_client(&name) {
                let event = error.map(|error| error_event(&error, &id));
                close(client_sink, client_source, event, frame).await;
            }
        };
        match end {
            // Nobody waits for what the provider is still saying.
            End::Lost { client: true } | End::Closed { by_client: true, .. } => {
                tokio::join!(async { within(LOOK_LEAVING / 2, to_provider).await }, to_client);
            }
            _ => {
                tokio::join!(to_provider, to_client);
            }
        }
    }
}

fn config(shard: &Shard) -> WebSocketConfig {
    let longest = shard.shared.options.limits.session_message_bytes;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
}

struct Ends {
    end: End,
    client: (Sink<TokioIo<hyper::upgrade::Upgraded>>, Source<TokioIo<hyper::upgrade::Upgraded>>),
    provider: (Sink<crate::upstream::conn::Stream>, Source<crate::upstream::conn::Stream>),
}

async fn relay(
    shard: &Shard,
    client: Client,
    provider: Provider,
    meter: &mut Meter,
    model: &Bytes,
    deadline: Instant,
) -> Ends {
    let (mut client_sink, mut client_source) = client.split();
    let (mut provider_sink, mut provider_source) = provider.split();
    let pulse = Pulse::new();
    let stall = Duration::from_millis(shard.shared.options.limits.write_stall_ms);
    let end = tokio::select! {
        end = async {
            let mut way = Way { client: true, pulse: &pulse, stall };
            way.carry(&mut client_source, &mut provider_sink, |message| Ok(renamed(message, model))).await
        } => end,
        end = async {
            let mut way = Way { client: false, pulse: &pulse, stall };
            way.carry(&mut provider_source, &mut client_sink, |message| {
                let heard = meter.hear(tap::heard(message.as_bytes()));
                pulse.answering.store(meter.is_answering(), Ordering::Relaxed);
                heard.map(|()| message).map_err(Box::new)
            })
            .await
        } => end,
        end = watch(shard, &pulse, deadline) => end,
    };
    Ends { end, client: (client_sink, client_source), provider: (provider_sink, provider_source) }
}

/// A client's message with the model under the name that the provider knows.
fn renamed(message: Utf8Bytes, model: &Bytes) -> Utf8Bytes {
    let Some(named) = tap::named_model(message.as_bytes()) else { return message };
    let Value { start, end, .. } = named;
    let text = message.as_str();
    let pieces = (text.get(..start as usize), std::str::from_utf8(model), text.get(end as usize..));
    match pieces {
        (Some(before), Ok(model), Some(after)) => Utf8Bytes::from([before, model, after].concat()),
        _ => message,
    }
}

/// One direction of a session.
struct Way<'a> {
    /// It begins at the client.
    client: bool,
    pulse: &'a Pulse,
    stall: Duration,
}

impl Way<'_> {
    /// Carries messages until there is a reason to end; `look` sees every one, and may change or refuse it.
    async fn carry<A, B>(
        &mut self,
        from: &mut Source<A>,
        to: &mut Sink<B>,
        mut look: impl FnMut(Utf8Bytes) -> Result<Utf8Bytes, Box<crate::error::Error>>,
    ) -> End
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                biased;
                message = from.next() => message,
                _ = pings.tick() => match self.send(to, Message::Ping(Bytes::new())).await {
                    Some(end) => return end,
                    None => continue,
                },
            };
            let out = match message {
                None => return End::Lost { client: self.client },
                Some(Err(error)) => return fault(self.client, &error),
                Some(Ok(Message::Close(frame))) => return End::Closed { by_client: self.client, frame },
                Some(Ok(Message::Text(text))) => match look(text) {
                    Ok(text) => Message::Text(text),
                    Err(error) => return End::Refused(error),
                },
                // Google's API sends its JSON in binary frames.
                Some(Ok(Message::Binary(bytes))) => match Utf8Bytes::try_from(bytes.clone()).map(&mut look) {
                    Ok(Ok(text)) => Message::Binary(Bytes::from(text)),
                    Ok(Err(error)) => return End::Refused(error),
                    Err(_) => Message::Binary(bytes),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    self.pulse.heard(self.client, false);
                    continue;
                }
            };
            self.pulse.heard(self.client, true);
            if let Some(end) = self.send(to, out).await {
                return end;
            }
        }
    }

    /// Sends to the other side; what ends the session if that takes nothing any more.
    async fn send<B>(&self, to: &mut Sink<B>, message: Message) -> Option<End>
    where
        B: AsyncRead + AsyncWrite + Unpin,
    {
        match within(self.stall, to.send(message)).await {
            Some(Ok(())) => None,
            Some(Err(_)) | None => Some(End::Lost { client: !self.client }),
        }
    }
}

/// Ends a session that is silent, dead or too old, or in the way of a shutdown.
async fn watch(shard: &Shard, pulse: &Pulse, deadline: Instant) -> End {
    let idle = Duration::from_millis(shard.shared.options.limits.session_idle_ms);
    loop {
        let changed = shard.shared.phase_changed.notified();
        let phase = shard.shared.phase();
        if phase == Phase::Cut || phase == Phase::Draining && !pulse.answering.load(Ordering::Relaxed) {
            return End::ShuttingDown;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return End::TooOld;
        }
        if let Some(end) = pulse.overdue(DEAD, idle) {
            return end;
        }
        let look = if phase >= Phase::Draining { LOOK_LEAVING } else { LOOK.min(idle / 2) };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(look.min(left)) => {}
        }
    }
}
