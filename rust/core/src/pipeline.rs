//! THE DATA FLOW. One request, the stages in order, once.
//!
//! ```text
//! identify → parse → authorize → admit → inspect → cache → route → reserve → attempt → relay → settle
//! ```
//!
//! Every stage reads what earlier ones wrote into the [`Exchange`] and says how to go on ([`Flow`]). An error from any of
//! them is answered in the caller's dialect; `settle` sees every answer. What a request holds (places, reservations, the
//! record of its attempt) is held by guards that settle themselves, so leaving early anywhere is safe.

use std::time::Duration;

use http::Response;

use crate::body::Body;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::late;
use crate::stage::{Flow, Stage};
use crate::stage::{admit, attempt, authorize, cache, identify, inspect, parse, relay, reserve, route, settle};

/// Who is calling, and whether his rate is used up: a flood of refusals costs no more than this.
///
/// # Errors
/// The refusal, for [`turn_away`].
pub fn enter(exchange: &mut Exchange) -> Result<()> {
    identify::run(exchange)?;
    admit::at_the_door(exchange)
}

/// Answers a request that is refused before its body was read.
pub async fn turn_away(mut exchange: Box<Exchange>, mut error: Error) -> Response<Body> {
    if let Some(mut unread) = exchange.inbound.take().filter(|_| !error.close) {
        error.close = !parse::discard(&mut unread, &exchange.headers).await;
    }
    settle::run(exchange, Err(error))
}

/// Carries a request that was let in to its answer.
pub async fn run(mut exchange: Box<Exchange>) -> Response<Body> {
    match flow(&mut exchange, Stage::Parse, Stage::Attempt).await {
        Ok(None) => {}
        Ok(Some(response)) => return settle::run(exchange, Ok(response)),
        Err(error) => return turn_away(exchange, error).await,
    }
    let patience = exchange.snapshot.settings.keepalive_comment_ms;
    if patience == 0 || !exchange.call.stream || !exchange.endpoint.dialect.takes_comments() {
        let answer = ask(&mut exchange).await;
        return settle::run(exchange, answer);
    }
    let (dialect, id) = (exchange.endpoint.dialect, exchange.request_id);
    let answering = Box::pin(async move {
        let answer = ask(&mut exchange).await;
        settle::run(exchange, answer)
    });
    late::answer(answering, Duration::from_millis(patience), dialect, id).await
}

/// The part of the flow that waits for providers.
async fn ask(exchange: &mut Exchange) -> Result<Response<Body>> {
    let answer = flow(exchange, Stage::Attempt, Stage::Settle).await?;
    answer.ok_or_else(|| Error::new(Code::Internal, "no stage answered"))
}

/// Runs the stages from `first` on; `None` when `end` is reached without an answer.
async fn flow(exchange: &mut Exchange, first: Stage, end: Stage) -> Result<Option<Response<Body>>> {
    let mut stage = first;
    while stage != end {
        let flow = match stage {
            Stage::Identify => {
                enter(exchange)?;
                Flow::Next
            }
            Stage::Parse => parse::run(exchange).await?,
            Stage::Authorize => authorize::run(exchange)?,
            Stage::Admit => admit::run(exchange)?,
            Stage::Inspect => inspect::run(exchange)?,
            // What would happen is not what was cached.
            Stage::Cache if exchange.decision.as_ref().is_some_and(|decision| decision.simulated) => Flow::Next,
            Stage::Cache => cache::run(exchange)?,
            Stage::Route => route::run(exchange)?,
            Stage::Reserve => reserve::run(exchange)?,
            Stage::Attempt => attempt::run(exchange).await?,
            Stage::Relay => relay::run(exchange).await?,
            Stage::Settle => break,
        };
        match flow {
            Flow::Next => stage = stage.next(),
            Flow::Again(earlier) => stage = earlier,
            Flow::Answer(response) => return Ok(Some(response)),
        }
    }
    Ok(None)
}
