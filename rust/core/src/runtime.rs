//! The I/O threads: one single-threaded runtime each, or one work-stealing runtime over all of them.
//! `docs/decisions/001-runtime.md` has the figures for the choice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use crate::janitor::{self, Registry};
use crate::listener::{self, Listener};
use crate::options::Runtime;
use crate::shard::Shard;
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
        Runtime::PerCore => work.into_iter().map(|one| per_core(one, tls.cloned(), stop.clone())).collect(),
        Runtime::WorkStealing => Ok(vec![work_stealing(work, tls.cloned(), stop.clone())?]),
    }
}

fn per_core(
    (shard, listeners): (Arc<Shard>, Vec<Listener>),
    tls: Option<Arc<Tls>>,
    stop: Arc<Stop>,
) -> io::Result<JoinHandle<()>> {
    let name = format!("ailink-io-{}", shard.index);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(async {
            serve(shard, listeners, tls);
            stop.wait().await;
        });
        runtime.shutdown_timeout(SHUTDOWN);
    })
}

fn work_stealing(work: Work, tls: Option<Arc<Tls>>, stop: Arc<Stop>) -> io::Result<JoinHandle<()>> {
    let name = "ailink-io".to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(work.len())
        .thread_name(name.clone())
        .enable_all()
        .build()?;
    std::thread::Builder::new().name(name).spawn(move || {
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
