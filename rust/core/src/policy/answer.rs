//! Policies on an answer before the caller has it, and at the beginning of a stream.
//!
//! A policy of the phase `post` sees a complete answer. Where it may change or refuse one, a stream is held back to its end,
//! so that asking for a stream is no way around it; where it only tells, a stream passes and is looked at behind.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::CONTENT_LENGTH;
use serde_json::Value;

use super::action::{Action, Op, RequireApproval, ToolScope};
use super::apply::{denied, judge_schema, note, tool_text, value_at};
use super::record::Kept;
use super::tail::{After, Matter, Tail, consult, tell};
use super::tool_watch::ToolWatch;
use super::whole::{self, Whole};
use super::{Chosen, Phase, Policy, edit};
use crate::approval::{self, gate::Gate};
use crate::body::{Body, Broken, Source};
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::facts::{Reply, RequestFacts, Scene, tools};
use crate::guard::output::{self, Once};
use crate::kernel::condition::Memo;
use crate::shard::SnapshotRef;
use crate::stream::Framing;

/// Asks the policies that hold for the request about its answer.
///
/// # Errors
/// The refusal of one that denies.
pub async fn run(exchange: &mut Exchange, response: Response<Body>) -> Result<Response<Body>> {
    let held = exchange.snapshot.clone();
    let policies = &held.policies;
    let Some(policed) = &exchange.policed else { return Ok(response) };
    let chosen = policed.chosen.clone();
    let post = policies.of(&chosen, Phase::Post);
    let stream = policies.of(&chosen, Phase::Stream);
    let later = policies.of(&chosen, Phase::Async);
    if post.is_empty() && stream.is_empty() && later.is_empty() && policies.keep == 0 {
        return Ok(response);
    }
    let events = Framing::of(response.headers()).is_some();
    let mut response = response;
    if events && !stream.is_empty() {
        let reply = reply(exchange, &response, Bytes::new());
        response = phase(exchange, &held, &stream, response, reply).await?;
    }
    let altering = |place: &u32| {
        policies.get(*place).is_some_and(|policy| !policy.shadow && policy.actions.iter().any(Action::needs_all))
    };
    if events && !post.iter().any(altering) {
        let mut chosen: Chosen = post;
        chosen.extend(later);
        return Ok(watched(exchange, held, chosen, response));
    }
    let (mut head, body) = response.into_parts();
    let bytes = match body.into_source() {
        Ok(source) => output::collect(source).await?,
        Err(bytes) => bytes,
    };
    head.headers.remove(CONTENT_LENGTH);
    let response = Response::from_parts(head, Body::full(bytes.clone()));
    let mut reply = reply(exchange, &response, if events { Bytes::new() } else { bytes.clone() });
    if events && !Whole::of(exchange, response.headers()).tell(bytes, &mut reply) {
        let insists = post.iter().find(|place| altering(place)).and_then(|place| policies.get(*place));
        if let Some(policy) = insists {
            return Err(unreadable(policy));
        }
    }
    let response = phase(exchange, &held, &post, response, reply.clone()).await?;
    if !later.is_empty() || policies.keep > 0 {
        after(exchange, held, later).run(&reply);
    }
    Ok(response)
}

fn after(exchange: &Exchange, snapshot: SnapshotRef, chosen: Chosen) -> After {
    let body = exchange.policed.as_ref().map(|policed| policed.body.clone()).unwrap_or_default();
    After {
        shard: exchange.shard.clone(),
        snapshot,
        kept: Kept::of(exchange, &body),
        matter: Matter::of(exchange),
        chosen,
    }
}

/// A stream that is looked at when it is over.
fn watched(exchange: &Exchange, held: SnapshotRef, chosen: Chosen, response: Response<Body>) -> Response<Body> {
    if chosen.is_empty() && held.policies.keep == 0 {
        return response;
    }
    let reply = reply(exchange, &response, Bytes::new());
    let (whole, after) = (Whole::of(exchange, response.headers()), Some(after(exchange, held, chosen)));
    let (head, body) = response.into_parts();
    match body.into_source() {
        Ok(inner) => {
            let seen = Some(BytesMut::new());
            let tail = Tail { inner: Some(inner), reply, whole, started: exchange.started, seen, after };
            Response::from_parts(head, Body::stream(tail))
        }
        Err(bytes) => Response::from_parts(head, Body::full(bytes)),
    }
}

