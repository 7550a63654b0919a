//! The spool without a database: slots, segments, recovery from images of a running spool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const SLOTS: u32 = 64;
const ALL: usize = usize::MAX >> 1;

fn options(segments: u64) -> Options {
    Options {
        segment_slots: SLOTS,
        max_bytes: segments * segment::file_bytes(SLOTS as usize),
        node: 7,
        lock_wait: Duration::ZERO,
    }
}

fn start(dir: &Path, segments: u64) -> (Spool, Drain, Recovery) {
    let (spool, found) = Spool::open(dir, &options(segments)).unwrap();
    let drain = spool.drain(0).unwrap();
    (spool, drain, found)
}

fn intent(n: u64) -> Intent {
    Intent {
        request_id: u128::from(n).to_le_bytes(),
        at_us: 1_700_000_000_000_000,
        reserved_cost: 1000 + n.cast_signed(),
        key: 3,
        ..Intent::default()
    }
}

fn settle(n: u64) -> Settle {
    Settle { status: 200, output: 5, cost: n.cast_signed(), ..Settle::default() }
}

fn request(row: &Row) -> u64 {
    u64::try_from(u128::from_le_bytes(row.intent.request_id)).unwrap()
}

fn drained(drain: &mut Drain) -> Vec<Row> {
    let mut rows = Vec::new();
    drain.collect(&mut rows, ALL);
    drain.confirm(&|| {});
    rows.sort_by_key(|row| row.attempt_id);
    rows
}

/// What `kill -9` would leave behind at this instant: the mapping and the file are the same pages.
fn image(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == segment::FINISHED));
    paths.sort();
    paths
}

#[test]
fn an_attempt_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, found) = start(dir.path(), 4);
    assert_eq!(found, Recovery::default());
    let mut writer = spool.writer().unwrap();
    let open = writer.intent(&intent(1)).unwrap();
    let over = writer.intent(&intent(2)).unwrap();
    let id = over.id().0;
    over.settle(&settle(2));
    assert_eq!(drained(&mut drain), [Row { attempt_id: id, node: 7, intent: intent(2), settle: settle(2) }]);
    assert!(drained(&mut drain).is_empty());
    open.settle(&settle(1));
    assert_eq!(drained(&mut drain).len(), 1);
    assert_eq!(spool.usage().in_use, 0);
}

#[test]
fn a_dropped_slot_is_unknown_and_a_released_one_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    drop(writer.intent(&intent(1)).unwrap());
    writer.intent(&intent(2)).unwrap().release();
    let rows = drained(&mut drain);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].settle.source, Source::Unknown);
    assert_eq!(rows[0].settle.cost, intent(1).reserved_cost);
    assert_eq!(spool.usage().in_use, 0);
}

#[test]
fn a_collection_that_is_not_confirmed_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    for n in 0..100 {
        writer.intent(&intent(n)).unwrap().settle(&settle(n));
    }
    let mut rows = Vec::new();
    assert!(drain.collect(&mut rows, 99));
    assert_eq!(rows.len(), 99);
    rows.clear();
    assert!(!drain.collect(&mut rows, 100));
    assert_eq!(rows.len(), 100);
    assert_eq!(drained(&mut drain).len(), 100);
    assert_eq!(drained(&mut drain).len(), 0);
}

#[test]
fn what_was_not_drained_is_found_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    let mut under_way = Vec::new();
    for n in 0..100 {
        let slot = writer.intent(&intent(n)).unwrap();
        if n.is_multiple_of(4) { under_way.push(slot) } else { slot.settle(&settle(n)) }
    }
    let after = image(dir.path());
    let last = writer.intent(&intent(0)).unwrap().id();

    let (spool, mut drain, found) = start(after.path(), 4);
    assert_eq!((found.settled, found.unknown, found.torn, found.corrupt), (75, 25, 0, 0));
    let rows = drained(&mut drain);
    assert_eq!(rows.len(), 100);
    for row in &rows {
        let n = request(row);
        assert_eq!(row.intent, intent(n));
        if n.is_multiple_of(4) {
            assert_eq!((row.settle.source, row.settle.cost), (Source::Unknown, intent(n).reserved_cost));
        } else {
            assert_eq!(row.settle, settle(n));
        }
    }
    let mut writer = spool.writer().unwrap();
    assert!(writer.intent(&intent(0)).unwrap().id() > last);
    assert_eq!(spool.usage().segments, found.segments);
}

