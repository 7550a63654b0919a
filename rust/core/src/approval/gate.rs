//! Where a request, or an answer, waits to be approved.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::wire::{Answered, Blob, Dossier, Entry, Standing};
use super::{desk, dossier, ticket};
use crate::account::Admission;
use crate::body::Body;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::facts::tools::Call;
use crate::pipeline;
use crate::policy::action::RequireApproval;
use crate::policy::{Phase, Policy, apply};
use crate::shard::{self, Shard};
use crate::stage::identify;
use crate::state::subjects::Kind;

/// How often it is looked, should a bell not have rung.
const LOOK: Duration = Duration::from_secs(5);
/// When a caller may ask again.
const AGAIN_S: u64 = 5;

/// What came of waiting.
pub enum Gate {
    /// It goes on, perhaps with another body.
    Pass(Option<Bytes>),
    /// It has been answered already, or will be later.
    Answer(Response<Body>),
}

#[derive(Serialize)]
pub struct Which<'w> {
    pub id: Option<&'w str>,
    pub token: Option<&'w str>,
    pub key_id: Option<&'w str>,
}

#[derive(Serialize)]
struct Claim<'c> {
    id: &'c str,
}

/// A request waits before it is sent.
///
/// # Errors
/// It was not approved, or nobody can be asked.
pub async fn before(exchange: &mut Exchange, rule: &RequireApproval, place: u32, next: usize) -> Result<()> {
    let held = exchange.snapshot.clone();
    let Some(policy) = held.policies.get(place) else { return Ok(()) };
    let dossier = dossier::of(exchange, next, &[], None);
    match enter(exchange, policy, rule, dossier).await? {
        Gate::Pass(edited) => {
            if let Some(body) = edited {
                apply::rewrite(exchange, body.into())?;
                if let Some(policed) = &mut exchange.policed {
                    // The others look at what it is now.
                    policed.done.retain(|done| *done == place);
                }
            }
        }
        Gate::Answer(response) => {
            if let Some(policed) = &mut exchange.policed {
                *policed.ready.get_mut() = Some(response);
            }
        }
    }
    Ok(())
}

/// An answer waits before it leaves. `calls` are the calls of tools in it.
///
/// # Errors
/// It was not approved, or nobody can be asked.
pub async fn after(
    exchange: &mut Exchange,
    policy: &Policy,
    rule: &RequireApproval,
    calls: &[Call],
    answer: (StatusCode, &HeaderMap, Bytes),
) -> Result<Gate> {
    let (status, headers, body) = answer;
    let headers = headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_string())));
    let headers = headers.filter(|(name, _)| name != "content-length").collect();
    let answer = Answered { status: status.as_u16(), headers, body: Blob(body), whole: true };
    let dossier = dossier::of(exchange, 0, calls, Some(answer));
    enter(exchange, policy, rule, dossier).await
}

async fn enter(exchange: &mut Exchange, policy: &Policy, rule: &RequireApproval, dossier: Dossier) -> Result<Gate> {
    let packed = rmp_serde::to_vec_named(&dossier).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let standing: Standing = {
        let key = exchange.key.as_deref();
        let of = |kind: Kind| {
            let subject = key?.subjects.iter().find(|subject| subject.kind == kind)?;
            Some(&*subject.id)
        };
        let name = dossier::name(exchange, &policy.name, policy.phase.name());
        let entry = Entry {
            key_id: key.map_or("", |key| &key.id),
            org: of(Kind::Organization),
            team: of(Kind::Team),
            user: of(Kind::User),
            request_id: exchange.request_id.to_string(),
            policy: &policy.name,
            version: policy.version,
            phase: policy.phase.name(),
            mode: rule.mode(),
            model: &exchange.call.model,
            joins: name.joins,
            asked: name.asked,
            named: name.named,
            roles: &rule.told.reviewers.roles,
            users: &rule.told.reviewers.users,
            quorum: rule.told.quorum,
            expiry_ms: rule.told.expiry_ms,
            default: &rule.told.default,
            message: &rule.told.message,
            channels: rule.told.channels.as_deref(),
            dossier: Blob(packed.into()),
        };
        desk::ask(&exchange.shard, "enter", &entry).await?
    };
    if rule.accept && matches!(standing.status.as_str(), "pending" | "approved" | "executing") {
        if policy.phase == Phase::Pre {
            later(exchange, &standing.id);
        }
        return Ok(Gate::Answer(accepted(&standing)));
    }
    let started = std::time::Instant::now();
    let gate = pass(exchange, standing).await;
    exchange.waited += started.elapsed();
    gate
}

