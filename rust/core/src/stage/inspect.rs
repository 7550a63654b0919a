//! Where guardrails, policies and plugin hooks look at a request, and may change, refuse or answer it. A model that has
//! none configured pays nothing here.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::{Flow, Wait};
use crate::body::Body;
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::guard::output::{self, refusal, unlookable};
use crate::guard::unseen::{self, Unscannable};
use crate::guard::walk::Duplicate;
use crate::guard::{Judged, Plan, Side, checks, judge, tokenized, vault};
use crate::policy::{answer, apply, pending};
use crate::wire::json::scan_object;
use crate::wire::multipart;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if !exchange.snapshot.policies.is_empty() {
        match apply::run(exchange)? {
            Flow::Next => {}
            other => return Ok(other),
        }
    }
    if let Some(plan) = exchange.model().and_then(|model| model.plan) {
        guarded(exchange, plan, exchange.guards.is_empty())?;
    }
    if exchange.key.as_ref().is_some_and(|key| !key.guardrails.is_empty()) {
        owned(exchange)?;
    }
    if exchange.plan.is_some() {
        planned(exchange)?;
    }
    if exchange.checks.as_ref().is_some_and(|checks| checks.documents.waits()) {
        return Ok(Flow::Wait(Wait::Documents));
    }
    if exchange.tokens.as_ref().is_some_and(|tokens| tokens.waits()) {
        return Ok(Flow::Wait(Wait::Vault));
    }
    match &exchange.checks {
        Some(checks) if checks.waits() => Ok(Flow::Wait(Wait::Checks)),
        _ => Ok(Flow::Next),
    }
}

/// Waits for what a policy waits for.
///
/// # Errors
/// The refusal that came of it.
pub async fn wait(exchange: &mut Exchange) -> Result<()> {
    pending::wait(exchange).await
}

/// Looks at the request with a plan's guardrails; with `answer`, they will look at its answer too.
///
/// # Errors
/// The refusal of one that blocks.
pub fn guarded(exchange: &mut Exchange, plan: u32, answer: bool) -> Result<()> {
    let held = exchange.snapshot.clone();
    let compiled = held.plans.get(plan as usize);
    if exchange.endpoint.operation.is_session() {
        if compiled.is_some_and(|plan| is_beyond(exchange.endpoint.operation, plan)) {
            let text =
                "The model has guardrails that cannot look into such a realtime session. Ask for a model without any.";
            return Err(Error::new(Code::FeatureUnsupported, text).param("model"));
        }
        // Event by event, as long as the session lasts; of Google's nothing is looked at, and all of this may pass.
        if exchange.endpoint.operation == Operation::Realtime && !exchange.guards.contains(&plan) {
            exchange.guards.push(plan);
        }
        return Ok(());
    }
    if let Some(plan) = compiled.filter(|plan| plan.unscannable != [Unscannable::Allow; 2]) {
        let body = &exchange.call.body;
        if exchange.endpoint.operation == Operation::PassThrough && !body.is_empty() && scan_object(body, &[]).is_err()
        {
            let text = "Guardrails hold for this request, and they cannot look into a body that is not a JSON object.";
            return Err(Error::new(Code::FeatureUnsupported, text));
        }
        unseen::check(exchange, plan)?;
    }
    if answer && !exchange.guards.contains(&plan) {
        exchange.guards.push(plan);
    }
    let place = plan;
    let plan = compiled;
    let checked = plan.filter(|plan| !plan.hooks.is_empty());
    if checked.is_some() {
        let checks = exchange.checks.get_or_insert_default();
        if checks.done.contains(&place) {
            return Ok(());
        }
        checks.done.push(place);
    }
    if let Some((plan, side)) = plan.and_then(|plan| Some((plan, plan.input.as_ref()?))) {
        request(exchange, (place, plan), side)?;
    }
    match checked {
        Some(plan) => checks::request(exchange, &plan.hooks),
        None => Ok(()),
    }
}

/// A session that a plan's guardrails cannot look into: no checks are made in any, and Google's events are not understood.
fn is_beyond(operation: Operation, plan: &Plan) -> bool {
    match operation {
        Operation::Realtime => plan.is_beyond_sessions(),
        Operation::BidiGenerateContent => plan.unscannable != [Unscannable::Allow; 2],
        _ => false,
    }
}

fn beyond(exchange: &Exchange) -> &'static str {
    match exchange.endpoint.operation {
        Operation::BidiGenerateContent => "that cannot look into sessions of Google's Live API",
        _ => "with checks, which cannot be made in a realtime session",
    }
}

/// The guardrails of the key and of all it belongs to, once. No request gets around them: what they cannot look into is
/// refused, and so is everything when one of them is gone.
fn owned(exchange: &mut Exchange) -> Result<()> {
    let Some(key) = exchange.key.clone() else { return Ok(()) };
    let asked = exchange.model().and_then(|model| model.plan);
    for name in &key.guardrails {
        let Some(place) = exchange.snapshot.named_plans.get(&**name).copied() else {
            let text = format!("The key needs the guardrail '{name}', which this gateway does not have any more.");
            return Err(Error::new(Code::GuardrailBlocked, text).status(403));
        };
        let plan = exchange.snapshot.plans.get(place as usize);
        if plan.is_some_and(|plan| is_beyond(exchange.endpoint.operation, plan)) {
            let text = format!("The key has the guardrail '{name}', one {}.", beyond(exchange));
            return Err(Error::new(Code::EndpointDenied, text));
        }
        // One that the model has, too, has looked already.
        if exchange.guards.contains(&place) || asked == Some(place) {
            continue;
        }
        guarded(exchange, place, true)?;
    }
    Ok(())
}

