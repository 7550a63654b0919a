//! A request with a key of its own that this node does not know: other nodes may.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;

use super::mismatch;
use super::nodes::{Claim, Found, Nodes};
use super::record::Answer;
use crate::body::{Body, Broken, Source};
use crate::exchange::Exchange;
use crate::late;
use crate::metrics::Repeat;
use crate::pipeline;
use crate::stage::settle;
use crate::state::repeats::Digest;

/// How often is looked for the answer of another node: a tenth of the wait so far, within these bounds.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(200);

/// How a request stands among the nodes.
#[derive(Default)]
pub enum Standing {
    /// It is this node's own affair.
    #[default]
    Alone,
    /// The others are being asked.
    Unsure,
    Mine(Claim),
    /// Another node is at it.
    Theirs,
    /// The answer is another node's, which remembers it.
    Borrowed,
}

#[derive(Default)]
pub struct Place(Mutex<Standing>);

impl Place {
    pub fn set(&self, standing: Standing) {
        // What was there may be given back, which nobody waits for.
        let before = std::mem::replace(&mut *self.0.lock(), standing);
        drop(before);
    }

    pub fn is_unsure(&self) -> bool {
        matches!(*self.0.lock(), Standing::Unsure)
    }

    pub fn is_borrowed(&self) -> bool {
        matches!(*self.0.lock(), Standing::Borrowed)
    }

    /// The claim, which nobody else gives back any more.
    pub fn claim(&self) -> Option<Claim> {
        let mut standing = self.0.lock();
        if !matches!(*standing, Standing::Mine(_)) {
            return None;
        }
        match std::mem::take(&mut *standing) {
            Standing::Mine(claim) => Some(claim),
            _ => None,
        }
    }
}

/// Carries a request to its answer, or to that which another node has or is about to have.
pub async fn through(
    exchange: Box<Exchange>,
    nodes: Arc<Nodes>,
    place: Arc<Place>,
    of: (Digest, Digest),
) -> Response<Body> {
    let found = nodes.enter(&of.0, &of.1).await;
    if !matches!(found, Found::UnderWay) {
        return settled(exchange, &place, found, false).await;
    }
    place.set(Standing::Theirs);
    let patience = exchange.snapshot.settings.keepalive_comment_ms;
    let patience = if exchange.call.stream && exchange.endpoint.dialect.takes_comments() { patience } else { 0 };
    let (spoken, id) = ((exchange.endpoint.dialect, exchange.endpoint.operation.format()), exchange.request_id);
    let waiting = Box::pin(wait(exchange, nodes, place, of));
    if patience == 0 {
        return waiting.await;
    }
    late::answer(waiting, Duration::from_millis(patience), spoken, id).await
}

/// Waits until the other node has an answer, or is not at it any more.
async fn wait(
    mut exchange: Box<Exchange>,
    nodes: Arc<Nodes>,
    place: Arc<Place>,
    (id, asked): (Digest, Digest),
) -> Response<Body> {
    let began = Instant::now();
    let mut failing: Option<Instant> = None;
    loop {
        let pause = if failing.is_some() { OFTEN } else { (began.elapsed() / 10).clamp(OFTEN, SELDOM) };
        tokio::time::sleep(pause).await;
        let asking = Instant::now();
        match nodes.enter(&id, &asked).await {
            Found::UnderWay => failing = None,
            // A connection that broke is made anew within moments.
            Found::Failed if failing.get_or_insert(asking).elapsed() < nodes.patience() => {}
            found => {
                exchange.waited += began.elapsed();
                return settled(exchange, &place, found, true).await;
            }
        }
    }
}

/// What is done about what is known, at once or after having waited for another node.
async fn settled(exchange: Box<Exchange>, place: &Place, found: Found, waited: bool) -> Response<Body> {
    exchange.shard.metrics.repeat(match found {
        Found::Mine(_) if waited => Repeat::TakenOver,
        Found::Mine(_) => Repeat::First,
        Found::Answer(_) if waited => Repeat::Waited,
        Found::Answer(_) => Repeat::Replayed,
        Found::Other => Repeat::Mismatch,
        Found::Foreign => Repeat::Foreign,
        Found::UnderWay | Found::Failed => Repeat::Alone,
    });
    match found {
        Found::Mine(claim) => place.set(Standing::Mine(claim)),
        Found::Answer(answer) => {
            place.set(Standing::Borrowed);
            return replay(&exchange, *answer);
        }
        Found::Other => return settle::run(exchange, Err(mismatch())),
        Found::UnderWay | Found::Foreign | Found::Failed => place.set(Standing::Alone),
    }
    pipeline::through(exchange).await
}

fn replay(exchange: &Exchange, answer: Answer) -> Response<Body> {
    exchange.shard.metrics.request(exchange.endpoint.operation, answer.status.as_u16());
    // A stream may have begun with comments by now, and goes on with these.
    let body = if exchange.call.stream { Body::stream(Once(answer.body)) } else { Body::full(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Events that are all there.
struct Once(Bytes);

impl Source for Once {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let all = std::mem::take(&mut self.0);
        Poll::Ready(Some(all).filter(|all| !all.is_empty()).map(Ok))
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
