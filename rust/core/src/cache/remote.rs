//! The second tier: answers in Redis or Valkey, shared by all nodes.
//!
//! One thread of its own holds the connection, so that nothing of it runs on the threads of requests: a request waits for
//! a channel, at most `timeout`. Whatever is wrong with the tier is a miss. After some failures in a row it is left alone
//! for a while. Writes are queued and done one after the other; when the queue is full they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::entry::Entry;
use super::key::CacheKey;
use super::purge::Purge;
use super::sealed::Sealer;
use super::tier::{Tier, run};
use crate::clock::monotonic_ns;

/// Reads that may wait for the thread, and writes that may.
const QUEUE: usize = 8192;
/// Failures in a row after which the tier is left alone, and for how long.
const FAILURES: u32 = 5;
const REST: Duration = Duration::from_secs(5);
/// How long a connection may take; nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);

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

#[derive(Debug, Default)]
pub struct Counts {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub errors: AtomicU64,
    pub timeouts: AtomicU64,
    pub skipped: AtomicU64,
    pub foreign: AtomicU64,
    pub writes: AtomicU64,
    pub dropped: AtomicU64,
    pub micros: AtomicU64,
}

/// What operators see. `foreign`: values that were not ours, or damaged.
#[derive(Debug, Serialize)]
pub struct RemoteReport {
    pub open: bool,
    pub hits: u64,
    pub misses: u64,
    pub errors: u64,
    pub timeouts: u64,
    pub skipped: u64,
    pub foreign: u64,
    pub writes: u64,
    pub dropped: u64,
    /// Of reads that were answered.
    pub mean_us: u64,
}

pub enum Ask {
    Get(CacheKey, oneshot::Sender<Got>),
    Lease(CacheKey, oneshot::Sender<Got>),
    Info(oneshot::Sender<Option<String>>),
}

pub enum Write {
    Put(CacheKey, Arc<Entry>, u64),
    Release(CacheKey),
    Purge(Purge, oneshot::Sender<u64>),
}

pub enum Got {
    Entry(Box<Entry>),
    Nothing,
    /// The lease is this node's.
    Taken,
    Failed,
}

pub struct Remote {
    pub target: Target,
    asks: mpsc::Sender<Ask>,
    writes: mpsc::Sender<Write>,
    counts: Arc<Counts>,
    failures: AtomicU32,
    /// On the monotonic clock.
    rests_until: AtomicU64,
}

/// What the tier's thread must know of the memory.
pub struct Memory {
    pub epoch: Arc<AtomicU64>,
    /// Another node has purged.
    pub flush: Box<dyn Fn() + Send + Sync>,
}

