//! Idle connections to one place, per I/O thread, last in first out.
//!
//! A connection is handed out only when it is younger than its age limit, was idle for less than the provider keeps it
//! open, and shows no sign of having been closed. The lock is taken by one thread only (by several when the
//! work-stealing runtime is chosen), so it is never waited for.

use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::conn::Conn;
use crate::clock::coarse_ns;

/// Connections are retired after this long, plus up to a fifth, so that DNS changes are followed.
const MAX_AGE_NS: u64 = 300_000_000_000;

struct Idle {
    conn: Conn,
    since_ns: u64,
}

pub struct Pool {
    max_idle: Duration,
    threads: Box<[CachePadded<Mutex<Vec<Idle>>>]>,
}

impl Pool {
    /// `max_idle`: time a connection may rest.
    pub fn new(threads: usize, max_idle: Duration) -> Self {
        Pool { max_idle, threads: (0..threads.max(1)).map(|_| CachePadded::new(Mutex::new(Vec::new()))).collect() }
    }

    /// The most recently used connection that still looks alive.
    pub fn take(&self, thread: usize) -> Option<Conn> {
        let mut idle = self.threads.get(thread)?.lock();
        let now = coarse_ns();
        while let Some(Idle { mut conn, since_ns }) = idle.pop() {
            if longer(now, since_ns, self.max_idle) {
                // Those below were idle for even longer.
                idle.clear();
                return None;
            }
            if !conn.is_stale() {
                return Some(conn);
            }
        }
        None
    }

    /// Puts a connection back whose exchange ended cleanly.
    pub fn put(&self, thread: usize, mut conn: Conn) {
        let now = coarse_ns();
        let age_limit = MAX_AGE_NS + MAX_AGE_NS / 5 / 256 * u64::from(conn.jitter);
        if now.saturating_sub(conn.born_ns) < age_limit
            && let Some(idle) = self.threads.get(thread)
        {
            conn.reused = true;
            idle.lock().push(Idle { conn, since_ns: now });
        }
    }

    /// Drops the connections of `thread`.
    pub fn forget(&self, thread: usize) {
        if let Some(idle) = self.threads.get(thread) {
            idle.lock().clear();
        }
    }

    /// Drops the connections of `thread` that were idle for too long or closed by the peer; gives the others' memory back.
    pub fn sweep(&self, thread: usize) {
        let now = coarse_ns();
        if let Some(idle) = self.threads.get(thread) {
            idle.lock().retain_mut(|entry| {
                let alive = !longer(now, entry.since_ns, self.max_idle) && !entry.conn.is_stale();
                if alive {
                    entry.conn.rest();
                }
                alive
            });
        }
    }

    pub fn idle(&self) -> usize {
        self.threads.iter().map(|thread| thread.lock().len()).sum()
    }
}

fn longer(now: u64, since: u64, limit: Duration) -> bool {
    u128::from(now.saturating_sub(since)) >= limit.as_nanos()
}
