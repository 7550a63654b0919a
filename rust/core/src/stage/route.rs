//! Which deployments may answer, in the order they will be tried: those that serve the operation, have the request's tags and
//! are healthy, ordered by the model's strategy.

mod able;
pub mod auto;
mod bounded;
mod mirrored;
pub mod score;
mod service;
mod sticky;
mod tags;
pub mod wide;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};
use smallvec::SmallVec;

use super::{Flow, Stage, Wait};
use crate::body::Body;
use crate::clock::{monotonic_ns, ns_at};
use crate::decision::Dropped;
use crate::dialect::family;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::kernel::choice::{Candidate, Candidates, How, arrange};
use crate::snapshot::{Model, Strategy, Translation};
use crate::unavailable::unavailable;
use able::Able;
use score::Told;

/// Names what of an answer is no provider's word.
const ESTIMATED: HeaderName = HeaderName::from_static("x-ailink-estimated");

/// Added to the tier of what is to stand behind every other one; tiers are small.
const BEHIND_ALL: u32 = 1 << 30;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    let Some(index) = exchange.model else {
        return Err(Error::new(Code::Internal, "route ran before authorize"));
    };
    let first = exchange.visited.is_empty();
    exchange.visited.push(index);
    let snapshot = exchange.snapshot.clone();
    let Some(model) = snapshot.models.get(index as usize) else {
        return Err(Error::new(Code::Internal, "the model is not in the snapshot"));
    };
    if exchange.bounds.is_none() && !snapshot.boundaries.is_empty() {
        exchange.bounds = Some(snapshot.boundaries.of(exchange.key.as_deref()));
    }
    if !model.routing.conditions.is_empty()
        && let Some(name) = redirected(exchange, model)
    {
        if let Some(decision) = &mut exchange.decision {
            decision.redirected(model, &name);
        }
        exchange.call.model = name;
        return Ok(Flow::Again(Stage::Authorize));
    }
    if let Some(rules) = &model.auto {
        return auto(exchange, model, rules);
    }
    if exchange.decision.is_some() {
        let strategy = strategy(exchange, model).name();
        if let Some(decision) = &mut exchange.decision {
            decision.model(model, strategy);
        }
    }
    let mut eligible = eligible(exchange, model)?;
    if eligible.is_empty() {
        return Ok(Flow::Answer(estimated(exchange)));
    }
    let now = if first { ns_at(exchange.started) } else { monotonic_ns() };
    let mut told = Told::default();
    if wide::applies(exchange, model, &eligible) {
        let count = eligible.len();
        if let Some(index) = wide::first(exchange, model, &mut eligible, now, &mut told) {
            exchange.candidates = SmallVec::from_slice(&[index]);
            exchange.chosen = told.decision(count);
            (exchange.behind, exchange.unavailable, exchange.forced) = (Some(told), None, false);
            mirrored(exchange, model);
            return Ok(Flow::Next);
        }
        // It has changed them.
        eligible = self::eligible(exchange, model)?;
    }
    exchange.behind = None;
    if model.routing.tagged {
        eligible = tagged(exchange, model, eligible)?;
    }
    if model.routing.choosy {
        eligible = match able::filter(exchange, model, eligible, now)? {
            Able::Some(able) => able,
            Able::Elsewhere(flow) => return Ok(flow),
        };
    }
    let mut candidates = healthy(exchange, &eligible, now);
    if candidates.is_empty() {
        let indices = eligible.iter().map(|candidate| candidate.index);
        exchange.unavailable = Some(unavailable(&snapshot, model, indices, now));
    }
    let how = match candidates.len() {
        0 | 1 => How::Draw,
        _ => score::score(exchange, model, &mut candidates, (now, false), &mut told),
    };
    mirrored(exchange, model);
    exchange.chosen = told.decision(candidates.len());
    exchange.candidates = arrange(&mut candidates, how, most(model));
    if let Some(decision) = &mut exchange.decision {
        decision.chosen(how, &candidates, &exchange.candidates);
        if decision.simulated {
            decision.refused = exchange.unavailable.take().map(|error| error.message.into_owned());
            let body = decision.json(&exchange.request_id, &snapshot).to_string();
            let mut response = Response::new(Body::full(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(Flow::Answer(response));
        }
    }
    Ok(Flow::Next)
}

fn mirrored(exchange: &mut Exchange, model: &Model) {
    if let Some(mirror) = &model.routing.mirror
        && exchange.mirror.is_none()
    {
        exchange.mirror = mirrored::draw(exchange, model, mirror);
    }
}

/// The model's, or that of the first rule that holds.
fn strategy(exchange: &Exchange, model: &Model) -> Strategy {
    let (routing, rules) = (&model.routing, &model.routing.strategies);
    if rules.is_empty() {
        return routing.strategy;
    }
    let facts = RequestFacts::new(exchange);
    rules.iter().find(|(when, _)| when.holds(&facts)).map_or(routing.strategy, |(_, strategy)| *strategy)
}

/// A count that no provider of the model can give.
fn estimated(exchange: &Exchange) -> Response<Body> {
    let body = family::estimate(exchange.endpoint.operation, &exchange.call.body);
    let mut response = Response::new(Body::full(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ESTIMATED, HeaderValue::from_static("tokens"));
    response
}

/// The model that stands for this one because a condition holds. As with fallbacks, the key must be allowed to use it.
fn redirected(exchange: &Exchange, model: &Model) -> Option<String> {
    let facts = RequestFacts::new(exchange);
    let rules = model.routing.conditions.iter().filter(|(_, then)| !exchange.visited.contains(then));
    let mut targets = rules.filter(|(when, _)| when.holds(&facts)).filter_map(|(_, then)| {
        let target = exchange.snapshot.models.get(*then as usize)?;
        let allowed = exchange.key.as_ref().is_some_and(|key| key.may_use(&target.name)) && exchange.within(target);
        allowed.then(|| target.name.to_string())
    });
    targets.next()
}

/// Hands the request to the model that suits it.
fn auto(exchange: &mut Exchange, model: &Model, rules: &crate::snapshot::auto::Auto) -> Result<Flow> {
    let look = match exchange.look.take() {
        Some(look) => *look,
        None => {
            let look = auto::look(exchange, rules);
            if look.takes_long(rules) {
                exchange.visited.pop();
                exchange.look = Some(Box::new(look));
                return Ok(Flow::Wait(Wait::Router));
            }
            look.asked(rules)
        }
    };
    let Some(chosen) = auto::choose(exchange, model, rules, &look) else {
        let text = format!("The key may use none of the models that '{}' stands for.", model.name);
        return Err(Error::new(Code::ModelDenied, text).param("model"));
    };
    if let Some(decision) = &mut exchange.decision {
        decision.automatic(model, &chosen.model, chosen.why);
    }
    exchange.call.model = chosen.model;
    Ok(Flow::Again(Stage::Authorize))
}

/// The deployments that may answer this call, with their weights. Empty: it asks for a count that no provider can give.
///
/// # Errors
/// Why there are none.
fn eligible(exchange: &mut Exchange, model: &Model) -> Result<Candidates> {
    let mut eligible = serving(exchange, model);
    let operation = exchange.endpoint.operation;
    if eligible.is_empty() {
        let text = match &exchange.provider {
            Some(provider) => {
                format!("The model '{}' has no deployment at '{provider}' for this request.", model.name)
            }
            None if operation.counts() => return Ok(eligible),
            None => format!(
                "The model '{}' has no deployment that serves '{}' in the {} format.",
                model.name,
                operation.name(),
                exchange.endpoint.dialect.name()
            ),
        };
        return Err(Error::new(Code::DialectUnsupported, text).param("model"));
    }
    if let Some(bounds) = exchange.bounds.filter(|bounds| *bounds != 0) {
        eligible = bounded::within(exchange, model, eligible, bounds)?;
    }
    if !model.routing.service_tiers.is_empty() {
        eligible = service::tiers(exchange, model, eligible);
    }
    Ok(eligible)
}

/// How many are put in order: what a request will hardly come to needs no order.
fn most(model: &Model) -> usize {
    model.routing.retries.most() as usize + 2 + model.routing.spills
}

/// Those that serve the operation.
fn serving(exchange: &mut Exchange, model: &Model) -> Candidates {
    let mut found = Candidates::with_capacity(model.places.len());
    let mut dropped: SmallVec<[u32; 4]> = SmallVec::new();
    let (operation, translation) = (exchange.endpoint.operation, model.routing.translation);
    let wanted = |index: u32| {
        let Some(name) = exchange.provider.as_deref() else { return true };
        let deployment = exchange.deployment(index);
        deployment.is_some_and(|deployment| *deployment.provider == *name || *deployment.id == *name)
    };
    for (at, place) in (0..).zip(&model.places) {
        let native = place.is_native(operation);
        let serves = native || translation != Translation::Never && place.serves(operation);
        if serves && wanted(place.index) {
            let last = translation == Translation::Last && !native;
            let tier = if last { BEHIND_ALL + place.tier } else { place.tier };
            let weight = u64::from(place.weight);
            found.push(Candidate { index: place.index, place: at, tier, weight, score: 0 });
        } else if exchange.decision.is_some() {
            dropped.push(place.index);
        }
    }
    if let Some(decision) = &mut exchange.decision {
        decision.dropped(&dropped, &Dropped::Dialect);
    }
    found
}

/// Those among them that have the request's tags.
fn tagged(exchange: &mut Exchange, model: &Model, eligible: Candidates) -> Result<Candidates> {
    let wanted = tags::wanted(exchange);
    let select = |admits: &dyn Fn(&crate::snapshot::Deployment) -> bool| -> Candidates {
        let admitted = |candidate: &&Candidate| exchange.deployment(candidate.index).is_some_and(admits);
        eligible.iter().filter(admitted).copied().collect()
    };
    let mut found = select(&|deployment| tags::admits(model, deployment, &wanted));
    if found.is_empty() {
        found = select(&tags::stands_in);
    }
    if found.is_empty() {
        let text =
            format!("The model '{}' has no deployment with the tags asked for: {}.", model.name, wanted.join(", "));
        return Err(Error::new(Code::ModelDenied, text).param("model"));
    }
    if let Some(decision) = &mut exchange.decision {
        let gone = eligible.iter().filter(|candidate| !found.contains(candidate)).map(|candidate| candidate.index);
        decision.dropped(&gone.collect::<SmallVec<[u32; 8]>>(), &Dropped::Tags);
    }
    Ok(found)
}

/// Those that are not left out, each with the part of its weight that is due to it. If none is left, those that fail too
/// often: better than nobody.
fn healthy(exchange: &mut Exchange, eligible: &Candidates, now: u64) -> Candidates {
    let mut found = Candidates::with_capacity(eligible.len());
    let (mut out, mut soft): (SmallVec<[u32; 4]>, Candidates) = (SmallVec::new(), Candidates::new());
    for candidate in eligible {
        let Some(deployment) = exchange.deployment(candidate.index) else { continue };
        let share = deployment.state.health.share(now, &deployment.breaker);
        if share > 0 {
            found.push(Candidate { weight: candidate.weight * share, ..*candidate });
        } else if deployment.state.health.cause().is_soft() {
            soft.push(*candidate);
        } else {
            out.push(candidate.index);
        }
    }
    exchange.forced = found.is_empty();
    if exchange.forced {
        found = std::mem::take(&mut soft);
    }
    out.extend(soft.iter().map(|candidate| candidate.index));
    if let Some(decision) = &mut exchange.decision {
        decision.dropped(&out, &Dropped::Health);
    }
    found
}
