//! Which deployments may answer, in the order they will be tried: a weighted draw without replacement among those that
//! serve the operation in the caller's dialect.

use smallvec::SmallVec;

use super::Flow;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    let Some(index) = exchange.model else {
        return Err(Error::new(Code::Internal, "route ran before authorize"));
    };
    exchange.visited.push(index);
    let Some(model) = exchange.model() else {
        return Err(Error::new(Code::Internal, "the model is not in the snapshot"));
    };
    let (operation, dialect) = (exchange.endpoint.operation, exchange.endpoint.dialect);
    let mut weighted: SmallVec<[(u32, u32); 8]> = model
        .deployments
        .iter()
        .filter_map(|index| {
            let deployment = exchange.deployment(*index)?;
            exchange.eligible(deployment).then_some((*index, deployment.weight))
        })
        .collect();
    if weighted.is_empty() {
        let text = format!(
            "The model '{}' has no deployment that serves '{}' in the {} format.",
            model.name,
            operation.name(),
            dialect.name()
        );
        return Err(Error::new(Code::DialectUnsupported, text).param("model"));
    }
    exchange.candidates = draw(&mut weighted);
    Ok(Flow::Next)
}

/// Orders deployments by repeated weighted draws.
fn draw(weighted: &mut SmallVec<[(u32, u32); 8]>) -> SmallVec<[u32; 8]> {
    let mut order = SmallVec::new();
    while weighted.len() > 1 {
        let total: u64 = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut ticket = fastrand::u64(..total.max(1));
        let winner = weighted
            .iter()
            .position(|(_, weight)| {
                let wins = ticket < u64::from(*weight);
                ticket = ticket.wrapping_sub(u64::from(*weight));
                wins
            })
            .unwrap_or(0);
        order.push(weighted.remove(winner).0);
    }
    order.extend(weighted.iter().map(|(index, _)| *index));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let mut first = [0u32; 3];
        for _ in 0..30_000 {
            let order = draw(&mut SmallVec::from_slice(&[(0, 1), (1, 2), (2, 0)]));
            assert_eq!(order.len(), 3);
            first[order[0] as usize] += 1;
        }
        assert_eq!(first[2], 0);
        let share = f64::from(first[1]) / 30_000.0;
        assert!((share - 2.0 / 3.0).abs() < 0.02, "{share}");
    }
}
