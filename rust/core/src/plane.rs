//! The running data plane: started once, published to, drained, stopped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::deployment_health;
use crate::event::{Event, Events};
use crate::ledger::{self, Ledger};
use crate::listener::{self, Listener};
use crate::metrics::{Exposition, ShardMetrics};
use crate::options::Options;
use crate::query;
use crate::repeat::nodes::Target;
use crate::runtime::{self, Stop};
use crate::shard::{Phase, Shard, Shared};
use crate::snapshot::Snapshot;
use crate::spool::{self, Spool};
use crate::state::State;
use crate::state::credentials::Secret;
use crate::state::keys::{Keys, networks};
use crate::state::leases::Leases;
use crate::state::repeats::Repeats;
use crate::tenants::seed_spend;
use crate::tls::Tls;
use crate::upstream::Origin;

/// How long a next process waits for the one before it to let go of the spool.
const SPOOL_WAIT: Duration = Duration::from_secs(30);
/// From an intent to its safety against power loss, at most.
const SPOOL_SYNC: Duration = Duration::from_secs(1);
/// What cut streams get to send their last event.
const CUT_GRACE: Duration = Duration::from_secs(2);
const FLUSH_LIMIT: Duration = Duration::from_secs(30);
/// What the last answers get to become known to other nodes.
const REPEATS_LIMIT: Duration = Duration::from_millis(500);

/// Something the plane could not do; the text is meant for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlaneError(pub String);

fn failed(what: &str) -> impl FnOnce(io::Error) -> PlaneError + '_ {
    move |error| PlaneError(format!("{what}: {error}"))
}

pub struct Plane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shards: Vec<Arc<Shard>>,
    spool: Spool,
    tls: Option<Arc<Tls>>,
    listeners: Mutex<Vec<Listener>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<Stop>,
    published: Mutex<Arc<Snapshot>>,
}

impl Plane {
    /// Opens spool and ledger, loads certificates. Nothing listens yet.
    ///
    /// # Errors
    /// Options that cannot be used; a spool, ledger or certificate that cannot be opened.
    pub fn new(options: &[u8]) -> Result<Plane, PlaneError> {
        let options: Options =
            rmp_serde::from_slice(options).map_err(|error| PlaneError(format!("options: {error}")))?;
        let threads = thread_count(options.threads);
        let tls = options.tls.clone().map(Tls::load).transpose().map_err(PlaneError)?.map(Arc::new);
        let trusted_proxies = networks(&options.trusted_proxies).map_err(PlaneError)?;
        let (spool, ledger) = open_money(&options)?;
        let keys = Keys::new(&options.pepper);
        seed_spend(&keys, &ledger)?;
        let leases = options.shared_limits.then(Leases::new).transpose().map_err(failed("eventfd"))?;
        let mut state = State::new(threads, keys, Arc::new(ledger), leases.map(Arc::new), &options.pepper);
        state.repeats = Arc::new(Repeats::over(options.repeats.as_ref().map(|repeats| Target {
            url: repeats.url.clone(),
            authority: repeats.authority.clone(),
            timeout: Duration::from_millis(repeats.timeout_ms),
            pepper: options.pepper,
        })));
        let shell = Origin::Unix(Arc::new(options.shell_socket.clone()));
        let events = Events::new().map_err(failed("eventfd"))?;
        let shared = Arc::new(Shared::new(options, trusted_proxies, state, shell, events));
        let shards = (0..threads)
            .map(|index| {
                let writer = spool.writer().map_err(|error| PlaneError(error.to_string()))?;
                Ok(Arc::new(Shard::new(index, shared.clone(), writer)))
            })
            .collect::<Result<Vec<_>, PlaneError>>()?;
        Ok(Plane {
            shared,
            shards,
            spool,
            tls,
            listeners: Mutex::default(),
            threads: Mutex::default(),
            stop: Arc::default(),
            published: Mutex::new(Arc::new(Snapshot::empty())),
        })
    }

    /// Binds and starts the I/O threads. Returns the TCP port, 0 when there is only a Unix socket.
    ///
    /// # Errors
    /// An address that cannot be bound, an inherited descriptor that is no listening socket.
    pub fn start(&self) -> Result<u16, PlaneError> {
        let threads = self.shards.len();
        let listeners = self.listen(threads)?;
        let port = listeners.iter().map(Listener::port).find(|port| *port != 0).unwrap_or(0);
        self.shared.state.repeats.nodes();
        let hands = listener::deal(&listeners, threads).map_err(failed("listening socket"))?;
        *self.listeners.lock() = listeners;
        let work = self.shards.iter().cloned().zip(hands).collect();
        let threads = runtime::spawn(self.shared.options.runtime, work, self.tls.as_ref(), &self.stop);
        self.threads.lock().extend(threads.map_err(failed("I/O threads"))?);
        Ok(port)
    }

