//! The ledger against its own rows: sums, repetition, failing databases, lost files, names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::spool::{self, Intent, Row, Settle, Source, Spool, SpoolFull, Writer};

const SOON: Duration = Duration::from_secs(30);
const DAY_US: i64 = 86_400_000_000;

struct Bench {
    ledger: Ledger,
    spool: Spool,
    dir: TempDir,
}

/// What a wrapped sink does instead of its work.
#[derive(Clone, Copy)]
enum Fault {
    /// Fails without writing.
    Refuse,
    /// Writes and fails all the same: the answer was lost.
    Mislead,
}

struct Faulty {
    inner: Box<dyn Sink>,
    left: Arc<AtomicU32>,
    fault: Fault,
}

impl Sink for Faulty {
    fn write(&mut self, rows: &[Row]) -> Result<Written, SinkError> {
        if self.left.load(Ordering::Relaxed) == 0 {
            return self.inner.write(rows);
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        if matches!(self.fault, Fault::Mislead) {
            self.inner.write(rows)?;
        }
        Err(SinkError("the test says no".to_owned()))
    }
}

fn spool_in(dir: &Path) -> Spool {
    let options = spool::Options { segment_slots: 64, max_bytes: 100_000, node: 9, lock_wait: SOON };
    Spool::open(&dir.join("spool"), &options).unwrap().0
}

fn options() -> Options {
    Options { flush: Duration::from_millis(5), sync: Duration::from_millis(20), probe: Probe::default() }
}

fn bench_in(dir: TempDir) -> Bench {
    let spool = spool_in(dir.path());
    let ledger = Ledger::open(&dir.path().join("ledger.db"), &spool, &options()).unwrap();
    Bench { ledger, spool, dir }
}

fn bench() -> Bench {
    bench_in(tempfile::tempdir().unwrap())
}

fn faulty(fault: Fault, times: u32) -> (Bench, Arc<AtomicU32>) {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(dir.path());
    let left = Arc::new(AtomicU32::new(times));
    let wrap = |inner| Box::new(Faulty { inner, left: Arc::clone(&left), fault }) as Box<dyn Sink>;
    let ledger = Ledger::open_with(&dir.path().join("ledger.db"), &spool, &options(), wrap).unwrap();
    (Bench { ledger, spool, dir }, left)
}

fn spend(writer: &mut Writer, key: u32, cost: i64) {
    let intent = Intent { key, at_us: 5 * DAY_US, ..Intent::default() };
    writer.intent(&intent).unwrap().settle(&Settle { status: 200, input: 1, cost, ..Settle::default() });
}

/// Waits for what the ledger's thread will do in its own time.
fn until(done: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap()
}

/// (day, key, org, team, user, project, customer, tags, model, deployment, source) → (requests, errors, tokens and units, cost)
type Sums = BTreeMap<[i64; 11], ([i64; 10], i128)>;

/// The sums of the rows, one by one, and those of the roll-up.
fn both_sums(connection: &Connection) -> (Sums, Sums) {
    let mut rows = Sums::new();
    let mut query = connection
        .prepare(
            "SELECT at_us, key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, source, 1, status >= 400 OR class != 0, input, output, \
             cache_read, cache_write, reasoning, audio_input, audio_output, units, cost_pico FROM attempt",
        )
        .unwrap();
    let mut cursor = query.query([]).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        let mut by: [i64; 11] = std::array::from_fn(|n| row.get(n).unwrap());
        by[0] = by[0].div_euclid(DAY_US);
        let sums = rows.entry(by).or_default();
        for (n, sum) in sums.0.iter_mut().enumerate() {
            *sum += row.get::<_, i64>(11 + n).unwrap();
        }
        sums.1 += i128::from(row.get::<_, i64>(21).unwrap());
    }
    let mut rollup = Sums::new();
    let mut query = connection.prepare("SELECT * FROM rollup").unwrap();
    let mut cursor = query.query([]).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        let by: [i64; 11] = std::array::from_fn(|n| row.get(n).unwrap());
        let counts: [i64; 10] = std::array::from_fn(|n| row.get(11 + n).unwrap());
        let (usd, pico): (i64, i64) = (row.get(21).unwrap(), row.get(22).unwrap());
        assert!((0..1_000_000_000_000).contains(&pico));
        rollup.insert(by, (counts, i128::from(usd) * 1_000_000_000_000 + i128::from(pico)));
    }
    (rows, rollup)
}

pub(super) fn assert_sums(connection: &Connection) {
    let (rows, rollup) = both_sums(connection);
    assert_eq!(rows, rollup);
}

