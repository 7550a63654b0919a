//! `GET /v1/approvals/results/{token}`: what came of a request that was accepted. Asks the provider if nobody has yet.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::gate::{Which, accepted, claim, outcome, released, settled};
use super::wire::{Dossier, Standing};
use super::{desk, ticket};
use crate::body::Body;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::pipeline;
use crate::stage::{authorize, settle};

/// Longest time that a question waits.
const WAIT_MAX_S: u64 = 60;

enum Served {
    Answer(Response<Body>),
    /// The request that was approved goes through the pipeline.
    Request,
    /// The answer that was approved goes through what is left of it.
    Released(Response<Body>),
}

pub async fn serve(mut exchange: Box<Exchange>) -> Response<Body> {
    let served = answer(&mut exchange).await;
    exchange.tickets.iter_mut().for_each(ticket::Ticket::begin);
    match served {
        Ok(Served::Answer(response)) => settle::run(exchange, Ok(response)),
        Ok(Served::Request) => pipeline::detached(pipeline::through(exchange)).await,
        Ok(Served::Released(response)) => pipeline::released(exchange, response).await,
        Err(error) => pipeline::turn_away(exchange, error).await,
    }
}

async fn answer(exchange: &mut Exchange) -> Result<Served> {
    let Some(key) = exchange.key.clone() else {
        return Err(Error::new(Code::Internal, "approvals were asked for before identify"));
    };
    authorize::check_address(&key, exchange.client)?;
    let token = exchange.path_model.take().unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(wait(exchange.query.as_deref())?);
    let which = Which { id: None, token: Some(&token), key_id: Some(&key.id) };
    let standing: Standing = desk::ask(&exchange.shard, "look", &which).await?;
    let id = standing.id.clone();
    let mut now = standing;
    loop {
        let last =
            Standing { id: id.clone(), token: now.token.clone(), policy: now.policy.clone(), ..Standing::default() };
        let open = Standing { status: now.status.clone(), left_ms: now.left_ms, ..last };
        let Some(mut standing) = settled(&exchange.shard, &id, now, Some(until)).await? else {
            return Ok(Served::Answer(accepted(&open)));
        };
        if standing.status != "approved" {
            return outcome(&standing).map(Served::Answer);
        }
        if let Some(claimed) = claim(exchange, &mut standing).await? {
            return go_on(exchange, &claimed);
        }
        now = standing;
    }
}

fn go_on(exchange: &mut Exchange, claimed: &Standing) -> Result<Served> {
    released(exchange, claimed)?;
    if claimed.phase != "post" {
        return Ok(Served::Request);
    }
    let packed = claimed.dossier.as_ref().map_or(Bytes::new(), |blob| blob.0.clone());
    let dossier: Dossier = rmp_serde::from_slice(&packed).unwrap_or_default();
    let Some(mut answer) = dossier.answer else {
        return Err(Error::new(Code::Internal, "an approved answer cannot be read"));
    };
    if let Some(edited) = &claimed.edited {
        answer.body = edited.clone();
    }
    Ok(Served::Released(ticket::response(&answer)))
}

/// Seconds that the caller wants to wait: `wait=30`.
fn wait(query: Option<&str>) -> Result<u64> {
    let pairs = query.unwrap_or_default().split('&');
    let Some(value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "wait") else {
        return Ok(0);
    };
    let seconds = value.1.parse().ok().filter(|seconds| *seconds <= WAIT_MAX_S);
    seconds.ok_or_else(|| {
        let text = format!("Invalid 'wait': expected 0 to {WAIT_MAX_S} seconds.");
        Error::new(Code::InvalidRequest, text).param("wait")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_bounded() {
        assert_eq!(wait(None).ok(), Some(0));
        assert_eq!(wait(Some("x=1&wait=30")).ok(), Some(30));
        assert!(wait(Some("wait=61")).is_err() && wait(Some("wait=-1")).is_err() && wait(Some("wait=x")).is_err());
    }
}
