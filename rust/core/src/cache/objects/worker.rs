//! The thread of the object store: every job is a task of its own.
//!
//! Purges leave a mark that changes with each of them. Nodes look at it now and then, and behind every write: an entry that
//! was on its way while another node purged is taken back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::names::{self, INDEX, Namer, PURGED, Told, Wanted};
use super::store::Store;
use super::{Job, Put, Target};
use crate::cache::gate::{Gate, Got};
use crate::cache::key::CacheKey;
use crate::cache::purge::{Purge, hex};
use crate::cache::remote::Memory;
use crate::cache::sealed::Sealer;
use crate::clock::wall_us;

/// Reads and writes at the same time.
const READS: usize = 64;
const WRITES: usize = 8;
/// Objects that are removed at the same time.
const TOGETHER: usize = 16;

/// How often the mark of purges is looked at, and what has ended is removed: each costs a request of a bucket.
struct Rhythm {
    look: Duration,
    sweep: Duration,
}

pub struct Worker {
    store: Store,
    sealer: Arc<Sealer>,
    namer: Namer,
    gate: Arc<Gate>,
    memory: Memory,
    /// The mark as it was seen last; what is not even looked for is `None`.
    mark: Mutex<Option<Mark>>,
    reads: Semaphore,
    writes: Semaphore,
    sweeping: tokio::sync::Mutex<()>,
}

/// What stands in the mark; none where nobody has purged.
type Mark = Option<Vec<u8>>;

pub async fn run(worker: Arc<Worker>, mut jobs: mpsc::Receiver<Job>) {
    let (looks, sweeps) = (worker.clone(), worker.clone());
    let look = tokio::spawn(async move {
        loop {
            // At once: a purge before the first look would not be noticed.
            if !looks.gate.rests() {
                // Behind a write the reason is told.
                let _ = looks.look().await;
            }
            tokio::time::sleep(looks.rhythm().look).await;
        }
    });
    let sweep = tokio::spawn(async move {
        // A directory must know how full it is.
        if matches!(sweeps.store, Store::Bucket(_)) {
            tokio::time::sleep(sweeps.rhythm().sweep.mul_f64(fastrand::f64())).await;
        }
        loop {
            sweeps.sweep(wall_us()).await;
            tokio::time::sleep(sweeps.rhythm().sweep).await;
        }
    });
    while let Some(job) = jobs.recv().await {
        let worker = worker.clone();
        tokio::spawn(async move { worker.work(job).await });
    }
    look.abort();
    sweep.abort();
}

impl Worker {
    pub fn new(store: Store, target: &Target, gate: Arc<Gate>, memory: Memory) -> Worker {
        Worker {
            store,
            sealer: Arc::new(Sealer::new(target.seal, target.most)),
            namer: Namer::new(target.seal),
            gate,
            memory,
            mark: Mutex::new(None),
            reads: Semaphore::new(READS),
            writes: Semaphore::new(WRITES),
            sweeping: tokio::sync::Mutex::new(()),
        }
    }

    fn rhythm(&self) -> Rhythm {
        match self.store {
            Store::Directory(_) => Rhythm { look: Duration::from_secs(1), sweep: Duration::from_secs(60) },
            Store::Bucket(_) => Rhythm { look: Duration::from_secs(5), sweep: Duration::from_secs(3600) },
        }
    }

    async fn work(&self, job: Job) {
        match job {
            Job::Get(key, mut reply) => {
                // Nobody waits for what comes too late.
                let got = tokio::select! {
                    got = self.get(&key) => got,
                    () = reply.closed() => return,
                };
                let _ = reply.send(got);
            }
            Job::Put(put) => {
                let Ok(_permit) = self.writes.acquire().await else { return };
                if self.gate.rests() {
                    self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                match self.put(&put).await {
                    Ok(true) => self.gate.counts.writes.fetch_add(1, Ordering::Relaxed),
                    Ok(false) => 0,
                    Err(error) => self.wrong(&error),
                };
                if let Store::Directory(directory) = &self.store
                    && directory.is_full()
                {
                    // A sweep under way may have counted before this entry came.
                    let _alone = self.sweeping.lock().await;
                    if directory.is_full() {
                        self.swept(wall_us()).await;
                    }
                }
            }
            Job::Purge(purge, reply) => {
                let gone = self.purge(&purge).await;
                if let Err(error) = &gone {
                    self.wrong(error);
                }
                let _ = reply.send(gone);
            }
        }
    }

    fn wrong(&self, error: &str) -> u64 {
        self.gate.counts.failed(error);
        self.gate.counts.errors.fetch_add(1, Ordering::Relaxed)
    }

    async fn get(&self, key: &CacheKey) -> Got {
        let Ok(_permit) = self.reads.acquire().await else { return Got::Failed };
        let bytes = match self.store.get(&names::entry(&hex(key))).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Got::Nothing,
            Err(error) => {
                self.gate.counts.failed(error);
                return Got::Failed;
            }
        };
        let (sealer, gate, key) = (self.sealer.clone(), self.gate.clone(), *key);
        let opened = tokio::task::spawn_blocking(move || sealer.got(&key, &bytes, &gate.counts));
        opened.await.unwrap_or(Got::Failed)
    }

