//! THE DATA FLOW. One request, the stages in order, once.
//!
//! ```text
//! identify → parse → authorize → admit → inspect → cache → route → reserve → attempt → relay → settle
//! ```
//!
//! Every stage reads what earlier ones wrote into the [`Exchange`] and says how to go on ([`Flow`]). An error from any of
//! them is answered in the caller's dialect; `settle` sees every answer. What a request holds (places, reservations, the
//! record of its attempt) is held by guards that settle themselves, so leaving early anywhere is safe.

use http::Response;

use crate::body::Body;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::stage::{Flow, Stage};
use crate::stage::{admit, attempt, authorize, cache, identify, inspect, parse, relay, reserve, route, settle};

/// Carries a request from its key to its answer.
pub async fn run(mut exchange: Exchange) -> Response<Body> {
    let answer = flow(&mut exchange, Stage::Identify).await;
    settle::run(exchange, answer)
}

/// From `first` to the answer.
async fn flow(exchange: &mut Exchange, first: Stage) -> Result<Response<Body>> {
    let mut stage = first;
    loop {
        let flow = match stage {
            Stage::Identify => identify::run(exchange)?,
            Stage::Parse => parse::run(exchange).await?,
            Stage::Authorize => authorize::run(exchange)?,
            Stage::Admit => admit::run(exchange)?,
            Stage::Inspect => inspect::run(exchange)?,
            Stage::Cache => cache::run(exchange)?,
            Stage::Route => route::run(exchange)?,
            Stage::Reserve => reserve::run(exchange)?,
            Stage::Attempt => attempt::run(exchange).await?,
            Stage::Relay | Stage::Settle => relay::run(exchange).await?,
        };
        match flow {
            Flow::Next => stage = stage.next(),
            Flow::Again(earlier) => stage = earlier,
            Flow::Answer(response) => return Ok(response),
        }
    }
}
