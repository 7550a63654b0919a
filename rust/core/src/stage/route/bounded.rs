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
pub fn within(exchange: &mut Exchange, model: &Model, eligible: &Candidates, bounds: u64) -> Result<Candidates> {
    let (mut found, mut out) = (Candidates::new(), SmallVec::<[u32; 8]>::new());
    for candidate in eligible {
        let Some(deployment) = exchange.deployment(candidate.index) else { continue };
        if bounds & !deployment.kept == 0 {
            found.push(*candidate);
        } else {
            out.push(candidate.index);
        }
    }
    if found.is_empty() {
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
    Ok(found)
}
