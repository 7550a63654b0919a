//! What all connections of an instance share, and the exchange: one request with its answer, from receipt to end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::answer::Usage;
use super::journal::Journal;
use super::options::Options;
use super::requests::{End, Outcome, Requests};
use super::script::Script;
use crate::Error;
use crate::clock::monotonic_ns;

/// The state of one provider instance.
pub struct Shared {
    pub options: Options,
    pub journal: Option<Journal>,
    /// May requests without any script take the short way?
    plain: AtomicBool,
    defaults: Mutex<(String, Arc<Script>)>,
    requests: Mutex<Requests>,
    /// How often each `fail_first` id was asked for.
    hits: Mutex<HashMap<String, u64>>,
    /// The places of each id that has `slots`.
    slots: Mutex<HashMap<String, Arc<Semaphore>>>,
    random: Mutex<fastrand::Rng>,
    pub counts: Counts,
}

/// Counters that `/mock/stats` shows.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub done: AtomicU64,
    pub client_gone: AtomicU64,
    pub broken_off: AtomicU64,
    pub fast: AtomicU64,
    pub connections: AtomicU64,
    pub connections_open: AtomicU64,
}

impl Shared {
    /// The state for an instance with these options; opens the journal.
    pub fn new(options: Options) -> Result<Self, Error> {
        let script = Arc::new(Script::parse(&options.script)?);
        let journal = options.journal.as_deref().map(|path| Journal::open(path, options.journal_sync)).transpose()?;
        let shared = Self {
            plain: AtomicBool::new(false),
            defaults: Mutex::new((options.script.clone(), script)),
            requests: Mutex::new(Requests::new(options.record)),
            hits: Mutex::default(),
            slots: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            counts: Counts::default(),
            journal,
            options,
        };
        shared.update_plain();
        Ok(shared)
    }

    /// May a request without any script take the short way?
    pub fn plain(&self) -> bool {
        self.plain.load(Relaxed)
    }

    /// The script that every answer starts from.
    pub fn defaults(&self) -> Arc<Script> {
        Arc::clone(&lock(&self.defaults).1)
    }

    /// The text of that script.
    pub fn defaults_text(&self) -> String {
        lock(&self.defaults).0.clone()
    }

    /// Replaces that script; answers under way keep theirs.
    pub fn set_defaults(&self, text: &str) -> Result<(), Error> {
        let script = Arc::new(Script::parse(text)?);
        *lock(&self.defaults) = (text.to_owned(), script);
        self.update_plain();
        Ok(())
    }

    /// Back to how the instance was started: script, kept requests, counters. Open connections and the journal stay.
    pub fn reset(&self) -> Result<(), Error> {
        self.set_defaults(&self.options.script)?;
        lock(&self.requests).clear();
        lock(&self.hits).clear();
        let counts = &self.counts;
        for count in [&counts.requests, &counts.done, &counts.client_gone, &counts.broken_off, &counts.fast] {
            count.store(0, Relaxed);
        }
        Ok(())
    }

    /// Counts one more request for an id and tells the new count.
    pub fn hit(&self, id: &str) -> u64 {
        let mut hits = lock(&self.hits);
        let count = hits.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// The places of an id; how many there are is decided by who asks first.
    pub fn slots(&self, id: &str, count: usize) -> Arc<Semaphore> {
        let mut slots = lock(&self.slots);
        slots.entry(id.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(count))).clone()
    }

    /// A generator of its own for one answer, reproducible from the seed and the order of requests.
    pub fn fork_random(&self) -> fastrand::Rng {
        lock(&self.random).fork()
    }

