//! Money across `kill -9`: a child process spends as fast as it can and keeps a journal of its own;
//! it is killed at random instants and at every point of the drain; then the ledger must agree with
//! the journal: nothing missing, nothing extra, nothing twice, sums equal to rows.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ailink_core::ledger::{self, DictKind, Ledger, Point, Probe};
use ailink_core::spool::{self, Intent, Recovery, Settle, Slot, Source, Spool, SpoolError, SpoolFull, Writer};

const LONG: Duration = Duration::from_secs(100);
const THREADS: u64 = 2;

/// What the journal says about an attempt: one byte, written before and after each step.
mod step {
    pub(super) const TRY: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const SETTLING: u8 = 3;
    pub(super) const SETTLED: u8 = 4;
    pub(super) const RELEASING: u8 = 5;
    pub(super) const RELEASED: u8 = 6;
    pub(super) const DROPPED: u8 = 7;
}

fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}

/// What attempt `n` of `thread` is, by arithmetic, so that both processes know it.
fn attempt(thread: u64, n: u64) -> (Intent, Settle) {
    let r = mix(thread << 48 | n);
    let intent = Intent {
        request_id: (u128::from(thread) << 64 | u128::from(n)).to_le_bytes(),
        at_us: 1_800_000_000_000_000 + n.cast_signed() * 1_000_000,
        reserved_cost: (r >> 20).cast_signed(),
        key: (r % 7) as u32 + 1,
        org: (r % 2) as u32,
        model: (r % 3) as u32,
        deployment: (r % 5) as u32,
        est_input: (r >> 40) as u32,
        attempt_no: 1,
        ..Intent::default()
    };
    let settle = Settle {
        source: if r & 1 == 0 { Source::Reported } else { Source::Estimated },
        status: if r & 2 == 0 { 200 } else { 500 },
        input: (r >> 32) as u32,
        output: r as u32,
        cost: (r >> 21).cast_signed(),
        ..Settle::default()
    };
    (intent, settle)
}

fn open(dir: &Path, lock_wait: Duration, probe: Probe) -> Result<(Spool, Ledger, Recovery), SpoolError> {
    let options = spool::Options { segment_slots: 256, max_bytes: 16 * 60_000, node: 1, lock_wait };
    let (spool, found) = Spool::open(&dir.join("spool"), &options)?;
    let options = ledger::Options { flush: Duration::from_millis(2), sync: Duration::from_millis(10), probe };
    let ledger = Ledger::open(&dir.join("ledger.db"), &spool, &options).unwrap();
    Ok((spool, ledger, found))
}

// ---- the child ---------------------------------------------------------------------------------

/// Not a test: the body of the child process.
#[test]
#[ignore = "is started by the others"]
fn child() {
    let Some(dir) = std::env::var_os("SPOOL_CRASH_DIR") else { return };
    let dir = Path::new(&dir);
    let probe = match std::env::var("SPOOL_CRASH_POINT") {
        Ok(wanted) => {
            let left = AtomicU64::new(std::env::var("SPOOL_CRASH_NTH").unwrap().parse().unwrap());
            Probe::new(move |point: Point| {
                if format!("{point:?}") == wanted && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    kill_this_process();
                }
            })
        }
        Err(_) => Probe::default(),
    };
    let (spool, ledger, _) = open(dir, LONG, probe).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let spool = &spool;
            scope.spawn(move || spend(spool, dir, thread));
        }
    });
    drop(ledger);
}

/// The drain stops here, the writers until the signal comes.
fn kill_this_process() {
    let kill = format!("kill -9 {}", std::process::id());
    Command::new("sh").args(["-c", &kill]).status().unwrap();
    unreachable!("kill -9 was survived");
}

/// Spends until killed.
fn spend(spool: &Spool, dir: &Path, thread: u64) {
    let mut options = OpenOptions::new();
    let path = dir.join(format!("journal{thread}"));
    let journal = options.create(true).truncate(false).write(true).open(path).unwrap();
    let note = |n: u64, step: u8| journal.write_all_at(&[step], n).unwrap();
    let mut writer = spool.writer().unwrap();
    let mut under_way: VecDeque<(u64, Slot)> = VecDeque::new();
    for n in journal.metadata().unwrap().len().. {
        let (intent, _) = attempt(thread, n);
        note(n, step::TRY);
        let slot = loop {
            match writer.intent(&intent) {
                Ok(slot) => break slot,
                Err(_) => std::thread::yield_now(),
            }
        };
        note(n, step::OPEN);
        under_way.push_back((n, slot));
        if under_way.len() as u64 > mix(n) % 60 {
            let at = mix(n + 1) as usize % under_way.len();
            let (n, slot) = under_way.swap_remove_back(at).unwrap();
            finish(n, slot, &attempt(thread, n).1, &note);
        }
    }
}

