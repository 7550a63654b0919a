//! What each strategy goes by: the score of a candidate, lower is better.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::sticky;
use crate::exchange::Exchange;
use crate::kernel::choice::{Candidate, How, rendezvous};
use crate::kernel::cost::{Usage, cost};
use crate::kernel::price::Price;
use crate::kernel::quota::Limits;
use crate::snapshot::{Model, Place, Strategy};
use crate::state::DeploymentState;

/// Scores of candidates over their share of the load go behind all others.
const OVERLOADED: u64 = 1 << 60;
const UNKNOWN: u64 = u64::MAX / 2;
/// Output assumed where the caller set no maximum.
const DEFAULT_OUTPUT: u64 = 512;

/// What was counted for a request, so that it is counted once however often its candidates are put in order.
#[derive(Default)]
pub struct Told {
    turn: Option<u64>,
    otherwise: bool,
    /// The strategy's code; 0 while there was nothing to choose.
    strategy: u8,
}

impl Told {
    /// How it was chosen among so many, for the ledger.
    pub fn decision(&self, candidates: usize) -> u32 {
        let strategy = if candidates > 1 { self.strategy } else { 0 };
        u32::from(strategy) | u32::from(u8::try_from(candidates).unwrap_or(u8::MAX)) << 8
    }
}

/// A strategy's number in the ledger; never given to another.
fn code(strategy: Strategy) -> u8 {
    match strategy {
        Strategy::Shuffle => 1,
        Strategy::RoundRobin => 2,
        Strategy::LeastBusy => 3,
        Strategy::LowestLatency { .. } => 4,
        Strategy::LowestCost => 5,
        Strategy::Usage => 6,
        Strategy::ConsistentHash => 7,
        Strategy::EngineLoad { .. } => 8,
        Strategy::Custom { .. } => 9,
    }
}

/// Gives each candidate the score of the model's strategy; says how they are ordered by it. `first`: it matters only who
/// has the lowest, not how much higher the others are.
pub fn score(
    exchange: &Exchange,
    model: &Model,
    candidates: &mut [Candidate],
    (now, first): (u64, bool),
    told: &mut Told,
) -> How {
    let routing = &model.routing;
    let slack = u64::from(routing.slack);
    let strategy = super::strategy(exchange, model);
    told.strategy = code(strategy);
    let strategy = match strategy {
        Strategy::Custom { otherwise } => {
            if by_given(model, candidates, now) {
                return How::Draw;
            }
            if !std::mem::replace(&mut told.otherwise, true) {
                model.state.otherwise.add(1);
            }
            otherwise.strategy()
        }
        strategy => strategy,
    };
    match strategy {
        Strategy::Shuffle => How::Draw,
        Strategy::RoundRobin => How::Cycle { turn: *told.turn.get_or_insert_with(|| model.state.turn()) },
        Strategy::LeastBusy => {
            give(model, candidates, |place, candidate| busy(place, candidate.weight, now));
            How::Lowest { slack: 0 }
        }
        Strategy::LowestLatency { per_token } => {
            if fastrand::u32(..100) < routing.explore {
                return How::Draw;
            }
            give(model, candidates, |place, _| {
                let measured = if per_token { &place.state.per_token } else { &place.state.first_byte };
                // In microseconds, per token in nanoseconds. Never measured: to be tried first.
                measured.read(now).map_or(0, |mean| mean as u64)
            });
            How::Lowest { slack }
        }
        Strategy::LowestCost => {
            let call = &exchange.call;
            let output = call.max_output.unwrap_or(DEFAULT_OUTPUT).saturating_mul(call.choices.max(1));
            // Deployments of one model often share a price.
            let last = Cell::new((std::ptr::null(), UNKNOWN));
            give(model, candidates, |place, _| {
                let Some(listed) = place.price.as_ref() else { return UNKNOWN };
                if last.get().0 != Arc::as_ptr(listed) {
                    last.set((Arc::as_ptr(listed), price(listed, call.est_input, output)));
                }
                last.get().1
            });
            How::Lowest { slack }
        }
        Strategy::Usage => {
            give(model, candidates, |place, _| used(&place.state, &place.quota, now));
            How::Lowest { slack }
        }
        Strategy::EngineLoad { stale_ms } => {
            let stale = Duration::from_millis(u64::from(stale_ms));
            give(model, candidates, |place, candidate| {
                place.state.engine.score(place.state.in_flight(), candidate.weight, now, stale)
            });
            How::Lowest { slack: 0 }
        }
        // Its place was taken above.
        Strategy::Custom { .. } => How::Draw,
        Strategy::ConsistentHash => {
            let Some(key) = sticky::key(exchange, &routing.hash_on, routing.prompt_min_tokens) else {
                return How::Draw;
            };
            hashed(model, key, candidates, first);
            How::Lowest { slack: 0 }
        }
    }
}