/// Waits for the decision and claims the right to go on.
async fn pass(exchange: &mut Exchange, mut standing: Standing) -> Result<Gate> {
    loop {
        let id = standing.id.clone();
        standing = match settled(&exchange.shard, &id, standing, None).await? {
            Some(standing) => standing,
            None => return Err(Error::new(Code::Internal, "an approval was waited for without an end")),
        };
        if standing.status != "approved" {
            return outcome(&standing).map(Gate::Answer);
        }
        if let Some(edited) = claim(exchange, &mut standing).await? {
            return Ok(Gate::Pass(edited.edited.map(|blob| blob.0)));
        }
    }
}

/// Claims an approved request for this exchange; `None` when another one has: `standing` says how it stands then.
///
/// # Errors
/// The key may not be used any more.
pub async fn claim(exchange: &mut Exchange, standing: &mut Standing) -> Result<Option<Standing>> {
    if let Some(key) = &exchange.key {
        identify::check(key)?;
    }
    // In a task of its own: a caller who leaves now must not leave a claim that nobody knows of.
    let (shard, id) = (exchange.shard.clone(), standing.id.clone());
    let claiming = tokio::spawn(async move {
        let claimed: Standing = desk::ask(&shard, "claim", &Claim { id: &id }).await?;
        let ticket = claimed.fence.map(|fence| ticket::Ticket::new(shard, id, fence));
        Ok::<_, Error>((claimed, ticket))
    });
    let claimed = claiming.await.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let (claimed, ticket) = claimed?;
    let Some(ticket) = ticket else {
        *standing = claimed;
        return Ok(None);
    };
    exchange.tickets.push(ticket);
    Ok(Some(claimed))
}

/// Waits until something is decided, at most until `until`.
///
/// # Errors
/// The gateway shuts down, or nobody can be asked.
pub async fn settled(
    shard: &Arc<Shard>,
    id: &str,
    mut standing: Standing,
    until: Option<Instant>,
) -> Result<Option<Standing>> {
    let waiting = &shard.shared.state.approvals;
    let bell = waiting.bell(id);
    let answer = loop {
        if !standing.is_open() {
            break Ok(Some(standing));
        }
        let mut rings = pin!(bell.notified());
        rings.as_mut().enable();
        let mut phase = pin!(shard.shared.phase_changed.notified());
        phase.as_mut().enable();
        if shard.shared.phase() != shard::Phase::Serving {
            let text = "The gateway is shutting down. The approval stays: send the request again.";
            break Err(Error::new(Code::Draining, text).retry_after(Duration::from_secs(1)));
        }
        // Whatever happened before the bell was listened to is seen here.
        match look(shard, id).await {
            Ok(now) => standing = now,
            Err(error) => break Err(error),
        }
        if !standing.is_open() {
            continue;
        }
        let look_again = Instant::now() + LOOK;
        let next = until.map_or(look_again, |until| until.min(look_again));
        tokio::select! {
            () = &mut rings => {}
            () = &mut phase => {}
            () = tokio::time::sleep_until(next) => {}
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            break look(shard, id).await.map(|now| Some(now).filter(|now| !now.is_open()));
        }
    };
    waiting.leave(id, bell);
    answer
}

async fn look(shard: &Shard, id: &str) -> Result<Standing> {
    desk::ask(shard, "look", &Which { id: Some(id), token: None, key_id: None }).await
}