fn finish(n: u64, slot: Slot, settle: &Settle, note: &impl Fn(u64, u8)) {
    match mix(n + 2) % 32 {
        0 => {
            note(n, step::RELEASING);
            slot.release();
            note(n, step::RELEASED);
        }
        1 => {
            drop(slot);
            note(n, step::DROPPED);
        }
        _ => {
            note(n, step::SETTLING);
            slot.settle(settle);
            note(n, step::SETTLED);
        }
    }
}

// ---- the parent --------------------------------------------------------------------------------

fn start_child(dir: &Path, point: Option<(Point, u64)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("SPOOL_CRASH_DIR", dir).stdout(Stdio::null()).stderr(Stdio::inherit());
    if let Some((point, nth)) = point {
        command.env("SPOOL_CRASH_POINT", format!("{point:?}")).env("SPOOL_CRASH_NTH", nth.to_string());
    }
    command.spawn().unwrap()
}

fn journal_len(dir: &Path) -> u64 {
    fs::metadata(dir.join("journal0")).map_or(0, |journal| journal.len())
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

#[derive(Debug, Default)]
struct Tally {
    attempts: u64,
    rows: u64,
    settled: u64,
    unknown: u64,
    /// Attempts cut off between two notes, of which both outcomes are right.
    either: u64,
}

struct Entry {
    source: i64,
    cost: i64,
    fields: [i64; 9],
}

/// Compares the ledger with the journal, to the last unit.
fn verify(dir: &Path, ledger: &Ledger) -> Tally {
    let reader = ledger.reader().unwrap();
    let mut rows = read_rows(&reader);
    let mut tally = Tally { rows: rows.len() as u64, ..Tally::default() };
    for thread in 0..THREADS {
        let journal = fs::read(dir.join(format!("journal{thread}"))).unwrap_or_default();
        for (n, step) in (0..).zip(journal) {
            tally.attempts += 1;
            let row = rows.remove(&(u128::from(thread) << 64 | u128::from(n)));
            let (intent, settle) = attempt(thread, n);
            let unknown = |row: &Entry| row.source == 2 && row.cost == intent.reserved_cost;
            let settled = |row: &Entry| row.source == settle.source as i64 && row.cost == settle.cost;
            if let Some(row) = &row {
                check_fields(row, &intent, &settle);
            }
            tally.either += u64::from(matches!(step, step::TRY | step::SETTLING | step::RELEASING));
            let right = match (step, &row) {
                (step::TRY | step::RELEASING | step::RELEASED, None) => true,
                (step::TRY | step::OPEN | step::RELEASING | step::DROPPED, Some(row)) => unknown(row),
                (step::SETTLING, Some(row)) => settled(row) || unknown(row),
                (step::SETTLED, Some(row)) => settled(row),
                _ => false,
            };
            let found = row.as_ref().map(|row| (row.source, row.cost));
            assert!(right, "attempt {n} of thread {thread}: journal says {step}, ledger has {found:?}");
            if let Some(row) = row {
                *(if row.source == 2 { &mut tally.unknown } else { &mut tally.settled }) += 1;
            }
        }
    }
    assert!(rows.is_empty(), "{} rows that nobody asked for", rows.len());
    verify_sums(ledger, &reader);
    tally
}

fn read_rows(reader: &rusqlite::Connection) -> HashMap<u128, Entry> {
    let mut rows = HashMap::new();
    let mut query = reader
        .prepare(
            "SELECT request_id, source, cost_pico, at_us, key_id, org_id, model_id, deployment_id, input, output, \
             status, node FROM attempt",
        )
        .unwrap();
    let mut cursor = query.query([]).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        let request = u128::from_le_bytes(row.get::<_, [u8; 16]>(0).unwrap());
        let fields = std::array::from_fn(|n| row.get(3 + n).unwrap());
        let entry = Entry { source: row.get(1).unwrap(), cost: row.get(2).unwrap(), fields };
        assert!(rows.insert(request, entry).is_none(), "request {request:x} has two rows");
    }
    rows
}

