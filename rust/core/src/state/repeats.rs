//! What was asked under an `Idempotency-Key`, and what came of it: requests under way, which a repeat joins, and complete
//! answers, which it gets again. For a day, within bounds of memory: the oldest are forgotten first. Where nodes share a
//! Redis, each puts there for the others what it remembers itself, and takes it away when it forgets it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::repeat::Shared;
use crate::repeat::nodes::{Nodes, Target};

/// SHA-256.
pub type Digest = [u8; 32];

/// How long an answer is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
const SHARDS: usize = 16;
/// Bytes of complete answers in memory.
const MOST_BYTES: usize = 32 << 20;
/// What an answer weighs besides its body.
const OVERHEAD: usize = 1_024;

#[derive(Default)]
struct Part {
    known: HashMap<Digest, Arc<Shared>>,
    /// Complete ones, the oldest first: when they are forgotten, and their weight.
    complete: VecDeque<(Instant, Arc<Shared>, usize)>,
    bytes: usize,
}

pub struct Repeats {
    parts: Box<[Mutex<Part>]>,
    /// Where nodes meet.
    target: Option<Target>,
    nodes: OnceLock<Option<Arc<Nodes>>>,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats::over(None)
    }
}

impl Repeats {
    /// Over all nodes that meet at one place, or on this one alone.
    pub fn over(target: Option<Target>) -> Self {
        let parts = (0..SHARDS).map(|_| Mutex::default()).collect();
        Repeats { parts, target, nodes: OnceLock::new() }
    }

    /// The other nodes, where there are any. The first call meets them.
    pub fn nodes(&self) -> Option<Arc<Nodes>> {
        let start = |target| match Nodes::start(target) {
            Ok(nodes) => Some(Arc::new(nodes)),
            Err(error) => {
                tracing::error!(error, "repeats of requests cannot be known to other nodes");
                None
            }
        };
        self.nodes.get_or_init(|| self.target.as_ref().and_then(start)).clone()
    }

    fn part(&self, id: &Digest) -> &Mutex<Part> {
        &self.parts[usize::from(id[0]) % SHARDS]
    }

    /// The request of this id: one that is known and still worth joining, or `fresh`, which is known from now on.
    pub fn enter(&self, fresh: Arc<Shared>, now: Instant) -> Arc<Shared> {
        let mut part = self.part(&fresh.id).lock();
        part.expire(now);
        if let Some(known) = part.known.get(&fresh.id).filter(|known| known.join()) {
            return known.clone();
        }
        part.known.insert(fresh.id, fresh.clone());
        fresh
    }

    /// The answer is complete, in so many bytes.
    pub fn keep(&self, shared: Arc<Shared>, bytes: usize, now: Instant) {
        let mut part = self.part(&shared.id).lock();
        let weight = bytes + OVERHEAD;
        part.bytes += weight;
        part.complete.push_back((now + REMEMBERED, shared, weight));
        let crowded = part.expire(now);
        drop(part);
        if let Some(nodes) = self.nodes().filter(|_| !crowded.is_empty()) {
            crowded.into_iter().for_each(|id| nodes.forget(id));
        }
    }

    /// There is nothing to repeat: a failure, an answer too large to keep, nobody left to wait for it.
    pub fn forget(&self, shared: &Arc<Shared>) {
        self.part(&shared.id).lock().remove(shared);
    }
}

impl Part {
    fn remove(&mut self, shared: &Arc<Shared>) {
        if self.known.get(&shared.id).is_some_and(|known| Arc::ptr_eq(known, shared)) {
            self.known.remove(&shared.id);
        }
    }

    /// Forgets what is old, and the oldest of what is too much; which those are.
    fn expire(&mut self, now: Instant) -> Vec<Digest> {
        let mut crowded = Vec::new();
        while let Some((until, _, _)) = self.complete.front() {
            if *until > now && self.bytes <= MOST_BYTES / SHARDS {
                break;
            }
            if let Some((until, shared, weight)) = self.complete.pop_front() {
                self.bytes -= weight;
                self.remove(&shared);
                if until > now {
                    crowded.push(shared.id);
                }
            }
        }
        crowded
    }
}
