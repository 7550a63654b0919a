//! The way of an attempt from intent to row, against a model of it: random histories, and the process dies after every
//! step and at every point of a drain. Whatever it leaves behind comes to the rows that the model expects, each once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::engine::{Engine, Round};
use super::tests::assert_sums;
use super::{Probe, Store, sink};
use crate::spool::{self, Intent, Settle, Slot, Source, Spool, Writer};

/// Crash points that are looked at: a few thousand.
const HISTORIES: u64 = 30;
const STEPS: u32 = 40;
const DAY_US: i64 = 86_400_000_000;

/// What an attempt comes to: source, status, output tokens, cost. None: it was never sent, so there is no row.
type Fate = Option<(u8, u16, u32, i64)>;
/// By the number that its request has.
type Model = BTreeMap<u128, Fate>;
/// What a process left behind that died at some point.
type Image = TempDir;

/// A process that spends.
struct Live {
    dir: TempDir,
    engine: Engine,
    store: Arc<Store>,
    writer: Writer,
    under_way: Vec<(u128, Slot)>,
    /// What would be left, had it died at each point of the drains since this was emptied.
    images: Arc<Mutex<Vec<Image>>>,
    _spool: Spool,
}

/// In memory where there is such a place: nothing here is about disks.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// The files as they are at this instant. `SQLite`'s shared memory is not among them: it does not survive a process, and
/// its lock on the file goes with the copy, which nobody else wants here.
fn image(dir: &Path) -> Image {
    let copy = place();
    fs::create_dir(copy.path().join("spool")).unwrap();
    for part in ["", "spool"] {
        for entry in fs::read_dir(dir.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_file() && name != "ledger.db-shm" {
                fs::copy(&path, copy.path().join(part).join(name)).unwrap();
            }
        }
    }
    copy
}

impl Live {
    /// Starts on what a former process left.
    fn start(dir: TempDir) -> Self {
        let options =
            spool::Options { segment_slots: 64, max_bytes: 1 << 20, node: 9, lock_wait: Duration::from_secs(30) };
        let (spool, _) = Spool::open(&dir.path().join("spool"), &options).unwrap();
        let store = Arc::new(Store::open(&dir.path().join("ledger.db")).unwrap());
        let drain = spool.drain(store.last_id().unwrap()).unwrap();
        store.adopt(&drain).unwrap();
        let images = Arc::new(Mutex::new(Vec::new()));
        let (seen, path) = (Arc::clone(&images), dir.path().to_owned());
        let probe = Probe::new(move |_| seen.lock().push(image(&path)));
        let sink = Box::new(sink::Sqlite { store: Arc::clone(&store), probe: probe.clone() });
        let writer = spool.writer().unwrap();
        Self {
            engine: Engine::new(drain, sink, probe, Arc::default()),
            store,
            writer,
            under_way: Vec::new(),
            images,
            dir,
            _spool: spool,
        }
    }

    /// One step at random, in the process and in the model.
    fn step(&mut self, random: &mut fastrand::Rng, model: &mut Model) {
        let number = model.len() as u128 + 1;
        match random.u8(..10) {
            0..4 => {
                let intent = Intent {
                    request_id: number.to_le_bytes(),
                    at_us: random.i64(..3 * DAY_US).abs(),
                    reserved_cost: random.i64(..i64::MAX / 1000).abs(),
                    key: random.u32(1..4),
                    ..Intent::default()
                };
                let slot = self.writer.intent(&intent).unwrap();
                // What nobody will ever settle is priced at what was reserved.
                model.insert(number, Some((Source::Unknown as u8, 0, 0, intent.reserved_cost)));
                self.under_way.push((number, slot));
            }
            4..9 if !self.under_way.is_empty() => {
                let (number, slot) = self.under_way.swap_remove(random.usize(..self.under_way.len()));
                match random.u8(..6) {
                    0 => drop(slot),
                    1 => {
                        slot.release();
                        model.insert(number, None);
                    }
                    _ => {
                        let source = if random.bool() { Source::Reported } else { Source::Estimated };
                        let (status, output) = (random.u16(200..600), random.u32(..1000));
                        // Less than nothing is given back.
                        let cost = random.i64(-1_000_000..i64::MAX / 1000);
                        slot.settle(&Settle { source, status, output, cost, ..Settle::default() });
                        model.insert(number, Some((source as u8, status, output, cost)));
                    }
                }
            }
            _ => self.drain(),
        }
    }

    fn drain(&mut self) {
        self.engine.drain.maintain().unwrap();
        self.engine.round(&mut Round::default()).unwrap();
    }

    /// Rows and sums are what the model says.
    fn check(&self, model: &Model) {
        let reader = self.store.reader().unwrap();
        let mut query = reader.prepare("SELECT request_id, source, status, output, cost_pico FROM attempt").unwrap();
        let rows: Vec<(u128, Fate)> = query
            .query_map([], |row| {
                let id: Vec<u8> = row.get(0)?;
                let number = u128::from_le_bytes(id.try_into().unwrap());
                Ok((number, Some((row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let wanted = model.iter().filter(|(_, fate)| fate.is_some());
        let mut found = rows;
        found.sort_unstable();
        assert_eq!(found, wanted.map(|(number, fate)| (*number, *fate)).collect::<Vec<_>>());
        assert_sums(&reader);
    }
}

/// Starts on what was left, drains, and looks.
fn recovered(left: Image, model: &Model) -> Live {
    let mut next = Live::start(left);
    next.drain();
    next.check(model);
    next.images.lock().clear();
    next
}

#[test]
fn a_death_between_any_two_steps_loses_and_invents_nothing() {
    let (mut points, mut deaths) = (0_u32, 0_u32);
    for history in 0..HISTORIES {
        let mut random = fastrand::Rng::with_seed(history);
        let mut model = Model::new();
        let mut live = Live::start(place());
        for _ in 0..STEPS {
            live.step(&mut random, &mut model);
            let within = std::mem::take(&mut *live.images.lock());
            let mut left: Vec<Image> = within.into_iter().chain([image(live.dir.path())]).collect();
            points += u32::try_from(left.len()).unwrap();
            // One of them is where it really dies, now and then; the others are only looked at.
            let chosen = left.swap_remove(random.usize(..left.len()));
            for one in left {
                recovered(one, &model);
            }
            let next = recovered(chosen, &model);
            if random.u8(..4) == 0 {
                deaths += 1;
                live = next;
            }
        }
    }
    assert!(points > 1_500 && deaths > 200, "{points} {deaths}");
}
