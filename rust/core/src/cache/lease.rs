//! The right of a node to ask the provider for what other nodes want as well.
//!
//! It lies in Redis for a few seconds and is taken again every second as long as the answer is on its way, however long
//! that takes: a node that dies is succeeded soon, one that waits for a slow provider is not. It says whose it is, so that
//! nobody prolongs or gives back what has become another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Cmd;
use tokio::sync::mpsc::WeakSender;

use super::key::CacheKey;
use super::remote::Write;

/// How long it holds by itself.
pub const HOLDS_MS: u64 = 3_000;
/// How often it is prolonged.
pub const EVERY: Duration = Duration::from_secs(1);

/// Of a string that is still this one: prolonged, or removed where no time is given.
const PROLONG: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) \
                       else return 0 end";
pub const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) \
                       else return 0 end";

#[derive(Default)]
struct Held {
    last: u64,
    since: HashMap<u64, (CacheKey, Instant)>,
}

/// What this node holds.
pub struct Leases {
    held: Arc<Mutex<Held>>,
    writes: WeakSender<Write>,
    /// Tells this process from others.
    who: u64,
}

impl Leases {
    pub fn new(writes: WeakSender<Write>) -> Leases {
        Leases { held: Arc::default(), writes, who: fastrand::u64(..) }
    }

    /// One to be asked for, and the command that does.
    pub fn ask(&self, key: &CacheKey, name: &str) -> (Lease, Cmd) {
        let mut held = self.held.lock();
        held.last += 1;
        let number = held.last;
        drop(held);
        let mut command = redis::cmd("SET");
        command.arg(name).arg(self.token(number)).arg("NX").arg("PX").arg(HOLDS_MS);
        let shared = Shared { held: self.held.clone(), writes: self.writes.clone(), key: *key, number };
        (Lease(Some(shared)), command)
    }

    /// It was given: from now on it is prolonged.
    pub fn given(&self, lease: &Lease) {
        if let Some(shared) = &lease.0 {
            self.held.lock().since.insert(shared.number, (shared.key, Instant::now()));
        }
    }

    /// Those that would end soon.
    pub fn old(&self) -> Vec<(u64, CacheKey)> {
        let held = self.held.lock();
        let old = held.since.iter().filter(|(_, (_, since))| since.elapsed() >= EVERY);
        old.map(|(number, (key, _))| (*number, *key)).collect()
    }

    pub fn prolong(&self, name: &str, number: u64) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(PROLONG).arg(1).arg(name).arg(self.token(number)).arg(HOLDS_MS);
        command
    }

    pub fn release(&self, name: &str, number: u64) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(name).arg(self.token(number));
        command
    }

    fn token(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.who)
    }
}

struct Shared {
    held: Arc<Mutex<Held>>,
    writes: WeakSender<Write>,
    key: CacheKey,
    number: u64,
}

/// Given back when dropped, behind the entry that came of it.
pub struct Lease(Option<Shared>);

impl Lease {
    /// Where nobody can be asked for it.
    pub fn nobody_knows() -> Lease {
        Lease(None)
    }

    /// Other nodes know of it.
    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// It was refused: there is nothing to give back.
    pub fn refused(mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(shared) = &self.0 else { return };
        shared.held.lock().since.remove(&shared.number);
        if let Some(writes) = shared.writes.upgrade() {
            // What cannot be queued ends by its time.
            let _ = writes.try_send(Write::Release(shared.key, shared.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_prolonged_until_it_is_given_back() {
        let (writes, mut written) = tokio::sync::mpsc::channel(2);
        let leases = Leases::new(writes.downgrade());
        let (one, ask) = leases.ask(&[1; 32], "l:1");
        let (two, _) = leases.ask(&[2; 32], "l:2");
        let text = |command: &Cmd| String::from_utf8_lossy(&command.get_packed_command()).into_owned();
        assert!(text(&ask).contains("NX"));
        leases.given(&one);
        two.refused();
        for (_, since) in leases.held.lock().since.values_mut() {
            *since -= EVERY;
        }
        let old = leases.old();
        assert_eq!(old, [(1, [1; 32])]);
        // The same token asks, prolongs and releases.
        let token = leases.token(1);
        for command in [&ask, &leases.prolong("l:1", 1), &leases.release("l:1", 1)] {
            assert!(text(command).contains(&token));
        }
        drop(one);
        assert!(leases.old().is_empty());
        assert!(matches!(written.try_recv(), Ok(Write::Release(key, 1)) if key == [1; 32]));
        assert!(written.try_recv().is_err());
    }
}
