//! Looks after connections: notices those that hang, sends all away when the process shuts down.
//!
//! No connection has a timer of its own. A janitor per I/O thread looks over its connections once a second and wakes only
//! those that are overdue, or all of them when the phase changes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;

use crate::clock;
use crate::connection::{Connection, Overdue, Patience};
use crate::passive_health::eject_outliers;
use crate::probe;
use crate::shard::{Phase, Shard};
use crate::stored;

/// How often the coarse clock moves, and how often connections and pools are looked over.
const TICK: Duration = Duration::from_millis(200);
const TICKS_PER_SWEEP: u32 = 5;
/// How long an HTTP/1.1 connection must have been silent before a closing process closes it: whoever sends within that time
/// is answered, with `Connection: close`.
const SILENCE_NS: u64 = 1_000_000_000;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    None = 0,
    /// Finish what is running, then close.
    Leave = 1,
    /// Close now.
    Drop = 2,
}

struct Handle {
    waker: AtomicWaker,
    order: AtomicU8,
    connection: Option<Arc<Connection>>,
}

impl Handle {
    fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.waker.wake();
    }
}

/// Everything that runs on one I/O thread and may have to be woken: connections, and HTTP/2's tasks.
#[derive(Default)]
pub struct Registry {
    handles: Mutex<Slab<Arc<Handle>>>,
}

/// A task's place in the registry, given up when it is dropped.
pub struct Place {
    registry: Arc<Registry>,
    index: usize,
    handle: Arc<Handle>,
}

impl Place {
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The task wants to be woken when it is told something.
    pub fn watch(&self, cx: &Context<'_>) {
        self.handle.waker.register(cx.waker());
    }

    pub fn order(&self) -> Order {
        match self.handle.order.load(Ordering::Acquire) {
            0 => Order::None,
            1 => Order::Leave,
            _ => Order::Drop,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.handles.lock().try_remove(self.index);
    }
}

impl Registry {
    pub fn enter(self: &Arc<Self>, connection: Option<Arc<Connection>>) -> Place {
        let handle =
            Arc::new(Handle { waker: AtomicWaker::new(), order: AtomicU8::new(Order::None as u8), connection });
        let index = self.handles.lock().insert(handle.clone());
        Place { registry: self.clone(), index, handle }
    }

    fn all(&self) -> Vec<Arc<Handle>> {
        self.handles.lock().iter().map(|(_, handle)| handle.clone()).collect()
    }

    /// Tells what hangs to go.
    fn look(&self, patience: &Patience) {
        let now = clock::coarse_ns();
        let handles = self.handles.lock();
        for (_, handle) in handles.iter() {
            let overdue = handle.connection.as_ref().and_then(|connection| connection.overdue(now, patience));
            match overdue {
                None => {}
                Some(Overdue::Idle) => handle.order(Order::Leave),
                Some(Overdue::Head | Overdue::Stalled) => handle.order(Order::Drop),
            }
        }
    }

    /// Carries a phase of the shutdown to every task.
    fn announce(&self, phase: Phase) {
        for handle in self.all() {
            match phase {
                Phase::Serving | Phase::LameDuck => {}
                Phase::Draining => {
                    let now = clock::coarse_ns();
                    if handle.connection.as_ref().is_some_and(|connection| connection.may_go(now, SILENCE_NS)) {
                        handle.order(Order::Leave);
                    }
                }
                // A stream notices the phase when it is polled.
                Phase::Cut if handle.connection.is_some() => handle.order(Order::Leave),
                Phase::Cut => handle.waker.wake(),
            }
        }
    }
}

/// Looks after one thread's connections and pools until the runtime ends.
pub async fn run(shard: Arc<Shard>, registry: Arc<Registry>) {
    let limits = &shard.shared.options.limits;
    let ns = |ms: u64| ms.saturating_mul(1_000_000);
    let patience = Patience {
        idle_ns: ns(limits.keepalive_idle_ms),
        head_ns: ns(limits.header_timeout_ms),
        stall_ns: ns(limits.write_stall_ms),
    };
    let mut known = Phase::Serving;
    let mut ticks = 0u32;
    let mut shortest = Duration::MAX;
    loop {
        clock::tick();
        let changed = shard.shared.phase_changed.notified();
        let phase = shard.shared.phase();
        if phase != known {
            known = phase;
            registry.announce(phase);
        }
        let asleep = Instant::now();
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(TICK) => {
                shard.alarms.ring();
                shortest = shortest.min(asleep.elapsed().saturating_sub(TICK));
                if known >= Phase::Draining {
                    registry.announce(known);
                }
                if shard.index == 0 {
                    probe::tick(&shard);
                }
                ticks = (ticks + 1) % TICKS_PER_SWEEP;
                if ticks != 0 {
                    continue;
                }
                shard.pressure.look(std::mem::replace(&mut shortest, Duration::MAX));
                registry.look(&patience);
                shard.shared.state.pools.sweep(shard.index);
                if shard.index == 0 {
                    eject_outliers(&shard.shared, &shard.snapshot());
                    stored::tick(&shard);
                }
            }
        }
    }
}

/// Runs HTTP/2's tasks so that the janitor can wake them.
#[derive(Clone)]
pub struct Executor(Arc<Registry>);

impl Executor {
    pub fn new(registry: Arc<Registry>) -> Self {
        Executor(registry)
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Woken { place: self.0.enter(None), future: Box::pin(future) });
    }
}

struct Woken<F> {
    place: Place,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.place.watch(cx);
        self.future.as_mut().poll(cx)
    }
}
