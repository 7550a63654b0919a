//! Equal requests at the same time: one of them asks, the others wait for its answer.
//!
//! A leader that dies leaves its place to one of those who wait. One whose provider fails lets all of them go on their own:
//! an error is nobody's but the caller's that got it, and a queue of failing attempts would only take longer.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::Entry;
use super::key::CacheKey;
use super::shared::{Reader, Shared};

const SHARDS: usize = 64;

enum State {
    /// The leader is asking.
    Asking,
    /// Its answer is a stream that can be listened to; whether the leader asked for its usage. Weak, as the stream holds
    /// the leader's part.
    Streaming(Weak<Shared>, bool),
    /// The answer; how similar its question is, in ten-thousandths, if it is another one.
    Done(Arc<Entry>, Option<u16>),
    Failed,
    /// The leader is gone.
    Vacant,
}

pub struct Flight {
    state: Mutex<State>,
    changed: Notify,
}

impl Flight {
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_waiters();
    }
}

type Table = Mutex<HashMap<CacheKey, Arc<Flight>>>;

/// The flights of all requests that wait or are waited for.
pub struct Flights {
    tables: Arc<[Table; SHARDS]>,
}

impl Default for Flights {
    fn default() -> Self {
        Flights { tables: Arc::new(std::array::from_fn(|_| Mutex::default())) }
    }
}

/// The part of a request in a flight.
pub enum Part {
    Lead(Lead),
    Follow(Follow),
}

impl Flights {
    fn table(&self, key: &CacheKey) -> Option<&Table> {
        self.tables.get(usize::from(key[0]) % SHARDS)
    }

    /// Joins the flight of a key, or begins it.
    pub fn join(&self, key: &CacheKey) -> Option<Part> {
        let mut table = self.table(key)?.lock();
        if let Some(flight) = table.get(key) {
            return Some(Part::Follow(Follow { flight: flight.clone(), key: *key, tables: self.tables.clone() }));
        }
        let flight = Arc::new(Flight { state: Mutex::new(State::Asking), changed: Notify::new() });
        table.insert(*key, flight.clone());
        Some(Part::Lead(Lead { flight, key: *key, tables: self.tables.clone(), over: false }))
    }

    /// Requests that come from now on do not wait for what is in flight.
    pub fn forget(&self) {
        for table in self.tables.iter() {
            table.lock().clear();
        }
    }

    /// How many requests lead.
    pub fn len(&self) -> usize {
        self.tables.iter().map(|table| table.lock().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Asks for all. Dropped without a result, it leaves its place to another.
pub struct Lead {
    flight: Arc<Flight>,
    key: CacheKey,
    tables: Arc<[Table; SHARDS]>,
    over: bool,
}

impl Lead {
    /// The answer is complete.
    pub fn done(mut self, entry: &Arc<Entry>) {
        self.end(State::Done(entry.clone(), None));
    }

    /// The answer to a similar question will do.
    pub fn similar(mut self, entry: &Arc<Entry>, similarity: u16) {
        self.end(State::Done(entry.clone(), Some(similarity)));
    }

    /// Everybody asks for himself.
    pub fn fail(mut self) {
        self.end(State::Failed);
    }

    /// Where the beginning of a stream is told, once there is one.
    pub fn herald(&self) -> Herald {
        Herald(self.flight.clone())
    }

    fn end(&mut self, state: State) {
        self.over = true;
        self.leave();
        self.flight.set(state);
    }

    /// Takes the flight off the table, unless another has begun under its key.
    fn leave(&self) {
        let Some(table) = self.tables.get(usize::from(self.key[0]) % SHARDS) else { return };
        let mut table = table.lock();
        if table.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            table.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // The flight, this one and its follower: with nobody else it is over.
        let mut state = self.flight.state.lock();
        if matches!(*state, State::Streaming(..)) {
            // Who listens drives the stream himself; it did not come to its end.
            *state = State::Failed;
        } else {
            *state = State::Vacant;
        }
        drop(state);
        self.leave();
        self.flight.changed.notify_waiters();
    }
}

/// Tells those who wait that they may listen.
pub struct Herald(Arc<Flight>);

impl Herald {
    /// `with_usage`: the leader asked for the usage of his stream.
    pub fn streams(&self, shared: &Arc<Shared>, with_usage: bool) {
        self.0.set(State::Streaming(Arc::downgrade(shared), with_usage));
    }
}

/// Waits for the leader.
pub struct Follow {
    flight: Arc<Flight>,
    key: CacheKey,
    tables: Arc<[Table; SHARDS]>,
}

/// What became of the wait.
pub enum Joined {
    /// The leader is gone: this request leads now.
    Lead(Lead),
    Entry(Arc<Entry>, Option<u16>),
    Stream(Box<Reader>),
    /// The leader failed.
    Alone,
}

impl Follow {
    /// `streamed`: a stream will do, and whether its usage is wanted.
    pub async fn wait(self, streamed: Option<bool>) -> Joined {
        loop {
            let changed = self.flight.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(joined) = self.look(streamed) {
                return joined;
            }
            changed.await;
        }
    }

    fn look(&self, streamed: Option<bool>) -> Option<Joined> {
        let mut state = self.flight.state.lock();
        match &*state {
            State::Asking => None,
            State::Streaming(shared, usage) if streamed == Some(*usage) => {
                let shared = shared.upgrade();
                drop(state);
                // Nobody listens any more: what ended the stream is about to be told.
                shared.filter(|shared| shared.is_whole()).map(|shared| Joined::Stream(Box::new(shared.reader())))
            }
            State::Streaming(..) => None,
            State::Done(entry, similarity) => Some(Joined::Entry(entry.clone(), *similarity)),
            State::Failed => Some(Joined::Alone),
            State::Vacant => {
                *state = State::Asking;
                drop(state);
                Some(Joined::Lead(self.succeed()))
            }
        }
    }

    /// Leads the flight on; new requests find it again, unless they have begun another.
    fn succeed(&self) -> Lead {
        if let Some(table) = self.tables.get(usize::from(self.key[0]) % SHARDS) {
            table.lock().entry(self.key).or_insert_with(|| self.flight.clone());
        }
        Lead { flight: self.flight.clone(), key: self.key, tables: self.tables.clone(), over: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Flights) -> Lead {
        match flights.join(&[7; 32]) {
            Some(Part::Lead(lead)) => lead,
            _ => unreachable!("the first leads"),
        }
    }

    fn follow(flights: &Flights) -> Follow {
        match flights.join(&[7; 32]) {
            Some(Part::Follow(follow)) => follow,
            _ => unreachable!("the second follows"),
        }
    }

    #[test]
    fn a_place_that_is_left_is_taken_by_one() {
        let flights = Flights::default();
        let first = lead(&flights);
        let waiting: Vec<Follow> = (0..3).map(|_| follow(&flights)).collect();
        drop(first);
        let parts: Vec<Option<Joined>> = waiting.iter().map(|follow| follow.look(None)).collect();
        assert_eq!(parts.iter().filter(|part| matches!(part, Some(Joined::Lead(_)))).count(), 1);
        assert_eq!(parts.iter().filter(|part| part.is_none()).count(), 2);
        assert_eq!(flights.len(), 1);
        drop(parts);
        assert!(flights.is_empty());
    }

    #[test]
    fn a_failure_is_not_waited_for_again() {
        let flights = Flights::default();
        let first = lead(&flights);
        let waiting = follow(&flights);
        first.fail();
        assert!(matches!(waiting.look(None), Some(Joined::Alone)));
        assert!(flights.is_empty());
    }
}