    fn listen(&self, threads: usize) -> Result<Vec<Listener>, PlaneError> {
        let listen = &self.shared.options.listen;
        if !listen.fds.is_empty() {
            return listen
                .fds
                .iter()
                .map(|fd| Listener::inherited(*fd).map_err(failed("inherited listening socket")))
                .collect();
        }
        let mut listeners = Vec::new();
        if !listen.host.is_empty() {
            let what = format!("cannot listen on {}:{}", listen.host, listen.port);
            listeners = listener::bind_tcp(&listen.host, listen.port, threads).map_err(failed(&what))?;
        }
        if let Some(path) = &listen.uds {
            let what = format!("cannot listen on {}", path.display());
            listeners.push(listener::bind_unix(path).map_err(failed(&what))?);
        }
        Ok(listeners)
    }

    pub fn listen_fds(&self) -> Vec<i32> {
        self.listeners.lock().iter().map(Listener::fd).collect()
    }

    /// Puts a snapshot in force on every thread. Requests that run finish on theirs.
    ///
    /// # Errors
    /// Says what is wrong with it; the one in force stays.
    pub fn publish(&self, bytes: &[u8]) -> Result<u64, PlaneError> {
        let mut published = self.published.lock();
        let snapshot = Snapshot::compile(bytes, &self.shared.state).map_err(|error| PlaneError(error.to_string()))?;
        let snapshot = Arc::new(snapshot);
        self.connect_cache(&snapshot)?;
        self.shared.state.cache.configure(snapshot.cache.clone());
        for shard in &self.shards {
            shard.publish(&snapshot);
        }
        *published = snapshot.clone();
        Ok(snapshot.version)
    }

