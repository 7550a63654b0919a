//! Asks the candidates in turn until one answers: per-phase time-outs, retries with full jitter under a budget, failover.
//!
//! Everything here happens before the first byte goes to the client, so every failure may be tried again elsewhere. What
//! was sent has a row in the ledger, whatever became of it; what could not be sent has none.

mod ask;
mod connect;
mod failed;
mod fallback;
mod refusal;
mod retry;

use super::Flow;
use crate::clock::ns_at;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use ask::ask;
use fallback::fall_back;
use retry::may_retry;

pub async fn run(exchange: &mut Exchange) -> Result<Flow> {
    let snapshot = exchange.snapshot.clone();
    let Some(model) = exchange.model.and_then(|index| snapshot.models.get(index as usize)) else {
        return Err(Error::new(Code::Internal, "attempt ran before authorize"));
    };
    model.state.retries.deposit(ns_at(exchange.started));
    let candidates = exchange.candidates.clone();
    let mut failure = None;
    for round in 0..=model.retries {
        let Some(index) = candidates.get(round as usize % candidates.len().max(1)) else { break };
        let Some(deployment) = snapshot.deployments.get(*index as usize) else { break };
        if let Some(last) = failure.take() {
            if !may_retry(exchange, &last, round, candidates.len(), &model.state.retries).await {
                failure = Some(last);
                break;
            }
            exchange.shard.metrics.retries.add(1);
        }
        match ask(exchange, deployment, *index).await {
            Ok(answer) => {
                exchange.answer = Some(answer);
                return Ok(Flow::Next);
            }
            Err(failed) if failed.retry => failure = Some(failed),
            Err(failed) => return Err(failed.error),
        }
    }
    let error =
        failure.map_or_else(|| Error::new(Code::NoDeployment, "No deployment could be asked."), |failed| failed.error);
    fall_back(exchange, error)
}
