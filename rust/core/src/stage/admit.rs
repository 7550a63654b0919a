//! What is known before routing is admitted or refused: the key's requests per minute and concurrent requests, requests in
//! flight on this thread. A refusal consumes nothing: what was charged at the door is given back by the guard.

use std::time::Duration;

use super::Flow;
use crate::account::Admission;
use crate::clock::ns_at;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;

/// Official SDKs do not honour a longer wait; the window's granularity may ask for a second more than a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Charges the request to the key's rate as soon as the key is known.
pub fn at_the_door(exchange: &mut Exchange) -> Result<Flow> {
    let Some(key) = exchange.key.as_ref().filter(|key| key.limits.is_some_and(|limits| limits.rpm.is_some())) else {
        return Ok(Flow::Next);
    };
    let now = ns_at(exchange.started);
    let admission = exchange.admission.get_or_insert_with(|| Admission::new(exchange.shard.clone()));
    admission.charge(&key.state, now).map_err(|(limit, refusal)| {
        let wait = Duration::from_nanos(refusal.retry_after_ns).min(LONGEST_WAIT);
        let tenths = wait.as_millis().div_ceil(100);
        let (whole, tenth) = (tenths / 10, tenths % 10);
        let text = format!("This API key may make {limit} requests per minute. Retry in {whole}.{tenth} s.");
        Error::new(Code::RateLimited, text).retry_after(wait)
    })?;
    Ok(Flow::Next)
}

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if std::mem::replace(&mut exchange.admitted, true) {
        return Ok(Flow::Next);
    }
    let shard = exchange.shard.clone();
    let admission = exchange.admission.get_or_insert_with(|| Admission::new(shard.clone()));
    if shard.metrics.in_flight.get() > shard.bounds.requests {
        return Err(Error::new(
            Code::Overloaded,
            "The gateway has as many requests in flight as it may. Retry shortly.",
        )
        .retry_after(Duration::from_secs(1)));
    }
    if let Some(key) = exchange.key.as_ref()
        && let Some(limit) = key.limits.and_then(|limits| limits.max_parallel)
        && !admission.hold_parallel(&key.state, limit)
    {
        let text = format!("This API key has {limit} requests in flight, as many as it may.");
        return Err(Error::new(Code::ConcurrencyLimited, text).retry_after(Duration::from_secs(1)));
    }
    admission.admitted();
    Ok(Flow::Next)
}
