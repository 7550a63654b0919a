//! Answers of providers that have another shape than the caller's operation.

use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::translated::{TRANSLATED_MAX, spoilt};
use super::{Whole, cache, forwardable, give_back, is_json, read_whole};
use crate::account::Ending;
use crate::body::Body;
use crate::cache::entry::Worth;
use crate::dialect::family::{self, Fault, Recall};
use crate::endpoint::Operation;
use crate::error::Result;
use crate::exchange::{Answer, Exchange};
use crate::metrics::Outcome;

/// What the answer needs of the request; taken before the request's memory is given back.
pub fn recall(exchange: &Exchange, by: Operation, deployment: u32) -> Option<Recall> {
    let deployment = exchange.deployment(deployment)?;
    let restamp = exchange.snapshot.settings.restamp_model;
    let named = exchange.model().filter(|_| restamp).map_or(&deployment.model, |model| &model.name);
    Some(Recall {
        asked: exchange.endpoint.operation,
        by,
        model: deployment.model.to_string(),
        named: named.to_string(),
        id: exchange.request_id.to_string(),
        request: match &exchange.call.boundary {
            // Of a form only what its answer depends on.
            Some(boundary) => family::form::fields(&exchange.call.body, boundary).into(),
            None => exchange.call.body.clone(),
        },
        input: u64::from(exchange.call.est_input),
        recording: exchange.call.recording,
        reading: deployment.template(by).and_then(|template| template.worded.as_ref()?.reading.clone()),
    })
}

pub async fn run(exchange: &mut Exchange, mut answer: Box<Answer>, recall: Recall) -> Result<Response<Body>> {
    let content_type = answer.head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    if !is_json(content_type) {
        let kind: String = String::from_utf8_lossy(content_type).chars().take(60).collect();
        let text = format!("The provider's answer is of type '{kind}' instead of JSON.");
        return Err(spoilt(exchange, answer, text));
    }
    let read = read_whole(exchange, &mut answer, TRANSLATED_MAX).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    let status = answer.head.status;
    let body = match read {
        Ok(Whole::Complete(body)) => body,
        Ok(Whole::TooLong(_)) => {
            let text = format!("The provider's answer is longer than {TRANSLATED_MAX} bytes.");
            return Err(spoilt(exchange, answer, text));
        }
        Err((outcome, error)) => {
            answer.attempt.close(Ending::Estimated { status: status.as_u16(), outcome }, exchange.overhead(now), now);
            return Err(error);
        }
    };
    let kind = HeaderValue::from_static(family::content_type(&recall));
    let (written, usage) = match family::answer(&recall, &answer.head.headers, &body) {
        Ok(converted) => converted,
        Err(fault) => return Err(spoilt(exchange, answer, invalid(&fault))),
    };
    let ending = match usage {
        Some(usage) => Ending::Reported { status: status.as_u16(), usage },
        None => Ending::Estimated { status: status.as_u16(), outcome: Outcome::Success },
    };
    let cost = answer.attempt.close(ending, exchange.overhead(now), now);
    exchange.cost_pico = Some(cost);
    give_back(exchange, &mut answer.head.keep_alive, answer.conn, answer.deployment);
    let worth = Worth::new(cost, usage.as_ref(), 0);
    let written = cache::keep(exchange, kind.clone(), Bytes::from(written), worth);
    let mut headers = forwardable(answer.head.headers);
    headers.insert(CONTENT_TYPE, kind);
    let mut response = Response::new(Body::full(written));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn invalid(fault: &Fault) -> String {
    match fault {
        Fault::Invalid { path, reason } if path.is_empty() => format!("The provider's answer is not valid: {reason}."),
        Fault::Invalid { path, reason } => format!("The provider's answer is not valid at '{path}': {reason}."),
        Fault::Unsupported { what, .. } => format!("The provider's answer cannot be rewritten: {what}."),
    }
}
