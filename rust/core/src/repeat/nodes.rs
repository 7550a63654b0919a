//! Requests with a key of their own over all nodes: who is at it, and what the answer was, in the coordinator's Redis.
//!
//! A name holds a claim while a node is at the request, and the answer afterwards. A claim ends by itself within seconds
//! and is renewed every second, so that a node that dies is succeeded soon, and one that waits for a slow provider is not.
//! As with the cache's second tier, one thread holds the connection and a request waits for a channel, at most for a
//! time-out; whatever is wrong with Redis, requests go on as if this node were the only one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use redis::Cmd;
use sha2::Sha256;
use tokio::sync::{mpsc, oneshot};

use super::MOST_KEPT;
use super::record::{Answer, Record};
use crate::cache::gate::{Gate, Reply};
use crate::cache::lease::{EVERY, HOLDS_MS, RELEASE};
use crate::cache::link::{Link, Plan, Settings};
use crate::cache::purge::hex;
use crate::cache::sealed::Sealer;
use crate::state::repeats::{Digest, REMEMBERED};

const PREFIX: &str = "ailink:repeat:";
/// What the key of the records is derived for, and that of their names.
const SEALED: &[u8] = b"ailink repeats 1";
const NAMED: &[u8] = b"ailink repeats 1 names";
/// Questions that may wait for the thread.
const QUEUE: usize = 8_192;
/// Bytes of answers that may wait to be written; what is more is remembered by this node alone.
const MOST_WAITING: usize = 32 << 20;
/// How long a server may take at least before its connection counts as broken; nobody waits for it.
const ANSWER: Duration = Duration::from_secs(1);
/// Between attempts to write an answer.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Stands for a claim where there is none.
const NOBODY: &[u8] = b"-";

/// What is there, or this claim, which is there from now on.
const ENTER: &str = "local found = redis.call('GET', KEYS[1]) if found then return found end \
                     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return false";
/// A claim goes on, also on a server that has forgotten it.
const RENEW: &str = "local found = redis.call('GET', KEYS[1]) if found and found ~= ARGV[1] then return 0 end \
                     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";
/// The answer in the place of its claim; not in that of another node's.
const KEEP: &str = "local found = redis.call('GET', KEYS[1]) if found and found ~= ARGV[1] then return 0 end \
                    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";

/// Where the nodes meet.
#[derive(Clone)]
pub struct Target {
    pub url: String,
    /// Certificates of the authorities that the server's may be signed by, in PEM; none: those of the web.
    pub authority: Option<String>,
    /// The longest a request waits.
    pub timeout: Duration,
    /// From which keys are derived; the same on all nodes.
    pub pepper: [u8; 32],
}

/// What is known of a request.
pub enum Found {
    /// Nothing: it is this node's from now on.
    Mine(Claim),
    /// Another one has it.
    UnderWay,
    Answer(Box<Answer>),
    /// Something else was asked under this key.
    Other,
    /// Something that none of us wrote.
    Foreign,
    Failed,
}

impl Reply for Found {
    fn failure() -> Self {
        Found::Failed
    }

    fn is_failure(&self) -> bool {
        matches!(self, Found::Failed)
    }
}

enum Ask {
    Enter(Digest, Digest, oneshot::Sender<Found>),
    Keep(Box<Finished>),
    Release(Digest, Arc<[u8]>),
    Forget(Digest),
}

/// A request that came to its end.
struct Finished {
    id: Digest,
    record: Record,
    claim: Option<Claim>,
    _waits: Waits,
}

/// Bytes that wait to be written.
struct Waits(Arc<AtomicUsize>, usize);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

type Held = Mutex<HashMap<Arc<[u8]>, (Digest, Instant)>>;

/// The right of this node to carry a request to its answer. Given back when dropped.
pub struct Claim {
    id: Digest,
    value: Arc<[u8]>,
    held: Arc<Held>,
    /// Who gives it back; `None`: there is nothing to give back.
    asks: Option<mpsc::WeakSender<Ask>>,
}

