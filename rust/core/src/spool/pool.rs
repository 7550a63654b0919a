//! The segments of a spool: who holds which, when one more is made, when one is removed.
//!
//! A writer takes the free slots of one segment all at once and comes back when they are used up.
//! In the meantime the drain has emptied most of them, so that in the steady state a writer goes
//! round in one segment and no file is made or removed at all. A slot of a long stream is passed
//! over; it keeps its own 192 bytes, not its segment.
//!
//! ## Tried
//! Segments used front to back and recycled whole: an hour-long stream then pins every segment
//! begun in that hour (7 GB at 10,000 requests/s), and each recycling zeroes the file.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::ids::Ids;
use super::segment::Segment;
use super::{SpoolFull, Usage};

/// A segment is worth taking with this fraction of its slots free: below, turns become frequent.
const WORTHWHILE: usize = 4;

/// Rounds of the drain before a segment too many is removed, so that a load that comes and goes
/// does not make and remove files.
const PATIENCE: u32 = 64;

/// What the database needs besides the rows themselves: its write-ahead log, twice over.
const RESERVE: u64 = 32 << 20;

/// All segments and what their users share.
pub(super) struct Pool {
    pub(super) dir: PathBuf,
    pub(super) slots: usize,
    pub(super) max_segments: usize,
    pub(super) node: u16,
    pub(super) ids: Ids,
    pub(super) lock: Arc<File>,
    /// Rung when the drain had better come before its time.
    pub(super) bell: Arc<Bell>,
    /// Whether a ledger drains this spool.
    pub(super) attached: AtomicBool,
    /// A segment was made or removed since the directory was last synced.
    pub(super) renamed: AtomicBool,
    state: Mutex<State>,
}

/// What the pool's lock protects.
pub(super) struct State {
    /// By number.
    pub(super) segments: Vec<Entry>,
    pub(super) next_number: u32,
    /// Segments being made right now, outside the lock.
    making: usize,
    writers: usize,
    /// The last attempt to make a segment failed. The drain goes on trying, writers do not.
    disk_full: bool,
    /// Why the last writer that asked for slots got none, until there are some.
    refused: Option<SpoolFull>,
    /// For how many calls of [`Pool::maintain`] there has been a segment too many.
    surplus: u32,
}

/// A segment and whether a writer has taken its free slots.
pub(super) struct Entry {
    pub(super) segment: Arc<Segment>,
    held: bool,
}

/// A segment in a writer's hands, with the slots it may use.
pub(super) struct Hand {
    pub(super) segment: Arc<Segment>,
    pub(super) free: Vec<u32>,
}

impl State {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        let next_number = segments.iter().map(|segment| segment.number).max().unwrap_or(0).saturating_add(1);
        let mut segments: Vec<_> = segments.into_iter().map(|segment| Entry { segment, held: false }).collect();
        segments.sort_by_key(|entry| entry.segment.number);
        Self { segments, next_number, making: 0, writers: 0, disk_full: false, refused: None, surplus: 0 }
    }
}

impl Pool {
    /// A pool over `state`, to be completed by [`super::Spool::open`].
    pub(super) fn new(dir: PathBuf, shape: (usize, usize, u16), ids: Ids, lock: Arc<File>, state: State) -> Self {
        let (slots, max_segments, node) = shape;
        let (bell, attached, renamed) = (Arc::default(), AtomicBool::new(false), AtomicBool::new(false));
        Self { dir, slots, max_segments, node, ids, lock, bell, attached, renamed, state: Mutex::new(state) }
    }

    /// Counts a writer in: each may hold a segment, and spares are kept in proportion. Says no if
    /// writers could hold more than half of the segments: then some would find none.
    pub(super) fn join(&self) -> bool {
        let mut state = self.state.lock();
        let fits = state.writers < self.max_segments / 2;
        state.writers += usize::from(fits);
        fits
    }

    /// Counts a writer out, who gives its hand back for good.
    pub(super) fn leave(&self, hand: Option<Hand>) {
        let mut state = self.state.lock();
        state.writers -= 1;
        if let Some(hand) = hand {
            state.let_go(hand);
        }
    }

    /// Gives back a hand and takes another. Makes a segment only if none has enough free slots,
    /// which the drain sees to; then it costs about 1 ms.
    ///
    /// # Errors
    /// [`SpoolFull`] if not one slot is to be had.
    pub(super) fn turn(&self, old: Option<Hand>) -> Result<Hand, SpoolFull> {
        let mut state = self.state.lock();
        if let Some(hand) = old {
            state.let_go(hand);
        }
        if let Some(hand) = state.take(self.slots, self.slots / WORTHWHILE) {
            return Ok(hand);
        }
        let reason = match self.reserve(&mut state) {
            Err(reason) => reason,
            Ok(number) => {
                drop(state);
                let made = self.make(number);
                state = self.state.lock();
                match state.finish(made, true) {
                    Ok(Some(hand)) => return Ok(hand),
                    Ok(None) | Err(_) => SpoolFull::Disk,
                }
            }
        };
        let hand = state.take(self.slots, 1);
        if hand.is_none() {
            state.refused = Some(reason);
        }
        hand.ok_or(reason)
    }

