//! The request as its config object wants it.

use bytes::Bytes;

use super::{gemini, json_call, permitted};
use crate::endpoint::Dialect;
use crate::error::Result;
use crate::exchange::{Call, Exchange};
use crate::portkey::Plan;

/// Makes the request what the current step of its config says, if it has a config.
///
/// # Errors
/// The config cannot be used, or what it makes of the request is none.
pub fn planned(exchange: &mut Exchange) -> Result<()> {
    if exchange.plan.is_none() {
        let Some(plan) = Plan::of(exchange)? else { return Ok(()) };
        exchange.plan = Some(Box::new(plan));
    }
    let (operation, dialect) = (exchange.endpoint.operation, exchange.endpoint.dialect);
    let parse = |body: &Bytes| -> Result<Call> {
        if dialect == Dialect::Gemini { gemini::call(operation, body) } else { json_call(operation, body) }
    };
    let Some(plan) = &mut exchange.plan else { return Ok(()) };
    if !plan.is_due() {
        return Ok(());
    }
    let mut call = plan.call(&exchange.call, parse)?;
    permitted(&call)?;
    let mut provider = plan.step().and_then(|step| step.provider.clone());
    // `@provider/model`
    if let Some((named, model)) = call.model.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
        provider = Some(named.into());
        call.model = model.to_string();
    }
    (exchange.call, exchange.provider) = (call, provider);
    Ok(())
}
