//! One response: a message becomes a request, the events of its answer become messages.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use memchr::memmem;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::memory::Asked;
use super::session::Link;
use super::{Session, TURN};
use crate::arrival::Arrival;
use crate::body::Body;
use crate::clock::wall_us;
use crate::dialect;
use crate::endpoint::Dialect;
use crate::error::{Code, Error, Result};
use crate::exchange::RequestId;
use crate::pipeline;
use crate::realtime::link::End;
use crate::stage::parse;
use crate::state::draw::Quotas;
use crate::stream::split;
use crate::wire::sse;

/// What a message comes to.
enum Answered {
    Response(Response<Body>),
    /// Nothing is generated: the events of an empty response.
    Warm([Value; 2]),
}

impl Session {
    /// Answers one message.
    ///
    /// # Errors
    /// The connection must end.
    pub async fn turn(&mut self, message: &str, link: &mut Link) -> Result<(), End> {
        let shard = self.shard.clone();
        let answered = link.meanwhile(&shard, pin!(self.answer(message))).await?;
        match answered {
            Ok(Answered::Response(response)) => self.pass(response, link).await,
            Ok(Answered::Warm(events)) => {
                for event in events {
                    link.send(Message::text(event.to_string())).await?;
                }
                Ok(())
            }
            Err(error) => {
                shard.metrics.error(error.code);
                link.send(error_event(&error)).await
            }
        }
    }

    async fn answer(&mut self, message: &str) -> Result<Answered> {
        let wall = wall_us();
        let request_id = RequestId::new(wall);
        let id = || format!("resp_{}", request_id.to_string().trim_start_matches("req_"));
        let body = match self.memory.ask(message, id)? {
            Asked::Request(body) => body,
            Asked::Warm { id, model } => return Ok(Answered::Warm(warm(&id, &model, wall / 1_000_000))),
        };
        let arrival = Arrival {
            started: Instant::now(),
            wall_us: wall,
            request_id,
            dialect: Dialect::Responses,
            shard: self.shard.clone(),
            connection: self.connection.clone(),
        };
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        request.headers_mut().clone_from(&self.headers);
        let target = self.query.as_ref().and_then(|query| format!("{}?{query}", TURN.pattern).parse().ok());
        if let Some(target) = target {
            *request.uri_mut() = target;
        }
        let mut quotas = Quotas::default();
        let caller = pipeline::enter(&arrival, &TURN, &request, &mut quotas)?;
        let (parts, ()) = request.into_parts();
        let mut exchange = arrival.exchange(&TURN, None, parts, None, caller);
        Ok(Answered::Response(match parse::given(&mut exchange, body) {
            Ok(()) => pipeline::through(exchange).await,
            Err(error) => pipeline::turn_away(exchange, error).await,
        }))
    }

    /// Passes an answer on, event by event.
    async fn pass(&mut self, response: Response<Body>, link: &mut Link) -> Result<(), End> {
        let (head, body) = response.into_parts();
        let streams =
            head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut source = match body.into_source() {
            Ok(source) => source,
            Err(body) if head.status.is_success() && streams => return self.events(&body, link).await,
            Err(body) if head.status.is_success() => return link.send(complete(&body)).await,
            Err(body) => return link.send(failure(head.status, &head.headers, &body)).await,
        };
        let shard = self.shard.clone();
        loop {
            match link.meanwhile(&shard, pin!(poll_fn(|cx| source.poll_data(cx)))).await? {
                None => return Ok(()),
                Some(Ok(data)) => self.events(&data, link).await?,
                Some(Err(broken)) => {
                    let error = Error::new(Code::UpstreamReset, broken.to_string());
                    return link.send(error_event(&error)).await;
                }
            }
        }
    }

    async fn events(&mut self, events: &Bytes, link: &mut Link) -> Result<(), End> {
        for event in split(events) {
            let data = sse::data(event);
            if data.is_empty() || &*data == b"[DONE]" {
                continue;
            }
            let ends = || {
                [&b"response.completed"[..], b"response.incomplete"]
                    .iter()
                    .any(|end| memmem::find(&data, end).is_some())
            };
            if self.memory.listens() && ends() {
                self.memory.hear(&data);
            }
            if let Ok(text) = Utf8Bytes::try_from(Bytes::from(data.into_owned())) {
                link.send(Message::Text(text)).await?;
            }
        }
        Ok(())
    }
}

/// A whole answer as the event that ends a response.
fn complete(body: &[u8]) -> Message {
    let response: Value = serde_json::from_slice(body).unwrap_or_default();
    if !response["output"].is_array() {
        let error = Error::new(Code::UpstreamInvalid, "The provider's answer is not a response.");
        return error_event(&error);
    }
    let kind = match response["status"].as_str() {
        Some("failed") => "response.failed",
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    Message::text(json!({"type": kind, "sequence_number": 0, "response": response}).to_string())
}

/// The events of a response that generates nothing.
fn warm(id: &str, model: &Value, created: i64) -> [Value; 2] {
    [("response.created", "in_progress"), ("response.completed", "completed")].map(|(kind, status)| {
        json!({"type": kind, "sequence_number": usize::from(status == "completed"), "response": {
            "id": id, "object": "response", "created_at": created, "status": status, "model": model, "output": [],
            "error": null, "incomplete_details": null, "usage": null,
        }})
    })
}

/// An error as it comes over a WebSocket.
pub fn error_event(error: &Error) -> Message {
    let body = dialect::error_body(Dialect::Responses, error, "");
    failure(error.http_status(), &HeaderMap::new(), &body)
}

/// An error's answer as an event.
fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Message {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut error = body.get_mut("error").map(Value::take).unwrap_or_default();
    let mut status = status.as_u16();
    if status == 404 && error["param"] == "previous_response_id" {
        // As clients know it: they send the whole conversation then.
        status = 400;
        error["code"] = "previous_response_not_found".into();
    }
    let mut event = json!({"type": "error", "status": status, "error": error});
    if let Some(wait) = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()) {
        event["headers"] = json!({"retry-after": wait});
    }
    Message::text(event.to_string())
}
