//! The hot path: an intent before the send, a settlement after it. No system call, no shared lock.

use std::ops::Range;
use std::sync::Arc;

use super::SpoolFull;
use super::pool::{Hand, Pool};
use super::record::{AttemptId, Intent, Settle};
use super::segment::Segment;

/// Writes intents. One per I/O thread.
pub struct Writer {
    pool: Arc<Pool>,
    hand: Option<Hand>,
    ids: Range<u64>,
    node: u16,
}

impl Writer {
    /// A writer that [`Pool::join`] has counted in.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        // Taken now to spare the first request the making of a segment. If there is none to be had,
        // the program starts all the same and refuses requests, and recovers as it would later.
        let hand = pool.turn(None).ok();
        let node = pool.node;
        Self { pool, hand, ids: 0..0, node }
    }

    /// Records that an attempt is about to be made. When this returns, the attempt will have a row
    /// in the ledger, whatever happens to the process.
    ///
    /// # Errors
    /// [`SpoolFull`]: the attempt must not be made. The next call may succeed again.
    #[inline]
    pub fn intent(&mut self, intent: &Intent) -> Result<Slot, SpoolFull> {
        let id = match self.ids.next() {
            Some(id) => id,
            None => self.more_ids()?,
        };
        loop {
            if let Some(hand) = &mut self.hand
                && let Some(index) = hand.free.pop()
                && hand.segment.open_slot(index, AttemptId(id), self.node, intent)
            {
                return Ok(Slot { segment: Arc::clone(&hand.segment), index, id, over: false });
            }
            self.turn()?;
        }
    }

    #[cold]
    fn turn(&mut self) -> Result<(), SpoolFull> {
        let old = self.hand.take();
        self.hand = Some(self.pool.turn(old)?);
        self.pool.bell.ring();
        Ok(())
    }

    #[cold]
    fn more_ids(&mut self) -> Result<u64, SpoolFull> {
        self.ids = self.pool.ids.block().map_err(|_| SpoolFull::Disk)?;
        self.ids.next().ok_or(SpoolFull::Disk)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pool.leave(self.hand.take());
    }
}

/// An attempt under way. Dropped without [`Slot::settle`] or [`Slot::release`] it becomes a row
/// with [`Source::Unknown`](super::Source::Unknown), priced at its reservation.
#[must_use = "dropping a slot prices its attempt at the reservation"]
pub struct Slot {
    segment: Arc<Segment>,
    index: u32,
    id: u64,
    over: bool,
}

impl Slot {
    /// The attempt's number.
    #[must_use]
    pub const fn id(&self) -> AttemptId {
        AttemptId(self.id)
    }

    /// Records how the attempt ended.
    #[inline]
    pub fn settle(mut self, settle: &Settle) {
        self.over = true;
        self.segment.settle_slot(self.index, settle);
    }

    /// Takes the intent back: not one byte was sent, so there will be no row.
    pub fn release(mut self) {
        self.over = true;
        self.segment.release_slot(self.index);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.over {
            self.segment.lose_slot(self.index);
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("node", &self.node).finish_non_exhaustive()
    }
}
