//! Policies before a request is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::action::Action;
use super::pending::Pending;
use super::record::Kept;
use super::share::{drawn, who};
pub use super::share::{judge_schema, value_at};
use super::tail::{Matter, tell};
use super::{Chosen, Phase, Policy, edit, wire};
use crate::bill::Bill;
use crate::body::Body;
use crate::clock::monotonic_ns;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::facts::{RequestFacts, history, tools};
use crate::guard::record::Verdict;
use crate::kernel::condition::{Holder, Memo, Metric};
use crate::stage::parse::understand;
use crate::stage::{Flow, Stage, Wait};

/// What policies know about a request on its way.
#[derive(Default)]
pub struct Policed {
    /// Those that hold for it, of all phases; a fallback does not lose any.
    pub chosen: Chosen,
    /// Those that have acted.
    pub done: SmallVec<[u32; 8]>,
    /// The policy that waits in the middle of its actions, and the next of them.
    pub resume: Option<(u32, usize)>,
    /// What is waited for.
    pub pending: Option<Pending>,
    /// The request as it is sent, for questions about it when it is gone.
    pub body: Bytes,
    /// The model that was chosen instead of the one in the body.
    pub routed: Option<String>,
    /// Whether the cache takes part, if anybody says so.
    pub cache: Option<bool>,
    /// What a stream came to, when it is over.
    pub bill: Option<Arc<Bill>>,
    /// The answer that waiting came to. In a mutex because a body is nobody's but its reader's.
    pub ready: Mutex<Option<Response<Body>>>,
}

/// What an action came to.
enum Done {
    Next,
    /// No further policy is asked.
    Stop,
    /// The request goes to another model.
    Again,
    Park,
}

/// Asks the policies that hold for a request and does what they say.
///
/// # Errors
/// The refusal of one that denies.
pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    let held = exchange.snapshot.clone();
    let policies = &held.policies;
    let chosen = policies.chosen(exchange);
    if chosen.is_empty() && policies.keep == 0 {
        return Ok(Flow::Next);
    }
    let mut policed = exchange.policed.take().unwrap_or_default();
    if let Some(response) = policed.ready.get_mut().take() {
        // It is what policies let out when it was made, or says where it will be.
        exchange.guards.clear();
        return Ok(Flow::Answer(response));
    }
    policed.body = exchange.call.body.clone();
    for place in &chosen {
        if !policed.chosen.contains(place) {
            policed.chosen.push(*place);
        }
    }
    policed.chosen.sort_unstable();
    let resume = policed.resume.take();
    exchange.policed = Some(policed);
    if let Some((place, from)) = resume
        && let Some(policy) = policies.get(place)
    {
        match act(exchange, policy, place, from)? {
            Done::Next => {}
            Done::Stop => return Ok(Flow::Next),
            Done::Again => return Ok(Flow::Again(Stage::Authorize)),
            Done::Park => return Ok(Flow::Wait(Wait::Policy)),
        }
    }
    let pre = policies.of(&chosen, Phase::Pre);
    if exchange.endpoint.operation.is_session() && pre.len() < chosen.len() {
        let text = "Policies look at the answers of this request, which they cannot do in a realtime session.";
        return Err(Error::new(Code::FeatureUnsupported, text));
    }
    let mut left = pre.as_slice();
    loop {
        let next = {
            let facts = RequestFacts::new(exchange);
            let memo = Memo::new(&policies.fields, &facts);
            policies.first(&memo, left)
        };
        let Some(at) = next else { return Ok(Flow::Next) };
        let (before, rest) = left.split_at(at + 1);
        left = rest;
        let Some((place, policy)) = before.last().and_then(|place| Some((*place, policies.get(*place)?))) else {
            continue;
        };
        let Some(policed) = &mut exchange.policed else { return Ok(Flow::Next) };
        if policed.done.contains(&place) {
            continue;
        }
        policed.done.push(place);
        note(exchange, policy);
        if policy.shadow {
            continue;
        }
        match act(exchange, policy, place, 0)? {
            Done::Next => {}
            Done::Stop => return Ok(Flow::Next),
            Done::Again => return Ok(Flow::Again(Stage::Authorize)),
            Done::Park => return Ok(Flow::Wait(Wait::Policy)),
        }
    }
}

/// Counts and keeps that a policy held.
pub fn note(exchange: &mut Exchange, policy: &Policy) {
    let verdict = Verdict {
        time_us: exchange.wall_us,
        request_id: exchange.request_id.to_string(),
        rule: policy.name.to_string(),
        label: policy.told(),
        action: policy.actions.first().map_or("", Action::name),
        shadow: policy.shadow,
        side: policy.phase.name(),
        place: format!("version {}", policy.version),
        model: exchange.model().map(|model| model.name.to_string()).unwrap_or_default(),
        key: exchange.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default(),
        matches: 1,
        length: 0,
    };
    exchange.shard.shared.state.policies.note(&policy.cell, verdict);
    if !policy.shadow && exchange.policies_told.len() < 16 {
        exchange.policies_told.push(format!("{};{}", policy.name, policy.told()));
    }
}

