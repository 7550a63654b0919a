//! The mock provider: answers like OpenAI, Anthropic, Google and Bedrock, misbehaves as scripted, and knows what it was asked.

mod answer;
mod anthropic;
mod bedrock;
mod body;
mod cohere;
mod command;
mod connection;
mod control;
mod delay;
mod embeddings;
mod errors;
mod fast;
mod feed;
mod fields;
mod frames;
mod gemini;
mod invoke;
mod journal;
mod json;
mod live;
mod media;
mod multipart;
mod openai;
mod operation;
mod options;
mod plan;
mod raw;
mod realtime;
mod requests;
mod responses;
mod said;
mod script;
mod service;
mod sigv4;
mod sse;
mod state;
mod stream;
mod text;
mod tools;
mod voices;

use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

pub(crate) use self::command::command;
pub use self::options::Options;
pub use self::script::Script;
use self::state::Shared;
pub(crate) use self::text::filler;
use crate::{Error, net};

/// A running provider. Dropping it stops it at once.
pub struct Handle {
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// The TCP address it listens on; none when that is a unix socket.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Closes all connections and waits for the threads to end.
    pub fn stop(mut self) {
        self.shut_down();
    }

    /// Waits until the provider ends by itself, which it does not.
    pub fn wait(mut self) {
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }

    fn shut_down(&mut self) {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Where one thread takes its connections from.
enum Listener {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

/// Binds and starts the threads; connections are taken when this returns.
pub fn serve(options: Options) -> Result<Handle, Error> {
    let (listeners, address) = listen(&options)?;
    let shared = Arc::new(Shared::new(options)?);
    let (stop, stopped) = watch::channel(false);
    let mut handle = Handle { address, stop, threads: Vec::new() };
    for (index, listener) in listeners.into_iter().enumerate() {
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("start a runtime"))?;
        let accepting = {
            let _entered = runtime.enter();
            Accepting::new(listener)?
        };
        let thread = std::thread::Builder::new()
            .name(format!("mock-provider-{index}"))
            .spawn(move || runtime.block_on(accepting.run(shared, stopped)))
            .map_err(Error::io("start a thread"))?;
        handle.threads.push(thread);
    }
    Ok(handle)
}

fn listen(options: &Options) -> Result<(Vec<Listener>, Option<SocketAddr>), Error> {
    let Some(path) = &options.unix else {
        let (listeners, address) = net::listen(&options.host, options.port, options.threads.max(1))?;
        return Ok((listeners.into_iter().map(Listener::Tcp).collect(), Some(address)));
    };
    let what = format!("bind {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::Io { what, source: error });
        }
        _ => {}
    }
    let listener = StdUnixListener::bind(path).map_err(Error::io(what.clone()))?;
    listener.set_nonblocking(true).map_err(Error::io(what))?;
    Ok((vec![Listener::Unix(listener)], None))
}

/// A listener on its runtime.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn new(listener: Listener) -> Result<Self, Error> {
        match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
        .map_err(Error::io("register a listener"))
    }

    async fn run(self, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
        let accepting = async {
            loop {
                if self.accept(&shared).await.is_err() {
                    // Out of descriptors, most likely: let some connections end first.
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }

    async fn accept(&self, shared: &Arc<Shared>) -> std::io::Result<()> {
        let shared = Arc::clone(shared);
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(connection::serve(stream, shared));
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(connection::serve(stream, shared));
            }
        }
        Ok(())
    }
}
