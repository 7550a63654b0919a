//! The two ways to spread a server over threads, so that benches can compare them.

use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::{Error, net};

/// How a server uses its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One single-threaded runtime and one listening socket per thread; a connection stays where it was accepted.
    PerCore,
    /// One runtime whose threads take work from each other.
    WorkStealing,
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "per_core" => Ok(Self::PerCore),
            "work_stealing" => Ok(Self::WorkStealing),
            _ => Err(Error::usage(format!("'{text}' is no runtime (per_core, work_stealing)"))),
        }
    }
}

/// Where and how a yardstick server runs.
#[derive(Clone, Debug)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub kind: Kind,
    pub threads: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 0, kind: Kind::PerCore, threads: 1 }
    }
}

/// Binds, tells the address and serves until killed. `make` is called once per runtime, within it; what it returns is
/// called for every connection.
pub fn serve<M, S, F>(place: &Place, announce: impl FnOnce(SocketAddr), make: M) -> Result<(), Error>
where
    M: Fn() -> S + Clone + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let threads = place.threads.max(1);
    let (builders, sockets) = match place.kind {
        Kind::PerCore => ((0..threads).map(|_| Builder::new_current_thread()).collect(), threads),
        Kind::WorkStealing => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads);
            (vec![builder], 1)
        }
    };
    let (listeners, address) = net::listen(&place.host, place.port, sockets)?;
    announce(address);
    let mut running = Vec::new();
    for (mut builder, listener) in builders.into_iter().zip(listeners) {
        let runtime = builder.enable_all().build().map_err(Error::io("start a runtime"))?;
        let make = make.clone();
        let thread = std::thread::Builder::new()
            .spawn(move || accept(&runtime, listener, make))
            .map_err(Error::io("start a thread"))?;
        running.push(thread);
    }
    for thread in running {
        // A thread that panicked has said so.
        let _ = thread.join();
    }
    Ok(())
}

fn accept<M, S, F>(runtime: &Runtime, listener: std::net::TcpListener, make: M)
where
    M: Fn() -> S,
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let connection = {
        let _entered = runtime.enter();
        make()
    };
    let accepting = async move {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: let some connections end first.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            tokio::spawn(connection(stream));
        }
    };
    // In a task of its own, so that on the work-stealing runtime accepting happens on a worker too.
    let _ = runtime.block_on(async { tokio::spawn(accepting).await });
}
