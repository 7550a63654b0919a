//! The ledger: what every attempt cost, in `ledger.db`.
//!
//! The thread `ailink-ledger` takes settled attempts from the [spool](crate::spool), writes them as
//! rows together with their sums in one transaction, and only then empties their slots. A crash in
//! between brings the same attempts again; their numbers are the table's key, so that they neither
//! become second rows nor enter the sums a second time.

mod engine;
mod past;
mod probe;
mod rollup;
mod schema;
mod sink;
mod store;
mod totals;
mod verdicts;
mod worker;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

pub use past::Past;
pub use probe::{Point, Probe};
pub use sink::{Sink, SinkError, Written};
pub use verdicts::{Verdict, Verdicts};

use crate::spool::{Spool, SpoolError};
use crate::trace::Traces;
use engine::Engine;
use store::Store;
use worker::Shared;

/// When the ledger works.
#[derive(Clone, Debug)]
pub struct Options {
    /// From a settlement to its row, at most, while the database keeps up.
    pub flush: Duration,
    /// From an intent to its safety against power loss, at most.
    pub sync: Duration,
    /// For tests; [`Probe::default`] does nothing.
    pub probe: Probe,
}

/// What a name in the dictionary is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DictKind {
    /// A virtual key's id.
    Key = 1,
    /// An organization's id.
    Org = 2,
    /// A model as clients name it.
    Model = 3,
    /// A deployment's id.
    Deployment = 4,
    /// A version of a price.
    Price = 5,
    /// A team's id.
    Team = 6,
    /// A user's id.
    User = 7,
    /// A project's id.
    Project = 8,
    /// An end user's id.
    Customer = 9,
    /// A set of tags, as a sorted JSON list.
    Tags = 10,
}

impl DictKind {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Key),
            2 => Some(Self::Org),
            3 => Some(Self::Model),
            4 => Some(Self::Deployment),
            5 => Some(Self::Price),
            6 => Some(Self::Team),
            7 => Some(Self::User),
            8 => Some(Self::Project),
            9 => Some(Self::Customer),
            10 => Some(Self::Tags),
            _ => None,
        }
    }
}

/// Why the ledger cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be made or opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `SQLite` refused.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file is not one this version can use.
    #[error("this ledger.db cannot be used: {0}")]
    Schema(String),
    /// All 2³² names are taken.
    #[error("the ledger's dictionary is full")]
    DictFull,
    /// There are no sums by this kind.
    #[error("the ledger has no sums by {0:?}")]
    NotSummed(DictKind),
    /// Not everything could be written in time; what was not stays in the spool.
    #[error("the ledger could not write everything in time: {0}")]
    Flush(String),
    /// The thread cannot be started.
    #[error("cannot start the ledger's thread: {0}")]
    Thread(io::Error),
    /// The spool refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Whether rows reach the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The last error, while they do not.
    pub error: Option<String>,
    /// For how long.
    pub failing_for: Option<Duration>,
}

impl Health {
    /// Whether the last batch was written.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.error.is_none()
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows written.
    pub rows: u64,
    /// Attempts that came a second time after a crash and were passed over.
    pub known: u64,
    /// Transactions.
    pub batches: u64,
    /// Transactions that failed and were tried again.
    pub failures: u64,
    /// Slots given up because the disk garbled them.
    pub corrupt: u64,
    /// How long the last round took that wrote anything, µs.
    pub last_round_us: u64,
}

