//! A segment: one preallocated, memory-mapped file of slots.
//!
//! ```text
//! 0     magic "AILSPOOL" · version u32 · slot bytes u32 · number u32 · slots u32 · crc u32 · 0 u32
//! 4096  slots
//! ```
//!
//! All blocks are allocated *and written* before the file is mapped. So a full disk shows here, as
//! an error, never as a signal at a store; and on ext4 and XFS a later sync writes data only, which
//! keeps writers from meeting the journal. (On copy-on-write file systems no program can promise
//! the former: do not put the data directory on a nearly full btrfs or ZFS.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use super::record::{AttemptId, Intent, Settle};
use super::slot::{Cell, SLOT_BYTES};

const MAGIC: [u8; 8] = *b"AILSPOOL";
/// Layout of the file and its slots.
const VERSION: u32 = 3;
/// Bytes before the first slot: a page, so that slots are aligned as the mapping is.
pub(super) const HEADER: usize = 4096;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// The ending of a segment's file while it is being made.
pub(super) const UNFINISHED: &str = "new";
/// The ending of a segment's file.
pub(super) const FINISHED: &str = "segment";

/// A mapped segment. The file is unmapped when the last slot of it is gone.
pub(super) struct Segment {
    map: MmapRaw,
    file: File,
    path: PathBuf,
    /// Unique among the segments of a spool's lifetime; the file's name.
    pub(super) number: u32,
    slots: usize,
    /// Slots the drain has emptied, for the next writer (or the same) to take all at once.
    pub(super) free: Mutex<Vec<u32>>,
    /// A bit per slot that waits to be drained, so that the drain need not look at the others: on a
    /// machine with many cores that would be 10 % of one of them. Not in the file; made anew at a start.
    done: Box<[AtomicU64]>,
    /// Slots made intents, ever. Written by the one writer that holds the segment.
    pub(super) opened: AtomicU64,
    /// Slots emptied, ever. Written by the drain.
    pub(super) closed: AtomicU64,
    /// Keeps other processes away as long as anything can write here.
    _lock: Arc<File>,
}

/// Why a file is not a segment this version can read.
#[derive(Debug)]
pub(super) enum BadSegment {
    Io(io::Error),
    /// Made by another version of the program.
    Version(u32),
    /// Too short to hold a slot: made by no version.
    Short,
}

impl From<io::Error> for BadSegment {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes on disk of a segment.
pub(super) const fn file_bytes(slots: usize) -> u64 {
    (HEADER + slots * SLOT_BYTES) as u64
}

impl Segment {
    /// Makes a segment of free slots. The name appears last; nothing is synced.
    ///
    /// # Errors
    /// Of the file system; no file is left behind.
    pub(super) fn create(dir: &Path, number: u32, slots: usize, lock: &Arc<File>) -> io::Result<Self> {
        let unfinished = dir.join(format!("{number:010}.{UNFINISHED}"));
        let made = Self::fill(&unfinished, number, slots).and_then(|file| {
            let path = unfinished.with_extension(FINISHED);
            let map = map(&file, slots)?;
            fs::rename(&unfinished, &path)?;
            let free = Mutex::new((0..u32::try_from(slots).unwrap_or(u32::MAX)).rev().collect());
            Ok(Self::new(map, file, path, number, slots, free, lock))
        });
        if made.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        made
    }

    /// Opens a segment that an earlier process left. All slots are counted as in use.
    ///
    /// A damaged header does not lose the slots: they are checked one by one anyway.
    pub(super) fn open(path: &Path, lock: &Arc<File>) -> Result<Self, BadSegment> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let slots = len.saturating_sub(HEADER) / SLOT_BYTES;
        if slots == 0 {
            return Err(BadSegment::Short);
        }
        let mut header = [0; 32];
        file.read_exact_at(&mut header, 0)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let number = stem.parse().unwrap_or(0);
        match read_header(&header) {
            Some((version, bytes)) if version != VERSION || bytes as usize != SLOT_BYTES => {
                return Err(BadSegment::Version(version));
            }
            Some(_) => {}
            None => {
                tracing::error!(path = %path.display(), "damaged spool header; its slots are checked one by one");
                file.write_all_at(&self::header(number, slots), 0)?;
            }
        }
        let map = map(&file, slots)?;
        Ok(Self::new(map, file, path.to_owned(), number, slots, Mutex::default(), lock))
    }

    fn new(
        map: MmapRaw,
        file: File,
        path: PathBuf,
        number: u32,
        slots: usize,
        free: Mutex<Vec<u32>>,
        lock: &Arc<File>,
    ) -> Self {
        let (opened, closed) = (AtomicU64::new(0), AtomicU64::new(0));
        let done = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { map, file, path, number, slots, free, done, opened, closed, _lock: Arc::clone(lock) }
    }

