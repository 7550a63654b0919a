//! Which service tiers of a provider a request may use, and in which order: the first rule that holds says it. Without one
//! the request goes where nothing special is asked for.

use smallvec::SmallVec;

use crate::decision::Dropped;
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::kernel::choice::{Candidate, Candidates};
use crate::snapshot::Model;

/// More than the tiers of one model's regions and orders.
const STEP: u32 = 1 << 22;

/// The candidates that the request may use; all of them when it may use none, which a change of tiers can come to.
pub fn tiers(exchange: &mut Exchange, model: &Model, mut eligible: Candidates) -> Candidates {
    let ranks = model.routing.service_tiers.ranks(&RequestFacts::new(exchange));
    let rank = |candidate: &Candidate| {
        let place = model.places.get(candidate.place as usize)?;
        *ranks.get(place.service_tier as usize)?
    };
    let out = |candidate: &&Candidate| rank(candidate).is_none();
    if eligible.iter().all(|candidate| out(&candidate)) {
        return eligible;
    }
    if let Some(decision) = &mut exchange.decision {
        let out: SmallVec<[u32; 8]> = eligible.iter().filter(out).map(|candidate| candidate.index).collect();
        decision.dropped(&out, &Dropped::ServiceTier);
    }
    eligible.retain(|candidate| {
        let rank = rank(candidate);
        candidate.tier = candidate.tier.saturating_add(rank.unwrap_or(0) * STEP);
        rank.is_some()
    });
    eligible
}