    /// Keeps a spare segment ready for every fourth writer, and removes one at a time that has been
    /// idle for long.
    ///
    /// # Errors
    /// Of the file system, if a segment should have been made and could not.
    pub(super) fn maintain(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let wanted = if state.writers == 0 { 0 } else { 1 + state.writers / WORTHWHILE };
        let ready = state.segments.iter().filter(|entry| entry.is_ready(self.slots)).count();
        if ready > 0 {
            state.refused = None;
        }
        if ready < wanted {
            state.surplus = 0;
            state.disk_full = false;
            if let Ok(number) = self.reserve(&mut state) {
                drop(state);
                let made = self.make(number);
                self.state.lock().finish(made, false)?;
            }
            return Ok(());
        }
        // Same-sized spares stay when nobody writes (before the first writer, after the last).
        state.surplus = if ready > wanted.max(1) { state.surplus.saturating_add(1) } else { 0 };
        let surplus = state.surplus > PATIENCE;
        let idle = state.segments.iter().rposition(|entry| {
            let removable = surplus || entry.segment.slots() != self.slots;
            removable && !entry.held && entry.segment.in_use() == 0
        });
        if let Some(index) = idle {
            let entry = state.segments.remove(index);
            drop(state);
            entry.segment.remove()?;
            self.renamed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The segments as they are now.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.state.lock().segments.iter().map(|entry| Arc::clone(&entry.segment)).collect()
    }

    /// How full the spool is.
    pub(super) fn usage(&self) -> Usage {
        let state = self.state.lock();
        let mut usage = Usage { max_segments: self.max_segments as u64, ..Usage::default() };
        for entry in &state.segments {
            usage.segments += 1;
            usage.bytes += super::segment::file_bytes(entry.segment.slots());
            usage.slots += entry.segment.slots() as u64;
            usage.in_use += entry.segment.in_use();
        }
        usage.full = state.refused;
        usage
    }

    /// Permits one more segment, and numbers it.
    fn reserve(&self, state: &mut State) -> Result<u32, SpoolFull> {
        if state.segments.len() + state.making >= self.max_segments {
            return Err(SpoolFull::Limit);
        }
        if state.disk_full {
            return Err(SpoolFull::Disk);
        }
        let number = state.next_number;
        state.next_number = number.wrapping_add(1);
        state.making += 1;
        Ok(number)
    }

    /// Fails if, with one segment more, the spool could hold more than fits into the database: a
    /// spool that took the last block would keep the database from ever relieving it. (A row is
    /// smaller than a slot.)
    fn leaves_room(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        let segment = super::segment::file_bytes(self.slots);
        let spool = self.usage().bytes + segment;
        let reserve = RESERVE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 8);
        if disk.f_bavail.saturating_mul(disk.f_frsize) < segment + spool + reserve {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "what is left of the disk is kept for the ledger"));
        }
        Ok(())
    }

    fn make(&self, number: u32) -> io::Result<Arc<Segment>> {
        let made = self.leaves_room().and_then(|()| Segment::create(&self.dir, number, self.slots, &self.lock));
        match &made {
            Ok(_) => self.renamed.store(true, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, number, "no new spool segment"),
        }
        made.map(Arc::new)
    }
}

impl State {
    fn take(&mut self, slots: usize, at_least: usize) -> Option<Hand> {
        let fitting = self.segments.iter_mut().filter(|entry| !entry.held && entry.segment.slots() == slots);
        for entry in fitting {
            let mut free = entry.segment.free.lock();
            if free.len() >= at_least {
                entry.held = true;
                self.refused = None;
                return Some(Hand { segment: Arc::clone(&entry.segment), free: std::mem::take(&mut *free) });
            }
        }
        None
    }

    fn finish(&mut self, made: io::Result<Arc<Segment>>, hold: bool) -> io::Result<Option<Hand>> {
        self.making -= 1;
        self.disk_full = made.is_err();
        let segment = made?;
        self.refused = None;
        let hand =
            hold.then(|| Hand { segment: Arc::clone(&segment), free: std::mem::take(&mut *segment.free.lock()) });
        self.segments.push(Entry { segment, held: hold });
        self.segments.sort_by_key(|entry| entry.segment.number);
        Ok(hand)
    }

    fn let_go(&mut self, hand: Hand) {
        hand.segment.free.lock().extend(hand.free);
        if let Some(entry) = self.segments.iter_mut().find(|entry| Arc::ptr_eq(&entry.segment, &hand.segment)) {
            entry.held = false;
        }
    }
}

impl Entry {
    fn is_ready(&self, slots: usize) -> bool {
        !self.held && self.segment.slots() == slots && self.segment.free.lock().len() >= slots / WORTHWHILE
    }
}

/// Wakes the ledger's thread.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Wakes the thread, or keeps it from going to sleep.
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }

    /// Sleeps until `deadline` or the next ring.
    pub(crate) fn wait_until(&self, deadline: std::time::Instant) {
        let mut rung = self.rung.lock();
        while !*rung {
            if self.changed.wait_until(&mut rung, deadline).timed_out() {
                break;
            }
        }
        *rung = false;
    }
}