    /// Fills credential slots.
    ///
    /// # Errors
    /// The bytes are no map of id to secret.
    pub fn push_credentials(&self, bytes: &[u8]) -> Result<(), PlaneError> {
        let rows: std::collections::BTreeMap<String, Binary> =
            rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("credentials: {error}")))?;
        for (id, value) in rows {
            if value.0.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
                return Err(PlaneError(format!("credential {id:?} holds control characters")));
            }
            self.shared.state.credential(&id).push(Secret::new(value.0));
        }
        Ok(())
    }

    /// Values behind tokens are asked for again.
    pub fn vault_forget(&self) {
        self.shared.state.vault.forget();
    }

    pub fn set_status(&self, ready: bool, details: Vec<u8>) {
        self.shared.status.lock().details = details;
        self.shared.set_ready(ready);
    }

    /// The plane's series in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let mut out = Exposition::new();
        let shards: Vec<&ShardMetrics> = self.shards.iter().map(|shard| &shard.metrics).collect();
        out.shards(&shards);
        let mut deployments = self.shared.state.deployments();
        deployments.sort_by(|a, b| a.id.cmp(&b.id));
        out.deployments(&deployments);
        out.pools(&self.shared.state.pools);
        out.models(&self.shared.state.models());
        out.keys(&self.published.lock().deployments);
        out.probes(&self.published.lock().deployments);
        let lines = crate::cache::count::merged(self.shards.iter().map(|shard| &shard.cache));
        let lookups: Vec<_> = shards.iter().map(|shard| &shard.cache_lookup).collect();
        crate::cache::series::expose(&self.shared.state.cache, &lines, &lookups, &mut out);
        let usage = self.spool.usage();
        let health = self.shared.state.ledger.health();
        for (name, help, value) in [
            ("ailink_keys", "Virtual and admin keys known.", self.shared.state.keys.len() as u64),
            ("ailink_snapshot_version", "Version of the configuration in force.", self.published.lock().version),
            ("ailink_spool_bytes", "Size of the spool's files.", usage.bytes),
            ("ailink_ledger_healthy", "1 when the ledger's last write succeeded.", u64::from(health.is_good())),
            (
                "ailink_pressure_permille",
                "Of 1,000 requests, so many are turned away because an I/O thread does not keep up.",
                self.shards.iter().map(|shard| u64::from(shard.pressure.part())).max().unwrap_or(0),
            ),
            ("ailink_ready", "1 when requests are served.", u64::from(self.shared.is_ready())),
        ] {
            out.family(name, "gauge", help);
            out.sample(name, "", value);
        }
        let guards = &self.shared.state.guards;
        out.guardrails(&guards.cells());
        out.policies(&self.shared.state.policies.cells());
        let stats = self.shared.state.ledger.stats();
        out.family("ailink_ledger_rows_total", "counter", "Attempts written to the ledger.");
        out.sample("ailink_ledger_rows_total", "", stats.rows);
        let dropped = self.shared.state.ledger.verdicts().dropped.load(std::sync::atomic::Ordering::Relaxed);
        out.family("ailink_ledger_verdicts_dropped_total", "counter", "Verdicts that were lost for want of room.");
        out.sample("ailink_ledger_verdicts_dropped_total", "", dropped);
        out.finish()
    }

    /// How each deployment is doing: a MessagePack list of maps.
    pub fn deployment_health(&self) -> Vec<u8> {
        let Some(shard) = self.shards.first() else { return vec![0x90] };
        rmp_serde::to_vec_named(&deployment_health::rows(&shard.snapshot())).unwrap_or_else(|_| vec![0x90])
    }

    /// The decision about a request as JSON, if it was kept.
    pub fn explain(&self, request_id: &str) -> Option<String> {
        self.shards.iter().find_map(|shard| shard.decisions.get(request_id))
    }

    /// # Errors
    /// The new pair is bad; the old one stays.
    pub fn reload_tls(&self) -> Result<(), PlaneError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload().map_err(PlaneError))
    }

    /// Goes away politely: not ready, still serving for a while, then closing, then cutting what still runs.
    pub fn drain(&self) {
        let drain = &self.shared.options.drain;
        self.shared.advance(Phase::LameDuck);
        self.event("draining", "info", "shutting down: not ready any more");
        self.wait_until(Duration::from_millis(drain.delay_ms), || false);
        self.shared.advance(Phase::Draining);
        self.listeners.lock().clear();
        if !self.wait_for_connections(Duration::from_millis(drain.timeout_ms)) {
            self.shared.advance(Phase::Cut);
            self.event("cut", "warning", "drain time is over: open streams are cut");
            self.wait_for_connections(CUT_GRACE);
        }
        self.stop();
    }

    /// Waits for the last connection; false when some are left.
    fn wait_for_connections(&self, limit: Duration) -> bool {
        self.wait_until(limit, || self.shards.iter().all(|shard| shard.metrics.connections_open.get() <= 0))
    }

    /// Waits until `done`, at most for `limit`, or until the plane is stopped.
    fn wait_until(&self, limit: Duration, done: impl Fn() -> bool) -> bool {
        let until = Instant::now() + limit;
        loop {
            if done() {
                return true;
            }
            if Instant::now() >= until || self.stop.is_asked() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the I/O threads and writes the ledger; what is in flight is settled as it is dropped.
    pub fn stop(&self) {
        self.shared.advance(Phase::Cut);
        self.stop.now();
        self.listeners.lock().clear();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("an I/O thread panicked");
            }
        }
        if let Some(nodes) = self.shared.state.repeats.nodes() {
            nodes.flush(REPEATS_LIMIT);
        }
        if let Err(error) = self.shared.state.ledger.close(FLUSH_LIMIT) {
            tracing::error!(%error, "the ledger could not be closed; its spool is kept for the next start");
        }
    }

    /// Waits until everything settled before is in the database.
    ///
    /// # Errors
    /// The database did not take it in time.
    pub fn flush(&self, limit: Duration) -> Result<(), PlaneError> {
        self.shared.state.ledger.flush(limit).map_err(|error| PlaneError(error.to_string()))
    }

    /// Read-only SQL over the ledger; parameters and rows as MessagePack lists.
    ///
    /// # Errors
    /// [`query::QueryError`].
    pub fn ledger_query(&self, sql: &str, params: &[u8], limit: Duration) -> Result<Vec<u8>, query::QueryError> {
        let failed = |error: &dyn std::fmt::Display| query::QueryError::Failed(error.to_string());
        let params: Vec<query::Cell> = rmp_serde::from_slice(params).map_err(|error| failed(&error))?;
        let rows = query::query(&self.shared.state.ledger, sql, &params, limit)?;
        rmp_serde::to_vec(&rows).map_err(|error| failed(&error))
    }

    /// Removes old attempts from the ledger, so many at most; their sums stay. How many.
    ///
    /// # Errors
    /// Of its database.
    pub fn ledger_forget(&self, before_us: i64, most: u32) -> Result<u64, PlaneError> {
        self.shared.state.ledger.forget(before_us, most).map_err(|error| PlaneError(error.to_string()))
    }

    fn event(&self, kind: &'static str, level: &'static str, message: &str) {
        self.shared.events.push(Event { kind, level, message: message.to_string(), ..Event::default() });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn thread_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}

fn open_money(options: &Options) -> Result<(Spool, Ledger), PlaneError> {
    let dir = options.data_dir.join("spool");
    let settings = spool::Options {
        segment_slots: options.ledger.segment_slots,
        max_bytes: options.ledger.max_bytes,
        node: options.node,
        lock_wait: SPOOL_WAIT,
    };
    let (spool, recovery) = Spool::open(&dir, &settings).map_err(|error| PlaneError(error.to_string()))?;
    if recovery.settled + recovery.unknown > 0 {
        tracing::info!(settled = recovery.settled, unknown = recovery.unknown, "attempts recovered from the spool");
    }
    let path: PathBuf = options.data_dir.join("ledger.db");
    let settings = ledger::Options {
        flush: Duration::from_millis(options.ledger.flush_ms),
        sync: SPOOL_SYNC,
        probe: ledger::Probe::default(),
    };
    let ledger = Ledger::open(&path, &spool, &settings).map_err(|error| PlaneError(error.to_string()))?;
    Ok((spool, ledger))
}

pub(crate) struct Binary(pub(crate) Vec<u8>);

impl<'de> serde::Deserialize<'de> for Binary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Binary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Binary, E> {
                Ok(Binary(value.to_vec()))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Binary, E> {
                Ok(Binary(value.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