#[test]
fn every_column_holds_its_field() {
    let bench = bench();
    let intent = Intent {
        request_id: *b"0123456789abcdef",
        trace_id: *b"fedcba9876543210",
        at_us: 1_800_000_000_123_456,
        reserved_cost: 99,
        key: 1,
        org: 2,
        model: 3,
        deployment: 4,
        price: 5,
        team: 22,
        user: 23,
        project: 24,
        customer: 25,
        tags: 26,
        question: 27,
        decision: 28,
        est_input: 6,
        operation: 7,
        flags: 8,
        attempt_no: 9,
    };
    let settle = Settle {
        source: Source::Estimated,
        class: 10,
        status: 503,
        input: 11,
        output: 12,
        cache_read: 13,
        cache_write: 14,
        reasoning: 15,
        audio_input: 16,
        audio_output: 17,
        units: u32::MAX,
        cost: -18,
        duration_us: 19,
        ttft_us: 20,
        overhead_us: 21,
    };
    let slot = bench.spool.writer().unwrap().intent(&intent).unwrap();
    let id = slot.id().0.cast_signed();
    slot.settle(&settle);
    bench.ledger.flush(SOON).unwrap();
    let reader = bench.ledger.reader().unwrap();
    let names = "attempt_id, node, org_id, key_id, model_id, deployment_id, price_id, operation, attempt_no, flags, \
                 source, status, class, input, output, cache_read, cache_write, reasoning, audio_input, audio_output, \
                 units, cost_pico, at_us, duration_us, ttft_us, overhead_us, team_id, user_id, project_id, \
                 customer_id, tags_id, question, decision";
    let row: [i64; 33] = reader
        .query_row(&format!("SELECT {names} FROM attempt"), [], |row| Ok(std::array::from_fn(|n| row.get(n).unwrap())))
        .unwrap();
    let units = i64::from(u32::MAX);
    let wanted = [
        id,
        9,
        2,
        1,
        3,
        4,
        5,
        7,
        9,
        8,
        1,
        503,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        units,
        -18,
        intent.at_us,
        19,
        20,
        21,
        22,
        23,
        24,
        25,
        26,
        27,
        28,
    ];
    assert_eq!(row, wanted);
    let blobs: (Vec<u8>, Vec<u8>) =
        reader.query_row("SELECT request_id, trace_id FROM attempt", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(blobs, (intent.request_id.to_vec(), intent.trace_id.to_vec()));
    assert_sums(&reader);
    assert!(reader.execute("DELETE FROM attempt", []).is_err());
}

#[test]
fn no_trace_is_null() {
    let bench = bench();
    spend(&mut bench.spool.writer().unwrap(), 1, 1);
    bench.ledger.flush(SOON).unwrap();
    let trace: Option<Vec<u8>> =
        bench.ledger.reader().unwrap().query_row("SELECT trace_id FROM attempt", [], |row| row.get(0)).unwrap();
    assert_eq!(trace, None);
}

#[test]
fn a_row_that_comes_again_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("ledger.db")).unwrap());
    let mut sink = sink::Sqlite { store: Arc::clone(&store), probe: Probe::default() };
    let row = |id| Row::unknown(id, 1, Intent { reserved_cost: 1 << 60, ..Intent::default() });
    let (a, b, c) = (row(1), row(2), row(3));
    assert_eq!(sink.write(&[a, b]).unwrap(), Written { inserted: 2, known: 0 });
    assert_eq!(sink.write(&[a, b, c]).unwrap(), Written { inserted: 1, known: 2 });
    assert_eq!(sink.write(&[c, c]).unwrap(), Written { inserted: 0, known: 2 });
    assert_eq!(store.last_id().unwrap(), 3);
    let reader = store.reader().unwrap();
    assert_eq!(count(&reader), 3);
    assert_sums(&reader);
}

#[test]
fn sums_are_exact_beyond_64_bits_and_below_zero() {
    let bench = bench();
    let mut writer = bench.spool.writer().unwrap();
    let mut wanted = BTreeMap::new();
    for round in 0..40_i64 {
        for (key, cost) in [(1, i64::MAX - round), (2, i64::MIN + round), (3, -1), (4, 999_999_999_999)] {
            spend(&mut writer, key, cost);
            *wanted.entry(key).or_insert(0) += i128::from(cost);
        }
        bench.ledger.flush(SOON).unwrap();
    }
    let totals = bench.ledger.totals(DictKind::Key).unwrap();
    assert_eq!(totals.into_iter().collect::<BTreeMap<_, _>>(), wanted);
    assert_eq!(bench.ledger.totals(DictKind::Org).unwrap()[&0], wanted.values().sum::<i128>());
    assert!(matches!(bench.ledger.totals(DictKind::Price), Err(LedgerError::NotSummed(_))));
    assert_sums(&bench.ledger.reader().unwrap());
}

