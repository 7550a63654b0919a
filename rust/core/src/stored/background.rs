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
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::access::{self, Found};
use super::store::Response;
use super::told::{Told, error_of, read};
use super::write::Write;
use super::{items, missing};
use crate::body::Body;
use crate::dialect::{Format, translate};
use crate::endpoint::Dialect;
use crate::error::{Code, Error, Result};
use crate::exchange::{Exchange, RequestId};
use crate::shard::{Shard, Shared};
use crate::stage::settle::stamp;

/// Longest error that is told.
const TOLD: usize = 64 * 1024;

/// One that is being made, and what is said of it where it is streamed.
struct Making {
    owner: String,
    /// It stands where other nodes look for it.
    begun: bool,
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

    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Those that other nodes may know, each with its owner.
    pub fn begun(&self) -> Vec<(String, String)> {
        let running = self.0.lock();
        running.iter().filter(|(_, one)| one.begun).map(|(id, one)| (id.clone(), one.owner.clone())).collect()
    }

    /// Stops one; `None` when it is not on its way.
    fn stop(&self, id: &str) -> Option<Making> {
        let making = self.0.lock().remove(id);
        making.inspect(|making| making.task.abort())
    }
}

/// Whose it is, what is kept of it until it is done, and what its caller is told.
pub struct Begun {
    owner: String,
    response: Response,
    told: Option<Arc<Told>>,
    queued: String,
    shard: Arc<Shard>,
    dialect: Dialect,
    request_id: RequestId,
}

/// Makes a response behind its caller, who is told that it is queued.
///
/// # Errors
/// It is not to be kept, so that nobody could ask for it.
pub fn begin(exchange: &Exchange) -> Result<Begun> {
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
    let (shard, request_id) = (exchange.shard.clone(), exchange.request_id);
    let (owner, dialect) = (kept.owner.clone(), exchange.endpoint.dialect);
    Ok(Begun { owner, response, told, queued, shard, dialect, request_id })
}

