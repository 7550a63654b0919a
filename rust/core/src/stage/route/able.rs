//! Which deployments can serve a request at all: its context, what is in it, what it asks for, where it may go, what is left
//! of quotas. Asked only of models whose deployments differ in that.
//!
//! What a format or a configuration says is certain: without a deployment left the request is refused. What a catalogue or
//! an estimate says sorts out, but never refuses: without a deployment left, the providers decide.

use smallvec::SmallVec;

use crate::decision::{Dropped, Unable};
use crate::dialect::Format;
use crate::dialect::hub::{Feature, Treatment};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::facts::identity::{PICO, estimate_at};
use crate::kernel::choice::{Candidate, Candidates};
use crate::kernel::failure::Class;
use crate::kernel::quota;
use crate::needs::{self, MEDIA, Need, Needs};
use crate::snapshot::{Deployment, Model};
use crate::stage::Flow;
use crate::stage::attempt::{Why, fall_back};
use crate::stage::route::score::used;

/// What is left.
pub enum Able {
    Some(Candidates),
    /// Another model takes the request.
    Elsewhere(Flow),
}

type Out = SmallVec<[(Candidate, Unable); 8]>;

/// # Errors
/// 400 that names what each deployment cannot do.
pub fn filter(exchange: &mut Exchange, model: &Model, eligible: Candidates, now: u64) -> Result<Able> {
    let eligible = match model.routing.max_cost {
        Some(most) if !exchange.endpoint.operation.counts() => match affordable(exchange, model, eligible, most)? {
            Able::Some(left) => left,
            elsewhere @ Able::Elsewhere(_) => return Ok(elsewhere),
        },
        _ => eligible,
    };
    let needs = needs(exchange, eligible.iter().map(|candidate| candidate.index));
    let (mut able, mut never) = (Candidates::new(), Out::new());
    for candidate in eligible {
        let Some(deployment) = exchange.deployment(candidate.index) else { continue };
        match certainly(exchange, deployment, needs) {
            Some(unable) => never.push((candidate, unable)),
            None => able.push(candidate),
        }
    }
    tell(exchange, &never);
    if able.is_empty() {
        return Err(refusal(exchange, model, &never));
    }
    let (mut left, mut doubtful) = (Candidates::new(), Out::new());
    for candidate in able {
        let Some(deployment) = exchange.deployment(candidate.index) else { continue };
        match probably(exchange, deployment, needs, now) {
            Some(unable) => doubtful.push((candidate, unable)),
            None => left.push(candidate),
        }
    }
    if !left.is_empty() {
        tell(exchange, &doubtful);
        return Ok(Able::Some(left));
    }
    let own = !model.routing.fallbacks.context_window.is_empty();
    let strict = model.routing.refuses_long;
    if (own || strict) && doubtful.iter().all(|(_, unable)| *unable == Unable::ContextWindow) {
        tell(exchange, &doubtful);
        let text = format!("The prompt is longer than any deployment of the model '{}' takes.", model.name);
        let error = Error::new(Code::InvalidRequest, text).param("messages");
        match fall_back(exchange, Why::Failure(Class::ContextWindow), error) {
            Ok(flow) => return Ok(Able::Elsewhere(flow)),
            Err(error) if strict => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Able::Some(doubtful.into_iter().map(|(candidate, _)| candidate).collect()))
}

/// Whether this deployment can serve the request.
pub fn can(exchange: &Exchange, index: u32, now: u64) -> bool {
    let needs = needs(exchange, std::iter::once(index));
    exchange.deployment(index).is_some_and(|deployment| {
        certainly(exchange, deployment, needs).is_none() && probably(exchange, deployment, needs, now).is_none()
    })
}

/// Those where the request comes to no more than `most` by estimate; a price that nobody knows is no reason.
fn affordable(exchange: &mut Exchange, model: &Model, eligible: Candidates, most: i64) -> Result<Able> {
    let (mut left, mut out, mut least) = (Candidates::new(), Out::new(), i64::MAX);
    for candidate in eligible {
        let pico = exchange.deployment(candidate.index).and_then(|deployment| estimate_at(exchange, deployment));
        match pico.filter(|pico| *pico > most) {
            Some(pico) => {
                least = least.min(pico);
                out.push((candidate, Unable::Cost));
            }
            None => left.push(candidate),
        }
    }
    tell(exchange, &out);
    if !left.is_empty() || out.is_empty() {
        return Ok(Able::Some(left));
    }
    let text = format!(
        "This request may cost ${:.6} at the model '{}', which takes requests of up to ${:.6}. Ask for fewer tokens.",
        least as f64 * PICO,
        model.name,
        most as f64 * PICO
    );
    let error = Error::new(Code::InvalidRequest, text).param("max_tokens");
    fall_back(exchange, Why::Cost, error).map(Able::Elsewhere)
}

/// What the request needs, of that in which the candidates may differ.
fn needs(exchange: &Exchange, eligible: impl Iterator<Item = u32>) -> Needs {
    let mut asked = Needs::NONE;
    for deployment in eligible.filter_map(|index| exchange.deployment(index)) {
        asked = asked.or(deployment.cannot).or(deployment.doubtful);
        if let Some(format) = other_format(exchange, deployment) {
            asked = asked.or(unsaid(format));
        }
        if over(exchange, deployment) {
            // Pictures and the like have far fewer tokens than bytes.
            asked = asked.or(MEDIA);
        }
    }
    needs::of(&exchange.call, asked)
}

/// The format that the deployment is asked in, where it is not the caller's.
fn other_format(exchange: &Exchange, deployment: &Deployment) -> Option<Format> {
    if exchange.native(deployment) { None } else { exchange.asked(deployment)?.format() }
}

/// What cannot be said in a format.
fn unsaid(format: Format) -> Needs {
    let mut found = Needs::NONE;
    for (need, feature) in [
        (Need::Choices, Feature::Choices),
        (Need::HostedTools, Feature::HostedTools),
        (Need::Audio, Feature::Audio),
        (Need::Video, Feature::Video),
        (Need::Documents, Feature::Documents),
        (Need::Modalities, Feature::Modalities),
    ] {
        if matches!(format.treatment(feature), Treatment::Reject(_)) {
            found.add(need);
        }
    }
    found
}

fn certainly(exchange: &Exchange, deployment: &Deployment, needs: Needs) -> Option<Unable> {
    if deployment.elsewhere {
        return Some(Unable::Region);
    }
    let format = other_format(exchange, deployment);
    let unsaid = format.map_or(Needs::NONE, unsaid);
    if let Some(need) = needs.and(deployment.cannot.or(unsaid)).iter().next() {
        return Some(Unable::Need(need));
    }
    let root = exchange.call.root.filter(|_| format.is_none())?;
    let rules = deployment.template(exchange.endpoint.operation)?.rules.as_ref().filter(|rules| rules.refuses())?;
    rules.refused(&exchange.call.body, root).map(Unable::Parameter)
}

fn probably(exchange: &Exchange, deployment: &Deployment, needs: Needs, now: u64) -> Option<Unable> {
    if let Some(need) = needs.and(deployment.doubtful).iter().next() {
        return Some(Unable::Need(need));
    }
    if needs.and(MEDIA).is_empty() && over(exchange, deployment) {
        return Some(Unable::ContextWindow);
    }
    let most = u64::from(deployment.max_output);
    if most > 0 && exchange.call.max_output.is_some_and(|wanted| wanted > most) {
        return Some(Unable::MaxOutput);
    }
    let spent = deployment.measures.usage && used(&deployment.state, &deployment.quota, now) >= quota::WHOLE;
    spent.then_some(Unable::Quota)
}

/// Whether the prompt looks longer than the deployment takes.
fn over(exchange: &Exchange, deployment: &Deployment) -> bool {
    deployment.context_window > 0
        && deployment.state.tokens.estimate(exchange.call.content_bytes) > deployment.context_window
}

fn tell(exchange: &mut Exchange, out: &Out) {
    if let Some(decision) = &mut exchange.decision {
        for (candidate, unable) in out {
            decision.dropped(&[candidate.index], &Dropped::Unable(unable.clone()));
        }
    }
}

fn refusal(exchange: &Exchange, model: &Model, out: &Out) -> Error {
    let told: Vec<String> = out
        .iter()
        .take(8)
        .filter_map(|(candidate, unable)| {
            let deployment = exchange.deployment(candidate.index)?;
            let what = match unable {
                Unable::Need(need) => need.what().to_string(),
                Unable::Parameter(name) => format!("the parameter '{name}'"),
                Unable::ContextWindow => "so long a prompt".to_string(),
                Unable::MaxOutput => "so long an answer".to_string(),
                Unable::Region => "requests of this model, which stay in other regions".to_string(),
                Unable::Quota => "more requests now".to_string(),
                Unable::Cost => "requests that may cost so much".to_string(),
            };
            Some(format!("'{}' ({}) does not take {what}", deployment.id, deployment.provider))
        })
        .collect();
    let text = format!("The model '{}' has no deployment for this request: {}.", model.name, told.join("; "));
    let error = Error::new(Code::FeatureUnsupported, text);
    match out.first().map(|(_, unable)| unable) {
        Some(Unable::Need(need)) => error.param(need.name()),
        Some(Unable::Parameter(name)) => error.param(name.to_string()),
        _ => error,
    }
}
