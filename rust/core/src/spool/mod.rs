//! The durable record of money: an *intent* before the first upstream byte, a *settlement* after.
//!
//! One slot of a memory-mapped, preallocated file is one upstream attempt. The hot path stores into
//! it, about 100 ns for intent and settlement together; the ledger's thread turns settled slots into rows
//! of `ledger.db` and empties them.
//!
//! ```text
//!              Writer::intent            Slot::settle              Drain (ledger committed)
//!     free ───────────────────► intent ───────────────► settled ───────────────────────► free
//!                                 │  Slot::release ───► released ──────────────────────► free
//!                                 └─ Slot dropped, or
//!                                    found at a start ─► lost ──── row `unknown` ───────► free
//! ```
//!
//! # What is promised
//!
//! * **The process dies in any way** (`kill -9`, panic, out of memory): once [`Writer::intent`] has
//!   returned, the attempt gets exactly one row. What was stored into the mapping belongs to the
//!   kernel. An attempt that had been settled keeps its figures; one that had not becomes `unknown`
//!   at its reservation.
//! * **The machine dies** (power, kernel): an attempt that was settled is safe one `flush` interval
//!   after its settlement (a committed transaction), an attempt under way one `sync` interval after
//!   its intent, provided the disk honours flushes. Younger ones may be missing, and an attempt
//!   taken back ([`Slot::release`]) within the interval may come back as `unknown`. Never is an
//!   attempt counted twice, nor a number given twice.
//! * **The disk is full**: [`Writer::intent`] fails before anything is sent; what was accepted stays.
//!   The spool leaves as much of the disk as the ledger needs to take over all that it holds.
//! * **The database fails**: settled slots wait, up to `max_bytes` of spool; then as above.
//! * Slots are checked by CRC-32; what the disk garbled is counted and logged, not guessed.
//!
//! Order of use: [`Spool::open`], `Ledger::open` (which makes rows of what was found),
//! [`Spool::writer`] for each I/O thread.

mod drain;
mod ids;
mod pool;
mod record;
mod recovery;
mod segment;
mod slot;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) use drain::Drain;
pub(crate) use pool::Bell;
pub use record::{AttemptId, Intent, Row, Settle, Source};
pub use recovery::Recovery;
pub use writer::{Slot, Writer};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use ids::Ids;
use pool::{Pool, State};

/// How often a start asks for the lock that an ending process still holds.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How a spool is laid out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Attempts per segment file, 64 to 1,048,576. Each takes 192 bytes.
    pub segment_slots: u32,
    /// Bytes of all segment files together, at least two segments per writer. Bounds how many attempts may be
    /// under way or waiting for the database.
    pub max_bytes: u64,
    /// This node's number, written into every row.
    pub node: u16,
    /// How long to wait for another process to give the spool up (a restart's hand-over).
    pub lock_wait: Duration,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process owns the spool and kept it for all of `lock_wait`.
    #[error("{} is in use by process {pid}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the owner wrote there.
        pid: String,
    },
    /// A segment was made by another version of the program, and may hold attempts.
    #[error("{} has spool format {version}, which this version cannot read; start the version that wrote it once", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// [`Options`] out of range.
    #[error("spool options: {0}")]
    Options(&'static str),
    /// A writer was asked for before a ledger was there to drain it, or a second ledger came.
    #[error("{0}")]
    Order(&'static str),
}

impl SpoolError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// Why no attempt can be recorded just now, and hence none be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolFull {
    /// `max_bytes` of attempts are under way or wait for the database.
    #[error("the spool has reached its configured size")]
    Limit,
    /// No segment could be added.
    #[error("the spool cannot grow: the disk is full or failing")]
    Disk,
}

/// How full a spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segment files.
    pub segments: u64,
    /// Segment files allowed by `max_bytes`.
    pub max_segments: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Their slots.
    pub slots: u64,
    /// Slots in use: attempts under way, and settled ones that are not rows yet.
    pub in_use: u64,
    /// Set while attempts are refused.
    pub full: Option<SpoolFull>,
}

/// The spool of this process. Closed when it, its writers and slots are gone.
pub struct Spool {
    pool: Arc<Pool>,
}

impl Spool {
    /// Opens the spool in `dir`, which is made if needed, and looks through what an earlier process
    /// left there.
    ///
    /// # Errors
    /// See [`SpoolError`]. Blocks for up to `options.lock_wait` while another process owns it.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Recovery), SpoolError> {
        let slots = options.segment_slots as usize;
        if !(64..=1 << 20).contains(&slots) {
            return Err(SpoolError::Options("segment_slots must be between 64 and 1048576"));
        }
        let max_segments = usize::try_from(options.max_bytes / segment::file_bytes(slots)).unwrap_or(usize::MAX);
        if max_segments < 2 {
            return Err(SpoolError::Options("max_bytes must hold two segments"));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| SpoolError::io("create", dir, error))?;
        let lock = Arc::new(lock(&dir.join("lock"), options.lock_wait)?);
        let ids_path = dir.join("ids");
        let ids_failed = |error| SpoolError::io("write", &ids_path, error);
        let ids = Ids::open(&ids_path).map_err(ids_failed)?;
        let (segments, found) = recovery::recover(dir, &lock)?;
        ids.raise(found.last_id).map_err(ids_failed)?;
        let state = State::new(segments);
        let pool = Pool::new(dir.to_owned(), (slots, max_segments, options.node), ids, lock, state);
        pool.renamed.store(true, Ordering::Relaxed);
        Ok((Self { pool: Arc::new(pool) }, found))
    }

    /// A writer for one I/O thread.
    ///
    /// # Errors
    /// [`SpoolError::Order`] before a ledger drains this spool, [`SpoolError::Options`] if `max_bytes`
    /// is too small for one more.
    pub fn writer(&self) -> Result<Writer, SpoolError> {
        if !self.pool.attached.load(Ordering::Acquire) {
            return Err(SpoolError::Order("a spool has writers only while a ledger drains it"));
        }
        if !self.pool.join() {
            return Err(SpoolError::Options("max_bytes must hold two segments per I/O thread"));
        }
        Ok(Writer::new(Arc::clone(&self.pool)))
    }

    /// How full the spool is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    /// The drain, for a ledger that already holds attempts up to number `last_id`.
    pub(crate) fn drain(&self, last_id: u64) -> Result<Drain, SpoolError> {
        if self.pool.attached.swap(true, Ordering::AcqRel) {
            return Err(SpoolError::Order("a ledger already drains this spool"));
        }
        let drain = Drain::new(Arc::clone(&self.pool));
        self.pool.ids.raise(last_id).map_err(|error| SpoolError::io("write", &self.pool.dir.join("ids"), error))?;
        Ok(drain)
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("dir", &self.pool.dir).finish_non_exhaustive()
    }
}

/// Takes the lock that says which process owns the spool. It goes with the last open descriptor,
/// so a killed owner leaves none behind.
fn lock(path: &Path, wait: Duration) -> Result<File, SpoolError> {
    let failed = |error| SpoolError::io("lock", path, error);
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    let deadline = Instant::now() + wait;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_POLL),
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                return Err(SpoolError::Locked { path: path.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    // Told to whoever finds the spool locked; a full disk must not prevent a start.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}
