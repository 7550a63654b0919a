//! Which service tiers of a provider a request may use, and in which order: the first rule that holds says it. Without one
//! the request goes where nothing special is asked for.

use smallvec::SmallVec;

use crate::decision::Dropped;
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::kernel::choice::Candidates;
use crate::snapshot::Model;

/// What a deployment without a service tier of its own has.
const USUAL: &str = "default";
/// More than the tiers of one model's regions and orders.
const STEP: u32 = 1 << 22;

/// The candidates that the request may use; all of them when it may use none, which a change of tiers can come to.
pub fn tiers(exchange: &mut Exchange, model: &Model, eligible: Candidates) -> Candidates {
    let rule = {
        let facts = RequestFacts::new(exchange);
        let mut rules = model.routing.service_tiers.iter();
        rules.find(|rule| rule.when.as_ref().is_none_or(|when| when.holds(&facts)))
    };
    let rank = |tier: &str| match rule {
        Some(rule) => rule.tiers.iter().position(|allowed| **allowed == *tier),
        None => (tier == USUAL).then_some(0),
    };
    let (mut found, mut out) = (Candidates::with_capacity(eligible.len()), SmallVec::<[u32; 8]>::new());
    for candidate in &eligible {
        let Some(deployment) = exchange.deployment(candidate.index) else { continue };
        match rank(&deployment.service_tier).and_then(|rank| u32::try_from(rank).ok()) {
            Some(rank) => {
                let mut ranked = *candidate;
                ranked.tier = ranked.tier.saturating_add(rank * STEP);
                found.push(ranked);
            }
            None => out.push(candidate.index),
        }
    }
    if found.is_empty() {
        return eligible;
    }
    if let Some(decision) = &mut exchange.decision {
        decision.dropped(&out, &Dropped::ServiceTier);
    }
    found
}
