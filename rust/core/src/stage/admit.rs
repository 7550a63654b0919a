//! What is known before routing is admitted or refused: requests in flight on this thread, the key's requests per minute
//! and its concurrent requests. A refusal consumes nothing of the other limits.

use std::time::Duration;

use super::Flow;
use crate::account::Admission;
use crate::clock::ns_at;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if std::mem::replace(&mut exchange.admitted, true) {
        return Ok(Flow::Next);
    }
    let shard = exchange.shard.clone();
    let admission = exchange.admission.get_or_insert_with(|| Admission::new(shard.clone()));
    if shard.metrics.in_flight.get() > shard.bounds.requests {
        return Err(Error::new(Code::Overloaded, "The gateway has as many requests in flight as it may. Retry shortly.")
            .retry_after(Duration::from_secs(1)));
    }
    let Some(key) = exchange.key.as_ref() else { return Ok(Flow::Next) };
    let Some(limits) = key.limits else { return Ok(Flow::Next) };
    // The place is given back when a later check refuses, so it is taken first; the window is charged last.
    if let Some(limit) = limits.max_parallel
        && !admission.hold_parallel(&key.state, limit)
    {
        let text = format!("This API key has {limit} requests in flight, as many as it may.");
        return Err(Error::new(Code::ConcurrencyLimited, text).retry_after(Duration::from_secs(1)));
    }
    if limits.rpm.is_some()
        && let Some(window) = key.state.window.lock().as_mut()
        && let Err(refusal) = window.try_take(ns_at(exchange.started), 1)
    {
        // The window's granularity may ask for a second more than a minute, which official SDKs do not honour.
        let wait = Duration::from_nanos(refusal.retry_after_ns).min(Duration::from_secs(60));
        let text = format!(
            "This API key may make {} requests per minute. Retry in {:.1} s.",
            window.limit(),
            wait.as_secs_f64().max(0.1)
        );
        return Err(Error::new(Code::RateLimited, text).retry_after(wait));
    }
    Ok(Flow::Next)
}
