//! The second tier: answers in Redis or Valkey, shared by all nodes.
//!
//! One thread of its own holds the connection, so that nothing of it runs on the threads of requests: a request waits for
//! a channel, at most `timeout`. Whatever is wrong with the tier is a miss. After some failures in a row it is left alone
//! for a while. Writes are queued and done one after the other; when the queue is full they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use super::entry::Entry;
use super::gate::{Counts, Gate, Got, TierReport};
use super::key::CacheKey;
use super::lease::{Lease, Leases};
use super::link::{Plan, Settings};
use super::purge::Purge;
use super::sealed::Sealer;
use super::semantic::{Record, Semantic};
use super::tier::{Tier, run};

/// Reads that may wait for the thread, and writes that may.
const QUEUE: usize = 8192;
/// How long a server may take at least before its connection counts as broken; nobody waits for it.
const ANSWER: Duration = Duration::from_secs(1);

/// What it takes to reach the tier.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Vec<u8>,
    /// Certificates of the authority that the server's is signed by, in PEM; none: those of the web.
    pub authority: Option<String>,
    pub prefix: String,
    pub timeout: Duration,
    pub seal: [u8; 32],
    /// Longest body.
    pub most: usize,
}

pub enum Ask {
    Get(CacheKey, oneshot::Sender<Got>),
    Lease(CacheKey, oneshot::Sender<Got>),
    Info(oneshot::Sender<Option<String>>),
}

pub enum Write {
    Put(CacheKey, Arc<Entry>, u64),
    /// `most`: how many shall be remembered.
    Question {
        record: Box<Record>,
        epoch: u64,
        most: usize,
    },
    Release(CacheKey, u64),
    Purge(Purge, oneshot::Sender<Result<u64, String>>),
}

pub struct Remote {
    pub target: Target,
    asks: mpsc::Sender<Ask>,
    writes: mpsc::Sender<Write>,
    gate: Gate,
}

/// What the tier's thread must know of the memory.
pub struct Memory {
    pub epoch: Arc<AtomicU64>,
    /// Another node has purged.
    pub flush: Box<dyn Fn() + Send + Sync>,
    /// Who is told of questions that other nodes have stored.
    pub semantic: Arc<ArcSwapOption<Semantic>>,
}

impl Remote {
    /// Starts the thread; the connection is made when it is first needed.
    ///
    /// # Errors
    /// The address is none, or the thread cannot be started.
    pub fn start(target: Target, memory: Memory) -> Result<Arc<Remote>, String> {
        let url = std::str::from_utf8(&target.url).map_err(|_| "the address of Redis is not UTF-8".to_string())?;
        let answer = target.timeout.max(ANSWER);
        let plan = Plan::new(url, Settings { authority: target.authority.clone(), answer })?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let (writes, written) = mpsc::channel(QUEUE);
        let gate = Gate::new(target.timeout);
        let tier = Tier {
            sealer: Sealer::new(target.seal, target.most),
            prefix: target.prefix.clone(),
            counts: gate.counts.clone(),
            leases: Leases::new(writes.downgrade()),
            memory,
        };
        std::thread::Builder::new()
            .name("cache-tier".to_string())
            .spawn(move || {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
                runtime.block_on(async move {
                    match plan.link(answer) {
                        Ok(connection) => run(Arc::new(tier), connection, asked, written).await,
                        Err(error) => tracing::error!(%error, "the second tier of the cache cannot be used"),
                    }
                });
            })
            .map_err(|error| format!("the thread of the cache's second tier: {error}"))?;
        Ok(Arc::new(Remote { target, asks, writes, gate }))
    }

    async fn ask(&self, key: &CacheKey, make: fn(CacheKey, oneshot::Sender<Got>) -> Ask) -> Got {
        self.gate.ask(|reply| self.asks.try_send(make(*key, reply)).is_ok()).await
    }

    /// The entry, if the tier has it and answers in time.
    pub async fn get(&self, key: &CacheKey) -> Option<Entry> {
        self.read(key).await.0
    }

    /// The same, and whether the tier has answered at all: nobody waits for it twice when it does not.
    pub async fn read(&self, key: &CacheKey) -> (Option<Entry>, bool) {
        let got = self.ask(key, Ask::Get).await;
        let answered = !matches!(got, Got::Failed);
        (self.gate.found(got), answered)
    }

    /// Whether this node may ask the provider: true also when nobody can be asked about it.
    pub async fn lease(&self, key: &CacheKey) -> Option<Lease> {
        match self.ask(key, Ask::Lease).await {
            Got::Nothing => None,
            Got::Taken(lease) => Some(lease),
            Got::Entry(_) | Got::Failed => Some(Lease::nobody_knows()),
        }
    }

    /// Keeps an entry, some time later.
    pub fn put(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64) {
        if self.writes.try_send(Write::Put(key, entry.clone(), epoch)).is_err() {
            self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps a question behind its entry, for other nodes.
    pub fn put_question(&self, record: Record, epoch: u64, most: usize) {
        if self.writes.try_send(Write::Question { record: Box::new(record), epoch, most }).is_err() {
            self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes what fits, behind everything that was to be written before. Blocks.
    ///
    /// # Errors
    /// The tier cannot be reached.
    pub fn purge(&self, purge: &Purge) -> Result<u64, String> {
        let (reply, answer) = oneshot::channel();
        let sent = self.writes.try_send(Write::Purge(purge.clone(), reply));
        let busy = || "too much waits to be written".to_string();
        sent.map_err(|_| busy())?;
        answer.blocking_recv().map_err(|_| busy())?
    }

    /// What the server says of itself. Blocks.
    pub fn info(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask::Info(reply)).ok()?;
        answer.blocking_recv().ok()?
    }

    pub fn counts(&self) -> &Counts {
        &self.gate.counts
    }

    pub fn report(&self) -> TierReport {
        self.gate.report()
    }
}
