//! Asks the candidates in turn until one answers: per-phase time-outs, retries with full jitter under a budget, failover.
//!
//! Everything here happens before the first byte goes to the client, so every failure may be tried again elsewhere. What
//! was sent has a row in the ledger, whatever became of it; what could not be sent has none.

mod ask;
mod begin;
mod connect;
mod failed;
mod fallback;
mod hedge;
pub mod prepare;
mod prompt_cache;
mod queue;
mod refusal;
mod retry;

use std::time::Instant;

use super::Flow;
use crate::clock::{monotonic_ns, ns_at};
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::kernel::failure::Class;
use crate::snapshot::Deployment;
use crate::stage::route::wide;
use crate::state::deployments::InFlight;
use ask::ask;
use failed::{Failed, Failure};
pub use fallback::{Why, fall_back};
pub use queue::priority;
use retry::{Turn, may_retry};

pub async fn run(exchange: &mut Exchange) -> Result<Flow> {
    let snapshot = exchange.snapshot.clone();
    let Some(model) = exchange.model.and_then(|index| snapshot.models.get(index as usize)) else {
        return Err(Error::new(Code::Internal, "attempt ran before authorize"));
    };
    model.state.retries.deposit(ns_at(exchange.started));
    model.state.failovers.deposit(ns_at(exchange.started));
    let mut candidates = exchange.candidates.clone();
    let mut unavailable = exchange.unavailable.take();
    let mut failure: Option<Failure> = None;
    let mut turn = Turn { tries: 0, round: 0, renewed: false };
    let mut skipped = 0;
    // The first without a place: when nobody else takes the request, it waits there.
    let mut full: Option<usize> = None;
    let mut place: Option<InFlight> = None;
    let mut position = 0usize;
    while let Some(index) = candidates.get(position % candidates.len().max(1)) {
        let Some(deployment) = snapshot.deployments.get(*index as usize) else { break };
        turn.round = u32::try_from(position / candidates.len()).unwrap_or(u32::MAX);
        if let Some(last) = &failure {
            if !Box::pin(may_retry(exchange, model, last, &turn, deployment)).await {
                break;
            }
            exchange.shard.metrics.retries.add(1);
            if let Some(plan) = &mut exchange.plan {
                plan.retries += 1;
            }
        }
        let timed = exchange.decision.is_some() || model.routing.hedge.is_some();
        let asked = timed.then(Instant::now);
        let index = *index;
        let second = if turn.tries == 0 { hedge::second(exchange, model, &candidates, index) } else { None };
        let result = match second {
            None => ask(exchange, deployment, index, place.take()).await,
            Some(second) => {
                let race = hedge::race(exchange, model, (deployment, index), place.take(), second);
                let hedge::Outcome { result, failed } = Box::pin(race).await;
                // It was asked and has failed as well.
                candidates.retain(|candidate| Some(*candidate) != failed);
                result
            }
        };
        if let Some(asked) = asked {
            note(exchange, index, &result, asked);
        }
        if result.is_err() {
            wide::others(exchange, model, &mut candidates);
        }
        match result {
            Ok(answer) => {
                asked.inspect(|asked| hedge::measured(model, asked.elapsed()));
                exchange.answer = Some(answer);
                return Ok(Flow::Next);
            }
            Err(Failed::Attempt(failed)) if failed.stale && !std::mem::replace(&mut turn.renewed, true) => continue,
            Err(Failed::Attempt(failed)) => {
                let class = failed.class;
                let another = another_key(deployment, class);
                // What one has no room for others are there to take: that is no retry.
                let spilled =
                    deployment.spills && class == Class::RateLimit && !another && position + 1 < candidates.len();
                model.state.spilled.add(u64::from(spilled));
                turn.tries += u32::from(!spilled);
                (skipped, failure, full) = (0, Some(failed), None);
                if another {
                    continue;
                }
            }
            Err(Failed::Skipped(error)) => {
                skipped += 1;
                unavailable = Some(error);
            }
            Err(Failed::Full) => {
                skipped += 1;
                full = full.or(Some(position));
            }
            Err(Failed::Last(error)) => return Err(error),
        }
        position += 1;
        if skipped < candidates.len() {
            continue;
        }
        let waits_at = full.take().and_then(|at| {
            let index = candidates.get(at % candidates.len())?;
            Some((at, snapshot.deployments.get(*index as usize)?))
        });
        let Some((at, deployment)) = waits_at else { break };
        match Box::pin(queue::wait(exchange, model, deployment)).await {
            Ok(taken) => (place, position, skipped) = (Some(taken), at, 0),
            Err(error) => {
                unavailable = Some(error);
                break;
            }
        }
    }
    let class = failure.as_ref().map(|failure| failure.class);
    let error = failure.map(|failure| failure.error).or(unavailable);
    fall_back(
        exchange,
        class.into(),
        error.unwrap_or_else(|| Error::new(Code::NoDeployment, "No deployment could be asked.")),
    )
}

/// Whether the deployment has another credential than the one that was refused or limited.
fn another_key(deployment: &Deployment, class: Class) -> bool {
    let keys = deployment.keys.as_ref().filter(|_| matches!(class, Class::RateLimit | Class::Authentication));
    keys.is_some_and(|keys| keys.has_fresh(monotonic_ns()))
}

/// Notes an attempt down for those who want to know.
fn note(exchange: &mut Exchange, index: u32, result: &Result<Box<Answer>, Failed>, asked: Instant) {
    let index = result.as_ref().map_or(index, |answer| answer.deployment);
    let (what, status) = match result {
        Ok(answer) => ("answered", Some(answer.head.status.as_u16())),
        Err(Failed::Attempt(failure)) => (failure.class.name(), failure.error.status),
        Err(Failed::Skipped(_)) => ("skipped", None),
        Err(Failed::Full) => ("full", None),
        Err(Failed::Last(_)) => ("not_sent", None),
    };
    let ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some(decision) = &mut exchange.decision {
        decision.tried(index, what, status, ms);
    }
}