/// What a policy refuses with.
pub fn denied(policy: &Policy, status: u16, message: &str) -> Error {
    let text = if message.is_empty() {
        format!("The policy '{}' does not allow this.", policy.name)
    } else {
        message.to_string()
    };
    Error::new(Code::PolicyDenied, text).status(status)
}

fn act(exchange: &mut Exchange, policy: &Policy, place: u32, from: usize) -> Result<Done> {
    for (at, action) in policy.actions.iter().enumerate().skip(from) {
        let done = one(exchange, policy, action).inspect_err(|_| keep_refused(exchange))?;
        match done {
            Done::Next => {}
            Done::Park => {
                if let Some(policed) = &mut exchange.policed {
                    policed.resume = Some((place, at + 1));
                }
                return Ok(Done::Park);
            }
            Done::Again => {
                // What is left of it is done for the model it goes to.
                if let Some(policed) = &mut exchange.policed {
                    policed.resume = Some((place, at + 1));
                }
                return Ok(Done::Again);
            }
            Done::Stop => return Ok(Done::Stop),
        }
    }
    Ok(Done::Next)
}

/// A request that goes no further is kept as it came.
fn keep_refused(exchange: &Exchange) {
    if exchange.snapshot.policies.keep > 0 {
        let kept = Kept::of(exchange, &exchange.call.body);
        exchange.shard.shared.state.past.keep(&exchange.snapshot, kept);
    }
}

fn one(exchange: &mut Exchange, policy: &Policy, action: &Action) -> Result<Done> {
    let bad = |text: String| denied(policy, 400, &format!("The policy '{}' cannot be applied: {text}.", policy.name));
    match action {
        Action::Allow => return Ok(Done::Stop),
        Action::Deny(deny) => return Err(denied(policy, deny.status, &deny.message)),
        Action::Redact { plan, fields } => {
            if let Some(body) = edit::blanked(fields, &exchange.call.body) {
                rewrite(exchange, body)?;
            }
            if let Some(plan) = plan {
                crate::stage::inspect::guarded(exchange, *plan, true)?;
            }
        }
        Action::Guardrail(plan) => crate::stage::inspect::guarded(exchange, *plan, true)?,
        Action::Transform(ops) => {
            headers(exchange, ops);
            let dialect = exchange.endpoint.dialect;
            if let Some(body) = edit::changed(ops, dialect, &exchange.call.body).map_err(bad)? {
                rewrite(exchange, body)?;
            }
        }
        Action::Override(fields) => {
            let body = edit::assigned(fields, &exchange.call.body).map_err(bad)?;
            rewrite(exchange, body)?;
        }
        Action::Route(route) => {
            exchange.provider = route.provider.as_deref().map(Arc::from).or(exchange.provider.take());
            return Ok(routed(exchange, route.model.as_deref()));
        }
        Action::Split(split) => {
            let Some((variant, set)) = drawn(exchange, policy, split) else { return Ok(Done::Next) };
            let told = format!("{}={}", policy.name, variant.name);
            if !exchange.tags.contains(&told) {
                exchange.tags.push(told);
            }
            if !set.is_empty() {
                let body = edit::assigned(set, &exchange.call.body).map_err(bad)?;
                rewrite(exchange, body)?;
            }
            return Ok(routed(exchange, variant.model.as_deref()));
        }
        Action::RateLimit { rule, by } => rated(exchange, policy, rule, &who(exchange, *by))?,
        Action::SpendCap { rule, by } => capped(exchange, policy, rule, *by)?,
        Action::Throttle(delay_ms) => {
            return Ok(park(exchange, Pending::Delay(Duration::from_millis(*delay_ms))));
        }
        Action::Cache(enabled) => {
            if let Some(policed) = &mut exchange.policed {
                policed.cache = Some(*enabled);
            }
        }
        Action::Tag(tags) => {
            let new: Vec<String> = tags.iter().filter(|tag| !exchange.tags.contains(tag)).cloned().collect();
            exchange.tags.extend(new);
        }
        Action::ToolScope(scope) => {
            let body: serde_json::Value = serde_json::from_slice(&exchange.call.body).unwrap_or_default();
            let refused = tools::offered(&body).into_iter().find(|name| !scope.admits(name));
            if let Some(name) = refused {
                if !scope.remove {
                    return Err(denied(policy, 403, &tool_text(policy, &scope.message, name)).param("tools"));
                }
                if let Some(body) = edit::without_tools(&exchange.call.body, |name| scope.admits(name)) {
                    rewrite(exchange, body)?;
                }
            }
        }
        Action::ValidateSchema { schema, not, field, message } => {
            let body: serde_json::Value = serde_json::from_slice(&exchange.call.body).unwrap_or_default();
            let value = field.as_ref().map_or(Some(&body), |path| value_at(&body, path));
            judge_schema(policy, schema, *not, value, message)?;
        }
        Action::RequireApproval(rule) => {
            if exchange.endpoint.operation.is_session() {
                let text = "A policy asks for an approval of this request, which a realtime session cannot wait for.";
                return Err(Error::new(Code::FeatureUnsupported, text));
            }
            if rule.is_about_tools() {
                let body: serde_json::Value = serde_json::from_slice(&exchange.call.body).unwrap_or_default();
                if !rule.concerns(&tools::last_calls(&body)) {
                    return Ok(Done::Next);
                }
            }
            return Ok(park(exchange, Pending::Approval(rule.clone())));
        }
        Action::Webhook(webhook) if webhook.wait => {
            let payload = payload(exchange, policy, webhook.body);
            let pending = Pending::Webhook { policy: policy.name.clone(), webhook: webhook.clone(), payload };
            return Ok(park(exchange, pending));
        }
        Action::Webhook(_) | Action::Log { .. } | Action::Alert(_) => {
            let facts = RequestFacts::new(exchange);
            tell(&exchange.shard, policy, action, &facts, &Matter::of(exchange));
        }
    }
    Ok(Done::Next)
}

