//! Responses in the background: the caller is told their id at once, and asks for them later. The provider is asked as for
//! any response, by a task that nobody waits for; it is accounted like one, once. Where the caller wants a stream, he is
//! the first to follow what the task is told.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response as Answer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::items;
use super::store::{self, Response};
use super::told::{Told, error_of, read};
use crate::body::Body;
use crate::dialect::{Format, translate};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::shard::Shared;
use crate::stage::settle::stamp;

/// Longest error that is told.
const TOLD: usize = 64 * 1024;

/// One that is being made, and what is said of it where it is streamed.
struct Making {
    task: AbortHandle,
    told: Option<Arc<Told>>,
}

/// The responses that this process is making.
#[derive(Default)]
pub struct Running(Mutex<HashMap<String, Making>>);

/// A response as this process knows it.
#[derive(Default)]
pub struct Now {
    pub running: bool,
    pub told: Option<Arc<Told>>,
}

impl Running {
    /// Asked before the file is: what ends in between is in the file.
    pub fn now(&self, id: &str) -> Now {
        let running = self.0.lock();
        let making = running.get(id);
        Now { running: making.is_some(), told: making.and_then(|making| making.told.clone()) }
    }

    /// Stops one; `None` when it is not on its way.
    fn stop(&self, id: &str) -> Option<Making> {
        let making = self.0.lock().remove(id);
        making.inspect(|making| making.task.abort())
    }
}

/// Whose it is, and what is kept of it until it is done.
struct Begun {
    owner: String,
    response: Response,
    told: Option<Arc<Told>>,
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
    let told = exchange.call.stream.then(|| Told::begin(&response));
    let queued = response.to_string();
    response["status"] = "in_progress".into();
    let response = Response { id, model: kept.model.clone(), deployment: None, input, body: response.to_string() };
    let begun = Begun { owner: kept.owner.clone(), response, told: told.clone() };
    let (shared, request_id) = (exchange.shard.shared.clone(), exchange.request_id);
    let dialect = exchange.endpoint.dialect;
    Ok(move |work: Work| {
        spawn(begun, shared, work);
        let mut answer = match told {
            Some(told) => streamed(told.follow(0)),
            None => {
                let mut answer = Answer::new(Body::full(queued));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
        };
        stamp(answer.headers_mut(), dialect, &request_id);
        answer
    })
}

/// What makes the response.
pub type Work = Pin<Box<dyn Future<Output = Answer<Body>> + Send>>;

/// An answer of events.
pub fn streamed(body: Body) -> Answer<Body> {
    let mut answer = Answer::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn spawn(begun: Begun, shared: Arc<Shared>, work: Work) {
    let Begun { owner, response, told } = begun;
    let id = response.id.clone();
    let (whose, written, said) = (owner.clone(), response.clone(), told.clone());
    // Written before it can be done: what is told in this order is done in this order.
    shared.stored.tell(move |db| {
        store::put_response(db, &whose, &written)?;
        said.map_or(Ok(()), |said| store::put_events(db, &whose, &written.id, &said.text()))
    });
    let hub = shared.clone();
    let mut running = shared.stored.running.0.lock();
    let making = told.clone();
    let task = tokio::spawn(async move {
        let failure = match &told {
            Some(told) => told.listen(&response.id, work.await).await,
            None => unheard(work.await).await,
        };
        if let Some(error) = failure {
            let body = finish(&hub, owner.clone(), response.clone(), "failed", error);
            told.iter().for_each(|told| told.response("response.failed", &body));
        }
        told.iter().for_each(|told| end(&hub, owner.clone(), response.id.clone(), told));
        hub.stored.running.0.lock().remove(&response.id);
    });
    // The task waits for this lock before it takes itself out.
    running.insert(id, Making { task: task.abort_handle(), told: making });
}

/// Waits for the end of an answer that is kept while it passes; its error.
async fn unheard(answer: Answer<Body>) -> Option<Value> {
    let (head, mut body) = answer.into_parts();
    let said = read(&mut body, if head.status.is_success() { 0 } else { TOLD }).await;
    (!head.status.is_success()).then(|| error_of(&said))
}

/// What was said is kept, and nothing follows.
fn end(shared: &Shared, owner: String, id: String, told: &Told) {
    told.end();
    let text = told.text();
    shared.stored.tell(move |db| store::put_events(db, &owner, &id, &text));
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
    if is_pending(&body)
        && let Some(making) = shared.stored.running.stop(&found.id)
    {
        let body = finish(shared, owner.to_string(), found.clone(), "cancelled", Value::Null);
        if let Some(told) = making.told {
            told.response("response.cancelled", &body);
            end(shared, owner.to_string(), found.id.clone(), &told);
        }
        return Ok(body);
    }
    Ok(look(shared, owner, found, running))
}

/// Removed: nobody will ask for it.
pub fn forget(shared: &Shared, found: &Response) {
    if let Some(told) = shared.stored.running.stop(&found.id).and_then(|making| making.told) {
        let mut body: Value = serde_json::from_str(&found.body).unwrap_or_default();
        body["status"] = "cancelled".into();
        told.response("response.cancelled", &body);
        told.end();
    }
}

pub fn is_pending(body: &Value) -> bool {
    matches!(body.get("status").and_then(Value::as_str), Some("queued" | "in_progress"))
}