impl Remote {
    /// Starts the thread; the connection is made when it is first needed.
    ///
    /// # Errors
    /// The address is none, or the thread cannot be started.
    pub fn start(target: Target, memory: Memory) -> Result<Arc<Remote>, String> {
        let url = std::str::from_utf8(&target.url).map_err(|_| "the address of Redis is not UTF-8".to_string())?;
        let client = match &target.authority {
            None => redis::Client::open(url),
            Some(authority) => {
                let root_cert = Some(authority.as_bytes().to_vec());
                redis::Client::build_with_tls(url, redis::TlsCertificates { client_tls: None, root_cert })
            }
        };
        let client = client.map_err(|error| format!("the address of Redis: {error}"))?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let (writes, written) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let tier = Tier {
            sealer: Sealer::new(target.seal, target.most),
            prefix: target.prefix.clone(),
            counts: counts.clone(),
            memory,
        };
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(target.timeout.max(CONNECT)))
            .set_number_of_retries(1)
            .set_max_delay(REST);
        std::thread::Builder::new()
            .name("cache-tier".to_string())
            .spawn(move || {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
                runtime.block_on(async move {
                    match ConnectionManager::new_lazy_with_config(client, settings) {
                        Ok(connection) => run(Arc::new(tier), connection, asked, written).await,
                        Err(error) => tracing::error!(%error, "the second tier of the cache cannot be used"),
                    }
                });
            })
            .map_err(|error| format!("the thread of the cache's second tier: {error}"))?;
        let (failures, rests_until) = (AtomicU32::new(0), AtomicU64::new(0));
        Ok(Arc::new(Remote { target, asks, writes, counts, failures, rests_until }))
    }

    fn rests(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) > monotonic_ns()
    }

    async fn ask(&self, key: &CacheKey, make: fn(CacheKey, oneshot::Sender<Got>) -> Ask) -> Got {
        if self.rests() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return Got::Failed;
        }
        let (reply, answer) = oneshot::channel();
        let began = monotonic_ns();
        if self.asks.try_send(make(*key, reply)).is_err() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return Got::Failed;
        }
        match tokio::time::timeout(self.target.timeout, answer).await {
            Ok(Ok(Got::Failed) | Err(_)) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                self.failed();
                Got::Failed
            }
            Ok(Ok(got)) => {
                self.failures.store(0, Ordering::Relaxed);
                self.counts.micros.fetch_add((monotonic_ns() - began) / 1000, Ordering::Relaxed);
                got
            }
            Err(_) => {
                self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
                self.failed();
                Got::Failed
            }
        }
    }

    fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.failures.store(0, Ordering::Relaxed);
            let rest = u64::try_from(REST.as_nanos()).unwrap_or(u64::MAX);
            self.rests_until.store(monotonic_ns() + rest, Ordering::Relaxed);
        }
    }

    /// The entry, if the tier has it and answers in time.
    pub async fn get(&self, key: &CacheKey) -> Option<Entry> {
        match self.ask(key, Ask::Get).await {
            Got::Entry(entry) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Some(*entry)
            }
            Got::Nothing => {
                self.counts.misses.fetch_add(1, Ordering::Relaxed);
                None
            }
            Got::Taken | Got::Failed => None,
        }
    }

    /// Whether this node may ask the provider: true also when nobody can be asked about it.
    pub async fn lease(self: &Arc<Self>, key: &CacheKey) -> Option<Lease> {
        match self.ask(key, Ask::Lease).await {
            Got::Nothing => None,
            Got::Taken => Some(Lease { remote: Some(self.clone()), key: *key }),
            Got::Entry(_) | Got::Failed => Some(Lease { remote: None, key: *key }),
        }
    }

    /// Keeps an entry, some time later.
    pub fn put(&self, key: CacheKey, entry: &Arc<Entry>, epoch: u64) {
        if self.writes.try_send(Write::Put(key, entry.clone(), epoch)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes what fits, behind everything that was to be written before. Blocks; 0 when the tier cannot be reached.
    pub fn purge(&self, purge: &Purge) -> u64 {
        let (reply, answer) = oneshot::channel();
        match self.writes.try_send(Write::Purge(purge.clone(), reply)) {
            Ok(()) => answer.blocking_recv().unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// What the server says of itself. Blocks.
    pub fn info(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask::Info(reply)).ok()?;
        answer.blocking_recv().ok()?
    }

    pub fn report(&self) -> RemoteReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        RemoteReport {
            open: self.rests(),
            hits: get(&counts.hits),
            misses: get(&counts.misses),
            errors: get(&counts.errors),
            timeouts: get(&counts.timeouts),
            skipped: get(&counts.skipped),
            foreign: get(&counts.foreign),
            writes: get(&counts.writes),
            dropped: get(&counts.dropped),
            mean_us: get(&counts.micros) / (get(&counts.hits) + get(&counts.misses)).max(1),
        }
    }
}

/// The right of a node to ask the provider. Given back when dropped, behind the entry that came of it.
pub struct Lease {
    remote: Option<Arc<Remote>>,
    key: CacheKey,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(remote) = &self.remote {
            // What cannot be queued ends by its time.
            let _ = remote.writes.try_send(Write::Release(self.key));
        }
    }
}
