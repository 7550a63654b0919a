//! Waiting for a place at a deployment that has as many requests as it was found to bear, and being turned away.

use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::snapshot::{Deployment, Model};
use crate::state::deployments::InFlight;
use crate::state::queue::Priority;

/// Callers may say that a request can wait; more they may not.
const PRIORITY: &str = "x-ailink-priority";
/// Longest wait while nothing is known of the deployment.
const BLIND: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(5);
/// A request waits for a third of what an answer takes at ease, unless the configuration says how long.
const PART: u32 = 3;

/// A place at `deployment`, once there is one.
///
/// # Errors
/// 503 with the time after which there should be room: at once when the queue is full, or when its turn does not come in
/// time.
pub async fn wait(exchange: &mut Exchange, model: &Model, deployment: &Deployment) -> Result<InFlight, Error> {
    let overload = &model.routing.overload;
    let state = &deployment.state;
    let patience = overload.wait.unwrap_or_else(|| match Duration::from_nanos(state.limiter.baseline_ns()) / PART {
        Duration::ZERO => BLIND,
        part => part.max(SHORTEST),
    });
    let one = state.limiter.takes_ns(1).filter(|ns| *ns > 0);
    // As many as will have ended before the last of them has waited too long.
    let size = match one {
        Some(one) => u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX) / one,
        None if overload.wait.is_some() => overload.queue as u64,
        None => u64::from(state.limiter.limit(&deployment.overload) / PART),
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX).clamp(1, overload.queue.max(1));
    let full = |waiting: usize| {
        state.shed.add(1);
        let ns = state.limiter.takes_ns(waiting as u64 + 1);
        let text = format!(
            "The deployment '{}' at provider '{}' has {} requests in flight, as many as it bears now, and {waiting} wait.",
            deployment.id,
            deployment.provider,
            state.in_flight()
        );
        Error::new(Code::Overloaded, text).retry_after(ns.map_or(patience, Duration::from_nanos))
    };
    if overload.queue == 0 {
        return Err(full(0));
    }
    let mut ticket = state.queue.join(priority(exchange, model), size).map_err(full)?;
    // A place that became free before anybody waited is given to nobody.
    state.hand_over(&deployment.overload);
    let begun = Instant::now();
    let place = tokio::time::timeout(patience, &mut ticket.place).await;
    exchange.waited += begun.elapsed();
    match place {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(full(state.queue.waiting() as usize)),
    }
}

/// What the configuration makes of a request, or less if its caller says so.
pub fn priority(exchange: &Exchange, model: &Model) -> Priority {
    let facts = RequestFacts::new(exchange);
    let rules = &model.routing.overload.priorities;
    let given = rules.iter().find(|(when, _)| when.holds(&facts)).map(|(_, priority)| *priority).unwrap_or_default();
    let asked = exchange.headers.get(PRIORITY).and_then(|value| Priority::parse(value.to_str().ok()?));
    asked.map_or(given, |asked| asked.min(given))
}