/// The ledger of this process. Shared by reference; ends when dropped.
pub struct Ledger {
    store: Arc<Store>,
    shared: Arc<Shared>,
    traces: Arc<Traces>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens or makes the file, writes what the spool was found to hold, and starts the thread.
    ///
    /// If the file opens but cannot be written (a full disk), this succeeds all the same, and
    /// [`Ledger::health`] tells.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn open(path: &Path, spool: &Spool, options: &Options) -> Result<Self, LedgerError> {
        Self::open_with(path, spool, options, |sink| sink)
    }

    /// As [`Ledger::open`], with something between the ledger and its database.
    fn open_with(
        path: &Path,
        spool: &Spool,
        options: &Options,
        wrap: impl FnOnce(Box<dyn Sink>) -> Box<dyn Sink>,
    ) -> Result<Self, LedgerError> {
        let store = Arc::new(Store::open(path)?);
        let drain = spool.drain(store.last_id()?)?;
        let probe = options.probe.clone();
        let sink = wrap(Box::new(sink::Sqlite { store: Arc::clone(&store), probe: probe.clone() }));
        let adopted = store.adopt(&drain)?;
        let traces = Arc::<Traces>::default();
        let engine = Engine::new(drain, sink, probe, Arc::clone(&traces));
        if adopted > 0 {
            tracing::warn!(adopted, "ledger.db is older than the spool: attempts name ids it does not know");
        }
        let verdicts = (Arc::<Verdicts>::default(), Arc::clone(&store));
        let shared = Arc::new(Shared::new(engine, options.clone(), verdicts));
        shared.drain(0);
        let run = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ailink-ledger".to_owned())
            .spawn(move || {
                yield_to_requests();
                run.run();
            })
            .map_err(LedgerError::Thread)?;
        Ok(Self { store, shared, traces, thread: Mutex::new(Some(thread)) })
    }

    /// The number of a name, for use in [`crate::spool::Intent`]. A new name is durable before this
    /// returns, which takes a disk's flush; so ask when configuration changes, not per request.
    ///
    /// # Errors
    /// Of the database; nothing is numbered then.
    pub fn intern(&self, kind: DictKind, text: &str) -> Result<u32, LedgerError> {
        let ids = self.store.intern(&[(kind, text)])?;
        ids.first().copied().ok_or(LedgerError::DictFull)
    }

    /// The numbers of many names, for one flush together.
    ///
    /// # Errors
    /// As [`Ledger::intern`].
    pub fn intern_all(&self, names: &[(DictKind, &str)]) -> Result<Vec<u32>, LedgerError> {
        self.store.intern(names)
    }

    /// The number of a name, if it has one.
    #[must_use]
    pub fn lookup(&self, kind: DictKind, text: &str) -> Option<u32> {
        self.store.lookup(kind, text)
    }

    /// The name with a number.
    #[must_use]
    pub fn text(&self, id: u32) -> Option<Arc<str>> {
        self.store.text(id)
    }

    /// What was spent, pico-USD, by the ids of `kind`: all rows, and what the spool holds settled.
    /// Reads every roll-up; meant for the start.
    ///
    /// # Errors
    /// [`LedgerError::NotSummed`] for [`DictKind::Price`], else of the database.
    pub fn totals(&self, kind: DictKind) -> Result<HashMap<u32, i128>, LedgerError> {
        // Held to the end: no attempt moves from the spool to the database in between.
        let engine = self.shared.engine.lock();
        totals::totals(&self.store, kind, &engine.drain)
    }

    /// Shows what was used from `since_us` on: whole days from the sums, and where `exact_us` is given every attempt from
    /// then on by itself (also those that the sums hold).
    ///
    /// # Errors
    /// Of the database.
    pub fn past(&self, since_us: i64, exact_us: Option<i64>, see: &mut dyn FnMut(&Past)) -> Result<(), LedgerError> {
        // Held to the end: no attempt moves from the spool to the database in between.
        let engine = self.shared.engine.lock();
        past::past(&self.store, &engine.drain, since_us, exact_us, see)
    }

    /// Removes attempts, and verdicts, of what began before `before_us`, the oldest first and so many at most; how many. Their sums stay, and
    /// so does the newest attempt, from whose number others go on.
    ///
    /// # Errors
    /// Of the database.
    pub fn forget(&self, before_us: i64, most: u32) -> Result<u64, LedgerError> {
        past::forget(&self.store, before_us, most)
    }

    /// When the oldest attempt that is kept began, µs since 1970.
    ///
    /// # Errors
    /// Of the database.
    pub fn oldest_us(&self) -> Result<Option<i64>, LedgerError> {
        past::oldest_us(&self.store)
    }

    /// Where verdicts wait to be written.
    #[must_use]
    pub fn verdicts(&self) -> Arc<Verdicts> {
        Arc::clone(&self.shared.verdicts.0)
    }

    /// Which requests are traced, and their attempts.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The names of a kind, with their numbers.
    #[must_use]
    pub fn names(&self, kind: DictKind) -> Vec<(u32, Arc<str>)> {
        self.store.names(kind)
    }

    /// Waits until all attempts settled before the call are rows.
    ///
    /// # Errors
    /// [`LedgerError::Flush`] after `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), LedgerError> {
        self.shared.flush(timeout)
    }

    /// Whether rows reach the database.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// A connection for reports. In this process read the file in no other way (see `store.rs`).
    ///
    /// # Errors
    /// Of the database.
    pub fn reader(&self) -> Result<rusqlite::Connection, LedgerError> {
        self.store.reader()
    }

    /// Flushes, ends the thread and folds the write-ahead log into the file. Attempts settled later
    /// become rows at the next start. A second call does nothing.
    ///
    /// # Errors
    /// [`LedgerError::Flush`] if not everything could be written within `timeout`; it is ended all
    /// the same.
    pub fn close(&self, timeout: Duration) -> Result<(), LedgerError> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        let flushed = self.shared.flush(timeout);
        self.shared.stop();
        if thread.join().is_err() {
            return Err(LedgerError::Flush("the ledger's thread died".to_owned()));
        }
        flushed?;
        self.store.checkpoint()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.lock().take() {
            self.shared.stop();
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.store.path).finish_non_exhaustive()
    }
}

/// Requests come first: what they leave behind can wait, and would hold one up for as long as a batch takes to write.
fn yield_to_requests() {
    const LESS: i32 = 5;
    // On Linux this is the calling thread; elsewhere it would be the process.
    #[cfg(target_os = "linux")]
    if let Ok(now) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, now.saturating_add(LESS));
    }
}