/// Refuses somebody who has spent what a policy allows.
fn capped(exchange: &Exchange, policy: &Policy, rule: &wire::SpendCap, by: Holder) -> Result<()> {
    let spent =
        by.behind(exchange).map_or(0.0, |subject| history(subject, Metric::Spend, rule.window_ms, exchange.wall_us));
    if spent >= rule.usd {
        let text = match rule.message.as_str() {
            "" => format!("The policy '{}' allows ${} in this time.", policy.name, rule.usd),
            message => message.to_string(),
        };
        let status = exchange.snapshot.settings.budget_status;
        return Err(Error::new(Code::BudgetExceeded, text).status(status));
    }
    Ok(())
}

/// Counts the request of somebody against the rate of a policy.
fn rated(exchange: &Exchange, policy: &Policy, rule: &wire::RateLimit, who: &str) -> Result<()> {
    let past = &exchange.shard.shared.state.past;
    let period = rule.window_ms.saturating_mul(1_000_000);
    let Err(refusal) = past.take(&policy.name, who, rule.requests, period, monotonic_ns()) else { return Ok(()) };
    let text = match rule.message.as_str() {
        "" => format!("The policy '{}' allows {} requests in this time.", policy.name, rule.requests),
        message => message.to_string(),
    };
    let wait = Duration::from_nanos(refusal.retry_after_ns.min(period));
    Err(Error::new(Code::RateLimited, text).retry_after(wait))
}

/// What is said about a tool that may not be used.
pub fn tool_text(policy: &Policy, message: &str, name: &str) -> String {
    if message.is_empty() {
        format!("The policy '{}' does not allow the tool '{name}'.", policy.name)
    } else {
        message.to_string()
    }
}

fn park(exchange: &mut Exchange, pending: Pending) -> Done {
    if let Some(policed) = &mut exchange.policed {
        policed.pending = Some(pending);
    }
    Done::Park
}

/// Puts a changed body in place. The model that was chosen stays.
///
/// # Errors
/// The body is no request any more.
pub fn rewrite(exchange: &mut Exchange, body: Vec<u8>) -> Result<()> {
    understand(exchange, body.into())?;
    if let Some(policed) = &mut exchange.policed {
        policed.body = exchange.call.body.clone();
        if let Some(model) = &policed.routed {
            exchange.call.model.clone_from(model);
        }
    }
    Ok(())
}

fn routed(exchange: &mut Exchange, model: Option<&str>) -> Done {
    match model {
        Some(model) if model != exchange.call.model => {
            exchange.call.model = model.to_string();
            if let Some(policed) = &mut exchange.policed {
                policed.routed = Some(model.to_string());
            }
            Done::Again
        }
        _ => Done::Next,
    }
}

fn headers(exchange: &mut Exchange, ops: &[super::action::Op]) {
    for op in ops {
        match op {
            super::action::Op::SetHeader(name, value) => _ = exchange.headers.insert(name, value.clone()),
            super::action::Op::RemoveHeader(name) => _ = exchange.headers.remove(name),
            _ => {}
        }
    }
}

/// What a webhook is told.
pub fn payload(exchange: &Exchange, policy: &Policy, body: bool) -> Vec<u8> {
    Matter::of(exchange).payload(policy, body.then_some(&exchange.call.body), None)
}
