//! Idle connections to one deployment, per I/O thread, last in first out.
//!
//! A connection is handed out only when it is younger than its age limit, was idle for less than the provider keeps it
//! open, and shows no sign of having been closed. The lock is taken by one thread only (by several when the
//! work-stealing runtime is chosen), so it is never waited for.

use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::conn::Conn;

/// Connections are retired after this long, plus up to a fifth, so that DNS changes are followed.
const MAX_AGE: Duration = Duration::from_secs(300);

struct Idle {
    conn: Conn,
    since: Instant,
}

pub struct Pool {
    threads: Box<[CachePadded<Mutex<Vec<Idle>>>]>,
}

impl Pool {
    pub fn new(threads: usize) -> Self {
        Pool { threads: (0..threads.max(1)).map(|_| CachePadded::new(Mutex::new(Vec::new()))).collect() }
    }

    /// The most recently used connection that still looks alive.
    pub fn take(&self, thread: usize, max_idle: Duration) -> Option<Conn> {
        let mut idle = self.threads.get(thread)?.lock();
        while let Some(Idle { mut conn, since }) = idle.pop() {
            if since.elapsed() >= max_idle {
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
        let age_limit = MAX_AGE + MAX_AGE / 5 * u32::from(fastrand::u8(..)) / 255;
        if conn.born.elapsed() < age_limit
            && let Some(idle) = self.threads.get(thread)
        {
            conn.reused = true;
            idle.lock().push(Idle { conn, since: Instant::now() });
        }
    }

    /// Drops the connections of `thread` that were idle for too long or closed by the peer; gives the others' memory back.
    pub fn sweep(&self, thread: usize, max_idle: Duration) {
        if let Some(idle) = self.threads.get(thread) {
            idle.lock().retain_mut(|entry| {
                let alive = entry.since.elapsed() < max_idle && !entry.conn.is_stale();
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
