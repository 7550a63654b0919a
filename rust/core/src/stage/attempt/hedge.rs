//! A second deployment is asked when the first is slow, and the first good answer is taken.
//!
//! The second attempt is made by a copy of the request, so that neither sees what the other does. Whoever loses is dropped:
//! its connection is closed, and its attempt settles itself as `superseded`. Up to the head of the answer nothing has gone to
//! the caller, so that nothing can be said twice.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ask::ask;
use super::failed::Failed;
use crate::clock::{monotonic_ns, ns_at};
use crate::exchange::{Answer, Exchange, marks};
use crate::snapshot::{Deployment, Hedge, Model};
use crate::state::deployments::InFlight;

/// The second attempt that may be made.
pub struct Second {
    index: u32,
    after: Duration,
    percent: u32,
}

/// What came of the two.
pub struct Outcome {
    pub result: Result<Box<Answer>, Failed>,
    /// The second deployment was asked, and failed.
    pub failed: Option<u32>,
}

/// Whom to ask besides `first`, and when. None where the model does not hedge, or a request cannot be made twice.
pub fn second(exchange: &Exchange, model: &Model, candidates: &[u32], first: u32) -> Option<Second> {
    let Hedge { after, least, percent } = model.routing.hedge?;
    model.state.hedged.budget.deposit(ns_at(exchange.started));
    let alone = exchange.endpoint.operation.is_session() || exchange.object.is_some() || exchange.plan.is_some();
    if alone || exchange.marks & marks::MIRROR != 0 {
        return None;
    }
    let measured = || model.state.hedged.waits.read().map(|ms| Duration::from_secs_f32(ms / 1e3));
    let after = after.or_else(measured)?.max(least);
    let index = candidates.iter().copied().find(|index| *index != first)?;
    Some(Second { index, after, percent })
}

/// Asks the first deployment, and after a while the second.
pub async fn race(
    exchange: &mut Exchange,
    model: &Model,
    first: (&Deployment, u32),
    place: Option<InFlight>,
    second: Second,
) -> Outcome {
    let snapshot = exchange.snapshot.clone();
    let copy = exchange.again().zip(snapshot.deployments.get(second.index as usize));
    let Some((mut copy, other)) = copy else {
        return Outcome { result: ask(exchange, first.0, first.1, place).await, failed: None };
    };
    let decided = Arc::new(AtomicBool::new(false));
    exchange.race = Some(decided.clone());
    copy.started = exchange.started;
    copy.request_id = exchange.request_id;
    (copy.trace, copy.chosen) = (exchange.trace, exchange.chosen);
    copy.race = Some(decided.clone());
    copy.marks = exchange.marks | marks::HEDGE;
    // The first attempt is the one before it.
    copy.attempts = exchange.attempts.saturating_add(1);
    let before = copy.attempts;
    let begun = Instant::now();
    let (result, second_won) = {
        let mut asking = pin!(ask(exchange, first.0, first.1, place));
        match tokio::time::timeout(second.after, &mut asking).await {
            Ok(result) => (result, false),
            Err(_) if !allowed(model, second.percent) => (asking.await, false),
            Err(_) => {
                let mut hedging = pin!(ask(&mut copy, other, second.index, None));
                let (result, won) = tokio::select! {
                    biased;
                    result = &mut asking => match result {
                        Ok(answer) => (Ok(answer), false),
                        Err(failed) => match hedging.await {
                            Ok(answer) => (Ok(answer), true),
                            Err(_) => (Err(failed), false),
                        },
                    },
                    result = &mut hedging => match result {
                        Ok(answer) => (Ok(answer), true),
                        Err(_) => (asking.await, false),
                    },
                };
                // Before the loser is dropped.
                decided.store(result.is_ok(), Ordering::Relaxed);
                (result, won)
            }
        }
    };
    exchange.race = None;
    let sent = copy.attempts > before;
    if sent {
        model.state.hedged.sent.add(1);
        exchange.attempts = exchange.attempts.saturating_add(1);
    }
    if second_won {
        model.state.hedged.won.add(1);
        exchange.waited += begun.elapsed();
        (exchange.translation, exchange.converted) = (copy.translation, copy.converted);
        exchange.dropped = std::mem::take(&mut copy.dropped);
    }
    let failed = (sent && result.is_err()).then_some(second.index);
    Outcome { result, failed }
}

fn allowed(model: &Model, percent: u32) -> bool {
    let hedged = &model.state.hedged;
    let allowed = hedged.budget.withdraw_of(monotonic_ns(), percent, 1);
    if !allowed {
        hedged.refused.add(1);
    }
    allowed
}

/// Notes how long the caller waited for his answer to begin.
pub fn measured(model: &Model, waited: Duration) {
    if model.routing.hedge.is_some() {
        model.state.hedged.waits.record(waited.as_secs_f32() * 1e3);
    }
}
