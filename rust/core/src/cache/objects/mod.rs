//! The third tier: answers that are long, or kept for long, in an object store: a bucket that speaks S3, or a directory.
//!
//! One thread of its own does all of it, behind the requests: a read is waited for at most `timeout`, a write never.
//! Entries lie there as they do in Redis, compressed, encrypted and bound to their key. Whatever is wrong with the store
//! is a miss.

mod bucket;
mod directory;
mod names;
mod store;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::entry::Entry;
use super::gate::{Counts, Gate, Got, TierReport};
use super::key::CacheKey;
use super::lease::Lease;
use super::purge::Purge;
use super::remote::Memory;
use crate::state::CredentialSlot;
use store::Store;
use worker::Worker;

/// Jobs that may wait for the thread, and bytes of answers among them.
const QUEUE: usize = 4096;
const HELD: usize = 64 * 1024 * 1024;
/// Threads that may wait for a disk, and seal entries, at the same time.
const BLOCKING: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `most`: bytes of entries that it may hold.
    Directory { path: String, most: u64 },
    /// `url`: of the bucket, without a slash at its end; `credential`: the slot of an access key.
    Bucket { url: String, region: String, credential: String },
}

/// What it takes to reach the tier, and what goes there.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub place: Place,
    /// Of all names: empty, or ends with a slash.
    pub prefix: String,
    pub timeout: Duration,
    pub seal: [u8; 32],
    /// Longest body.
    pub most: usize,
    /// Answers at least as long go there, and those that are kept at least that long.
    pub min_bytes: usize,
    pub min_ttl_us: i64,
}

/// An entry on its way. Its bytes are counted as long as it is.
pub struct Put {
    key: CacheKey,
    entry: Arc<Entry>,
    epoch: u64,
    held: Arc<AtomicUsize>,
    /// Given back behind the write.
    _lease: Option<Lease>,
}

impl Drop for Put {
    fn drop(&mut self) {
        self.held.fetch_sub(self.entry.body.len(), Ordering::Relaxed);
    }
}

pub enum Job {
    Get(CacheKey, oneshot::Sender<Got>),
    Put(Put),
    Purge(Purge, oneshot::Sender<Result<u64, String>>),
}

pub struct Objects {
    pub target: Target,
    jobs: mpsc::Sender<Job>,
    gate: Arc<Gate>,
    held: Arc<AtomicUsize>,
}

impl Objects {
    /// Starts the thread. `credential`: what the place names, where it is a bucket.
    ///
    /// # Errors
    /// The place is none, or the thread cannot be started.
    pub fn start(target: Target, credential: Arc<CredentialSlot>, memory: Memory) -> Result<Arc<Objects>, String> {
        let store = Store::new(&target, credential)?;
        let gate = Arc::new(Gate::new(target.timeout));
        let worker = Worker::new(store, &target, gate.clone(), memory);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("cache-objects".to_string())
            .spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let Ok(runtime) = runtime.enable_all().max_blocking_threads(BLOCKING).build() else { return };
                runtime.block_on(worker::run(Arc::new(worker), waiting));
            })
            .map_err(|error| format!("the thread of the cache's object store: {error}"))?;
        Ok(Arc::new(Objects { target, jobs, gate, held: Arc::default() }))
    }

    /// Too long for the second tier: it goes here alone.
    pub fn is_long(&self, entry: &Entry) -> bool {
        entry.body.len() >= self.target.min_bytes
    }

    /// Whether the entry is one for this tier.
    pub fn takes(&self, entry: &Entry) -> bool {
        self.is_long(entry) || entry.expires_us.saturating_sub(entry.stored_us) >= self.target.min_ttl_us
    }

    /// The entry, if the tier has it and answers in time.
    pub async fn get(&self, key: &CacheKey) -> Option<Entry> {
        let got = self.gate.ask(|reply| self.jobs.try_send(Job::Get(*key, reply)).is_ok()).await;
        self.gate.found(got)
    }

    /// Keeps an entry, some time later.
    pub fn put(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64, lease: Option<Lease>) {
        let bytes = entry.body.len();
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let put = Put { key, entry: entry.clone(), epoch, held: self.held.clone(), _lease: lease };
        if self.gate.rests() || held > HELD || self.jobs.try_send(Job::Put(put)).is_err() {
            self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes what fits. Blocks.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn purge(&self, purge: &Purge) -> Result<u64, String> {
        let (reply, answer) = oneshot::channel();
        let busy = || "too much waits to be written".to_string();
        self.jobs.try_send(Job::Purge(purge.clone(), reply)).map_err(|_| busy())?;
        answer.blocking_recv().map_err(|_| busy())?
    }

    pub fn counts(&self) -> &Counts {
        &self.gate.counts
    }

    pub fn report(&self) -> TierReport {
        self.gate.report()
    }
}
