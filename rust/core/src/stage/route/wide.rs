//! Models with many deployments: all are put in order, but only those at its head are looked at closely.
//!
//! What comes out is what the long way would give. Whatever is out of the ordinary takes that: a decision that is to be
//! explained, deployments at the head of which one is recovering or cannot serve the request.

use super::able;
use super::score::{self, Told};
use crate::exchange::Exchange;
use crate::kernel::choice::{Candidates, Order, arrange};
use crate::snapshot::{Model, Translation};

/// Models with fewer deployments go the long way: to look at all of them costs as little.
const FROM: usize = 9;

/// The first `most` deployments that a request is sent to, where they can be told so.
pub fn order(
    exchange: &Exchange,
    model: &Model,
    candidates: &Candidates,
    (most, now): (usize, u64),
    told: &mut Told,
) -> Option<Order> {
    let routing = &model.routing;
    let plain = candidates.len() >= FROM
        && exchange.decision.is_none()
        && exchange.provider.is_none()
        && !routing.tagged
        && routing.max_cost.is_none()
        && routing.translation != Translation::Last;
    if !plain {
        return None;
    }
    let mut candidates = candidates.clone();
    let how = score::score(exchange, model, &mut candidates, now, told);
    let order = arrange(&mut candidates, how, most);
    let at_ease =
        |index: &u32| exchange.deployment(*index).is_some_and(|deployment| deployment.state.health.is_at_ease());
    let fine = order.iter().all(at_ease) && (!routing.choosy || able::all(exchange, &order, now));
    fine.then_some(order)
}