fn check_fields(row: &Entry, intent: &Intent, settle: &Settle) {
    let (input, output, status) =
        if row.source == 2 { (intent.est_input, 0, 0) } else { (settle.input, settle.output, settle.status) };
    let wanted = [
        intent.at_us,
        intent.key.into(),
        intent.org.into(),
        intent.model.into(),
        intent.deployment.into(),
        input.into(),
        output.into(),
        status.into(),
        1,
    ];
    assert_eq!(row.fields, wanted);
}

fn verify_sums(ledger: &Ledger, reader: &rusqlite::Connection) {
    type Sums = BTreeMap<[i64; 6], ([i64; 4], i128)>;
    let read = |sql: &str| {
        let mut sums = Sums::new();
        let mut query = reader.prepare(sql).unwrap();
        let mut cursor = query.query([]).unwrap();
        while let Some(row) = cursor.next().unwrap() {
            let by = std::array::from_fn(|n| row.get(n).unwrap());
            let sum = sums.entry(by).or_default();
            for (n, sum) in sum.0.iter_mut().enumerate() {
                *sum += row.get::<_, i64>(6 + n).unwrap();
            }
            let (usd, pico): (i64, i64) = (row.get(10).unwrap(), row.get(11).unwrap());
            sum.1 += i128::from(usd) * 1_000_000_000_000 + i128::from(pico);
        }
        sums
    };
    let rows = read(
        "SELECT at_us / 86400000000, key_id, org_id, model_id, deployment_id, source, 1, status >= 400, input, output, \
         0, cost_pico FROM attempt",
    );
    let rollup = read(
        "SELECT day, key_id, org_id, model_id, deployment_id, source, requests, errors, input, output, cost_usd, \
         cost_pico FROM rollup",
    );
    assert!(rows == rollup, "roll-ups differ from rows");
    let mut by_key: HashMap<u32, i128> = HashMap::new();
    for (by, (_, cost)) in rows {
        *by_key.entry(u32::try_from(by[1]).unwrap()).or_default() += cost;
    }
    assert_eq!(ledger.totals(DictKind::Key).unwrap(), by_key);
    let intact: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(intact, "ok");
}

#[test]
fn fifty_kills_at_random_lose_and_invent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut found = Recovery::default();
    for seed in 0..50 {
        let before = journal_len(dir.path());
        let mut child = start_child(dir.path(), None);
        // One in five dies at any time from its start on, the others at work.
        let started = Instant::now();
        while seed % 5 != 0 && journal_len(dir.path()) == before {
            assert!(started.elapsed() < LONG);
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(mix(seed) % 40_000));
        if seed % 4 == 3 {
            // The next owner is waiting already when the old one dies.
            let (spool, ledger, recovery) = std::thread::scope(|scope| {
                let next = scope.spawn(|| open(dir.path(), LONG, Probe::default()).unwrap());
                child.kill().unwrap();
                next.join().unwrap()
            });
            found.settled += recovery.settled;
            found.unknown += recovery.unknown;
            assert_eq!((recovery.torn, recovery.corrupt, recovery.unsettled), (0, 0, 0));
            drop(spool);
            verify(dir.path(), &ledger);
        } else {
            child.kill().unwrap();
        }
        assert!(was_killed(child.wait().unwrap()));
    }
    let (_spool, ledger, _) = open(dir.path(), LONG, Probe::default()).unwrap();
    let tally = verify(dir.path(), &ledger);
    eprintln!("50 kills: {tally:?}, found by this process: {} settled, {} unknown", found.settled, found.unknown);
    assert!(tally.settled > 1000 && tally.unknown > 100, "the child hardly ran: {tally:?}");
}

