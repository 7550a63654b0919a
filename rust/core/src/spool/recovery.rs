//! What an earlier process left in the spool.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SpoolError;
use super::segment::{BadSegment, FINISHED, HEADER, Segment, UNFINISHED};
use super::slot::{Reading, SLOT_BYTES};

/// What [`super::Spool::open`] found. The attempts themselves become rows when the ledger opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files.
    pub segments: u64,
    /// Attempts that were over, but perhaps not yet rows.
    pub settled: u64,
    /// Attempts that were under way, now `unknown`.
    pub unknown: u64,
    /// Settlements damaged by power loss; their attempts are among `unknown`.
    pub unsettled: u64,
    /// Intents that power loss cut short: nothing had been sent.
    pub torn: u64,
    /// Slots of which nothing can be read: the disk failed.
    pub corrupt: u64,
    /// The highest attempt number seen.
    pub last_id: u64,
}

/// Opens the segments in `dir` and settles what their slots hold.
pub(super) fn recover(dir: &Path, lock: &Arc<File>) -> Result<(Vec<Arc<Segment>>, Recovery), SpoolError> {
    let mut found = Recovery::default();
    let mut segments = Vec::new();
    for path in list(dir).map_err(|error| SpoolError::io("list", dir, error))? {
        match Segment::open(&path, lock) {
            Ok(segment) => {
                found.segments += 1;
                sift(&segment, &mut found);
                segments.push(Arc::new(segment));
            }
            // The file's name outlived a power loss, its content did not.
            Err(BadSegment::Short) => {
                fs::remove_file(&path).map_err(|error| SpoolError::io("remove", &path, error))?;
            }
            Err(BadSegment::Version(1)) if is_empty(&path) => {
                fs::remove_file(&path).map_err(|error| SpoolError::io("remove", &path, error))?;
            }
            Err(BadSegment::Version(version)) => return Err(SpoolError::Version { path, version }),
            Err(BadSegment::Io(error)) => return Err(SpoolError::io("open", &path, error)),
        }
    }
    Ok((segments, found))
}

/// Whether no slot of a segment holds anything: its version does not matter then.
fn is_empty(path: &Path) -> bool {
    let slots = |bytes: Vec<u8>| {
        bytes
            .get(HEADER..)
            .is_some_and(|slots| slots.chunks(SLOT_BYTES).all(|slot| slot.iter().take(4).all(|byte| *byte == 0)))
    };
    fs::read(path).is_ok_and(slots)
}

/// Segment files by name; removes those that were never finished.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(FINISHED) => paths.push(path),
            Some(UNFINISHED) => fs::remove_file(path)?,
            _ => {}
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes every slot one of free, settled or lost, and counts them.
fn sift(segment: &Segment, found: &mut Recovery) {
    let mut free = segment.free.lock();
    for (index, cell) in (0..).zip(segment.cells()) {
        let row = match cell.read() {
            Reading::Settled(row) => {
                found.settled += 1;
                row
            }
            Reading::Open(row) => {
                cell.lose();
                found.unknown += 1;
                row
            }
            Reading::Lost(row) => {
                found.unsettled += u64::from(cell.is_settled());
                found.unknown += 1;
                cell.lose();
                row
            }
            reading => {
                found.torn += u64::from(reading == Reading::Torn);
                if reading == Reading::Corrupt {
                    found.corrupt += 1;
                    tracing::error!(segment = %segment.path().display(), slot = index, "damaged spool slot given up");
                }
                cell.clear();
                free.push(index);
                continue;
            }
        };
        found.last_id = found.last_id.max(row.attempt_id);
        segment.opened.fetch_add(1, Ordering::Relaxed);
        segment.mark(index);
    }
}
