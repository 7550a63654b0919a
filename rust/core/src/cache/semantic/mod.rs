//! Answers to questions that mean the same.
//!
//! What of a request may differ from another one is its last question, and nothing else: tenant, model, parameters, tools,
//! instructions and everything said before must be equal, which is not a matter of likeness but of a hash ([`question`]).
//! Among such requests the [`index`] finds the nearest questions, and the words are compared once more
//! ([`alike`](crate::kernel::alike)). It holds keys of entries, never answers: an entry that has expired, was evicted or
//! purged cannot be found by it.
//!
//! One thread of its own ([`worker`]) holds the index and makes the vectors of a static model, so that nothing of it runs
//! on the threads of requests.

pub mod index;
pub mod question;
pub mod record;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::key::CacheKey;
use crate::clock::monotonic_ns;
use crate::kernel::alike::Difference;
use crate::kernel::vector::Vector;
use crate::static_model::StaticModel;
use index::Near;
pub use question::Question;
pub use record::Record;
use worker::Worker;

/// Questions that may wait for the thread.
const QUEUE: usize = 1024;

/// Where vectors come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A static model's files.
    Directory(PathBuf),
    /// A model of the gateway that embeds.
    Model(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub source: Source,
    /// Least similarity, from 0 to 1.
    pub threshold: f32,
    /// How many of the nearest are looked at.
    pub top: usize,
    /// A model that is asked whether two questions mean the same.
    pub judge: Option<String>,
    /// How long a request waits for vector and judge.
    pub timeout: Duration,
    /// Most questions that are remembered.
    pub most: usize,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub looks: AtomicU64,
    pub hits: AtomicU64,
    pub errors: AtomicU64,
    pub timeouts: AtomicU64,
    pub skipped: AtomicU64,
    /// Near enough, but another question, by what they differ in.
    pub refused: [AtomicU64; Difference::ALL.len()],
    pub judged: AtomicU64,
    pub denied: AtomicU64,
    pub micros: AtomicU64,
    pub questions: AtomicU64,
    pub partitions: AtomicU64,
    /// Questions read from a tier: of other nodes, and of this one before its start.
    pub learned: AtomicU64,
}

/// What operators see.
#[derive(Debug, Serialize)]
pub struct SemanticReport {
    pub questions: u64,
    pub partitions: u64,
    pub learned: u64,
    pub looks: u64,
    pub hits: u64,
    pub errors: u64,
    pub timeouts: u64,
    pub skipped: u64,
    pub refused: std::collections::BTreeMap<&'static str, u64>,
    pub judged: u64,
    pub denied: u64,
    /// Of a look: vector (of a static model), search and comparison.
    pub mean_us: u64,
}

/// What a question was made to, for the look and for the entry that comes of it.
pub struct Looked {
    pub near: Vec<Near>,
    pub vector: Arc<Vector>,
}

pub enum Ask {
    Look { question: Arc<Question>, vector: Option<Vec<f32>>, reply: oneshot::Sender<Option<Looked>> },
    Put { question: Arc<Question>, vector: Arc<Vector>, key: CacheKey, until_us: i64 },
    Forget { partition: CacheKey, key: CacheKey },
    Sweep,
    Learn(Vec<Record>),
    Clear,
}

/// Whether an entry is still there.
pub type Alive = Box<dyn Fn(&CacheKey) -> bool + Send>;

pub struct Semantic {
    pub settings: Settings,
    asks: SyncSender<Ask>,
    pub counts: Arc<Counts>,
    /// Of what makes the vectors.
    pub print: [u8; 32],
}

impl Semantic {
    /// Reads the static model, if it is one, and starts the thread.
    ///
    /// # Errors
    /// The model cannot be read, the thread not be started.
    pub fn start(settings: Settings, alive: Alive) -> Result<Arc<Semantic>, String> {
        let model = match &settings.source {
            Source::Directory(directory) => Some(StaticModel::open(directory)?),
            Source::Model(_) => None,
        };
        let print = match (&settings.source, &model) {
            (Source::Model(name), _) => Sha256::digest([b"model\0", name.as_bytes()].concat()).into(),
            (Source::Directory(_), model) => model.as_ref().map_or([0; 32], |model| model.print),
        };
        let (asks, asked) = sync_channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let worker = Worker::new(&settings, model, alive, counts.clone());
        std::thread::Builder::new()
            .name("cache-semantic".to_string())
            .spawn(move || worker.run(&asked))
            .map_err(|error| format!("the thread of the semantic cache: {error}"))?;
        Ok(Arc::new(Semantic { settings, asks, counts, print }))
    }

    /// The questions nearest to this one, nearest first. `None` when it has no vector, or nobody answers in time.
    pub async fn look(&self, question: &Arc<Question>, vector: Option<Vec<f32>>) -> Option<Looked> {
        let began = monotonic_ns();
        let (reply, answer) = oneshot::channel();
        self.counts.looks.fetch_add(1, Ordering::Relaxed);
        if self.asks.try_send(Ask::Look { question: question.clone(), vector, reply }).is_err() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let Ok(found) = tokio::time::timeout(self.settings.timeout, answer).await else {
            self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.counts.micros.fetch_add((monotonic_ns() - began) / 1000, Ordering::Relaxed);
        found.ok().flatten()
    }

    /// Remembers a question whose answer was kept under `key`.
    pub fn put(&self, question: Arc<Question>, vector: Arc<Vector>, key: CacheKey, until_us: i64) {
        self.tell(Ask::Put { question, vector, key, until_us });
    }

    /// The entry is gone.
    pub fn forget(&self, partition: CacheKey, key: CacheKey) {
        self.tell(Ask::Forget { partition, key });
    }

    /// Entries were purged: their questions go too.
    pub fn sweep(&self) {
        self.tell(Ask::Sweep);
    }

    /// Questions that a tier has. False: they must be told again later.
    pub fn learn(&self, mut records: Vec<Record>) -> bool {
        records.retain(|record| record.source == self.print);
        let count = records.len() as u64;
        let told = count == 0 || self.asks.try_send(Ask::Learn(records)).is_ok();
        self.counts.learned.fetch_add(if told { count } else { 0 }, Ordering::Relaxed);
        told
    }

    /// Forgets everything. False: it must be said again later.
    pub fn clear(&self) -> bool {
        self.asks.try_send(Ask::Clear).is_ok()
    }

    fn tell(&self, ask: Ask) {
        if self.asks.try_send(ask).is_err() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn report(&self) -> SemanticReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let refused = Difference::ALL.iter().zip(&counts.refused);
        SemanticReport {
            questions: get(&counts.questions),
            partitions: get(&counts.partitions),
            learned: get(&counts.learned),
            looks: get(&counts.looks),
            hits: get(&counts.hits),
            errors: get(&counts.errors),
            timeouts: get(&counts.timeouts),
            skipped: get(&counts.skipped),
            refused: refused.map(|(difference, count)| (difference.name(), get(count))).collect(),
            judged: get(&counts.judged),
            denied: get(&counts.denied),
            mean_us: get(&counts.micros) / get(&counts.looks).max(1),
        }
    }
}
