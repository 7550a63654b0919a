//! Responses in the background: the caller is told their id at once, and asks for them later. The provider is asked as for
//! any response, by a task that nobody waits for; it is accounted like one, once.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response as Answer};
use http_body::Body as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::items;
use super::store::{self, Response};
use crate::body::Body;
use crate::dialect::{Format, translate};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::shard::Shared;
use crate::stage::settle::stamp;

/// Longest error that is told.
const TOLD: usize = 64 * 1024;

/// The responses that this process is making.
#[derive(Default)]
pub struct Running(Mutex<HashMap<String, AbortHandle>>);

impl Running {
    /// Asked before the file is: what ends in between is in the file.
    pub fn has(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Stops one; false when it is not on its way.
    fn stop(&self, id: &str) -> bool {
        self.0.lock().remove(id).map(|task| task.abort()).is_some()
    }
}

/// Whose it is, and what is kept of it until it is done.
struct Begun {
    owner: String,
    response: Response,
}

/// Makes a response behind its caller, who is told that it is queued.
///
/// # Errors
/// It is not to be kept, so that nobody could ask for it.
pub fn begin(exchange: &Exchange) -> Result<impl FnOnce(Work) -> Answer<Body> + use<>> {
    let Some(kept) = exchange.kept.as_ref().filter(|kept| kept.store) else {
        let text = "A response in the background is kept: leave 'store' out, or say true.";
        return Err(Error::new(Code::InvalidRequest, text).param("store"));
    };
    let id = kept.background.clone().unwrap_or_default();
    let repeated = translate::remembered(Format::Responses, &exchange.call.body);
    let repeated = std::str::from_utf8(&repeated).unwrap_or_default();
    let comma = if repeated.is_empty() { "" } else { "," };
    let members = format!("{{{repeated}{comma}{}}}", kept.said());
    let mut response: Value = serde_json::from_str(&members).unwrap_or_else(|_| json!({}));
    let told = [
        ("id", id.clone().into()),
        ("object", "response".into()),
        ("created_at", (exchange.wall_us / 1_000_000).into()),
        ("status", "queued".into()),
        ("background", true.into()),
        ("model", exchange.call.model.clone().into()),
        ("output", json!([])),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("usage", Value::Null),
    ];
    for (name, value) in told {
        response[name] = value;
    }
    let asked: Value = serde_json::from_slice(&exchange.call.body).unwrap_or_default();
    let input = items::of_input(asked.get("input").cloned())?;
    let input = Value::Array(input.into_iter().map(|item| items::named(item).1).collect()).to_string();
    let queued = response.to_string();
    response["status"] = "in_progress".into();
    let response = Response { id, model: kept.model.clone(), deployment: None, input, body: response.to_string() };
    let begun = Begun { owner: kept.owner.clone(), response };
    let (shared, request_id) = (exchange.shard.shared.clone(), exchange.request_id);
    let dialect = exchange.endpoint.dialect;
    Ok(move |work: Work| {
        spawn(begun, shared, work);
        let mut answer = Answer::new(Body::full(queued));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        stamp(answer.headers_mut(), dialect, &request_id);
        answer
    })
}

/// What makes the response.
pub type Work = Pin<Box<dyn Future<Output = Answer<Body>> + Send>>;

fn spawn(begun: Begun, shared: Arc<Shared>, work: Work) {
    let Begun { owner, response } = begun;
    let id = response.id.clone();
    let (whose, written) = (owner.clone(), response.clone());
    // Written before it can be done: what is told in this order is done in this order.
    shared.stored.tell(move |db| store::put_response(db, &whose, &written));
    let hub = shared.clone();
    let mut running = shared.stored.running.0.lock();
    let task = tokio::spawn(async move {
        let (head, mut body) = work.await.into_parts();
        let mut said = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let (false, Some(data)) = (head.status.is_success(), frame.data_ref()) {
                said.extend_from_slice(data);
                said.truncate(TOLD);
            }
        }
        if !head.status.is_success() {
            let error: Value = serde_json::from_slice(&said).unwrap_or_default();
            let error = error.get("error");
            let of = |name: &str| error.and_then(|error| error.get(name)).cloned();
            let code = of("code").filter(|code| !code.is_null()).or_else(|| of("type"));
            let error = json!({"code": code, "message": of("message")});
            finish(&hub, owner, response.clone(), "failed", error);
        }
        hub.stored.running.0.lock().remove(&response.id);
    });
    // The task waits for this lock before it takes itself out.
    running.insert(id, task.abort_handle());
}

/// Keeps how a response ended that was not made.
fn finish(shared: &Shared, owner: String, mut response: Response, status: &str, error: Value) -> Value {
    let mut body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    body["status"] = status.into();
    body["error"] = error;
    response.body = body.to_string();
    shared.stored.tell(move |db| store::put_response(db, &owner, &response));
    body
}

/// A response as it is now: one that nobody is making any more has failed.
pub fn look(shared: &Shared, owner: &str, found: &Response, running: bool) -> Value {
    let body: Value = serde_json::from_str(&found.body).unwrap_or_default();
    if running || !is_pending(&body) {
        return body;
    }
    let text = "The gateway stopped before the response was complete. Ask for it again.";
    let error = json!({"code": "server_error", "message": text});
    finish(shared, owner.to_string(), found.clone(), "failed", error)
}

/// Stops a response on its way; one that is done stays as it is.
///
/// # Errors
/// It is none in the background.
pub fn cancel(shared: &Shared, owner: &str, found: &Response, running: bool) -> Result<Value> {
    let body: Value = serde_json::from_str(&found.body).unwrap_or_default();
    if body.get("background") != Some(&Value::Bool(true)) {
        let text = "Only responses in the background can be cancelled.";
        return Err(Error::new(Code::InvalidRequest, text));
    }
    if is_pending(&body) && shared.stored.running.stop(&found.id) {
        return Ok(finish(shared, owner.to_string(), found.clone(), "cancelled", Value::Null));
    }
    Ok(look(shared, owner, found, running))
}

/// Removed: nobody will ask for it.
pub fn forget(shared: &Shared, id: &str) {
    shared.stored.running.stop(id);
}

fn is_pending(body: &Value) -> bool {
    matches!(body.get("status").and_then(Value::as_str), Some("queued" | "in_progress"))
}
