//! The endpoints of what is kept: `/v1/responses/{id}` and `/v1/conversations`.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response as Answer};
use serde_json::{Value, json};

use super::forward::{forward, is_id};
use super::{background, conversations, items, missing, owner, store};
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
        Ok(Some(value)) => {
            let mut answer = Answer::new(Body::full(value.to_string()));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            settle::run(exchange, Ok(answer))
        }
        Ok(None) => pipeline::through(exchange).await,
        Err(error) => pipeline::turn_away(exchange, error).await,
    }
}

async fn answer(exchange: &mut Exchange, method: Method) -> Result<Option<Value>> {
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
        return conversations::answer(exchange, method, &owner, &rest).await.map(Some);
    }
    let (id, verb) = rest.split_once('/').map_or((rest.as_str(), ""), |(id, verb)| (id, verb));
    let running = exchange.shard.shared.stored.running.has(id);
    let found = match is_id(id) {
        true => {
            let (whose, wanted) = (owner.clone(), id.to_string());
            exchange.shard.shared.stored.ask(move |db| store::response(db, &whose, &wanted)).await?
        }
        false => None,
    };
    let found = found.ok_or_else(|| missing("Response", id))?;
    let known = matches!((method.as_str(), verb), ("GET", "" | "input_items") | ("DELETE", "") | ("POST", "cancel"));
    if !known {
        let text = format!("There is nothing at {method} {}. See /docs.", exchange.endpoint.pattern);
        return Err(Error::new(Code::RouteNotFound, text));
    }
    if method == Method::DELETE {
        background::forget(&exchange.shard.shared, id);
        let (whose, wanted) = (owner.clone(), id.to_string());
        exchange.shard.shared.stored.ask(move |db| store::remove_response(db, &whose, &wanted)).await?;
    }
    if found.deployment.is_some() {
        if exchange.query.as_deref().is_some_and(|query| query.contains("stream=true")) {
            let text = "A response that is there is not streamed again; leave 'stream' out.";
            return Err(Error::new(Code::InvalidRequest, text).param("stream"));
        }
        forward(exchange, method, &rest, found);
        return Ok(None);
    }
    match (method, verb) {
        (Method::DELETE, _) => Ok(Some(json!({"id": id, "object": "response", "deleted": true}))),
        (_, "input_items") => {
            let input = serde_json::from_str(&found.input).unwrap_or_default();
            items::page(input, exchange.query.as_deref()).map(Some)
        }
        (_, "cancel") => background::cancel(&exchange.shard.shared, &owner, &found, running).map(Some),
        _ => Ok(Some(background::look(&exchange.shard.shared, &owner, &found, running))),
    }
}
