//! The two ends of a session, and why it ends.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as Fault, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::clock::coarse_ns;
use crate::error::{Code, Error};
use crate::patience::within;
use crate::upstream::conn::Stream;

pub type Client = WebSocketStream<TokioIo<Upgraded>>;
pub type Provider = WebSocketStream<Stream>;
pub type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
pub type Source<S> = SplitStream<WebSocketStream<S>>;

/// How long the peer may take to answer our closing.
const CLOSING: Duration = Duration::from_secs(1);
/// Most bytes of a reason in a close frame.
const REASON: usize = 120;

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// One side said so.
    Closed {
        by_client: bool,
        frame: Option<CloseFrame>,
    },
    /// A side is gone without a word, or takes nothing any more.
    Lost {
        client: bool,
    },
    /// What a side sent is no WebSocket, or too long.
    Broken {
        client: bool,
        code: CloseCode,
        reason: &'static str,
    },
    /// Nobody said anything for so long.
    Idle,
    /// The session is as old as it may get.
    TooOld,
    ShuttingDown,
    /// A limit, a budget or the key forbids to go on.
    Refused(Box<Error>),
}

/// What went wrong while reading from one side.
pub fn fault(client: bool, fault: &Fault) -> End {
    let broken = |code, reason| End::Broken { client, code, reason };
    match fault {
        Fault::Capacity(CapacityError::MessageTooLong { .. }) => broken(CloseCode::Size, "message too long"),
        Fault::Utf8(_) => broken(CloseCode::Invalid, "text is not UTF-8"),
        Fault::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost { client },
        Fault::Protocol(_) | Fault::Capacity(_) => broken(CloseCode::Protocol, "not a valid WebSocket"),
        _ => End::Lost { client },
    }
}

/// When each side was last heard, and whether a response is on its way: shared by the two directions.
#[derive(Default)]
pub struct Pulse {
    client: AtomicU64,
    provider: AtomicU64,
    message: AtomicU64,
    pub answering: AtomicBool,
}

impl Pulse {
    pub fn new() -> Self {
        let now = || AtomicU64::new(coarse_ns());
        Pulse { client: now(), provider: now(), message: now(), answering: AtomicBool::new(false) }
    }

    /// A side was heard; `message`: it said something.
    pub fn heard(&self, client: bool, message: bool) {
        let side = if client { &self.client } else { &self.provider };
        let now = coarse_ns();
        side.store(now, Ordering::Relaxed);
        if message {
            self.message.store(now, Ordering::Relaxed);
        }
    }

    /// Why the session should end: a side that is dead, or nothing said for `idle`.
    pub fn overdue(&self, dead: Duration, idle: Duration) -> Option<End> {
        let now = coarse_ns();
        let longer = |since: &AtomicU64, limit: Duration| {
            u128::from(now.saturating_sub(since.load(Ordering::Relaxed))) >= limit.as_nanos()
        };
        if longer(&self.client, dead) {
            return Some(End::Lost { client: true });
        }
        if longer(&self.provider, dead) {
            return Some(End::Lost { client: false });
        }
        longer(&self.message, idle).then_some(End::Idle)
    }
}

impl End {
    /// What the client is told, as an event and as a closing. `None`: nothing, it is gone.
    pub fn for_client(&self, provider: &str) -> Option<(Option<Error>, Option<CloseFrame>)> {
        let told = |code: Code, text: String, close, reason: &str| {
            Some((Some(Error::new(code, text)), Some(closing(close, reason.to_string()))))
        };
        match self {
            // The library answers a closing by itself.
            End::Closed { by_client: true, .. } => Some((None, None)),
            End::Lost { client: true } => None,
            End::Closed { by_client: false, frame } => Some((None, frame.clone())),
            End::Broken { client: true, code, reason } => Some((None, Some(closing(*code, (*reason).to_string())))),
            End::Broken { client: false, reason, .. } => {
                let text = format!("What provider '{provider}' sent cannot be passed on: {reason}.");
                told(Code::UpstreamInvalid, text, CloseCode::Error, "invalid message from the provider")
            }
            End::Lost { client: false } => {
                let text = format!("The connection to provider '{provider}' was lost.");
                told(Code::UpstreamReset, text, CloseCode::Error, "connection to the provider lost")
            }
            End::Idle => Some((None, Some(closing(CloseCode::Normal, "idle for too long".to_string())))),
            End::TooOld => Some((None, Some(closing(CloseCode::Normal, "session time is over".to_string())))),
            End::ShuttingDown => {
                let text = "The gateway is shutting down. Open another session.".to_string();
                told(Code::Draining, text, CloseCode::Away, "shutting down")
            }
            End::Refused(error) => {
                Some((Some((**error).clone()), Some(closing(CloseCode::Policy, error.message.to_string()))))
            }
        }
    }

    /// How the provider's side is closed. `None`: it is gone.
    pub fn for_provider(&self) -> Option<Option<CloseFrame>> {
        match self {
            End::Closed { by_client: true, frame } => Some(frame.clone()),
            End::Closed { by_client: false, .. } => Some(None),
            End::Lost { client: false } => None,
            _ => Some(Some(closing(CloseCode::Away, String::new()))),
        }
    }
}

pub(super) fn closing(code: CloseCode, mut reason: String) -> CloseFrame {
    if reason.len() > REASON {
        let end = (0..=REASON).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        reason.truncate(end);
    }
    CloseFrame { code, reason: reason.into() }
}

/// The event that OpenAI's clients know errors by.
pub fn error_event(error: &Error, id: &str) -> Message {
    Message::Text(Utf8Bytes::from(error_text(error, id, None)))
}

/// The same as text; `about`: the client's event that is at fault.
pub fn error_text(error: &Error, id: &str, about: Option<&str>) -> String {
    let facts = error.code.facts();
    let event = serde_json::json!({
        "type": "error",
        "event_id": format!("event_{id}"),
        "error": {
            "type": error.kind(),
            "code": facts.code,
            "message": match &error.message { Cow::Borrowed(text) => text, Cow::Owned(text) => text.as_str() },
            "param": error.param.as_deref(),
            "event_id": about,
        },
    });
    event.to_string()
}

/// Closes one side, and waits a little for its answer.
pub async fn close<S>(mut sink: Sink<S>, mut source: Source<S>, event: Option<Message>, frame: Option<CloseFrame>)
where
    WebSocketStream<S>:
        futures_util::Stream<Item = Result<Message, Fault>> + futures_util::Sink<Message, Error = Fault>,
{
    let closing = async {
        if let Some(event) = event {
            let _ = sink.send(event).await;
        }
        // Codes that stand for the lack of one cannot be sent.
        let frame = frame.filter(|frame| frame.code.is_allowed());
        // Fails where the peer closed first: its closing is answered while we read.
        let _ = sink.send(Message::Close(frame)).await;
        while let Some(Ok(_)) = source.next().await {}
    };
    let _ = within(CLOSING, closing).await;
}