    /// The requests seen.
    pub fn requests(&self) -> MutexGuard<'_, Requests> {
        lock(&self.requests)
    }

    /// Counters as JSON.
    pub fn stats(&self) -> Value {
        let counts = &self.counts;
        let [requests, done, gone, broken] =
            [&counts.requests, &counts.done, &counts.client_gone, &counts.broken_off].map(|count| count.load(Relaxed));
        json!({
            "requests": requests,
            "done": done,
            "client_gone": gone,
            "broken_off": broken,
            "in_flight": requests.saturating_sub(done + gone + broken),
            "fast": counts.fast.load(Relaxed),
            "connections": counts.connections.load(Relaxed),
            "connections_open": counts.connections_open.load(Relaxed),
            "monotonic_ns": monotonic_ns(),
        })
    }

    fn update_plain(&self) {
        let untouched = *self.defaults() == Script::default();
        self.plain.store(untouched && self.journal.is_none() && self.options.keys.is_empty(), Relaxed);
    }
}

/// Locks; a panic of another thread does not matter to the plain data in here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request and its answer. Dropped before `finish` was called, it notes that the client is gone: hyper drops an
/// answer only then, and the hand-written way says so itself.
pub struct Exchange {
    shared: Arc<Shared>,
    pub number: u64,
    pub received_ns: u64,
    attempt: Option<String>,
    model: String,
    path: String,
    pub status: u16,
    pub usage: Usage,
    /// Content events the whole answer has; 0 when it is no stream.
    pub deltas: u64,
    pub events_out: u64,
    pub bytes_out: u64,
    finished: bool,
}

/// What is known of a request when it is received.
pub struct Received<'a> {
    pub connection: u64,
    pub received_ns: u64,
    pub head: &'a [u8],
    pub body: &'a [u8],
    pub path: &'a str,
    pub attempt: Option<&'a str>,
}

impl Exchange {
    /// Notes a fully received request.
    pub fn begin(shared: &Arc<Shared>, received: &Received<'_>) -> Self {
        let number = shared.requests().begin(received.connection, received.received_ns, received.head, received.body);
        shared.counts.requests.fetch_add(1, Relaxed);
        Self {
            shared: Arc::clone(shared),
            number,
            received_ns: received.received_ns,
            attempt: received.attempt.map(str::to_owned),
            model: String::new(),
            path: received.path.to_owned(),
            status: 0,
            usage: Usage::default(),
            deltas: 0,
            events_out: 0,
            bytes_out: 0,
            finished: false,
        }
    }

    /// Journals the receipt; returns once the line is as safe as the journal's mode makes it.
    pub async fn journal_receipt(&mut self, model: &str, bytes_in: usize) {
        model.clone_into(&mut self.model);
        if let Some(journal) = &self.shared.journal {
            let line = json!({
                "at": "received",
                "attempt": self.attempt,
                "number": self.number,
                "t_ns": self.received_ns,
                "model": self.model,
                "path": self.path,
                "bytes_in": bytes_in,
            });
            journal.write(&line).await;
        }
    }

    /// Notes the end; only the first call counts.
    pub fn finish(&mut self, end: End) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let now = monotonic_ns();
        let Self { status, events_out, bytes_out, .. } = *self;
        let counts = &self.shared.counts;
        let count = match end {
            End::Done => &counts.done,
            End::ClientGone => &counts.client_gone,
            End::Reset | End::Closed => &counts.broken_off,
        };
        count.fetch_add(1, Relaxed);
        self.shared.requests().finish(self.number, Outcome { status, end, end_ns: now, events_out, bytes_out });
        if let Some(journal) = &self.shared.journal {
            journal.append(&json!({
                "at": "end",
                "attempt": self.attempt,
                "number": self.number,
                "t_ns": now,
                "status": status,
                "events_out": events_out,
                "bytes_out": bytes_out,
                "usage_in": self.usage.input,
                "usage_out": self.output_sent(),
                "cached": self.usage.cached,
                "cache_write": self.usage.cache_write,
                "usage_told": self.usage.told && end == End::Done,
                "end": end.name(),
            }));
        }
    }

    /// Output tokens that were sent: of a stream that was broken off, the share of its content events.
    fn output_sent(&self) -> u64 {
        match self.deltas {
            0 => self.usage.output,
            deltas => (self.usage.output * self.events_out).div_ceil(deltas),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(End::ClientGone);
    }
}