    fn fill(path: &Path, number: u32, slots: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let len = file_bytes(slots);
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all(ZEROS.split_at(step).0)?;
            left -= step as u64;
        }
        file.write_all_at(&header(number, slots), 0)?;
        Ok(file)
    }

    /// The slots, by index.
    #[inline]
    #[allow(unsafe_code, clippy::cast_ptr_alignment)]
    pub(super) fn cells(&self) -> &[Cell] {
        // SAFETY: the mapping is HEADER + slots × SLOT_BYTES long (`map` asked for exactly that, and
        // the kernel refuses what the file cannot hold), lives as long as `self`, is page-aligned,
        // and HEADER keeps `Cell`'s alignment of 64. Every bit pattern is a `Cell` (atomic
        // integers), and nothing else refers to the memory in another way. Should somebody truncate
        // the file, the access is a SIGBUS: the process dies, it does not go wrong.
        unsafe {
            let first = self.map.as_ptr().add(HEADER).cast::<Cell>();
            std::slice::from_raw_parts(first, self.slots)
        }
    }

    /// Makes a free slot an intent. Only for the writer that holds the segment.
    ///
    /// Returns whether there is such a slot.
    #[inline]
    pub(super) fn open_slot(&self, index: u32, id: AttemptId, node: u16, intent: &Intent) -> bool {
        let Some(cell) = self.cells().get(index as usize) else { return false };
        // One writer at a time, hence no read-modify-write.
        self.opened.store(self.opened.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        cell.open(id, node, intent);
        true
    }

    /// Settles an intent.
    #[inline]
    pub(super) fn settle_slot(&self, index: u32, settle: &Settle) {
        if let Some(cell) = self.cells().get(index as usize) {
            cell.settle(settle);
            self.mark(index);
        }
    }

    /// Gives an intent up: its settlement will never come.
    pub(super) fn lose_slot(&self, index: u32) {
        if let Some(cell) = self.cells().get(index as usize) {
            cell.lose();
            self.mark(index);
        }
    }

    /// Takes an intent back: nothing was sent.
    pub(super) fn release_slot(&self, index: u32) {
        if let Some(cell) = self.cells().get(index as usize) {
            cell.release();
            self.mark(index);
        }
    }

    /// Notes that a slot waits to be drained.
    #[inline]
    pub(super) fn mark(&self, index: u32) {
        if let Some(word) = self.done.get(index as usize / 64) {
            word.fetch_or(1 << (index % 64), Ordering::Release);
        }
    }

    /// The slots that wait to be drained.
    pub(super) fn marked(&self) -> impl Iterator<Item = (u32, &Cell)> {
        let words = (0..).step_by(64).zip(&self.done);
        let indices = words.flat_map(|(first, word)| Ones(word.load(Ordering::Acquire)).map(move |bit| first + bit));
        indices.filter_map(|index| Some((index, self.cells().get(index as usize)?)))
    }

    /// Empties a slot. It is not yet free to be used again, see [`Segment::give_back`].
    pub(super) fn clear_slot(&self, index: u32) {
        if let (Some(cell), Some(word)) = (self.cells().get(index as usize), self.done.get(index as usize / 64)) {
            word.fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
            cell.clear();
        }
    }

    /// Slots in use: none means there is nothing to look for.
    pub(super) fn in_use(&self) -> u64 {
        self.opened.load(Ordering::Relaxed).wrapping_sub(self.closed.load(Ordering::Relaxed))
    }

    /// Takes back emptied slots.
    pub(super) fn give_back(&self, emptied: &[u32]) {
        self.free.lock().extend(emptied);
        self.closed.fetch_add(emptied.len() as u64, Ordering::Relaxed);
    }

    /// Slots in all.
    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    /// Writes what is in memory to the disk. Blocks this thread only.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Removes the file; slots that are still referred to live on without a name.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Where the segment is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The positions of a word's ones.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

fn map(file: &File, slots: usize) -> io::Result<MmapRaw> {
    let len = HEADER + slots * SLOT_BYTES;
    let map = MmapOptions::new().len(len).map_raw(file)?;
    // Both spare page faults or surprises only, and old kernels lack the second: not worth failing for.
    let _ = map.advise(Advice::DontFork);
    let _ = map.advise(Advice::PopulateWrite);
    Ok(map)
}

fn header(number: u32, slots: usize) -> [u8; 32] {
    let [slots, slot_bytes] = [slots, SLOT_BYTES].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut bytes = [0; 32];
    let (body, tail) = bytes.split_at_mut(24);
    let fields = [VERSION, slot_bytes, number, slots].map(u32::to_le_bytes);
    let (magic, rest) = body.split_at_mut(8);
    magic.copy_from_slice(&MAGIC);
    rest.copy_from_slice(fields.as_flattened());
    let sum = crc32fast::hash(body).to_le_bytes();
    tail.split_at_mut(4).0.copy_from_slice(&sum);
    bytes
}

/// Version and slot size, if the header is whole.
fn read_header(bytes: &[u8; 32]) -> Option<(u32, u32)> {
    let (body, tail) = bytes.split_at(24);
    let word = |from: &[u8]| from.first_chunk().map(|four| u32::from_le_bytes(*four));
    let whole = body.starts_with(&MAGIC) && word(tail) == Some(crc32fast::hash(body));
    if !whole {
        return None;
    }
    Some((word(body.get(8..)?)?, word(body.get(12..)?)?))
}
