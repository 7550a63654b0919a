//! What money costs per request: nanoseconds on the hot path, microseconds in the drain.
//!
//! `cargo bench --bench spool`; `SPOOL_BENCH_DIR` says where the files go (default: the target directory's disk).
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ailink_core::ledger::{self, DictKind, Ledger};
use ailink_core::spool::{self, Intent, Settle, Slot, Source, Spool, Writer};
use rustix::time::{ClockId, clock_gettime};

const LONG: Duration = Duration::from_secs(100);

fn open(dir: &Path, flush: Duration, sync: Duration) -> (Spool, Ledger) {
    let options = spool::Options { segment_slots: 4096, max_bytes: 64 << 20, node: 1, lock_wait: LONG };
    let (spool, _) = Spool::open(&dir.join("spool"), &options).unwrap();
    let options = ledger::Options { flush, sync, probe: ledger::Probe::default() };
    let ledger = Ledger::open(&dir.join("ledger.db"), &spool, &options).unwrap();
    (spool, ledger)
}

fn attempt(n: u64, keys: u64) -> (Intent, Settle) {
    let intent = Intent {
        request_id: u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes(),
        at_us: 1_800_000_000_000_000 + n.cast_signed() * 50,
        reserved_cost: 5_000_000_000,
        key: (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u32 % keys as u32 + 1,
        org: 1,
        model: n as u32 % 5 + 1,
        deployment: n as u32 % 5 + 11,
        price: 3,
        est_input: 700,
        operation: 1,
        flags: 1,
        attempt_no: 1,
        ..Intent::default()
    };
    let settle = Settle {
        source: Source::Reported,
        status: 200,
        input: 712,
        output: 180 + n as u32 % 100,
        cost: 3_123_456_789,
        duration_us: 812_345,
        ttft_us: 212_345,
        overhead_us: 31,
        ..Settle::default()
    };
    (intent, settle)
}

/// Intents and settlements with `open` attempts under way at any time, `round` per drain.
fn hot(name: &str, writer: &mut Writer, ledger: &Ledger, open: usize, round: u64) {
    let mut under_way: std::collections::VecDeque<Slot> = std::collections::VecDeque::new();
    let mut best = f64::MAX;
    let mut sum = 0.0;
    let (intent, settle) = attempt(1, 100);
    for _ in 0..200 {
        let before = cpu(ClockId::ThreadCPUTime);
        for _ in 0..round {
            if under_way.len() >= open
                && let Some(slot) = under_way.pop_front()
            {
                slot.settle(black_box(&settle));
            }
            under_way.push_back(writer.intent(black_box(&intent)).unwrap());
        }
        let ns = cpu(ClockId::ThreadCPUTime).saturating_sub(before).as_nanos() as f64 / round as f64;
        best = best.min(ns);
        sum += ns;
        ledger.flush(LONG).unwrap();
    }
    for slot in under_way {
        slot.settle(&settle);
    }
    ledger.flush(LONG).unwrap();
    println!("hot    {name:<44} {:>7.1} ns CPU per intent + settle (best round {best:.1})", sum / 200.0);
}

fn cpu(of: ClockId) -> Duration {
    let now = clock_gettime(of);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned() as u32)
}

/// CPU per row while only the ledger's thread runs.
fn drain(writer: &mut Writer, ledger: &Ledger, keys: u64, batch: u64, n: &mut u64) {
    let rounds = 120_000 / batch;
    let (mut busy, mut wall) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        for _ in 0..batch {
            *n += 1;
            let (intent, settle) = attempt(*n, keys);
            writer.intent(&intent).unwrap().settle(&settle);
        }
        let (started, before) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
        ledger.flush(LONG).unwrap();
        busy += cpu(ClockId::ProcessCPUTime).saturating_sub(before);
        wall += started.elapsed();
    }
    let rows = (rounds * batch) as f64;
    println!(
        "drain  {keys:>6} keys, {batch:>5} rows per flush {:>32.2} µs CPU, {:.2} µs elapsed per row",
        busy.as_secs_f64() * 1e6 / rows,
        wall.as_secs_f64() * 1e6 / rows
    );
}

/// What filling the spend counters takes at a start.
fn start(ledger: &Ledger) {
    let sums: u32 = ledger.reader().unwrap().query_row("SELECT count(*) FROM rollup", [], |row| row.get(0)).unwrap();
    let before = cpu(ClockId::ThreadCPUTime);
    let keys = ledger.totals(DictKind::Key).unwrap().len();
    let each = cpu(ClockId::ThreadCPUTime).saturating_sub(before).as_nanos() as f64 / f64::from(sums);
    println!("start  totals of {keys} keys from {sums} sums {each:>33.0} ns CPU per sum");
}

fn main() {
    let base =
        std::env::var_os("SPOOL_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = base.join(format!("spool-{}", std::process::id()));
    {
        let (spool, ledger) = open(&dir, LONG, LONG);
        let mut writer = spool.writer().unwrap();
        hot("1 under way, 1,000 per drain", &mut writer, &ledger, 1, 1000);
        hot("256 under way, 1,000 per drain", &mut writer, &ledger, 256, 1000);
        hot("256 under way, 4,000 per drain", &mut writer, &ledger, 256, 4000);
        let mut n = 0;
        for (keys, batch) in [(1, 4000), (100, 4000), (100, 1000), (100, 200), (10_000, 4000), (100, 20)] {
            drain(&mut writer, &ledger, keys, batch, &mut n);
        }
        start(&ledger);
    }
    {
        let (spool, ledger) = open(&dir, LONG, Duration::ZERO);
        let mut writer = spool.writer().unwrap();
        hot("256 under way, 4,000 per drain, synced each", &mut writer, &ledger, 256, 4000);
        let mut n = 0;
        drain(&mut writer, &ledger, 100, 4000, &mut n);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