/// A start that dies at once, over and over, changes nothing; nor does one that dies half-way
/// through emptying slots.
#[test]
fn dying_while_recovering_or_confirming_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    let slots: Vec<_> = (0..20).map(|n| writer.intent(&intent(n)).unwrap()).collect();
    let mut now = image(dir.path());
    drop(slots);
    for _ in 0..3 {
        let (_spool, _drain, found) = start(now.path(), 4);
        assert_eq!(found.unknown, 20);
        now = image(now.path());
    }
    let (_spool, mut drain, _) = start(now.path(), 4);
    let mut rows = Vec::new();
    drain.collect(&mut rows, ALL);
    let half = std::cell::RefCell::new(None);
    drain.confirm(&|| *half.borrow_mut() = Some(image(now.path())));
    let half = half.into_inner().unwrap();
    let (_spool, mut drain, found) = start(half.path(), 4);
    assert!((1..20).contains(&found.unknown));
    let all: HashSet<u64> = rows.iter().map(|row| row.attempt_id).collect();
    assert!(drained(&mut drain).iter().all(|row| all.contains(&row.attempt_id)));
}

#[test]
fn a_long_attempt_keeps_its_slot_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    let mut long = Vec::new();
    let mut ids = HashSet::new();
    for n in 0..10_000 {
        let slot = writer.intent(&intent(n)).unwrap();
        assert!(ids.insert(slot.id()));
        if n.is_multiple_of(500) {
            long.push((n, slot));
        } else {
            slot.settle(&settle(n));
        }
        if n % 20 == 19 {
            drained(&mut drain);
            drain.maintain().unwrap();
        }
    }
    assert!(spool.usage().segments <= 3, "{:?}", spool.usage());
    drained(&mut drain);
    assert_eq!(spool.usage().in_use, 20);
    for (n, slot) in long {
        slot.settle(&settle(n));
    }
    let rows = drained(&mut drain);
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| row.settle == settle(request(row)) && request(row).is_multiple_of(500)));
}

#[test]
fn writers_on_threads_never_share_a_slot_or_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 16);
    let mut rows = Vec::new();
    std::thread::scope(|scope| {
        let spool = &spool;
        let writers = [0, 1, 2, 3_u64].map(|thread| {
            scope.spawn(move || {
                let mut writer = spool.writer().unwrap();
                let mut open = std::collections::VecDeque::new();
                for n in (thread * 10_000)..(thread * 10_000 + 5_000) {
                    loop {
                        match writer.intent(&intent(n)) {
                            Ok(slot) => break open.push_back((n, slot)),
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                    if open.len() > 20
                        && let Some((n, slot)) = open.pop_front()
                    {
                        slot.settle(&settle(n));
                    }
                }
                for (n, slot) in open {
                    slot.settle(&settle(n));
                }
            })
        });
        loop {
            let last = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            rows.extend(drained(&mut drain));
            drain.maintain().unwrap();
            if last {
                break;
            }
        }
    });
    assert_eq!(rows.len(), 20_000);
    assert_eq!(spool.usage().in_use, 0);
    assert!(rows.iter().all(|row| row.settle == settle(request(row))));
    assert_eq!(rows.iter().map(|row| row.attempt_id).collect::<HashSet<_>>().len(), 20_000);
    assert_eq!(rows.iter().map(request).collect::<HashSet<_>>().len(), 20_000);
}

#[test]
fn a_full_spool_refuses_and_goes_on_when_drained() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 2);
    let mut writer = spool.writer().unwrap();
    for n in 0..128 {
        writer.intent(&intent(n)).unwrap().settle(&settle(n));
    }
    assert_eq!(writer.intent(&intent(128)).unwrap_err(), SpoolFull::Limit);
    assert_eq!(spool.usage().full, Some(SpoolFull::Limit));
    assert_eq!(drained(&mut drain).len(), 128);
    writer.intent(&intent(128)).unwrap().settle(&settle(128));
    assert_eq!(spool.usage().full, None);
    assert_eq!(drained(&mut drain).len(), 1);
}