impl Claim {
    /// The answer stands in its place, or another node's claim does.
    fn over(mut self) {
        self.asks = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.held.lock().remove(&self.value);
        if let Some(asks) = self.asks.as_ref().and_then(mpsc::WeakSender::upgrade) {
            // What cannot be queued ends by its time.
            let _ = asks.try_send(Ask::Release(self.id, self.value.clone()));
        }
    }
}

pub struct Nodes {
    asks: mpsc::Sender<Ask>,
    gate: Gate,
    waiting: Arc<AtomicUsize>,
}

impl Nodes {
    /// Starts the thread, which connects at once: the first request shall not have to wait for that.
    ///
    /// # Errors
    /// The address is none, or the thread cannot be started.
    pub fn start(target: &Target) -> Result<Nodes, String> {
        let answer = target.timeout.max(ANSWER);
        let plan = Plan::new(&target.url, Settings { authority: target.authority.clone(), answer })?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let gate = Gate::of("Redis, for repeats of requests,", target.timeout);
        let derived = |purpose| derived(&target.pepper, purpose).ok_or("no key can be derived");
        let worker = Worker {
            sealer: Sealer::new(derived(SEALED)?, MOST_KEPT),
            names: derived(NAMED)?,
            held: Arc::default(),
            asks: asks.downgrade(),
            counts: gate.counts.clone(),
        };
        let run = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async move {
                match plan.link(answer) {
                    Ok(link) => run(Arc::new(worker), link, asked).await,
                    Err(error) => tracing::error!(%error, "repeats of requests cannot be known to other nodes"),
                }
            });
        };
        let thread = std::thread::Builder::new().name("repeats".to_string()).spawn(run);
        thread.map_err(|error| format!("the thread of repeats: {error}"))?;
        Ok(Nodes { asks, gate, waiting: Arc::default() })
    }

    /// The longest a request waits.
    pub fn patience(&self) -> Duration {
        self.gate.timeout
    }

    /// What is known of a request, which is this node's from now on if that is nothing.
    pub async fn enter(&self, id: &Digest, asked: &Digest) -> Found {
        self.gate.ask(|reply| self.asks.try_send(Ask::Enter(*id, *asked, reply)).is_ok()).await
    }

    /// Remembers an answer, some time later; without a claim only where nobody has one.
    pub fn keep(&self, id: Digest, record: Record, claim: Option<Claim>) {
        let bytes = 1 + record.answer.as_ref().map_or(0, |answer| answer.body.len());
        let waits = Waits(self.waiting.clone(), bytes);
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_WAITING {
            self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let finished = Box::new(Finished { id, record, claim, _waits: waits });
        if self.asks.try_send(Ask::Keep(finished)).is_err() {
            self.gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all answers are written, at most for `limit`. Blocks.
    pub fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.waiting.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// This node has no room for the answer any more.
    pub fn forget(&self, id: Digest) {
        // What cannot be queued ends by its time.
        let _ = self.asks.try_send(Ask::Forget(id));
    }
}

fn derived(pepper: &[u8; 32], purpose: &[u8]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(pepper).ok()?;
    mac.update(purpose);
    Some(mac.finalize().into_bytes().into())
}

/// The thread's side.
struct Worker {
    sealer: Sealer,
    /// Of names, so that they tell nothing to who does not have it.
    names: [u8; 32],
    held: Arc<Held>,
    asks: mpsc::WeakSender<Ask>,
    counts: Arc<crate::cache::gate::Counts>,
}

async fn run(worker: Arc<Worker>, link: Link, mut asked: mpsc::Receiver<Ask>) {
    let renew = tokio::spawn(renew(worker.clone(), link.clone()));
    let mut first = link.clone();
    tokio::spawn(async move { first.query::<()>(&redis::cmd("PING")).await });
    // Every question in a task of its own: the connection puts them into one pipeline.
    while let Some(ask) = asked.recv().await {
        let (worker, mut link) = (worker.clone(), link.clone());
        tokio::spawn(async move { worker.answer(&mut link, ask).await });
    }
    renew.abort();
}

/// As long as a request is under way here, it stays this node's.
async fn renew(worker: Arc<Worker>, link: Link) {
    loop {
        tokio::time::sleep(EVERY).await;
        let asked = worker.old().into_iter().map(|(value, id)| {
            let (mut link, held) = (link.clone(), worker.held.clone());
            let mut command = worker.script(RENEW, &id);
            command.arg(&value[..]).arg(HOLDS_MS);
            async move {
                // What fails is counted where requests ask; what is not renewed ends by its time.
                if link.query::<i64>(&command).await == Ok(0) {
                    held.lock().remove(&value);
                }
            }
        });
        join_all(asked).await;
    }
}

impl Worker {
    fn name(&self, id: &Digest) -> String {
        format!("{PREFIX}{}", hex(&derived(&self.names, id).unwrap_or(*id)))
    }

    fn script(&self, script: &str, id: &Digest) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(self.name(id));
        command
    }

    /// Claims that would end soon.
    fn old(&self) -> Vec<(Arc<[u8]>, Digest)> {
        let held = self.held.lock();
        let old = held.iter().filter(|(_, (_, since))| since.elapsed() >= EVERY);
        old.map(|(value, (id, _))| (value.clone(), *id)).collect()
    }

    async fn answer(&self, link: &mut Link, ask: Ask) {
        let done = match ask {
            Ask::Enter(id, asked, reply) => {
                let found = self.enter(link, id, asked).await;
                // A claim that nobody waits for any more is given back as it is dropped.
                let _ = reply.send(found.unwrap_or_else(|error| {
                    self.counts.failed(error);
                    Found::Failed
                }));
                return;
            }
            Ask::Keep(finished) => self.keep(link, *finished).await,
            Ask::Release(id, value) => {
                let mut command = self.script(RELEASE, &id);
                command.arg(&value[..]);
                link.query::<()>(&command).await
            }
            Ask::Forget(id) => {
                let mut command = redis::cmd("UNLINK");
                command.arg(self.name(&id));
                link.query::<()>(&command).await
            }
        };
        if let Err(error) = done {
            self.counts.failed(error);
        }
    }

    async fn enter(&self, link: &mut Link, id: Digest, asked: Digest) -> redis::RedisResult<Found> {
        let claim = Record { asked, answer: None };
        let Some(value) = claim.seal(&self.sealer, &id) else { return Ok(Found::Failed) };
        let mut command = self.script(ENTER, &id);
        command.arg(&value).arg(HOLDS_MS);
        let Some(found) = link.query::<Option<Vec<u8>>>(&command).await? else {
            let value: Arc<[u8]> = value.into();
            self.held.lock().insert(value.clone(), (id, Instant::now()));
            return Ok(Found::Mine(Claim { id, value, held: self.held.clone(), asks: Some(self.asks.clone()) }));
        };
        let Some(record) = Record::open(&self.sealer, &id, &found) else {
            self.counts.foreign.fetch_add(1, Ordering::Relaxed);
            return Ok(Found::Foreign);
        };
        Ok(match record.answer {
            _ if record.asked != asked => Found::Other,
            None => Found::UnderWay,
            Some(answer) => Found::Answer(Box::new(answer)),
        })
    }

    /// Writes an answer, also to a server that is away for a moment: meanwhile its claim holds.
    async fn keep(&self, link: &mut Link, finished: Finished) -> redis::RedisResult<()> {
        let Finished { id, record, claim, _waits } = finished;
        let Some(sealed) = record.seal(&self.sealer, &id) else { return Ok(()) };
        let mut command = self.script(KEEP, &id);
        let value = claim.as_ref().map(|claim| claim.value.clone());
        let ms = u64::try_from(REMEMBERED.as_millis()).unwrap_or(u64::MAX);
        command.arg(value.as_deref().unwrap_or(NOBODY)).arg(sealed).arg(ms);
        let mut pauses = PAUSES.iter();
        loop {
            match (link.query::<i64>(&command).await, pauses.next()) {
                (Ok(_), _) => {
                    self.counts.writes.fetch_add(1, Ordering::Relaxed);
                    claim.into_iter().for_each(Claim::over);
                    return Ok(());
                }
                (Err(error), None) => return Err(error),
                (Err(_), Some(pause)) => tokio::time::sleep(*pause).await,
            }
        }
    }
}
