//! What the request may cost at most, set aside before anything is sent. The figure is written with the attempt's intent:
//! should the settlement be lost, the row is priced at it.

use super::Flow;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::kernel::cost::{Usage, cost};

/// Output assumed where the caller set no maximum.
const DEFAULT_OUTPUT: u64 = 4096;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    let call = &exchange.call;
    let output = call.max_output.unwrap_or(DEFAULT_OUTPUT).saturating_mul(call.choices);
    let usage = Usage { input: u64::from(call.est_input), output, ..Usage::default() };
    let worst = exchange
        .candidates
        .iter()
        .filter_map(|index| exchange.deployment(*index)?.price)
        .filter_map(|price| cost(&price, &usage))
        .max();
    exchange.reserved_pico = worst.unwrap_or(0);
    if let Some(admission) = &mut exchange.admission {
        admission.keep();
    }
    Ok(Flow::Next)
}
