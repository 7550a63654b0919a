//! Requests that go to another model too, to see how it would do. Nobody waits for its answer, which goes nowhere: the two
//! answers are compared, and the result is told to Python.
//!
//! The mirror's request is a task of its own on the caller's I/O thread, begun when the caller's is about to be sent and run
//! when that one waits for its provider.

mod agreement;
mod pair;

use std::sync::Arc;

use http::Response;

use crate::body::Body;
use crate::error::{Error, Result};
use crate::exchange::{Exchange, RequestId, marks};
use crate::hold::Extra;
use crate::pipeline;
use crate::snapshot::{self, Model};
use crate::state::ModelState;
use crate::state::models::{InMirror, Mirrored};
use pair::{Pair, Side};

/// Longest request that is sent twice: its memory is held until the mirror has it.
pub const LONGEST: usize = 1024 * 1024;

/// What a request's mirror is, or is doing.
pub enum Mirror {
    Drawn {
        model: u32,
        in_flight: u32,
        bill: bool,
        state: Arc<ModelState>,
    },
    Begun(Arc<Pair>),
    /// There was no place for it.
    Skipped,
}

impl Mirror {
    pub fn drawn(model: &Model, mirror: &snapshot::Mirror) -> Mirror {
        let snapshot::Mirror { model: target, in_flight, bill, .. } = mirror;
        Mirror::Drawn { model: *target, in_flight: *in_flight, bill: *bill, state: model.state.clone() }
    }
}

/// Sends the request to its mirror, unless that was done before.
pub fn begin(exchange: &mut Exchange) {
    let Some(Mirror::Drawn { model, in_flight, bill, state }) = exchange.mirror.as_deref() else { return };
    let (model, bill) = (*model, *bill);
    let begun = Mirrored::enter(state, *in_flight).and_then(|place| {
        let copy = copy(exchange, model, bill)?;
        let pair = Arc::new(Pair::new(exchange, &copy));
        tokio::spawn(run(Box::new(copy), pair.clone(), place));
        Some(pair)
    });
    exchange.mirror = Some(Box::new(begun.map_or(Mirror::Skipped, Mirror::Begun)));
}

/// The caller's answer, which is compared with the mirror's as it passes.
///
/// # Errors
/// Those of the answer.
pub fn compared(exchange: &mut Exchange, answer: Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
    match exchange.mirror.as_deref() {
        Some(Mirror::Begun(pair)) => pair.watch(Side::Own, exchange, answer),
        _ => answer,
    }
}

/// The request as the mirror gets it: from nobody, unless the caller's key is to pay.
fn copy(exchange: &Exchange, model: u32, bill: bool) -> Option<Exchange> {
    let mut copy = exchange.again()?;
    copy.request_id = RequestId::new(exchange.wall_us);
    copy.call.model = exchange.snapshot.models.get(model as usize)?.name.to_string();
    copy.model = Some(model);
    copy.provider = None;
    copy.marks = marks::MIRROR;
    // Nobody's, it would be within all of them.
    copy.bounds = exchange.bounds;
    if !bill {
        copy.key = None;
        copy.extra = Extra::new();
        copy.customer = 0;
        copy.tags = Vec::new();
    }
    Some(copy)
}

async fn run(mut exchange: Box<Exchange>, pair: Arc<Pair>, place: InMirror) {
    let answer = pipeline::unattended(&mut exchange).await;
    if let Ok(answer) = pair.watch(Side::Mirror, &exchange, answer) {
        answer.into_body().drain().await;
    }
    drop(place);
}
