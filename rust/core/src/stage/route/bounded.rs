//! Requests stay within the boundaries of whose they are: other deployments are never asked.

use smallvec::SmallVec;

use crate::decision::Dropped;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::kernel::choice::Candidates;
use crate::snapshot::Model;

impl Exchange {
    /// Whether a model has deployments that it may go to.
    pub fn within(&self, model: &Model) -> bool {
        self.bounds.is_none_or(|bounds| self.snapshot.within(model, bounds))
    }
}

/// # Errors
/// 403 when no deployment is left.
pub fn within(exchange: &mut Exchange, model: &Model, mut eligible: Candidates, bounds: u64) -> Result<Candidates> {
    let mut out = SmallVec::<[u32; 8]>::new();
    eligible.retain(|candidate| {
        let within = model.places.get(candidate.place as usize).is_some_and(|place| bounds & !place.kept == 0);
        if !within {
            out.push(candidate.index);
        }
        within
    });
    if eligible.is_empty() {
        let text = format!(
            "The model '{}' has no deployment for this key, whose requests are served {} only.",
            model.name,
            exchange.snapshot.boundaries.told(bounds)
        );
        return Err(Error::new(Code::ModelDenied, text).param("model"));
    }
    if let Some(decision) = &mut exchange.decision {
        decision.dropped(&out, &Dropped::Boundary);
    }
    Ok(eligible)
}
