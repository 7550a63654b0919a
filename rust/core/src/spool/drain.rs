//! The ledger's side of the spool: finds attempts that are over, empties their slots once they are
//! rows, and does everything that may block, so that writers need not.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pool::{Bell, Pool};
use super::record::Row;
use super::segment::Segment;
use super::slot::Reading;

/// Reads and empties slots. One per spool.
pub(crate) struct Drain {
    pool: Arc<Pool>,
    taken: Vec<Taken>,
    /// By segment: intents at the last sync.
    synced: HashMap<u32, u64>,
    corrupt: u64,
}

/// Slots that were collected and wait for [`Drain::confirm`].
struct Taken {
    segment: Arc<Segment>,
    cells: Vec<u32>,
}

impl Drain {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, taken: Vec::new(), synced: HashMap::new(), corrupt: 0 }
    }

    /// Appends up to `limit` rows that are not yet in the ledger, as far as the spool knows: after
    /// a crash some may be. Forgets an earlier collection that was not confirmed.
    ///
    /// Returns whether `limit` cut the collection short.
    pub(crate) fn collect(&mut self, rows: &mut Vec<Row>, limit: usize) -> bool {
        self.taken.clear();
        let most = rows.len() + limit;
        for segment in self.pool.segments() {
            if segment.in_use() == 0 {
                continue;
            }
            let mut cells = Vec::new();
            let mut full = false;
            for (index, cell) in segment.marked() {
                if rows.len() == most {
                    full = true;
                    break;
                }
                match cell.read() {
                    Reading::Settled(row) | Reading::Lost(row) => rows.push(row),
                    Reading::Released | Reading::Free => {}
                    Reading::Corrupt | Reading::Torn => {
                        cell.clear();
                        self.corrupt += 1;
                        tracing::error!(segment = %segment.path().display(), slot = index, "damaged spool slot given up");
                    }
                    Reading::Open(_) => continue,
                }
                cells.push(index);
            }
            self.taken.push(Taken { segment, cells });
            if full {
                return true;
            }
        }
        false
    }

    /// Shows every row that [`Drain::collect`] would find, and takes none.
    pub(crate) fn visit(&self, mut see: impl FnMut(&Row)) {
        for segment in self.pool.segments() {
            for (_, cell) in segment.marked() {
                if let Reading::Settled(row) | Reading::Lost(row) = cell.read() {
                    see(&row);
                }
            }
        }
    }

    /// Empties what was collected last: it is in the ledger. `halfway` runs in the middle.
    pub(crate) fn confirm(&mut self, halfway: &dyn Fn()) {
        for Taken { segment, cells } in self.taken.drain(..) {
            for (nth, index) in cells.iter().enumerate() {
                segment.clear_slot(*index);
                if nth == cells.len() / 2 {
                    halfway();
                }
            }
            segment.give_back(&cells);
        }
    }

    /// Makes intents durable against power loss, and settlements with them. Costs nothing if there
    /// were no intents since the last call; `all` syncs even then, for settlements that cannot
    /// become rows.
    ///
    /// # Errors
    /// Of the file system; the next call tries again.
    pub(crate) fn sync(&mut self, all: bool) -> io::Result<()> {
        let segments = self.pool.segments();
        self.synced.retain(|number, _| segments.iter().any(|segment| segment.number == *number));
        for segment in segments {
            let opened = segment.opened.load(Ordering::Relaxed);
            if all && segment.in_use() > 0 || self.synced.get(&segment.number) != Some(&opened) {
                segment.sync()?;
                self.synced.insert(segment.number, opened);
            }
        }
        if self.pool.renamed.swap(false, Ordering::Relaxed)
            && let Err(error) = File::open(&self.pool.dir).and_then(|dir| dir.sync_all())
        {
            self.pool.renamed.store(true, Ordering::Relaxed);
            return Err(error);
        }
        Ok(())
    }

    /// Prepares segments and numbers ahead of need, removes idle segments.
    ///
    /// # Errors
    /// Of the file system; the next call tries again.
    pub(crate) fn maintain(&self) -> io::Result<()> {
        self.pool.ids.extend_if_low()?;
        self.pool.maintain()
    }

    /// Slots given up as damaged since the start.
    pub(crate) const fn corrupt(&self) -> u64 {
        self.corrupt
    }

    /// What wakes the ledger's thread.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.pool.bell)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.pool.attached.store(false, Ordering::Release);
    }
}
