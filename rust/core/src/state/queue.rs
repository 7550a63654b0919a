//! Requests that wait for a place at a deployment: bounded, by priority, first come first served within one.
//!
//! Only requests that found no place come here, so a lock is no matter.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::deployments::InFlight;

/// Who goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Low = 0,
    #[default]
    Normal = 1,
    High = 2,
}

impl Priority {
    pub fn parse(name: &str) -> Option<Priority> {
        match name {
            "low" => Some(Priority::Low),
            "normal" => Some(Priority::Normal),
            "high" => Some(Priority::High),
            _ => None,
        }
    }
}

struct Waiter {
    id: u64,
    place: oneshot::Sender<InFlight>,
}

#[derive(Default)]
struct Lines {
    next: u64,
    of: [VecDeque<Waiter>; 3],
}

impl Lines {
    fn len(&self) -> usize {
        self.of.iter().map(VecDeque::len).sum()
    }
}

#[derive(Default)]
pub struct Queue {
    waiting: AtomicU32,
    lines: Mutex<Lines>,
}

/// A request's turn in the queue; it leaves when this is dropped.
pub struct Ticket<'q> {
    queue: &'q Queue,
    priority: Priority,
    id: u64,
    pub place: oneshot::Receiver<InFlight>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut lines = self.queue.lines.lock();
        let line = &mut lines.of[self.priority as usize];
        if let Some(at) = line.iter().position(|waiter| waiter.id == self.id) {
            line.remove(at);
        }
        self.queue.count(&lines);
    }
}

impl Queue {
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Joins a queue of at most `size`. A full one gives up its last request of a lower priority.
    ///
    /// # Errors
    /// So many wait already.
    pub fn join(&self, priority: Priority, size: usize) -> Result<Ticket<'_>, usize> {
        let mut lines = self.lines.lock();
        let waiting = lines.len();
        if waiting >= size {
            let lower = lines.of.iter_mut().take(priority as usize).find(|line| !line.is_empty());
            // Dropping its sender tells it.
            if lower.and_then(VecDeque::pop_back).is_none() {
                return Err(waiting);
            }
        }
        lines.next += 1;
        let id = lines.next;
        let (give, place) = oneshot::channel();
        lines.of[priority as usize].push_back(Waiter { id, place: give });
        self.count(&lines);
        Ok(Ticket { queue: self, priority, id, place })
    }

    /// The one whose turn it is.
    pub fn next(&self) -> Option<oneshot::Sender<InFlight>> {
        let mut lines = self.lines.lock();
        let waiter = lines.of.iter_mut().rev().find_map(VecDeque::pop_front);
        self.count(&lines);
        waiter.map(|waiter| waiter.place)
    }

    fn count(&self, lines: &Lines) {
        self.waiting.store(u32::try_from(lines.len()).unwrap_or(u32::MAX), SeqCst);
    }
}
