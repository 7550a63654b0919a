//! Models with many deployments: only the one that a request goes to first is looked for, and only that one is looked at
//! closely. Who comes behind it is found out when it has failed.
//!
//! What comes out is what the long way would give. Whatever is out of the ordinary takes that: a decision that is to be
//! explained, a first deployment that is recovering or cannot serve the request, a second that is asked beside it.

use super::score::{self, Told};
use super::{able, eligible, healthy, most};
use crate::clock::monotonic_ns;
use crate::exchange::Exchange;
use crate::kernel::choice::{self, Candidates, Order, arrange};
use crate::snapshot::{Model, Translation};

/// Models with fewer deployments go the long way: to look at all of them costs as little.
const FROM: usize = 9;

/// Whether the first of the candidates may be looked for alone.
pub fn applies(exchange: &Exchange, model: &Model, candidates: &Candidates) -> bool {
    let routing = &model.routing;
    candidates.len() >= FROM
        && exchange.decision.is_none()
        && exchange.provider.is_none()
        && !routing.tagged
        && routing.max_cost.is_none()
        && routing.hedge.is_none()
        && routing.translation != Translation::Last
}

/// The deployment that the request goes to first, unless something is the matter with it. Scores and weights of the
/// candidates are overwritten, and those of other tiers removed.
pub fn first(
    exchange: &Exchange,
    model: &Model,
    candidates: &mut Candidates,
    now: u64,
    told: &mut Told,
) -> Option<u32> {
    let how = score::score(exchange, model, candidates, (now, true), told);
    let index = choice::first(candidates, how)?;
    let at_ease = exchange.deployment(index).is_some_and(|deployment| deployment.state.health.is_at_ease());
    (at_ease && (!model.routing.choosy || able::can(exchange, index, now))).then_some(index)
}

/// Puts the others behind the first, which has failed, if they were not looked for.
pub fn others(exchange: &mut Exchange, model: &Model, candidates: &mut Order) {
    let Some(mut told) = exchange.behind.take() else { return };
    let now = monotonic_ns();
    let Ok(mut eligible) = eligible(exchange, model) else { return };
    if model.routing.choosy {
        eligible.retain(|candidate| able::can(exchange, candidate.index, now));
    }
    let mut able = healthy(exchange, &eligible, now);
    let how = score::score(exchange, model, &mut able, (now, false), &mut told);
    let first = candidates.first().copied();
    let order = arrange(&mut able, how, most(model));
    candidates.extend(order.into_iter().filter(|index| Some(*index) != first));
}
