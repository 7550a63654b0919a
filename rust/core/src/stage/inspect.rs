//! Where guardrails, policies and plugin hooks look at a request, and may change, refuse or answer it. A key, team or
//! route that has none configured pays nothing here.

use super::Flow;
use crate::error::Result;
use crate::exchange::Exchange;

pub fn run(_exchange: &mut Exchange) -> Result<Flow> {
    Ok(Flow::Next)
}
