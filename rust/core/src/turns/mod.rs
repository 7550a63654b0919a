//! Responses over a WebSocket: every `response.create` is a request of its own, which runs through the pipeline like one
//! that was posted; its events go out as messages. One response at a time, as OpenAI does it.

mod memory;
mod session;
mod turn;

use std::sync::Arc;
use std::time::Instant;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::arrival::Arrival;
use crate::body::Body;
use crate::connection::Connection;
use crate::endpoint::{Dialect, Endpoint, Operation, Owner, Payload};
use crate::error::Result;
use crate::pipeline;
use crate::realtime::{Open, handshake};
use crate::shard::Shard;
use crate::state::draw::Quotas;
use memory::Memory;

/// What a message goes through the pipeline as; no path leads here.
static TURN: Endpoint = Endpoint {
    method: Method::POST,
    pattern: "/v1/responses",
    owner: Owner::Plane,
    operation: Operation::Responses,
    dialect: Dialect::Responses,
    payload: Payload::Json,
};

/// What says something about the connection alone, or about the protocol spoken on it.
const OWN: [HeaderName; 7] = [
    CONNECTION,
    UPGRADE,
    CONTENT_LENGTH,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("openai-beta"),
];

/// One connection.
struct Session {
    shard: Arc<Shard>,
    connection: Arc<Connection>,
    /// Of the request for the WebSocket: every message is sent with them.
    headers: HeaderMap,
    query: Option<String>,
    memory: Memory,
    started: Instant,
    _open: Open,
}

/// Takes the connection over; whose it is was asked, and is asked again with every message.
///
/// # Errors
/// The caller is refused, or this is no request for a WebSocket.
pub fn begin(arrival: &Arrival, request: Request<Incoming>) -> Result<Response<Body>> {
    let mut quotas = Quotas::default();
    pipeline::enter(arrival, &TURN, &request, &mut quotas)?;
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    handshake::check(&parts.headers, upgrade.is_some())?;
    let response = handshake::accept(&parts.headers);
    for name in OWN {
        parts.headers.remove(name);
    }
    let session = Session {
        shard: arrival.shard.clone(),
        connection: arrival.connection.clone(),
        query: parts.uri.query().map(str::to_string),
        headers: parts.headers,
        memory: Memory::default(),
        started: arrival.started,
        _open: Open::new(arrival.shard.clone()),
    };
    if let Some(upgrade) = upgrade {
        tokio::spawn(session.run(upgrade));
    }
    Ok(response)
}