/// The answer of an approval that is over.
///
/// # Errors
/// It was not approved, or nobody knows what came of it.
pub fn outcome(standing: &Standing) -> Result<Response<Body>> {
    let Standing { id, status, message, policy, .. } = standing;
    let said = message.as_deref().map_or(String::new(), |text| format!(": {text}"));
    let (code, text) = match status.as_str() {
        "executed" | "failed" => match &standing.answer {
            Some(answered) if answered.whole => {
                let mut response = ticket::response(answered);
                if let Ok(id) = HeaderValue::from_str(id) {
                    response.headers_mut().insert(ticket::HEADER, id);
                }
                return Ok(response);
            }
            _ => (Code::ApprovalLost, format!("The approved request {id} was executed, and its answer was not kept.")),
        },
        "rejected" => {
            (Code::ApprovalRejected, format!("The request {id}, for the policy '{policy}', was rejected{said}."))
        }
        "cancelled" => (Code::ApprovalRejected, format!("The request {id} was withdrawn{said}.")),
        "expired" => (Code::ApprovalExpired, format!("Nobody approved the request {id} in time.")),
        "lapsed" => (Code::ApprovalExpired, format!("The request {id} was approved, and nobody asked for it in time.")),
        _ => {
            let text =
                format!("What became of the approved request {id} is not known: the node that executed it is gone.");
            (Code::ApprovalLost, text)
        }
    };
    Err(Error::new(code, text))
}

/// 202: where the answer will be.
pub fn accepted(standing: &Standing) -> Response<Body> {
    let place = format!("/v1/approvals/results/{}", standing.token);
    let body = json!({
        "id": standing.id, "object": "approval", "status": standing.status, "policy": standing.policy,
        "expires_in": standing.left_ms.div_ceil(1000), "token": standing.token, "result": place,
    });
    let mut response = Response::new(Body::full(body.to_string()));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN_S));
    for (name, value) in [(LOCATION, &place), (ticket::HEADER, &standing.id)] {
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    }
    response
}

/// Goes on with a request as soon as it is approved, without its caller; once, however often he asks meanwhile. Should this
/// node be gone by then, his question for the answer does, wherever it comes.
fn later(exchange: &Exchange, id: &str) {
    let shard = exchange.shard.clone();
    if !shard.shared.state.approvals.promise(id) {
        return;
    }
    let (again, id) = (exchange.again(), id.to_string());
    tokio::spawn(async move {
        if let Some(again) = again {
            alone(Box::new(again), &id).await;
        }
        shard.shared.state.approvals.release(&id);
    });
}

async fn alone(mut again: Box<Exchange>, id: &str) {
    let standing = Standing { id: id.to_string(), status: "pending".to_string(), ..Standing::default() };
    let Ok(Some(mut standing)) = settled(&again.shard, id, standing, None).await else { return };
    if standing.status != "approved" {
        return;
    }
    let claimed = match claim(&mut again, &mut standing).await {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, id, "an approved request is not executed");
            return;
        }
    };
    again.tickets.iter_mut().for_each(ticket::Ticket::begin);
    again.started = std::time::Instant::now();
    again.wall_us = crate::clock::wall_us();
    again.admission = Some(Admission::new(again.shard.clone()));
    let response = match released(&mut again, &claimed) {
        Ok(()) => pipeline::through(again).await,
        Err(error) => crate::stage::settle::run(again, Err(error)),
    };
    response.into_body().drain().await;
}

/// Makes the exchange that of a claimed request.
///
/// # Errors
/// The request is not possible any more.
pub fn released(exchange: &mut Exchange, claimed: &Standing) -> Result<()> {
    let lost = || Error::new(Code::Internal, "an approved request cannot be read");
    let packed = claimed.dossier.as_ref().ok_or_else(lost)?;
    let dossier: Dossier = rmp_serde::from_slice(&packed.0).map_err(|_| lost())?;
    let edited = claimed.edited.as_ref().filter(|_| dossier.answer.is_none()).map(|blob| blob.0.clone());
    dossier::revive(exchange, &dossier, &claimed.policy, edited)
}
