//! Attempt numbers that never repeat, without a clock.
//!
//! A file keeps a limit that is durable before the first number below it is given; a start goes on
//! from the limit. So neither `kill -9` nor power loss can give a number twice, at the price of up to
//! four million numbers skipped per start: 63 bits last for 2⁴¹ starts.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Numbers a writer takes at once: few enough that the numbers of all threads grow together (which
/// keeps the ledger's inserts near the table's end), enough that threads do not meet at the counter.
const BLOCK: u64 = 64;
/// Numbers made durable at once.
const STRETCH: u64 = 1 << 22;

/// The source of attempt numbers.
pub(super) struct Ids {
    next: AtomicU64,
    limit: AtomicU64,
    file: Mutex<File>,
}

impl Ids {
    /// Opens or makes the file. A damaged one counts as new: [`Ids::raise`] then has to know better.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut record = [0; 12];
        let known = match file.read_exact_at(&mut record, 0) {
            Ok(()) => decode(record),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let start = known.unwrap_or(BLOCK);
        let ids = Self { next: AtomicU64::new(start), limit: AtomicU64::new(start), file: Mutex::new(file) };
        ids.extend()?;
        Ok(ids)
    }

    /// Makes sure that no number up to `used` is given.
    pub(super) fn raise(&self, used: u64) -> io::Result<()> {
        let floor = used.saturating_add(1).next_multiple_of(BLOCK);
        self.next.fetch_max(floor, Ordering::Relaxed);
        self.extend_if_low()
    }

    /// The next numbers. Touches the disk only if [`Ids::extend_if_low`] has not been called for
    /// the last two million numbers.
    pub(super) fn block(&self) -> io::Result<Range<u64>> {
        loop {
            let start = self.next.load(Ordering::Relaxed);
            let end = start + BLOCK;
            if end > self.limit.load(Ordering::Acquire) {
                self.extend()?;
                continue;
            }
            if self.next.compare_exchange_weak(start, end, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(start..end);
            }
        }
    }

    /// Makes more numbers durable if half of them are used up.
    pub(super) fn extend_if_low(&self) -> io::Result<()> {
        let next = self.next.load(Ordering::Relaxed);
        if self.limit.load(Ordering::Acquire) < next.saturating_add(STRETCH / 2) { self.extend() } else { Ok(()) }
    }

    fn extend(&self) -> io::Result<()> {
        let file = self.file.lock();
        let next = self.next.load(Ordering::Relaxed);
        if self.limit.load(Ordering::Acquire) >= next.saturating_add(STRETCH / 2) {
            return Ok(());
        }
        let limit = next.checked_add(STRETCH).filter(|limit| i64::try_from(*limit).is_ok());
        let limit = limit.ok_or_else(|| io::Error::other("attempt numbers are used up"))?;
        file.write_all_at(&encode(limit), 0)?;
        file.sync_all()?;
        self.limit.store(limit, Ordering::Release);
        Ok(())
    }
}

fn encode(limit: u64) -> [u8; 12] {
    let mut record = [0; 12];
    let (number, sum) = record.split_at_mut(8);
    number.copy_from_slice(&limit.to_le_bytes());
    sum.copy_from_slice(&crc32fast::hash(number).to_le_bytes());
    record
}

fn decode(record: [u8; 12]) -> Option<u64> {
    let (number, sum) = record.split_first_chunk::<8>()?;
    (crc32fast::hash(number).to_le_bytes() == *sum).then(|| u64::from_le_bytes(*number))
}
