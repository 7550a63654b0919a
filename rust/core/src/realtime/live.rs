//! Sessions of Google's Live API. The model is named by the first message, so the client has its WebSocket before any
//! provider is asked: what the pipeline refuses is told by closing it, as Google does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::link::{Client, End, close, closing, fault};
use super::relay::{HAND_OVER, config, replaced};
use super::tap::live::setup_model;
use super::{Open, Session, Taker, handshake};
use crate::account::Admission;
use crate::arrival::Arrival;
use crate::body::Body;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::exchange::{Call, Exchange};
use crate::patience::within;
use crate::pipeline;
use crate::shard::Phase;
use crate::state::draw::Quotas;

/// How long a client may take to say which model it wants.
const SETUP: Duration = Duration::from_secs(10);

/// Takes the connection over from a caller who is known and whose rate is not used up.
///
/// # Errors
/// The caller is refused, or this is no request for a WebSocket.
pub fn begin(arrival: &Arrival, endpoint: &'static Endpoint, request: Request<Incoming>) -> Result<Response<Body>> {
    let mut quotas = Quotas::default();
    let caller = pipeline::enter(arrival, endpoint, &request, &mut quotas)?;
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    handshake::check(&parts.headers, upgrade.is_some())?;
    let response = handshake::accept(&parts.headers);
    let own = Arrival {
        started: arrival.started,
        wall_us: arrival.wall_us,
        request_id: arrival.request_id,
        dialect: arrival.dialect,
        shard: arrival.shard.clone(),
        connection: arrival.connection.clone(),
    };
    let exchange = own.exchange(endpoint, None, parts, None, caller);
    if let Some(upgrade) = upgrade {
        tokio::spawn(run(exchange, upgrade));
    }
    Ok(response)
}

async fn run(exchange: Box<Exchange>, upgrade: OnUpgrade) {
    let open = Open::new(exchange.shard.clone());
    let Some(Ok(upgraded)) = within(HAND_OVER, upgrade).await else { return };
    let config = config(&exchange.shard);
    let mut client = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    match opened(exchange, &mut client).await {
        Ok((session, first)) => {
            drop(open);
            session.carry(client, Some(first)).await;
        }
        Err(end) => {
            if let Some((_, frame)) = end.for_client("") {
                let (sink, source) = client.split();
                close(sink, source, None, frame).await;
            }
        }
    }
}

/// A session at a provider, and the message that it begins with.
async fn opened(mut exchange: Box<Exchange>, client: &mut Client) -> Result<(Session, Message), End> {
    let (text, binary) = first(&exchange, client).await?;
    let Some((model, span)) = setup_model(text.as_bytes()) else {
        return Err(End::Broken {
            client: true,
            code: CloseCode::Invalid,
            reason: "the first message must be a `setup` that names a `model`",
        });
    };
    exchange.call = Call { model, choices: 1, ..Call::default() };
    exchange.admission.get_or_insert_with(|| Admission::new(exchange.shard.clone()));
    let handover = Arc::new(Mutex::new(None));
    exchange.upgrade = Some(Taker::Socket(handover.clone()));
    let (head, body) = pipeline::through(exchange).await.into_parts();
    let Some(session) = handover.lock().take() else { return Err(refused(head.status, body)) };
    let text = replaced(text, span, &session.model);
    let first = if binary { Message::Binary(text.into()) } else { Message::Text(text) };
    Ok((session, first))
}

/// The first message, and whether it came as bytes.
async fn first(exchange: &Exchange, client: &mut Client) -> Result<(Utf8Bytes, bool), End> {
    let shared = exchange.shard.shared.clone();
    let deadline = tokio::time::Instant::now() + SETUP;
    loop {
        let changed = shared.phase_changed.notified();
        if shared.phase() >= Phase::Draining {
            return Err(End::ShuttingDown);
        }
        let message = tokio::select! {
            biased;
            message = client.next() => message,
            () = tokio::time::sleep_until(deadline) => return Err(End::Idle),
            () = changed => continue,
        };
        return match message {
            None => Err(End::Lost { client: true }),
            Some(Err(error)) => Err(fault(true, &error)),
            Some(Ok(Message::Close(frame))) => Err(End::Closed { by_client: true, frame }),
            Some(Ok(Message::Text(text))) => Ok((text, false)),
            Some(Ok(Message::Binary(bytes))) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Ok((text, true)),
                Err(_) => Err(End::Broken { client: true, code: CloseCode::Invalid, reason: "not UTF-8" }),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
        };
    }
}

/// What the pipeline answered instead of a session, as a closing.
fn refused(status: StatusCode, body: Body) -> End {
    let body = body.into_source().err().unwrap_or_default();
    let body: Json = serde_json::from_slice(&body).unwrap_or_default();
    let text = body.get("error").and_then(|error| error.get("message")).and_then(Json::as_str);
    let code = if status.is_client_error() { CloseCode::Policy } else { CloseCode::Error };
    let frame = closing(code, text.unwrap_or("the session cannot be opened").to_string());
    End::Closed { by_client: false, frame: Some(frame) }
}
