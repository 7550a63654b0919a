//! Sessions over WebSockets (OpenAI's Realtime, Google's Live): the pipeline decides about the upgrade as about any request;
//! once the provider has agreed too, messages go both ways and every response of the model is accounted like a request.

pub mod handshake;
pub mod link;
pub mod live;
mod meter;
mod relay;
mod screen;
mod tap;

use std::sync::Arc;
use std::time::Instant;

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;

use crate::account::{Admission, Ending};
use crate::body::Body;
use crate::connection::Connection;
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::metrics::Outcome;
use crate::shard::Shard;
use crate::upstream::Conn;
use meter::Meter;
use screen::Screens;

/// A session whose handshakes are done.
pub struct Session {
    shard: Arc<Shard>,
    conn: Conn,
    meter: Meter,
    /// Of the client's socket: its peer, and that it is open.
    _connection: Arc<Connection>,
    _open: Open,
    /// The places that the session holds while it lasts.
    _admission: Option<Admission>,
    /// Name of the model as the provider knows it, a JSON string.
    model: bytes::Bytes,
    /// Its messages are Google's.
    google: bool,
    deadline: Instant,
    screens: Option<Box<Screens>>,
}

/// Who gets the session once its provider has agreed.
pub enum Taker {
    /// The client's connection, as soon as HTTP has given it up.
    Upgrade(OnUpgrade),
    /// Somebody who has the client's socket already.
    Socket(Arc<Mutex<Option<Session>>>),
}

/// Counts the client's connection for as long as the session has it.
pub struct Open(Arc<Shard>);

impl Open {
    pub fn new(shard: Arc<Shard>) -> Self {
        shard.metrics.connections_open.add(1);
        Open(shard)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections_open.add(-1);
    }
}

/// Takes the client's connection over when the provider has agreed to the upgrade.
///
/// # Errors
/// The provider answered, but did not upgrade.
pub fn begin(exchange: &mut Exchange, mut answer: Answer) -> Result<Response<Body>> {
    let agreed = answer.head.status == StatusCode::SWITCHING_PROTOCOLS
        && handshake::is_accepted(&answer.head.headers, &exchange.request_id);
    let upgrade = exchange.upgrade.take().filter(|_| agreed);
    let snapshot = exchange.snapshot.clone();
    let deployment = snapshot.deployments.get(answer.deployment as usize);
    let (Some(upgrade), Some(deployment)) = (upgrade, deployment) else {
        let now = Instant::now();
        let ending = Ending::Estimated { status: answer.head.status.as_u16(), outcome: Outcome::InvalidResponse };
        answer.attempt.close(ending, exchange.overhead(now), now);
        let text = "The provider did not agree to a WebSocket although it did not refuse one.";
        return Err(Error::new(Code::UpstreamInvalid, text));
    };
    let google = exchange.endpoint.operation == Operation::BidiGenerateContent;
    let session = Session {
        shard: exchange.shard.clone(),
        meter: Meter::new(exchange, deployment, answer.attempt, answer.intent),
        conn: answer.conn,
        _connection: exchange.connection.clone(),
        _open: Open::new(exchange.shard.clone()),
        _admission: exchange.admission.take().map(|mut admission| {
            admission.keep();
            admission
        }),
        model: if google { deployment.resource_json.clone() } else { deployment.model_json.clone() },
        google,
        deadline: exchange.started + deployment.timeouts.total,
        screens: Screens::of(exchange),
    };
    match upgrade {
        Taker::Upgrade(upgrade) => drop(tokio::spawn(session.run(upgrade))),
        Taker::Socket(handover) => *handover.lock() = Some(session),
    }
    Ok(handshake::accept(&exchange.headers))
}