#[test]
fn a_failing_database_loses_nothing() {
    let (bench, left) = faulty(Fault::Refuse, u32::MAX);
    let mut writer = bench.spool.writer().unwrap();
    for n in 0..50 {
        spend(&mut writer, 1, n);
    }
    until(|| !bench.ledger.health().is_good());
    let error = bench.ledger.flush(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("the test says no"), "{error}");
    let health = bench.ledger.health();
    assert!(!health.is_good() && health.failing_for.is_some());
    assert!(bench.ledger.stats().failures > 0);
    // What waits counts already.
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&1], (0..50).sum::<i128>());
    left.store(0, Ordering::Relaxed);
    bench.ledger.flush(SOON).unwrap();
    assert!(bench.ledger.health().is_good());
    assert_eq!(count(&bench.ledger.reader().unwrap()), 50);
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&1], (0..50).sum::<i128>());
}

#[test]
fn it_tries_again_by_itself() {
    let (bench, _) = faulty(Fault::Refuse, 3);
    spend(&mut bench.spool.writer().unwrap(), 1, 1);
    until(|| bench.ledger.stats().rows > 0);
    assert_eq!(bench.ledger.stats().failures, 3);
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    let (bench, _) = faulty(Fault::Mislead, 1);
    let mut writer = bench.spool.writer().unwrap();
    for _ in 0..10 {
        spend(&mut writer, 1, 7);
    }
    until(|| bench.ledger.stats().failures > 0);
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&1], 70);
    bench.ledger.flush(SOON).unwrap();
    assert!(bench.ledger.stats().known > 0);
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&1], 70);
    assert_sums(&bench.ledger.reader().unwrap());
}

#[test]
fn a_full_spool_refuses_until_the_database_is_back() {
    let (bench, left) = faulty(Fault::Refuse, u32::MAX);
    let mut writer = bench.spool.writer().unwrap();
    let mut accepted = 0;
    let full = loop {
        match writer.intent(&Intent::default()) {
            Ok(slot) => slot.settle(&Settle::default()),
            Err(full) => break full,
        }
        accepted += 1;
    };
    assert_eq!((full, bench.spool.usage().full), (SpoolFull::Limit, Some(SpoolFull::Limit)));
    left.store(0, Ordering::Relaxed);
    bench.ledger.flush(SOON).unwrap();
    spend(&mut writer, 1, 1);
    bench.ledger.flush(SOON).unwrap();
    assert_eq!(count(&bench.ledger.reader().unwrap()), accepted + 1);
}

#[test]
fn a_lock_held_by_another_program_is_waited_for() {
    let bench = bench();
    let other = Connection::open(bench.dir.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    spend(&mut bench.spool.writer().unwrap(), 1, 5);
    assert!(bench.ledger.flush(Duration::from_millis(10)).is_err());
    until(|| bench.ledger.health().error.is_some_and(|error| error.contains("locked")));
    other.execute_batch("ROLLBACK").unwrap();
    bench.ledger.flush(SOON).unwrap();
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&1], 5);
}

#[test]
fn names_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let bench = bench_in(dir);
    let key = bench.ledger.intern(DictKind::Key, "a").unwrap();
    assert!(key > 0);
    assert_eq!(bench.ledger.intern(DictKind::Key, "a").unwrap(), key);
    let model = bench.ledger.intern(DictKind::Model, "a").unwrap();
    assert_ne!(model, key);
    let names = [(DictKind::Key, "b"), (DictKind::Key, "a"), (DictKind::Org, "ö"), (DictKind::Key, "b")];
    let ids = bench.ledger.intern_all(&names).unwrap();
    assert_eq!((ids[0], ids[1]), (ids[3], key));
    assert_eq!(bench.ledger.lookup(DictKind::Org, "ö"), Some(ids[2]));
    assert_eq!(bench.ledger.lookup(DictKind::Org, "a"), None);
    assert_eq!(bench.ledger.text(ids[0]).as_deref(), Some("b"));
    assert_eq!(bench.ledger.text(0), None);

    let Bench { ledger, spool, dir } = bench;
    ledger.close(SOON).unwrap();
    ledger.close(SOON).unwrap();
    drop((ledger, spool));
    let bench = bench_in(dir);
    assert_eq!(bench.ledger.intern_all(&names).unwrap(), ids);
}

#[test]
fn names_asked_for_at_once_get_one_number() {
    let bench = bench();
    let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let ask = || (0..50).map(|n| bench.ledger.intern(DictKind::Key, &format!("key{n}")).unwrap()).collect();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|one| one == &ids[0]));
}

