//! What becomes of requests for which a limit has no room, and the line of those that wait: by priority, then first come first served.
//!
//! A limit without such requests costs a load.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use super::queue::Priority;

/// What becomes of a request for which a limit has no room.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Exhausted {
    Refuse,
    /// It waits for its turn, by priority; so many do at most.
    Queue {
        wait_ms: u64,
        most: u32,
    },
    /// Once so many percent are used, requests are let in at the pace at which the limit is renewed.
    Throttle {
        from: u8,
        wait_ms: u64,
    },
    /// The fallbacks of its model answer it.
    Fallback,
}

/// Whose turn a request says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rank {
    pub priority: Priority,
    /// Its place in a line; 0: it stands in none.
    pub ticket: u64,
}

impl Rank {
    /// Nobody goes before it: for a look that is no decision.
    pub const FIRST: Rank = Rank { priority: Priority::High, ticket: 0 };
}

#[derive(Debug, Default)]
pub struct Line {
    waiting: AtomicU32,
    places: Mutex<BTreeSet<(Reverse<Priority>, u64)>>,
    moved: Notify,
}

static TICKETS: AtomicU64 = AtomicU64::new(1);

impl Line {
    /// Whether a request of this rank may take what is free, past those who wait.
    #[inline]
    pub fn lets(&self, rank: Rank) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 || self.is_first(rank)
    }

    fn is_first(&self, rank: Rank) -> bool {
        let places = self.places.lock();
        places.first().is_none_or(|(Reverse(priority), ticket)| *ticket == rank.ticket || rank.priority > *priority)
    }

    /// Joins it; `None`: as many as `most` wait, none of a lower priority.
    pub fn join(&self, priority: Priority, most: u32) -> Option<u64> {
        let mut places = self.places.lock();
        if places.len() >= most as usize {
            // Who comes later but matters more takes the place of the last.
            let last = *places.last()?;
            if last.0.0 >= priority {
                return None;
            }
            places.remove(&last);
        }
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        places.insert((Reverse(priority), ticket));
        self.note(&places);
        Some(ticket)
    }

    pub fn leave(&self, rank: Rank) {
        let mut places = self.places.lock();
        places.remove(&(Reverse(rank.priority), rank.ticket));
        self.note(&places);
    }

    /// Whether it still stands there: it may have made way for another.
    pub fn holds(&self, rank: Rank) -> bool {
        self.places.lock().contains(&(Reverse(rank.priority), rank.ticket))
    }

    /// Waits until the line has moved.
    pub async fn news(&self) {
        self.moved.notified().await;
    }

    fn note(&self, places: &BTreeSet<(Reverse<Priority>, u64)>) {
        self.waiting.store(u32::try_from(places.len()).unwrap_or(u32::MAX), Ordering::Release);
        self.moved.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_priority_goes_first_and_then_who_came_first() {
        let line = Line::default();
        assert!(line.lets(Rank::default()));
        let rank = |priority| Rank { priority, ticket: line.join(priority, 3).unwrap_or(u64::MAX) };
        let (low, normal) = (rank(Priority::Low), rank(Priority::Normal));
        assert!(line.lets(normal) && !line.lets(low));
        assert!(!line.lets(Rank { priority: Priority::Normal, ticket: 0 }), "nobody of the same priority overtakes");
        assert!(line.lets(Rank { priority: Priority::High, ticket: 0 }));
        let later = rank(Priority::Normal);
        assert!(line.join(Priority::Low, 3).is_none());
        let high = rank(Priority::High);
        assert!(!line.holds(low) && line.holds(later), "the last made way");
        for one in [high, normal, later] {
            assert!(line.lets(one));
            line.leave(one);
        }
        assert!(line.lets(Rank::default()));
    }
}