impl Begun {
    /// The work goes on behind the answer that comes back.
    pub async fn go(self, work: Work) -> Answer<Body> {
        let Begun { owner, response, told, queued, shard, dialect, request_id } = self;
        let (begun, known) = oneshot::channel();
        spawn(owner, response, told.clone(), &shard, work, begun);
        // Other nodes may be asked for it from now on.
        let _ = known.await;
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
    }
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

fn spawn(
    owner: String,
    response: Response,
    told: Option<Arc<Told>>,
    shard: &Arc<Shard>,
    work: Work,
    begun: oneshot::Sender<()>,
) {
    let (id, whose, making) = (response.id.clone(), owner.clone(), told.clone());
    let mut writes = vec![Write::Response { owner: owner.clone(), response: response.clone(), making: true }];
    if let Some(told) = &told {
        writes.push(Write::Events { owner: owner.clone(), id: id.clone(), events: told.text() });
    }
    // Written before it can be done: what is told in this order is done in this order.
    let writing = access::keep(shard, writes);
    let hub = shard.clone();
    let mut running = shard.shared.stored.running.0.lock();
    let task = tokio::spawn(async move {
        until(writing).await;
        if let Some(making) = hub.shared.stored.running.0.lock().get_mut(&response.id) {
            making.begun = true;
        }
        let _ = begun.send(());
        let failure = match &told {
            Some(told) => told.listen(&response.id, work.await).await,
            None => unheard(work.await).await,
        };
        if let Some(error) = failure {
            let (body, writing) = finish(&hub, owner.clone(), response.clone(), "failed", error);
            until(writing).await;
            told.iter().for_each(|told| told.response("response.failed", &body));
        }
        if let Some(told) = &told {
            until(end(&hub, owner.clone(), response.id.clone(), told)).await;
        }
        hub.shared.stored.running.0.lock().remove(&response.id);
    });
    // The task waits for this lock before it takes itself out.
    running.insert(id, Making { owner: whose, begun: false, task: task.abort_handle(), told: making });
}

/// Until what is to be kept is kept.
async fn until(writing: Option<JoinHandle<()>>) {
    if let Some(writing) = writing {
        let _ = writing.await;
    }
}

/// Waits for the end of an answer that is kept while it passes; its error.
async fn unheard(answer: Answer<Body>) -> Option<Value> {
    let (head, mut body) = answer.into_parts();
    let said = read(&mut body, if head.status.is_success() { 0 } else { TOLD }).await;
    (!head.status.is_success()).then(|| error_of(&said))
}

/// What was said is kept, and nothing follows.
fn end(shard: &Arc<Shard>, owner: String, id: String, told: &Told) -> Option<JoinHandle<()>> {
    told.end();
    access::keep(shard, vec![Write::Events { owner, id, events: told.text() }])
}

fn ended(response: &Response, status: &str, error: Value) -> (Value, Response) {
    let mut body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    body["status"] = status.into();
    body["error"] = error;
    let response = Response { body: body.to_string(), ..response.clone() };
    (body, response)
}

/// Keeps how a response ended that was not made.
fn finish(
    shard: &Arc<Shard>,
    owner: String,
    response: Response,
    status: &str,
    error: Value,
) -> (Value, Option<JoinHandle<()>>) {
    let (body, response) = ended(&response, status, error);
    (body, access::keep(shard, vec![Write::End { owner, response }]))
}

/// A response as it is now: one that nobody is making any more has failed.
pub fn look(shard: &Arc<Shard>, owner: &str, found: &Found, running: bool) -> Value {
    let body: Value = serde_json::from_str(&found.response.body).unwrap_or_default();
    if running || found.made || !is_pending(&body) {
        return body;
    }
    let text = "The gateway stopped before the response was complete. Ask for it again.";
    let (body, response) = ended(&found.response, "failed", json!({"code": "server_error", "message": text}));
    drop(access::keep(shard, vec![Write::Lose { owner: owner.to_string(), response }]));
    body
}

/// Stops a response on its way; one that is done stays as it is.
///
/// # Errors
/// It is none in the background; 503 when the node that makes it cannot be told.
pub async fn cancel(shard: &Arc<Shard>, owner: &str, found: &Found, running: bool) -> Result<Value> {
    let body: Value = serde_json::from_str(&found.response.body).unwrap_or_default();
    if body.get("background") != Some(&Value::Bool(true)) {
        let text = "Only responses in the background can be cancelled.";
        return Err(Error::new(Code::InvalidRequest, text));
    }
    if !is_pending(&body) {
        return Ok(body);
    }
    if let Some(making) = shard.shared.stored.running.stop(&found.response.id) {
        let (body, writing) = finish(shard, owner.to_string(), found.response.clone(), "cancelled", Value::Null);
        until(writing).await;
        if let Some(told) = making.told {
            told.response("response.cancelled", &body);
            until(end(shard, owner.to_string(), found.response.id.clone(), &told)).await;
        }
        return Ok(body);
    }
    if found.made {
        let (body, response) = ended(&found.response, "cancelled", Value::Null);
        let id = response.id.clone();
        if access::write(shard, vec![Write::End { owner: owner.to_string(), response }]).await? {
            return Ok(body);
        }
        // It has ended meanwhile.
        let now = access::response(shard, owner, &id).await?.ok_or_else(|| missing("Response", &id))?;
        return Ok(look(shard, owner, &now, false));
    }
    Ok(look(shard, owner, found, running))
}

/// Another node has cancelled or removed a response that this one makes, unless it has just ended by itself.
pub async fn ended_elsewhere(shard: &Arc<Shard>, owner: &str, id: &str, found: Option<&Found>) {
    let body: Option<Value> = found.map(|found| serde_json::from_str(&found.response.body).unwrap_or_default());
    let status = body.as_ref().and_then(|body| body.get("status")).and_then(Value::as_str);
    if found.is_some() && status != Some("cancelled") {
        return;
    }
    if let Some(told) = shard.shared.stored.running.stop(id).and_then(|making| making.told) {
        let body = body.unwrap_or_else(|| json!({"id": id, "object": "response", "status": "cancelled"}));
        told.response("response.cancelled", &body);
        until(end(shard, owner.to_string(), id.to_string(), &told)).await;
    }
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