fn give(model: &Model, candidates: &mut [Candidate], of: impl Fn(&Place, &Candidate) -> u64) {
    for candidate in candidates {
        candidate.score = place(model, candidate).map_or(UNKNOWN, |place| of(place, candidate));
    }
}

/// Scores by consistent hashing with bounded loads: nobody gets more than a quarter over his share, and one (Mirrokni et al.).
fn hashed(model: &Model, key: u64, candidates: &mut [Candidate], first: bool) {
    let (mut total, mut weights) = (0, 0);
    for place in candidates.iter().filter_map(|candidate| place(model, candidate)) {
        total += u64::from(place.state.in_flight());
        weights += u64::from(place.weight);
    }
    let mut lowest = u64::MAX;
    for candidate in candidates {
        let Some(place) = place(model, candidate) else { continue };
        let more = u64::from(place.state.in_flight()).saturating_sub(1);
        let over = more * 4 * weights > (total + 1) * 5 * u64::from(place.weight);
        let behind = if over { OVERLOADED } else { 0 };
        let bound = if first { lowest.saturating_sub(behind) } else { u64::MAX };
        let score = rendezvous(key, place.hash, place.weight, bound).min(OVERLOADED - 1);
        candidate.score = behind + score;
        lowest = lowest.min(candidate.score);
    }
}

/// Puts the weights of the operator's own strategy in the place of the configured ones; those that it leaves out go last.
/// False, and nothing changed, when it has given none lately, or none to any of these.
fn by_given(model: &Model, candidates: &mut [Candidate], now: u64) -> bool {
    let weight = |candidate: &Candidate| place(model, candidate)?.state.given.weight(now);
    if !candidates.iter().any(|candidate| weight(candidate).is_some_and(|weight| weight > 0)) {
        return false;
    }
    for candidate in &mut *candidates {
        // What is recovering has less of its weight.
        let own = place(model, candidate).map_or(1, |place| u64::from(place.weight)).max(1);
        candidate.weight = weight(candidate).unwrap_or(0).saturating_mul(candidate.weight) / own;
    }
    true
}

fn place<'m>(model: &'m Model, candidate: &Candidate) -> Option<&'m Place> {
    model.places.get(candidate.place as usize)
}

/// The used part of a deployment's quota, by this node and the others.
pub fn used(state: &DeploymentState, quota: &Limits, now: u64) -> u64 {
    let others = state.elsewhere.load(now);
    state.quota.used(quota, (others.requests, others.tokens), now)
}

/// Requests in flight per weight, at all nodes.
fn busy(place: &Place, weight: u64, now: u64) -> u64 {
    u64::from(place.state.in_flight_everywhere(now)).saturating_mul(1 << 32) / weight.max(1)
}

/// Pico-USD for such a request.
fn price(price: &Price, input: u32, output: u64) -> u64 {
    let usage = Usage { input: u64::from(input), output, ..Usage::default() };
    let total = cost(price, &usage).map_or(u64::MAX, i64::unsigned_abs);
    total.min(UNKNOWN - 1)
}
