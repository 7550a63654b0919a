//! The thread `ailink-ledger`: when to drain, when to try again, when to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::engine::{Engine, Round};
use super::store::Store;
use super::{Health, LedgerError, Options, Stats, Verdicts};
use crate::spool::Bell;

/// First pause after a failure; doubles up to [`BACKOFF_MOST`].
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// What the thread and its owner share.
pub(super) struct Shared {
    pub(super) engine: Mutex<Engine>,
    pub(super) bell: Arc<Bell>,
    pub(super) verdicts: (Arc<Verdicts>, Arc<Store>),
    control: Mutex<Control>,
    changed: Condvar,
    options: Options,
}

/// Requests to the thread, and its record.
#[derive(Default)]
struct Control {
    /// Flushes asked for, and the highest one done.
    asked: u64,
    done: u64,
    stop: bool,
    failing: Option<Failure>,
    stats: Stats,
}

struct Failure {
    since: Instant,
    times: u32,
    error: String,
    retry_at: Instant,
}

impl Shared {
    pub(super) fn new(engine: Engine, options: Options, verdicts: (Arc<Verdicts>, Arc<Store>)) -> Self {
        let bell = engine.drain.bell();
        Self { engine: Mutex::new(engine), bell, verdicts, control: Mutex::default(), changed: Condvar::new(), options }
    }

    /// The thread's life.
    pub(super) fn run(&self) {
        let mut synced = Instant::now();
        let mut next = Instant::now();
        let mut trouble = false;
        loop {
            self.bell.wait_until(next);
            let (stop, asked, wanted) = {
                let control = self.control.lock();
                let due = control.failing.as_ref().is_none_or(|failure| failure.retry_at <= Instant::now());
                (control.stop, control.asked, due || control.stop || control.asked > control.done)
            };
            let sync_due = synced.elapsed() >= self.options.sync;
            if sync_due {
                synced = Instant::now();
            }
            self.keep_up(sync_due, &mut trouble);
            if wanted {
                self.drain(asked);
            }
            if stop {
                return;
            }
            let control = self.control.lock();
            let flush = Instant::now() + self.options.flush;
            next = control.failing.as_ref().map_or(flush, |failure| failure.retry_at.min(flush));
        }
    }

    /// Drains once on the calling thread and records the outcome.
    pub(super) fn drain(&self, asked: u64) {
        let started = Instant::now();
        let mut round = Round::default();
        let (outcome, corrupt) = {
            let mut engine = self.engine.lock();
            let outcome = engine.round(&mut round);
            // Settlements that cannot become rows are at least made safe where they are.
            if outcome.is_err()
                && let Err(error) = engine.drain.sync(true)
            {
                tracing::debug!(%error, "spool: sync failed");
            }
            (outcome, engine.drain.corrupt())
        };
        let outcome = outcome.and_then(|()| self.verdicts.0.write(&self.verdicts.1));
        let mut control = self.control.lock();
        control.stats.rows += round.inserted;
        control.stats.known += round.known;
        control.stats.batches += round.batches;
        control.stats.corrupt = corrupt;
        if round.batches > 0 {
            control.stats.last_round_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        }
        match outcome {
            Ok(()) => {
                control.done = control.done.max(asked);
                if let Some(failure) = control.failing.take() {
                    tracing::info!(failed_for = ?failure.since.elapsed(), "ledger: writing again");
                }
            }
            Err(error) => control.fail(error.to_string()),
        }
        drop(control);
        self.changed.notify_all();
    }

    /// What must go on even while the database fails: segments and numbers for writers, durability.
    /// `trouble` says whether it failed the last time: one line per change.
    fn keep_up(&self, sync: bool, trouble: &mut bool) {
        let mut engine = self.engine.lock();
        let mut outcome = engine.drain.maintain();
        if sync {
            outcome = engine.drain.sync(false).and(outcome);
        }
        match outcome {
            Err(error) => {
                if !*trouble {
                    tracing::error!(%error, "spool: cannot be extended or synced");
                }
                *trouble = true;
            }
            // Only a round with a sync can tell that trouble is over.
            Ok(()) if *trouble && sync => {
                tracing::info!("spool: extended and synced again");
                *trouble = false;
            }
            Ok(()) => {}
        }
    }

    /// Waits until everything that was over at the call is in the database.
    pub(super) fn flush(&self, timeout: Duration) -> Result<(), LedgerError> {
        let deadline = Instant::now() + timeout;
        let mut control = self.control.lock();
        control.asked += 1;
        let mine = control.asked;
        self.bell.ring();
        while control.done < mine {
            if self.changed.wait_until(&mut control, deadline).timed_out() && control.done < mine {
                let error = control.failing.as_ref().map_or("no answer", |failure| &failure.error);
                return Err(LedgerError::Flush(error.to_owned()));
            }
        }
        Ok(())
    }

    /// Asks the thread to drain once more and end.
    pub(super) fn stop(&self) {
        self.control.lock().stop = true;
        self.bell.ring();
    }

    pub(super) fn health(&self) -> Health {
        let control = self.control.lock();
        Health {
            error: control.failing.as_ref().map(|failure| failure.error.clone()),
            failing_for: control.failing.as_ref().map(|failure| failure.since.elapsed()),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.control.lock().stats
    }
}

impl Control {
    /// Notes a failure. One line per outage, not per attempt.
    fn fail(&mut self, error: String) {
        self.stats.failures += 1;
        let now = Instant::now();
        let (since, times) = if let Some(failure) = &self.failing {
            (failure.since, failure.times.saturating_add(1))
        } else {
            tracing::error!(error, "ledger: cannot write, attempts wait in the spool");
            (now, 0)
        };
        let pause = BACKOFF_FIRST.saturating_mul(1 << times.min(6)).min(BACKOFF_MOST);
        self.failing = Some(Failure { since, times, error, retry_at: now + pause });
    }
}
