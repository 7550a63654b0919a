//! The endpoints of what is kept: `/v1/responses/{id}` and `/v1/conversations`.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response as Answer};
use serde_json::{Value, json};

use super::access::{self, Found};
use super::background::streamed;
use super::forward::{forward, is_id};
use super::write::Write;
use super::{background, conversations, elsewhere, items, missing, owner, told};
use crate::body::Body;
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::pipeline;
use crate::stage::{authorize, settle};

/// Answers from what is kept here, or asks the provider that keeps it.
pub async fn serve(mut exchange: Box<Exchange>) -> Answer<Body> {
    let method = exchange.endpoint.method.clone();
    match answer(&mut exchange, method).await {
        Ok(Some(answer)) => settle::run(exchange, Ok(answer)),
        Ok(None) => pipeline::through(exchange).await,
        Err(error) => pipeline::turn_away(exchange, error).await,
    }
}

fn whole(value: &Value) -> Answer<Body> {
    let mut answer = Answer::new(Body::full(value.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The number of the first event that is asked for, where the response is to be streamed.
fn streams(query: Option<&str>) -> Result<Option<usize>> {
    let wrong = |name: &'static str, expected: &str| {
        Error::new(Code::InvalidRequest, format!("Invalid '{name}': {expected} is expected.")).param(name)
    };
    let (mut stream, mut first) = (false, 0);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("stream", "true" | "1") => stream = true,
            ("stream", "false" | "0") => stream = false,
            ("stream", _) => return Err(wrong("stream", "true or false")),
            ("starting_after", number) => {
                let number: u32 = number.parse().map_err(|_| wrong("starting_after", "the number of an event"))?;
                first = number as usize + 1;
            }
            _ => {}
        }
    }
    Ok(stream.then_some(first))
}

async fn answer(exchange: &mut Exchange, method: Method) -> Result<Option<Answer<Body>>> {
    let Some(key) = exchange.key.clone() else {
        return Err(Error::new(Code::Internal, "kept things were asked for before identify"));
    };
    authorize::check_address(&key, exchange.client)?;
    if !key.may_call(Operation::Responses) {
        let text = "This API key may not call the endpoint 'responses'.";
        return Err(Error::new(Code::EndpointDenied, text));
    }
    let owner = owner(&key);
    let rest = exchange.path_model.take().unwrap_or_default();
    if exchange.endpoint.pattern.contains("conversations") {
        let value = conversations::answer(exchange, method, &owner, &rest).await?;
        return Ok(Some(whole(&value)));
    }
    let (id, verb) = rest.split_once('/').map_or((rest.as_str(), ""), |(id, verb)| (id, verb));
    let now = exchange.shard.shared.stored.running.now(id);
    let found = match is_id(id) {
        true => access::response(&exchange.shard, &owner, id).await?,
        false => None,
    };
    let found = found.ok_or_else(|| missing("Response", id))?;
    let known = matches!((method.as_str(), verb), ("GET", "" | "input_items") | ("DELETE", "") | ("POST", "cancel"));
    if !known {
        let text = format!("There is nothing at {method} {}. See /docs.", exchange.endpoint.pattern);
        return Err(Error::new(Code::RouteNotFound, text));
    }
    if method == Method::DELETE {
        let removing = vec![Write::RemoveResponse { owner: owner.clone(), id: id.to_string() }];
        if exchange.shard.shared.stored.shared {
            // What ends behind this does not bring it back there.
            access::write(&exchange.shard, removing).await?;
            background::forget(&exchange.shard.shared, &found.response);
        } else {
            background::forget(&exchange.shard.shared, &found.response);
            access::write(&exchange.shard, removing).await?;
        }
    }
    let streams = if method == Method::GET && verb.is_empty() { streams(exchange.query.as_deref())? } else { None };
    if found.response.deployment.is_some() {
        if streams.is_some() {
            return Err(not_streamed());
        }
        forward(exchange, method, &rest, found.response);
        return Ok(None);
    }
    let shard = &exchange.shard;
    Ok(Some(match (method, verb, streams) {
        (Method::DELETE, _, _) => whole(&json!({"id": id, "object": "response", "deleted": true})),
        (_, "input_items", _) => {
            let input = serde_json::from_str(&found.response.input).unwrap_or_default();
            whole(&items::page(input, exchange.query.as_deref())?)
        }
        (_, "cancel", _) => whole(&background::cancel(shard, &owner, &found, now.running).await?),
        (_, _, Some(first)) => streamed(match now.told {
            Some(told) => told.follow(first),
            None => again(exchange, &owner, &found, first).await?,
        }),
        _ => whole(&background::look(shard, &owner, &found, now.running)),
    }))
}

fn not_streamed() -> Error {
    let text =
        "Only a response that was made with 'background' and 'stream' can be streamed again; leave 'stream' out.";
    Error::new(Code::InvalidRequest, text).param("stream")
}

/// What was said of a response that nobody makes any more.
async fn again(exchange: &Exchange, owner: &str, found: &Found, first: usize) -> Result<Body> {
    let shard = &exchange.shard;
    let id = &found.response.id;
    let events = access::events(shard, owner, id).await?.ok_or_else(not_streamed)?;
    if shard.shared.stored.shared {
        return Ok(elsewhere::follow(shard, owner, id, first, events));
    }
    let cut_short = background::is_pending(&serde_json::from_str(&found.response.body).unwrap_or_default());
    let last = cut_short.then(|| background::look(shard, owner, found, false));
    Ok(Body::full(told::again(&events, first, last.as_ref())))
}