fn reply(exchange: &Exchange, response: &Response<Body>, body: Bytes) -> Reply {
    let usage = whole::used((exchange.endpoint.dialect, exchange.endpoint.operation), &body);
    let served = exchange.served.and_then(|index| exchange.deployment(index));
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
        text: None,
        calls: Vec::new(),
        provider: served.map(|deployment| deployment.provider.to_string()).unwrap_or_default(),
        input: usage.map(|usage| usage.input),
        output: usage.map(|usage| usage.output),
        cost: exchange.cost_pico.map(|pico| pico as f64 * 1e-12),
        latency_ms: u64::try_from(exchange.started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Asks the policies of one phase in turn.
async fn phase(
    exchange: &mut Exchange,
    held: &SnapshotRef,
    chosen: &[u32],
    mut response: Response<Body>,
    mut reply: Reply,
) -> Result<Response<Body>> {
    let policies = &held.policies;
    let body = exchange.policed.as_ref().map(|policed| policed.body.clone()).unwrap_or_default();
    let mut left = chosen;
    loop {
        let next = {
            let facts = RequestFacts::of(Scene::of(exchange, &body, Some(&reply)));
            let memo = Memo::new(&policies.fields, &facts);
            policies.first(&memo, left)
        };
        let Some(at) = next else { return Ok(response) };
        let (before, rest) = left.split_at(at + 1);
        left = rest;
        let Some(policy) = before.last().and_then(|place| policies.get(*place)) else { continue };
        let place = before.last().copied().unwrap_or_default();
        if policy.phase == Phase::Post && exchange.policed.as_ref().is_some_and(|policed| policed.done.contains(&place))
        {
            continue;
        }
        note(exchange, policy);
        if policy.shadow {
            continue;
        }
        if policy.phase == Phase::Post
            && let Some(policed) = &mut exchange.policed
        {
            policed.done.push(place);
        }
        for action in &policy.actions {
            match action {
                Action::Allow => return Ok(response),
                Action::RequireApproval(rule) => match approved(exchange, policy, rule, response, &mut reply).await? {
                    Approved::Pass(passed) => response = passed,
                    Approved::Edited(passed) => {
                        response = passed;
                        // The others look at what it is now.
                        if let Some(policed) = &mut exchange.policed {
                            policed.done.retain(|done| *done == place || !chosen.contains(done));
                        }
                        left = chosen;
                    }
                    Approved::Answer(answer) => return Ok(answer),
                },
                action => response = one(exchange, policy, action, response, &mut reply).await?,
            }
        }
    }
}

/// What came of asking somebody about an answer.
enum Approved {
    Pass(Response<Body>),
    Edited(Response<Body>),
    /// Something else is answered.
    Answer(Response<Body>),
}

async fn approved(
    exchange: &mut Exchange,
    policy: &Policy,
    rule: &RequireApproval,
    response: Response<Body>,
    reply: &mut Reply,
) -> Result<Approved> {
    let calls = match (&reply.text, reply.calls.is_empty()) {
        (None, true) => tools::calls(&serde_json::from_slice(&reply.body).unwrap_or_default()),
        _ => reply.calls.clone(),
    };
    if !rule.concerns(&calls) {
        return Ok(Approved::Pass(response));
    }
    let (head, body) = response.into_parts();
    let bytes = match body.into_source() {
        Ok(source) => output::collect(source).await?,
        Err(bytes) => bytes,
    };
    let gate = approval::after(exchange, policy, rule, &calls, (head.status, &head.headers, bytes.clone())).await?;
    let response = Response::from_parts(head, Body::full(bytes));
    match gate {
        Gate::Answer(answer) => Ok(Approved::Answer(answer)),
        Gate::Pass(edited) => {
            exchange.tickets.iter_mut().for_each(approval::Ticket::begin);
            Ok(match edited {
                None => Approved::Pass(response),
                Some(body) => Approved::Edited(with_body(response, reply, body.into())),
            })
        }
    }
}

async fn one(
    exchange: &mut Exchange,
    policy: &Policy,
    action: &Action,
    mut response: Response<Body>,
    reply: &mut Reply,
) -> Result<Response<Body>> {
    match action {
        Action::Deny(deny) => return Err(denied(policy, deny.status, &deny.message)),
        Action::Redact { plan, fields } => {
            if !fields.is_empty() && reply.text.is_some() {
                return Err(unchanged(policy));
            }
            if let Some(body) = edit::blanked(fields, &reply.body) {
                response = with_body(response, reply, body);
            }
            if let Some(plan) = plan {
                response = guarded(exchange, policy, *plan, response, reply).await?;
            }
        }
        Action::Guardrail(plan) => response = guarded(exchange, policy, *plan, response, reply).await?,
        Action::Transform(ops) => {
            for op in ops {
                match op {
                    Op::SetHeader(name, value) => _ = response.headers_mut().insert(name, value.clone()),
                    Op::RemoveHeader(name) => _ = response.headers_mut().remove(name),
                    _ => {}
                }
            }
            let alters = ops.iter().any(|op| !matches!(op, Op::SetHeader(..) | Op::RemoveHeader(_)));
            if alters && policy.phase == Phase::Post {
                if reply.text.is_some() {
                    return Err(unchanged(policy));
                }
                let bad = |text: String| denied(policy, 502, &format!("The answer cannot be changed: {text}."));
                if let Some(body) = edit::changed(ops, exchange.endpoint.dialect, &reply.body).map_err(bad)? {
                    response = with_body(response, reply, body);
                }
            }
        }
        Action::ToolScope(scope) => match response.into_parts() {
            (head, body) if policy.phase == Phase::Stream => {
                let source = body.into_source().unwrap_or_else(|bytes| Box::new(Once(Some(bytes))));
                let body = match Framing::of(&head.headers) {
                    Some(framing) => Body::stream(ToolWatch::new(exchange, policy, framing, source)),
                    None => Body::stream(Boxed(source)),
                };
                response = Response::from_parts(head, body);
            }
            (head, body) => {
                called(policy, scope, reply)?;
                response = Response::from_parts(head, body);
            }
        },
        Action::ValidateSchema { schema, not, field, message } => {
            let value = said(reply, field.as_deref());
            judge_schema(policy, schema, *not, value.as_ref(), message)?;
        }
        Action::Webhook(webhook) if webhook.wait => {
            let body = exchange.policed.as_ref().map(|policed| policed.body.clone()).unwrap_or_default();
            let payload = Matter::of(exchange).payload(policy, webhook.body.then_some(&body), Some(reply));
            let verdict = consult(&exchange.shard, webhook, &payload, &exchange.request_id.to_string()).await;
            verdict.map_err(|text| denied(policy, 403, &text))?;
        }
        Action::Webhook(_) | Action::Log { .. } | Action::Alert(_) => {
            let body = exchange.policed.as_ref().map(|policed| policed.body.clone()).unwrap_or_default();
            let facts = RequestFacts::of(Scene::of(exchange, &body, Some(reply)));
            tell(&exchange.shard, policy, action, &facts, &Matter::of(exchange));
        }
        _ => {}
    }
    Ok(response)
}

/// A stream has no fields that could be changed.
fn unchanged(policy: &Policy) -> Error {
    let text = format!("The policy '{}' changes answers, which a stream does not allow.", policy.name);
    denied(policy, 400, &text).param("stream")
}

/// A stream that nobody can read may say anything, so it is withheld where a policy might have to.
pub(super) fn unreadable(policy: &Policy) -> Error {
    denied(policy, 502, "An event of the answer cannot be read.")
}

/// What a schema is about: a field of the answer, or what it says, as JSON, with or without a fence around it.
fn said(reply: &Reply, field: Option<&[String]>) -> Option<Value> {
    if let Some(path) = field {
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        return value_at(&body, path).cloned();
    }
    let text = match &reply.text {
        Some(text) => text.clone(),
        None => tools::said(&serde_json::from_slice(&reply.body).ok()?),
    };
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = inner.map_or(text, |inner| inner.split_once('\n').map_or(inner, |(_, rest)| rest));
    serde_json::from_str(inner.trim()).ok()
}

/// # Errors
/// The answer calls a tool that may not be called, or with arguments that do not fit.
fn called(policy: &Policy, scope: &ToolScope, reply: &Reply) -> Result<()> {
    let own;
    let calls = match (&reply.text, reply.calls.is_empty()) {
        (None, true) => {
            own = tools::calls(&serde_json::from_slice(&reply.body).unwrap_or_default());
            &own
        }
        _ => &reply.calls,
    };
    for call in calls {
        if !scope.admits(&call.name) {
            return Err(denied(policy, 403, &tool_text(policy, &scope.message, &call.name)));
        }
        for (_, schema) in scope.arguments.iter().filter(|(pattern, _)| pattern.matches(&call.name)) {
            if let Err((place, text)) = schema.validate(&call.arguments) {
                let place = if place.is_empty() { "the arguments".to_string() } else { format!("`{place}`") };
                let told = format!("The tool '{}' was called with what does not fit: {place} {text}.", call.name);
                let told = if scope.message.is_empty() { told } else { scope.message.clone() };
                return Err(denied(policy, 422, &told));
            }
        }
    }
    Ok(())
}

fn with_body(response: Response<Body>, reply: &mut Reply, body: Vec<u8>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    reply.body = body.into();
    Response::from_parts(head, Body::full(reply.body.clone()))
}

/// The answer as guardrails let it pass; what conditions see afterwards is that.
async fn guarded(
    exchange: &mut Exchange,
    policy: &Policy,
    plan: u32,
    response: Response<Body>,
    reply: &mut Reply,
) -> Result<Response<Body>> {
    let response = output::through(exchange, plan, response).await?;
    let (head, body) = response.into_parts();
    Ok(match body.into_source() {
        Err(bytes) => {
            if reply.text.is_none() {
                reply.body = bytes.clone();
            } else if !Whole::of(exchange, &head.headers).tell(bytes.clone(), reply) {
                return Err(unreadable(policy));
            }
            Response::from_parts(head, Body::full(bytes))
        }
        // A stream under guard is read as it is sent.
        Ok(source) => Response::from_parts(head, Body::stream(Boxed(source))),
    })
}

struct Boxed(Box<dyn Source>);

impl Source for Boxed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.0.poll_data(cx)
    }
}
