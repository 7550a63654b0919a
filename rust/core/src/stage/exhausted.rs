//! What becomes of a request for which a limit has no room, where the limit says more than to refuse it: it waits for its
//! turn, or another model answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{Why, fall_back, priority};
use super::{Flow, Wait};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::kernel::failure::Class;
use crate::refusal;
use crate::state::draw::Refused;
use crate::state::line::Rank;
use crate::state::rules::{Exhausted, Metric, Rule, are_ranked};

/// The first in line looks again after so long, for what others give back: places in flight, reservations.
const GLANCE: Duration = Duration::from_millis(10);

/// The others look after so long, should they have missed that the line moved.
const MISSED: Duration = Duration::from_millis(50);

/// So many wait at a limit that paces them, at most.
const MOST_PACED: u32 = 1_000;

/// A request's turn at a limit; it leaves the line when this is dropped.
pub struct Turn {
    rule: Arc<Rule>,
    rank: Rank,
    until: Instant,
    /// When there should be room, if nothing is given back.
    room: Instant,
}

impl Turn {
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// How long it may wait at all.
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = &self.rule.line {
            line.leave(self.rank);
        }
    }
}

/// The priority of a request and its place in a line, where any limit asks for that.
pub fn rank(exchange: &Exchange) -> Rank {
    if let Some(turn) = &exchange.turn {
        return turn.rank();
    }
    let model = exchange.model().filter(|_| are_ranked());
    Rank { priority: model.map(|model| priority(exchange, model)).unwrap_or_default(), ticket: 0 }
}

/// What is done in place of a refusal.
///
/// # Errors
/// The refusal, where nothing else is asked for or helps.
pub fn instead(exchange: &mut Exchange, refused: &Refused) -> Result<Flow> {
    let error = |exchange: &Exchange| refusal::error(refused, exchange.snapshot.settings.budget_status);
    match &refused.rule.row.on_exhausted {
        // A cheaper model may do with what is left.
        _ if refused.rule.row.metric == Metric::Spend && has_cheaper(exchange) => another(exchange, Why::Cost, refused),
        Exhausted::Refuse => Err(error(exchange)),
        Exhausted::Fallback => another(exchange, Why::Failure(Class::RateLimit), refused),
        Exhausted::Queue { wait_ms, most } => turn(exchange, refused, *wait_ms, *most),
        // What came before it kept no pace: the window is full until that has left it.
        Exhausted::Throttle { wait_ms, .. } => turn(exchange, refused, *wait_ms, MOST_PACED),
    }
}

/// Waits for a turn.
///
/// # Errors
/// The refusal, where that does not help.
fn turn(exchange: &mut Exchange, refused: &Refused, wait_ms: u64, most: u32) -> Result<Flow> {
    if queue(exchange, refused, Duration::from_millis(wait_ms), most) {
        return Ok(Flow::Wait(Wait::Turn));
    }
    exchange.turn = None;
    Err(refusal::error(refused, exchange.snapshot.settings.budget_status))
}

fn has_cheaper(exchange: &Exchange) -> bool {
    exchange.model().is_some_and(|model| !model.routing.fallbacks.cost.is_empty())
}

fn another(exchange: &mut Exchange, why: Why, refused: &Refused) -> Result<Flow> {
    if let Some(index) = exchange.model.filter(|index| !exchange.visited.contains(index)) {
        exchange.visited.push(index);
    }
    let error = refusal::error(refused, exchange.snapshot.settings.budget_status);
    fall_back(exchange, why, error)
}

/// Joins the line or stays in it; false when that does not help.
fn queue(exchange: &mut Exchange, refused: &Refused, wait: Duration, most: u32) -> bool {
    let Some(line) = &refused.rule.line else { return false };
    let now = Instant::now();
    let room = match refused.refusal.retry_after_ns {
        u64::MAX => return false,
        ns => now + Duration::from_nanos(ns),
    };
    if let Some(turn) = exchange.turn.as_mut().filter(|turn| Arc::ptr_eq(&turn.rule, &refused.rule)) {
        turn.room = room;
        return now < turn.until && line.holds(turn.rank);
    }
    // What is known to come too late is told at once; of places in flight nobody knows.
    let until = exchange.turn.as_ref().map_or(now + wait, |turn| turn.until);
    if now >= until || refused.rule.row.window.is_some() && !refused.queued && room > until {
        return false;
    }
    exchange.turn = None;
    let priority = rank(exchange).priority;
    let Some(ticket) = line.join(priority, most) else { return false };
    let rule = refused.rule.clone();
    exchange.turn = Some(Box::new(Turn { rule, rank: Rank { priority, ticket }, until, room }));
    true
}

/// Waits until it may be its turn.
pub async fn wait(exchange: &mut Exchange) {
    let begun = Instant::now();
    if let Some(due) = exchange.due {
        tokio::time::sleep_until(due.into()).await;
        exchange.waited += begun.elapsed();
    }
    let Some(turn) = &exchange.turn else { return };
    let Some(line) = &turn.rule.line else { return };
    let glance = turn.room.min(begun + GLANCE).max(begun + Duration::from_millis(1)).min(turn.until);
    if line.lets(turn.rank) {
        tokio::time::sleep_until(glance.into()).await;
    } else {
        let _either = tokio::time::timeout_at((begun + MISSED).min(turn.until).into(), line.news()).await;
    }
    exchange.waited += begun.elapsed();
}
