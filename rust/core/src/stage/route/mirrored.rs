//! Whether a request goes to a mirror too.

use super::sticky;
use crate::exchange::{Exchange, marks};
use crate::mirror::{LONGEST, Mirror};
use crate::snapshot::{self, Model};

/// A mirror for the request, if it is of the part that has one.
pub fn draw(exchange: &Exchange, model: &Model, mirror: &snapshot::Mirror) -> Option<Box<Mirror>> {
    let ticket = if mirror.hash_on.is_empty() {
        fastrand::u64(..100)
    } else {
        // Mixed: a consistent hash of the same things must not send one part of the callers to both.
        let key = sticky::key(exchange, &mirror.hash_on, 0).unwrap_or_default();
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100
    };
    if ticket >= u64::from(mirror.percent) || !fits(exchange) {
        return None;
    }
    Some(Box::new(Mirror::drawn(model, mirror)))
}

/// Whether another model can be asked the same: it is JSON, of a bearable size, and goes on from nothing that one provider
/// keeps.
fn fits(exchange: &Exchange) -> bool {
    let simulated = exchange.decision.as_ref().is_some_and(|decision| decision.simulated);
    let goes_on = exchange.kept.as_ref().is_some_and(|kept| kept.goes_on());
    let alone = !goes_on && exchange.object.is_none() && exchange.plan.is_none() && !simulated;
    let call = &exchange.call;
    alone && exchange.marks & marks::MIRROR == 0 && call.root.is_some() && call.body.len() <= LONGEST
}