    /// Whether the entry is kept.
    async fn put(&self, put: &Put) -> Result<bool, String> {
        if self.mark.lock().is_none() {
            self.look().await.map_err(|error| format!("the mark of purges cannot be read: {error}"))?;
        }
        let Some(before) = self.mark.lock().clone() else {
            return Err("the mark of purges cannot be read".to_string());
        };
        // What was purged meanwhile does not come back.
        let over = put.entry.expires_us <= wall_us();
        if over || self.memory.epoch.load(Ordering::Acquire) != put.epoch {
            return Ok(false);
        }
        let (sealer, key, entry) = (self.sealer.clone(), put.key, put.entry.clone());
        let sealed = tokio::task::spawn_blocking(move || sealer.seal(&key, &entry)).await;
        let Ok(Some(sealed)) = sealed else { return Ok(false) };
        let (name, index) = (names::entry(&hex(&put.key)), self.namer.index(&put.key, &put.entry));
        self.store.put(&index, Vec::new()).await?;
        let written = self.store.put(&name, sealed).await;
        let after = self.store.get(PURGED).await;
        if written.is_ok() && after.as_ref() == Ok(&before) {
            return Ok(true);
        }
        // Somebody has purged, or cannot be known not to have. What failed may have arrived.
        self.store.remove(&name).await?;
        self.store.remove(&index).await?;
        self.notice(after?);
        written.map(|()| false)
    }

    /// Looks whether another node has purged.
    async fn look(&self) -> Result<(), String> {
        self.notice(self.store.get(PURGED).await?);
        Ok(())
    }

    fn notice(&self, found: Mark) {
        let known = self.mark.lock().replace(found.clone());
        if known.is_some_and(|known| known != found) {
            (self.memory.flush)();
        }
    }

    async fn purge(&self, purge: &Purge) -> Result<u64, String> {
        let mark = format!("{:032x}", fastrand::u128(..)).into_bytes();
        self.store.put(PURGED, mark.clone()).await?;
        *self.mark.lock() = Some(Some(mark));
        let wanted = self.namer.wanted(purge);
        let mut gone = 0;
        if purge.keys.is_empty() {
            gone += self.clear(INDEX, &Which::Fits(&wanted)).await?;
        }
        for key in &purge.keys {
            gone += self.clear(&names::index_of(key), &Which::Fits(&wanted)).await?;
        }
        Ok(gone)
    }

    /// Removes what has ended, and in a directory what there is no room for.
    pub async fn sweep(&self, now_us: i64) {
        let _alone = self.sweeping.lock().await;
        self.swept(now_us).await;
    }

    async fn swept(&self, now_us: i64) {
        let mut done = self.clear(INDEX, &Which::Ended(now_us / 1_000_000)).await.map(|_| ());
        if let Store::Directory(directory) = &self.store {
            done = done.and(directory.tidy().await);
        }
        if let Err(error) = done {
            self.wrong(&error);
        }
    }

    /// Goes through the index; how many entries went.
    async fn clear(&self, under: &str, which: &Which<'_>) -> Result<u64, String> {
        let (mut after, mut gone) = (String::new(), 0);
        let mut group = Group::default();
        loop {
            let page = self.store.list(under, &after).await?;
            let mut names = Vec::new();
            for name in &page.names {
                let Some(told) = Told::read(name) else { continue };
                if told.key != group.key {
                    gone += std::mem::take(&mut group).end(which, &mut names);
                    group.key = told.key.to_string();
                }
                group.names.push((name.clone(), which.fits(&told)));
            }
            if !page.more {
                gone += std::mem::take(&mut group).end(which, &mut names);
            }
            // Entries first: without its index object nobody would find one again.
            for kind in ["e/", INDEX] {
                let names: Vec<&String> = names.iter().filter(|name| name.starts_with(kind)).collect();
                for some in names.chunks(TOGETHER) {
                    try_join_all(some.iter().map(|name| self.store.remove(name))).await?;
                }
            }
            match page.names.last() {
                Some(last) if page.more => after.clone_from(last),
                _ => return Ok(gone),
            }
        }
    }
}

/// Which entries go.
enum Which<'w> {
    Fits(&'w Wanted),
    /// Before that second.
    Ended(i64),
}

impl Which<'_> {
    fn fits(&self, told: &Told<'_>) -> bool {
        match self {
            Which::Fits(wanted) => wanted.fits(told),
            Which::Ended(now_s) => told.expires_s <= *now_s,
        }
    }
}

/// All index objects of a key: one for each time its entry was written.
#[derive(Default)]
struct Group {
    key: String,
    names: Vec<(String, bool)>,
}

impl Group {
    /// Adds what is to be removed; how many entries that are.
    fn end(self, which: &Which<'_>, names: &mut Vec<String>) -> u64 {
        let mut fitting = self.names.iter().map(|(_, fits)| *fits);
        // What was written again ends later than its first index object says.
        let goes = match which {
            Which::Fits(_) => fitting.any(|fits| fits),
            Which::Ended(_) => !self.names.is_empty() && fitting.all(|fits| fits),
        };
        if goes {
            names.push(names::entry(&self.key));
        }
        names.extend(self.names.into_iter().filter(|(_, fits)| goes || *fits).map(|(name, _)| name));
        u64::from(goes)
    }
}