/// The guardrails of the config's step that is under way, once.
fn planned(exchange: &mut Exchange) -> Result<()> {
    let Some(plan) = &exchange.plan else { return Ok(()) };
    let Some(step) = plan.step().filter(|step| !step.hooks.is_empty() || !step.guardrails.is_empty()) else {
        if let Some(checks) = &mut exchange.checks {
            checks.after.clear();
        }
        return Ok(());
    };
    let (at, hooks, named) = (plan.place(), step.hooks.clone(), step.guardrails.clone());
    if exchange.endpoint.operation.is_session() && !hooks.is_empty() {
        let text = "The config has guardrails with checks, which cannot be made in a realtime session.";
        return Err(Error::new(Code::FeatureUnsupported, text).param("config"));
    }
    let checks = exchange.checks.get_or_insert_default();
    if checks.steps.contains(&at) {
        return Ok(());
    }
    checks.steps.push(at);
    checks.after.clone_from(&hooks);
    for name in named {
        let place = exchange.snapshot.named_plans.get(&*name).copied();
        let place = place.ok_or_else(|| {
            Error::new(Code::InvalidRequest, format!("There is no guardrail '{name}'.")).param("config")
        })?;
        guarded(exchange, place, true)?;
    }
    checks::request(exchange, &hooks)
}

/// Looks at an answer before it leaves.
///
/// # Errors
/// The refusal, when a rule blocks it.
pub async fn answer(exchange: &mut Exchange, response: Response<Body>) -> Result<Response<Body>> {
    checks::joined(exchange).await?;
    let mut response = output::answer(exchange, response).await?;
    if let Some(after) = exchange.checks.as_ref().map(|checks| checks.after.clone()) {
        // What stands in a config says nothing about what it cannot look at.
        response = checks::answer(exchange, &after, Unscannable::Whole, response).await?;
    }
    if exchange.policed.is_some() {
        response = answer::run(exchange, response).await?;
    }
    if exchange.tokens.is_some() {
        response = vault::answer(exchange, response).await?;
    }
    Ok(checks::told(exchange, response))
}

fn request(exchange: &mut Exchange, (place, plan): (u32, &Plan), side: &Side) -> Result<()> {
    let body = exchange.call.body.clone();
    let judged = if let Some(boundary) = &exchange.call.boundary {
        form(side, &body, boundary)?
    } else {
        json(exchange, side, &body).map_err(|duplicate| {
            let text = format!("A key stands twice in an object of the request body, at byte {}.", duplicate.0);
            Error::new(Code::InvalidJson, text)
        })?
    };
    exchange.tell_findings(&judged.findings, "input");
    if judged.failed && side.fails_closed {
        return Err(unlookable("the search was given up"));
    }
    if let Some(finding) = judged.block() {
        exchange.goes_on(finding.rule.then);
        return Err(refusal(finding, "input", plan.block_status));
    }
    if !judged.documents.is_empty() && plan.unscannable[0] > Unscannable::Allow {
        let alone = unseen::is_alone(exchange);
        let documents = &mut exchange.checks.get_or_insert_default().documents;
        for (range, at) in judged.documents {
            documents.add(place, body.slice(range), at, alone);
        }
    }
    match judged.rewritten {
        Some(rewritten) => apply::rewrite(exchange, rewritten),
        None => Ok(()),
    }
}

fn json(exchange: &mut Exchange, side: &Side, body: &Bytes) -> std::result::Result<Judged, Duplicate> {
    if !side.tokenizes {
        return judge(side, body, true);
    }
    let tokens = Arc::make_mut(exchange.tokens.get_or_insert_default());
    if let Some(fails_closed) = side.keeps {
        tokens.lasts(&exchange.shard.shared.state.vault, vault::tenant_of(exchange.key.as_deref()), fails_closed);
    }
    tokens.looks_at(body);
    let judged = tokenized(side, body, tokens);
    if tokens.is_empty() {
        exchange.tokens = None;
    }
    judged
}

/// The text fields of a form. What is found in one that must not pass refuses the request: a form is not rewritten.
fn form(side: &Side, body: &[u8], boundary: &str) -> Result<Judged> {
    let parts = multipart::parts(body, boundary)
        .map_err(|error| Error::new(Code::InvalidRequest, format!("The form is not valid: {error}.")))?;
    let mut all = Judged::default();
    for part in parts {
        let content = body.get(part.content.clone()).unwrap_or_default();
        let Some(text) = std::str::from_utf8(content).ok().filter(|_| part.filename.is_none()) else { continue };
        let Ok(quoted) = serde_json::to_vec(text) else { continue };
        let Ok(judged) = judge(side, &quoted, false) else { continue };
        for mut finding in judged.findings {
            finding.place.clone_from(&part.name);
            if finding.rule.effect().alters() {
                return Err(refusal(&finding, "input", 400));
            }
            all.findings.push(finding);
        }
        all.failed |= judged.failed;
    }
    Ok(all)
}
