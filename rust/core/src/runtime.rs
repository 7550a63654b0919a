//! The I/O threads: one runtime each with a single worker, or one work-stealing runtime over all of them.
//!
//! ## Tried
//! * tokio's current-thread runtime in place of a multi-thread one with one worker: 1 to 3 % cheaper with 32 and 100
//!   connections, but half as dear again with 1,000, and a quarter dearer per event of 100 streams. It has one queue for
//!   everything, so what a connection left in the caches is gone when its turn comes; the worker keeps to its 256 latest.
//!
//! `docs/decisions/001-runtime.md` has the figures.
//!
//! A thread that is about to wait sends first what its sockets hold ([`outbox`]); one that has become ready again waits
//! for others' time slices as briefly as the system allows ([`slice`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use crate::janitor::{self, Registry};
use crate::listener::{self, Listener};
use crate::options::Runtime;
use crate::outbox;
use crate::shard::Shard;
use crate::slice;
use crate::tls::Tls;

/// What tasks get to end when a runtime is shut down.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// Ends the runtimes.
#[derive(Default)]
pub struct Stop {
    asked: AtomicBool,
    notify: Notify,
}

impl Stop {
    pub fn now(&self) {
        self.asked.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    async fn wait(&self) {
        loop {
            let notified = self.notify.notified();
            if self.is_asked() {
                return;
            }
            notified.await;
        }
    }
}

/// A shard and the sockets it accepts on.
type Work = Vec<(Arc<Shard>, Vec<Listener>)>;

/// Starts the threads.
///
/// # Errors
/// The system refuses a runtime or a thread.
pub fn spawn(kind: Runtime, work: Work, tls: Option<&Arc<Tls>>, stop: &Arc<Stop>) -> io::Result<Vec<JoinHandle<()>>> {
    match kind {
        Runtime::PerCore => work
            .into_iter()
            .map(|one| run(&format!("ailink-io-{}", one.0.index), vec![one], tls.cloned(), stop.clone()))
            .collect(),
        Runtime::WorkStealing => Ok(vec![run("ailink-io", work, tls.cloned(), stop.clone())?]),
    }
}

/// A runtime with a worker for each shard, and the thread that waits for its end.
fn run(name: &str, work: Work, tls: Option<Arc<Tls>>, stop: Arc<Stop>) -> io::Result<JoinHandle<()>> {
    // The first threads are the workers; later ones compute what must not hold up a worker.
    let (workers, started) = (work.len(), AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .on_thread_start(move || {
            outbox::open();
            if started.fetch_add(1, Ordering::Relaxed) < workers {
                slice::shorten();
            }
        })
        .on_thread_park(outbox::flush)
        .build()?;
    std::thread::Builder::new().name(format!("{name}-keeper")).spawn(move || {
        runtime.block_on(async {
            for (shard, listeners) in work {
                serve(shard, listeners, tls.clone());
            }
            stop.wait().await;
        });
        runtime.shutdown_timeout(SHUTDOWN);
    })
}

fn serve(shard: Arc<Shard>, listeners: Vec<Listener>, tls: Option<Arc<Tls>>) {
    let registry = Arc::new(Registry::default());
    tokio::spawn(janitor::run(shard.clone(), registry.clone()));
    for listener in listeners {
        let accepting = listener::accept(shard.clone(), registry.clone(), listener, tls.clone());
        tokio::spawn(async move {
            if let Err(error) = accepting.await {
                tracing::error!(%error, "a listening socket failed");
            }
        });
    }
}