#[test]
fn idle_segments_go_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut drain, _) = start(dir.path(), 20);
    let mut writer = spool.writer().unwrap();
    for n in 0..1000 {
        writer.intent(&intent(n)).unwrap().settle(&settle(n));
    }
    assert_eq!(spool.usage().segments, 16);
    drained(&mut drain);
    for _ in 0..200 {
        drain.maintain().unwrap();
    }
    assert_eq!(spool.usage().segments, 2);
    assert_eq!(segment_files(dir.path()).len(), 2);
    writer.intent(&intent(1)).unwrap().settle(&settle(1));
    assert_eq!(drained(&mut drain).len(), 1);
}

#[test]
fn another_segment_size_takes_over_the_old_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    for n in 0..70 {
        writer.intent(&intent(n)).unwrap().settle(&settle(n));
    }
    let after = image(dir.path());
    let bigger = Options { segment_slots: 128, ..options(100) };
    let (spool, found) = Spool::open(after.path(), &bigger).unwrap();
    assert_eq!(found.settled, 70);
    let mut drain = spool.drain(0).unwrap();
    assert_eq!(drained(&mut drain).len(), 70);
    let mut writer = spool.writer().unwrap();
    for n in 0..100 {
        writer.intent(&intent(n)).unwrap().settle(&settle(n));
    }
    for _ in 0..8 {
        drain.maintain().unwrap();
    }
    assert_eq!(drained(&mut drain).len(), 100);
    assert!(
        segment_files(after.path()).iter().all(|path| fs::metadata(path).unwrap().len() == segment::file_bytes(128))
    );
}

#[test]
fn one_process_owns_it() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, drain, _) = start(dir.path(), 4);
    match Spool::open(dir.path(), &options(4)) {
        Err(SpoolError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    // The next one waits until the last thing that could write is gone.
    let mut writer = spool.writer().unwrap();
    let slot = writer.intent(&intent(1)).unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let patient = Options { lock_wait: Duration::from_secs(50), ..options(4) };
            Spool::open(dir.path(), &patient).unwrap().1
        });
        drop((writer, spool, drain));
        slot.settle(&settle(1));
        assert_eq!(next.join().unwrap().settled, 1);
    });
}

#[test]
fn order_and_options_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(&dir.path().join("a/b"), &options(4)).unwrap();
    assert!(matches!(spool.writer(), Err(SpoolError::Order(_))));
    let drain = spool.drain(0).unwrap();
    assert!(matches!(spool.drain(0), Err(SpoolError::Order(_))));
    let writers = [spool.writer().unwrap(), spool.writer().unwrap()];
    assert!(matches!(spool.writer(), Err(SpoolError::Options(_))));
    drop(writers);
    spool.writer().unwrap();
    drop(drain);
    let _again = spool.drain(0).unwrap();
    for bad in
        [options(1), Options { segment_slots: 8, ..options(4) }, Options { segment_slots: u32::MAX, ..options(4) }]
    {
        assert!(matches!(Spool::open(dir.path(), &bad), Err(SpoolError::Options(_))));
    }
}