#[test]
fn a_kill_at_every_point_of_the_drain_loses_and_invents_nothing() {
    for point in Point::ALL {
        let dir = tempfile::tempdir().unwrap();
        for nth in [1, 2, 3, 7, 20] {
            let mut child = start_child(dir.path(), Some((point, nth)));
            assert!(was_killed(child.wait().unwrap()));
        }
        let (_spool, ledger, _) = open(dir.path(), LONG, Probe::default()).unwrap();
        let known = ledger.stats().known;
        let tally = verify(dir.path(), &ledger);
        eprintln!("{point:?}: {tally:?}, {known} came again");
        match point {
            Point::Committed => assert!(known > 0),
            // Of a single slot, half is all.
            Point::Confirming => {}
            _ => assert_eq!(known, 0, "{point:?}"),
        }
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_child(dir.path(), None);
    let started = Instant::now();
    while !dir.path().join("journal0").exists() {
        assert!(started.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(1));
    }
    match open(dir.path(), Duration::ZERO, Probe::default()) {
        Err(SpoolError::Locked { pid, .. }) => assert_eq!(pid, child.id().to_string()),
        other => panic!("{:?}", other.map(|_| ())),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path(), LONG, Probe::default()).unwrap();
}

// ---- a full disk -------------------------------------------------------------------------------

/// A small file system of its own, if this process may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self(dir);
        disk.mount(&format!("size={size}")).then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

fn on_small_disk(dir: &Path) -> (Spool, Ledger) {
    let options = spool::Options { segment_slots: 1024, max_bytes: 1 << 30, node: 1, lock_wait: LONG };
    let (spool, _) = Spool::open(&dir.join("spool"), &options).unwrap();
    let probe = Probe::default();
    let options = ledger::Options { flush: Duration::from_millis(2), sync: Duration::from_millis(10), probe };
    let ledger = Ledger::open(&dir.join("ledger.db"), &spool, &options).unwrap();
    (spool, ledger)
}

/// Spends until refused for good; returns how many attempts were accepted.
fn spend_until_full(spool: &Spool, writer: &mut Writer, ledger: &Ledger) -> u64 {
    let mut accepted = 0;
    loop {
        let (intent, settle) = attempt(0, accepted);
        match writer.intent(&intent) {
            Ok(slot) => {
                slot.settle(&settle);
                accepted += 1;
            }
            Err(full) => {
                assert_eq!(full, SpoolFull::Disk);
                // While the ledger still gets on, there will be slots again.
                let stuck = ledger.flush(Duration::from_millis(300));
                if stuck.is_err_and(|error| error.to_string().contains("full")) && spool.usage().full == Some(full) {
                    return accepted;
                }
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_new_attempts_and_keeps_the_old_ones() {
    let Some(disk) = SmallDisk::new("4m") else {
        eprintln!("skipped: no mount permitted here");
        return;
    };
    let dir = disk.0.path();
    let (spool, ledger) = on_small_disk(dir);
    let mut writer = spool.writer().unwrap();
    let accepted = spend_until_full(&spool, &mut writer, &ledger);
    assert!(accepted > 3000, "{accepted}");
    assert!(!ledger.health().is_good());

    assert!(disk.mount("remount,size=64m"));
    ledger.flush(LONG).unwrap();
    assert!(ledger.health().is_good());
    for n in accepted..accepted + 5000 {
        let (intent, settle) = attempt(0, n);
        let slot = loop {
            match writer.intent(&intent) {
                Ok(slot) => break slot,
                Err(_) => std::thread::yield_now(),
            }
        };
        slot.settle(&settle);
    }
    ledger.flush(LONG).unwrap();
    fs::write(dir.join("journal0"), vec![step::SETTLED; accepted as usize + 5000]).unwrap();
    let tally = verify(dir, &ledger);
    assert_eq!(tally.rows, accepted + 5000);
    eprintln!("full disk: {accepted} attempts accepted, all in the ledger after space returned");
}

#[test]
fn a_disk_full_from_the_start_lets_the_program_start_and_wait() {
    let Some(disk) = SmallDisk::new("4m") else {
        eprintln!("skipped: no mount permitted here");
        return;
    };
    let dir = disk.0.path();
    // Once started with space, so that the database's own files exist.
    let (spool, ledger) = on_small_disk(dir);
    let ballast = dir.join("ballast");
    let filler = File::create(&ballast).unwrap();
    let mut at = 0;
    while filler.write_at(&[1; 4096], at).is_ok_and(|written| written == 4096) {
        at += 4096;
    }
    let mut writer = spool.writer().unwrap();
    assert_eq!(writer.intent(&attempt(0, 0).0).unwrap_err(), SpoolFull::Disk);
    drop(filler);
    fs::remove_file(ballast).unwrap();
    let started = Instant::now();
    let slot = loop {
        match writer.intent(&attempt(0, 0).0) {
            Ok(slot) => break slot,
            Err(_) => assert!(started.elapsed() < LONG),
        }
        std::thread::yield_now();
    };
    slot.settle(&attempt(0, 0).1);
    ledger.flush(LONG).unwrap();
    fs::write(dir.join("journal0"), [step::SETTLED]).unwrap();
    assert_eq!(verify(dir, &ledger).rows, 1);
}
