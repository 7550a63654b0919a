//! Which deployments may answer, in the order they will be tried: a weighted draw without replacement among those that
//! serve the operation and are healthy.

use smallvec::SmallVec;

use super::Flow;
use crate::clock::{monotonic_ns, ns_at};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::snapshot::Model;
use crate::unavailable::unavailable;

type Weighted = SmallVec<[(u32, u64); 8]>;

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
    let eligible = eligible(exchange, model);
    if eligible.is_empty() {
        let (operation, dialect) = (exchange.endpoint.operation, exchange.endpoint.dialect);
        let text = format!(
            "The model '{}' has no deployment that serves '{}' in the {} format.",
            model.name,
            operation.name(),
            dialect.name()
        );
        return Err(Error::new(Code::DialectUnsupported, text).param("model"));
    }
    let now = if first { ns_at(exchange.started) } else { monotonic_ns() };
    let mut weighted = healthy(exchange, &eligible, now);
    exchange.forced = weighted.is_empty();
    if exchange.forced {
        let soft = |(index, _): &&(u32, u64)| {
            exchange.deployment(*index).is_some_and(|deployment| deployment.state.health.cause().is_soft())
        };
        weighted = eligible.iter().filter(soft).copied().collect();
    }
    if weighted.is_empty() {
        exchange.unavailable = Some(unavailable(&snapshot, model, eligible.iter().map(|(index, _)| *index), now));
    }
    // What a request will hardly come to needs no order.
    let most = model.routing.retries.most() as usize + 2;
    exchange.candidates = draw(&mut weighted, most);
    Ok(Flow::Next)
}

/// The deployments that can answer this call, with their weights.
fn eligible(exchange: &Exchange, model: &Model) -> Weighted {
    let deployments = model.deployments.iter().filter_map(|index| Some((*index, exchange.deployment(*index)?)));
    let eligible = deployments.filter(|(_, deployment)| exchange.eligible(deployment));
    eligible.map(|(index, deployment)| (index, u64::from(deployment.weight))).collect()
}

/// Those that are not left out, each with the part of its weight that is due to it.
fn healthy(exchange: &Exchange, eligible: &Weighted, now: u64) -> Weighted {
    let due = |(index, weight): &(u32, u64)| {
        let deployment = exchange.deployment(*index)?;
        let share = deployment.state.health.share(now, &deployment.breaker);
        (share > 0).then_some((*index, weight * share))
    };
    eligible.iter().filter_map(due).collect()
}

/// Orders the first `most` deployments by repeated weighted draws.
fn draw(weighted: &mut Weighted, most: usize) -> SmallVec<[u32; 8]> {
    let mut order = SmallVec::new();
    let mut total: u64 = weighted.iter().map(|(_, weight)| *weight).sum();
    while weighted.len() > 1 && order.len() < most {
        let mut ticket = fastrand::u64(..total.max(1));
        let winner = weighted
            .iter()
            .position(|(_, weight)| {
                let wins = ticket < *weight;
                ticket = ticket.wrapping_sub(*weight);
                wins
            })
            .unwrap_or(0);
        let (index, weight) = weighted.swap_remove(winner);
        total -= weight;
        order.push(index);
    }
    if order.len() < most {
        order.extend(weighted.iter().map(|(index, _)| *index));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let mut first = [0u32; 3];
        for _ in 0..30_000 {
            let order = draw(&mut SmallVec::from_slice(&[(0, 1), (1, 2), (2, 0)]), 9);
            assert_eq!(order.len(), 3);
            first[order[0] as usize] += 1;
        }
        assert_eq!(first[2], 0);
        let share = f64::from(first[1]) / 30_000.0;
        assert!((share - 2.0 / 3.0).abs() < 0.02, "{share}");
    }
}