#[test]
fn damaged_files_lose_only_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _drain, _) = start(dir.path(), 4);
    let mut writer = spool.writer().unwrap();
    let last = (0..64).map(|n| {
        let slot = writer.intent(&intent(n)).unwrap();
        let id = slot.id();
        slot.settle(&settle(n));
        id
    });
    let last = last.last().unwrap();
    let after = image(dir.path());
    let path = &segment_files(after.path())[0];
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xFF; 64], 0).unwrap();
    let slot = |nth: u64| 4096 + nth * slot::SLOT_BYTES as u64;
    file.write_all_at(&[0xFF; 8], slot(5) + 130).unwrap(); // in a settlement
    file.write_all_at(&[0xFF; 8], slot(9) + 40).unwrap(); // in an intent
    fs::write(after.path().join("ids"), "garbage of some length").unwrap();
    fs::write(after.path().join("0000000099.new"), "half made").unwrap();
    fs::write(after.path().join("0000000098.segment"), "").unwrap();

    let (spool, mut drain, found) = start(after.path(), 4);
    assert_eq!((found.settled, found.unknown, found.unsettled, found.corrupt), (62, 1, 1, 1));
    let rows = drained(&mut drain);
    assert_eq!(rows.len(), 63);
    assert_eq!(rows.iter().filter(|row| row.settle.source == Source::Unknown).count(), 1);
    assert_eq!(fs::read_dir(after.path()).unwrap().count(), 3);
    // The numbers' file is gone; those in use are still known.
    assert!(spool.writer().unwrap().intent(&intent(1)).unwrap().id() > last);
}

#[test]
fn another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _drain, _) = start(dir.path(), 4);
    let _writer = spool.writer().unwrap();
    let after = image(dir.path());
    let path = &segment_files(after.path())[0];
    let mut header = fs::read(path).unwrap();
    header[8] = 9;
    let sum = crc32fast::hash(&header[..24]).to_le_bytes();
    header[24..28].copy_from_slice(&sum);
    fs::write(path, &header).unwrap();
    assert!(matches!(Spool::open(after.path(), &options(4)), Err(SpoolError::Version { version: 9, .. })));
    assert_eq!(fs::read(path).unwrap(), header);
}

#[test]
fn an_empty_segment_of_an_older_version_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    drop(start(dir.path(), 4));
    let path = dir.path().join("0000000077.segment");
    let mut old = vec![0; 4096 + 256 * slot::SLOT_BYTES];
    old[..8].copy_from_slice(b"AILSPOOL");
    for (at, field) in [(8, 1_u32), (12, slot::SLOT_BYTES as u32), (16, 77), (20, 256)] {
        old[at..at + 4].copy_from_slice(&field.to_le_bytes());
    }
    let sum = crc32fast::hash(&old[..24]).to_le_bytes();
    old[24..28].copy_from_slice(&sum);
    fs::write(&path, &old).unwrap();
    drop(start(dir.path(), 4));
    assert!(!path.exists());
    // One that holds something is left for the version that can read it.
    old[4096 + 5 * slot::SLOT_BYTES] = 1;
    fs::write(&path, &old).unwrap();
    assert!(matches!(Spool::open(dir.path(), &options(4)), Err(SpoolError::Version { version: 1, .. })));
    assert!(path.exists());
}

#[test]
fn numbers_grow_across_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..5 {
        let (spool, _drain, _) = start(dir.path(), 4);
        let mut writers = [spool.writer().unwrap(), spool.writer().unwrap()];
        let mut seen = HashSet::new();
        for n in 0..300 {
            let id = writers[n % 2].intent(&intent(1)).map(|slot| {
                let id = slot.id().0;
                slot.release();
                id
            });
            let Ok(id) = id else { break };
            assert!(id > last && seen.insert(id) && i64::try_from(id).is_ok());
        }
        last = seen.into_iter().max().unwrap();
        assert!(round < 5);
    }
    let (spool, _) = Spool::open(dir.path(), &options(4)).unwrap();
    let _drain = spool.drain(last + 10_000_000).unwrap();
    assert!(spool.writer().unwrap().intent(&intent(1)).unwrap().id().0 > last + 10_000_000);
}
