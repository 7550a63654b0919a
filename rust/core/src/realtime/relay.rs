//! Messages both ways, one task per session: a side that does not take what it is sent stops the other one's reading, so
//! nothing piles up. Pings keep both connections alive; silence, age, size and a shutdown are watched.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::pending;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as Fault;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Session;
use super::link::{Client, End, Provider, Pulse, Sink, Source, close, error_event, fault};
use super::meter::Meter;
use super::screen::{Hearing, Out, Screens};
use super::tap;
use crate::error::Error;
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
pub(super) const HAND_OVER: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 * 1024;

impl Session {
    /// Carries the session to its end. Whatever is held is given back when this returns, or is dropped.
    pub async fn run(self, upgrade: OnUpgrade) {
        let Some(Ok(upgraded)) = within(HAND_OVER, upgrade).await else { return };
        let config = config(&self.shard);
        let client = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        self.carry(client, None).await;
    }

    /// The same with a client whose socket is there, and who has said something already.
    pub async fn carry(self, client: Client, first: Option<Message>) {
        let Session { shard, conn, mut meter, model, google, deadline, screens, _connection, _open, _admission } = self;
        let (stream, read) = conn.into_parts();
        let config = Some(config(&shard));
        let mut provider = WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Client, config).await;
        if let Some(first) = first {
            // One that takes nothing is noticed at once.
            let _ =
                within(Duration::from_millis(shard.shared.options.limits.write_stall_ms), provider.send(first)).await;
        }
        let id = meter.request_id();
        let name = meter.provider().to_string();
        let sides = Sides { client, provider, screens, tongue: Tongue { model, google } };
        let ends = relay(&shard, sides, &mut meter, deadline).await;
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
                // Google's clients know errors by the closing alone.
                let event = error.filter(|_| !google).map(|error| error_event(&error, &id));
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

/// What is spoken, and the model's name in it.
struct Tongue {
    model: Bytes,
    google: bool,
}

pub(super) fn config(shard: &Shard) -> WebSocketConfig {
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

struct Sides {
    client: Client,
    provider: Provider,
    screens: Option<Box<Screens>>,
    tongue: Tongue,
}

async fn relay(shard: &Shard, sides: Sides, meter: &mut Meter, deadline: Instant) -> Ends {
    let (mut client_sink, mut client_source) = sides.client.split();
    let (mut provider_sink, mut provider_source) = sides.provider.split();
    let tongue = &sides.tongue;
    let (mut asked, mut said, refusals, hearing) = match sides.screens.map(|screens| *screens) {
        Some(Screens { asked, said, refusals, hearing }) => (Some(asked), Some(said), Some(refusals), Some(hearing)),
        None => (None, None, None, None),
    };
    let strict = asked.is_some();
    let pulse = Pulse::new();
    let stall = Duration::from_millis(shard.shared.options.limits.write_stall_ms);
    let end = tokio::select! {
        end = async {
            let mut way = Way { client: true, pulse: &pulse, stall, strict, refusals: None, news: hearing.as_deref() };
            way.carry(&mut client_source, &mut provider_sink, |message, out| {
                let Some(asked) = &mut asked else {
                    out.extend(message.map(|message| renamed(message, tongue)));
                    return Ok(());
                };
                let looked = asked.look(message, out);
                out.iter_mut().for_each(|message| *message = renamed(std::mem::take(message), tongue));
                looked.map_err(Box::new)
            })
            .await
        } => end,
        end = async {
            let mut way = Way { client: false, pulse: &pulse, stall, strict, refusals, news: None };
            way.carry(&mut provider_source, &mut client_sink, |message, out| {
                let Some(message) = message else { return Ok(()) };
                let heard = match tongue.google {
                    true => tap::live::hear(message.as_bytes(), |heard| meter.hear(heard)),
                    false => meter.hear(tap::heard(message.as_bytes())),
                };
                pulse.answering.store(meter.is_answering(), Ordering::Relaxed);
                heard?;
                match &mut said {
                    Some(said) => said.look(message, out)?,
                    None => out.push(message),
                }
                Ok(())
            })
            .await
        } => end,
        end = watch(shard, &pulse, deadline) => end,
    };
    Ends { end, client: (client_sink, client_source), provider: (provider_sink, provider_source) }
}

/// A client's message with the model under the name that the provider knows.
fn renamed(message: Utf8Bytes, tongue: &Tongue) -> Utf8Bytes {
    // Google's name it once, in the first.
    let named = if tongue.google { None } else { tap::named_model(message.as_bytes()) };
    match named {
        Some(named) => replaced(message, named, &tongue.model),
        None => message,
    }
}

/// A message with another name in place of one.
pub(super) fn replaced(message: Utf8Bytes, named: Value, model: &Bytes) -> Utf8Bytes {
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
    /// What is no text is not carried: somebody looks at all of it.
    strict: bool,
    /// Events of the gateway's own, for the side that is sent to.
    refusals: Option<Receiver<Utf8Bytes>>,
    /// What the other direction has learnt may let something go on.
    news: Option<&'a Hearing>,
}

/// What a direction has to see to.
enum Turn {
    Refusal(Utf8Bytes),
    News,
    Message(Option<Result<Message, Fault>>),
    Ping,
}

impl Way<'_> {
    /// Carries messages until there is a reason to end; `look` sees every one (`None`: there is news), and says what is sent
    /// in its place, also when it ends the session.
    async fn carry<A, B>(
        &mut self,
        from: &mut Source<A>,
        to: &mut Sink<B>,
        mut look: impl FnMut(Option<Utf8Bytes>, &mut Out) -> Result<(), Box<Error>>,
    ) -> End
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let mut out = Out::new();
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = tokio::select! {
                biased;
                refusal = next(&mut self.refusals) => Turn::Refusal(refusal),
                () = news(self.news) => Turn::News,
                message = from.next() => Turn::Message(message),
                _ = pings.tick() => Turn::Ping,
            };
            // Google's API sends its JSON in binary frames.
            let (looked, binary) = match turn {
                Turn::Ping => match self.send(to, Message::Ping(Bytes::new())).await {
                    Some(end) => return end,
                    None => continue,
                },
                Turn::Refusal(text) => match self.send(to, Message::Text(text)).await {
                    Some(end) => return end,
                    None => continue,
                },
                Turn::News => (look(None, &mut out), false),
                Turn::Message(None) => return End::Lost { client: self.client },
                Turn::Message(Some(Err(error))) => return fault(self.client, &error),
                Turn::Message(Some(Ok(message))) => match message {
                    Message::Close(frame) => return End::Closed { by_client: self.client, frame },
                    Message::Text(text) => (look(Some(text), &mut out), false),
                    Message::Binary(bytes) => match Utf8Bytes::try_from(bytes.clone()) {
                        Ok(text) => (look(Some(text), &mut out), true),
                        Err(_) if self.strict => return unread(self.client),
                        Err(_) => match self.send(to, Message::Binary(bytes)).await {
                            Some(end) => return end,
                            None => continue,
                        },
                    },
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                        self.pulse.heard(self.client, false);
                        continue;
                    }
                },
            };
            self.pulse.heard(self.client, true);
            for text in out.drain(..) {
                let message = if binary { Message::Binary(Bytes::from(text)) } else { Message::Text(text) };
                if let Some(end) = self.send(to, message).await {
                    return end;
                }
            }
            if let Err(error) = looked {
                return End::Refused(error);
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

/// The next event of the gateway's own.
async fn next(refusals: &mut Option<Receiver<Utf8Bytes>>) -> Utf8Bytes {
    match refusals {
        Some(refusals) => match refusals.recv().await {
            Some(refusal) => refusal,
            None => pending().await,
        },
        None => pending().await,
    }
}

async fn news(hearing: Option<&Hearing>) {
    match hearing {
        Some(hearing) => hearing.changed.notified().await,
        None => pending().await,
    }
}

/// A frame of bytes that nobody can look at.
fn unread(client: bool) -> End {
    End::Broken { client, code: CloseCode::Unsupported, reason: "guardrails look at text, and this is none" }
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
