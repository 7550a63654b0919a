//! What one I/O thread owns: its view of the snapshot, its part of the bounds, its spool writer, its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::alarms::Alarms;
use crate::batch::Holds;
use crate::decision::Decisions;
use crate::event::Events;
use crate::metrics::ShardMetrics;
use crate::options::Options;
use crate::pressure::Pressure;
use crate::shell;
use crate::snapshot::Snapshot;
use crate::spool;
use crate::state::State;
use crate::stored::Store;
use crate::trace::Answered;
use crate::upstream::{Origin, Pool};

/// A request's hold on the snapshot it started with. The inner `Arc` is shared by all threads, the outer one by the
/// requests of one thread, so that counting references does not move a cache line between cores.
pub type SnapshotRef = Arc<Arc<Snapshot>>;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    Serving = 0,
    /// Not ready any more; answers still flow and close their connections.
    LameDuck = 1,
    /// Idle connections are closed, streams run on.
    Draining = 2,
    /// Time is up: streams end with an error event.
    Cut = 3,
}

/// What all I/O threads share.
pub struct Shared {
    pub options: Options,
    pub trusted_proxies: Vec<IpNet>,
    pub state: State,
    /// Responses and conversations that are kept.
    pub stored: Store,
    /// What batches under way have set aside.
    pub batches: Holds,
    pub shell: Origin,
    pub shell_pool: Pool,
    pub events: Events,
    pub status: Mutex<Status>,
    /// Whether this node checks the health of deployments; of several nodes one does.
    pub checking: AtomicBool,
    ready: AtomicBool,
    phase: AtomicU8,
    /// Wakes the janitors of all threads when the phase changes.
    pub phase_changed: Notify,
}

/// What `/health/ready` tells.
#[derive(Default)]
pub struct Status {
    pub details: Vec<u8>,
}

impl Shared {
    pub fn new(options: Options, trusted_proxies: Vec<IpNet>, state: State, shell: Origin, events: Events) -> Self {
        let shell_pool = Pool::new(state.threads, shell::POOL_IDLE);
        let stored = Store::new(&options.data_dir, options.shared_store);
        Shared {
            stored,
            batches: Holds::default(),
            options,
            trusted_proxies,
            state,
            shell,
            shell_pool,
            events,
            status: Mutex::default(),
            checking: AtomicBool::new(true),
            ready: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Serving as u8),
            phase_changed: Notify::new(),
        }
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.phase() == Phase::Serving
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::LameDuck,
            2 => Phase::Draining,
            _ => Phase::Cut,
        }
    }

    /// Moves on to a later phase; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_changed.notify_waiters();
    }
}

/// One I/O thread.
pub struct Shard {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub metrics: ShardMetrics,
    pub bounds: Bounds,
    pub decisions: Decisions,
    /// Requests that were traced, until Python takes them.
    pub answered: Answered,
    pub pressure: Pressure,
    pub alarms: Alarms,
    pub cache: crate::cache::count::Table,
    snapshot: ArcSwap<Arc<Snapshot>>,
    writer: Mutex<spool::Writer>,
}

/// This thread's part of the global bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: i64,
    pub requests: i64,
    pub body_bytes: i64,
    pub shell: i64,
}

impl Shard {
    pub fn new(index: usize, shared: Arc<Shared>, writer: spool::Writer) -> Self {
        let share = |total: u64| i64::try_from(total.div_ceil(shared.state.threads.max(1) as u64)).unwrap_or(i64::MAX);
        let limits = &shared.options.limits;
        let bounds = Bounds {
            connections: share(limits.connections),
            requests: share(limits.requests_in_flight),
            body_bytes: share(limits.body_bytes_in_flight),
            shell: share(limits.shell_in_flight),
        };
        Shard {
            index,
            shared,
            metrics: ShardMetrics::new(),
            bounds,
            decisions: Decisions::default(),
            answered: Answered::default(),
            pressure: Pressure::default(),
            alarms: Alarms::default(),
            cache: crate::cache::count::Table::default(),
            snapshot: ArcSwap::from_pointee(Arc::new(Snapshot::empty())),
            writer: Mutex::new(writer),
        }
    }

    pub fn snapshot(&self) -> SnapshotRef {
        self.snapshot.load_full()
    }

    pub fn publish(&self, snapshot: &Arc<Snapshot>) {
        self.snapshot.store(Arc::new(snapshot.clone()));
    }

    /// Records that an attempt is about to be sent.
    ///
    /// # Errors
    /// The spool has no room: nothing may be sent that could not be accounted.
    pub fn intent(&self, intent: &spool::Intent) -> Result<spool::Slot, spool::SpoolFull> {
        self.writer.lock().intent(intent)
    }
}