/// The file was removed while the spool held attempts: nobody else is charged for them.
#[test]
fn a_lost_ledger_does_not_blame_others() {
    let (bench, _) = faulty(Fault::Refuse, u32::MAX);
    let mut writer = bench.spool.writer().unwrap();
    let names: Vec<String> = (0..5).map(|n| format!("key{n}")).collect();
    let ids: Vec<u32> = names.iter().map(|name| bench.ledger.intern(DictKind::Key, name).unwrap()).collect();
    for id in &ids {
        spend(&mut writer, *id, 3);
    }
    drop(writer);
    let Bench { ledger, spool, dir } = bench;
    drop((ledger, spool));
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    let bench = bench_in(dir);
    assert_eq!(bench.ledger.totals(DictKind::Key).unwrap()[&ids[4]], 3);
    assert_eq!(bench.ledger.text(ids[4]).as_deref(), Some(&*format!("#{}", ids[4])));
    for n in 0..10 {
        assert!(bench.ledger.intern(DictKind::Key, &format!("other{n}")).unwrap() > ids[4]);
    }
}

#[test]
fn another_ledger_for_the_same_spool_is_refused() {
    let bench = bench();
    let again = Ledger::open(&bench.dir.path().join("second.db"), &bench.spool, &options());
    assert!(matches!(again, Err(LedgerError::Spool(_))));
    let Bench { ledger, spool, dir } = bench;
    drop(ledger);
    Ledger::open(&dir.path().join("ledger.db"), &spool, &options()).unwrap();
}

#[test]
fn a_file_that_is_no_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    std::fs::write(&path, "this is not a database, and long enough to tell").unwrap();
    let spool = spool_in(dir.path());
    assert!(matches!(Ledger::open(&path, &spool, &options()), Err(LedgerError::Sqlite(_))));
    assert!(matches!(Ledger::open(&dir.path().join("no/such"), &spool, &options()), Err(LedgerError::Open { .. })));
}

#[test]
fn the_probe_passes_every_point_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(dir.path());
    let passed = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&passed);
    let options = Options { flush: SOON, probe: Probe::new(move |point| note.lock().push(point)), ..options() };
    let ledger = Ledger::open(&dir.path().join("ledger.db"), &spool, &options).unwrap();
    spend(&mut spool.writer().unwrap(), 1, 1);
    passed.lock().clear();
    ledger.flush(SOON).unwrap();
    let passed = passed.lock();
    assert!(passed.windows(Point::ALL.len()).any(|some| some == Point::ALL), "{passed:?}");
}

/// What counters learn equals what the rows say: whole days by their sums, the rest attempt by attempt, with what still
/// waits in the spool.
#[test]
fn the_past_is_that_of_the_rows() {
    let bench = bench();
    let mut writer = bench.spool.writer().unwrap();
    let mut attempts = Vec::new();
    for n in 0..60_i64 {
        let at_us = 100 * DAY_US + n * DAY_US / 12;
        let intent = Intent { key: 1 + (n % 3) as u32, team: 7, tags: 9, at_us, ..Intent::default() };
        let settle = Settle { input: 10, cache_read: 1, output: 5, cost: 1_000 + n, ..Settle::default() };
        loop {
            match writer.intent(&intent) {
                Ok(slot) => break slot.settle(&settle),
                Err(SpoolFull::Limit) => bench.ledger.flush(SOON).unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
        attempts.push((intent, settle));
        if n == 50 {
            bench.ledger.flush(SOON).unwrap();
        }
    }
    for (since, exact) in
        [(0, None), (102 * DAY_US, None), (i64::MAX / 2, Some(101 * DAY_US + 5)), (0, Some(103 * DAY_US))]
    {
        let mut seen: [(u64, u64, i128); 2] = Default::default();
        bench
            .ledger
            .past(since, exact, &mut |past| {
                assert_eq!((past.team, past.tags), (7, 9));
                let sums = &mut seen[usize::from(past.day)];
                *sums = (sums.0 + past.attempts, sums.1 + past.input + past.output, sums.2 + past.cost);
            })
            .unwrap();
        let from = |since: i64| {
            let kept = attempts.iter().filter(|(intent, _)| intent.at_us >= since);
            kept.fold((0, 0, 0), |sum: (u64, u64, i128), (_, settle)| {
                (sum.0 + 1, sum.1 + 16, sum.2 + i128::from(settle.cost))
            })
        };
        assert_eq!(seen[1], from(since));
        assert_eq!(seen[0], exact.map_or((0, 0, 0), from));
    }
}
