//! Sockets and the life of connections: accepting within bounds, serving until either side has had enough.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::connection::{Connection, Socket, Watched};
use crate::front;
use crate::janitor::{Executor, Order, Place, Registry};
use crate::options::Limits;
use crate::outbox;
use crate::shard::{Phase, Shard};
use crate::tls::Tls;

const BACKLOG: i32 = 4096;
/// Unsent bytes the kernel may hold for one client beyond what is on the wire.
const NOTSENT_LOWAT: u32 = 64 * 1024;
/// Write buffer of one HTTP/1.1 connection, and hyper's own bound on a request head. Above the configured header limit, so
/// that the refusal is ours to phrase.
const CONNECTION_BUFFER: usize = 160 * 1024;
/// How far hyper's bound on the number of headers is above ours.
const HEADER_HEADROOM: usize = 4;
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A listening socket.
pub enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    pub fn fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        }
    }

    fn try_clone(&self) -> io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
        })
    }

    /// The TCP port, 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map_or(0, |address| address.port()),
            Listener::Unix(_) => 0,
        }
    }

    /// Takes over a listening socket inherited from the parent process.
    ///
    /// # Errors
    /// The descriptor is not a listening TCP or Unix socket.
    #[allow(unsafe_code)]
    pub fn inherited(fd: RawFd) -> io::Result<Listener> {
        // SAFETY: the parent handed this descriptor over by number and nothing else in the process owns it; a number that
        // is not an open descriptor fails in the first call below.
        let socket = unsafe {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                return Err(io::Error::last_os_error());
            }
            RawSocket::from(OwnedFd::from_raw_fd(fd))
        };
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        if socket.local_addr()?.is_unix() {
            return Ok(Listener::Unix(socket.into()));
        }
        Ok(Listener::Tcp(socket.into()))
    }
}

/// One socket per thread on the same address, so that the kernel spreads the connections.
///
/// # Errors
/// The address cannot be resolved, or is in use.
pub fn bind_tcp(host: &str, port: u16, threads: usize) -> io::Result<Vec<Listener>> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{host} has no address")))?;
    // SO_REUSEPORT would also share the port with a stranger: first see that nobody has it.
    let probe = open(address, false)?;
    let address = probe.local_addr()?;
    if threads <= 1 {
        return Ok(vec![Listener::Tcp(probe)]);
    }
    drop(probe);
    (0..threads).map(|_| open(address, true).map(Listener::Tcp)).collect()
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// # Errors
/// The path cannot be bound; a socket left over from a dead process is replaced.
pub fn bind_unix(path: &Path) -> io::Result<Listener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} is in use", path.display())));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener))
}

/// Deals the listeners out: every thread gets at least one, shared where there are fewer sockets than threads.
///
/// # Errors
/// A descriptor cannot be duplicated.
pub fn deal(listeners: &[Listener], threads: usize) -> io::Result<Vec<Vec<Listener>>> {
    let mut hands: Vec<Vec<Listener>> = (0..threads).map(|_| Vec::new()).collect();
    if listeners.is_empty() {
        return Ok(hands);
    }
    for turn in 0..listeners.len().max(threads) {
        hands[turn % threads].push(listeners[turn % listeners.len()].try_clone()?);
    }
    Ok(hands)
}

/// Accepts on one listener until the shutdown closes it.
pub async fn accept(
    shard: Arc<Shard>,
    registry: Arc<Registry>,
    listener: Listener,
    tls: Option<Arc<Tls>>,
) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            while let Some(accepted) = while_open(&shard, listener.accept()).await {
                match accepted {
                    Ok((stream, peer)) => take_tcp(&shard, &registry, stream, peer, tls.as_ref()),
                    Err(error) => pause(&error).await,
                }
            }
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            while let Some(accepted) = while_open(&shard, listener.accept()).await {
                match accepted {
                    Ok((stream, _)) => {
                        let connection = Connection::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
                        spawn(&shard, &registry, Socket::Unix(stream), connection);
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
    Ok(())
}

/// The next connection; `None` once the process accepts no more.
async fn while_open<T>(shard: &Shard, accept: impl Future<Output = T>) -> Option<T> {
    let mut accept = pin!(accept);
    loop {
        let changed = shard.shared.phase_changed.notified();
        if shard.shared.phase() >= Phase::Draining {
            return None;
        }
        tokio::select! {
            biased;
            accepted = &mut accept => return Some(accepted),
            () = changed => {}
        }
    }
}

/// Out of descriptors or the like: waiting is better than spinning.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn take_tcp(shard: &Arc<Shard>, registry: &Arc<Registry>, stream: TcpStream, peer: SocketAddr, tls: Option<&Arc<Tls>>) {
    if shard.metrics.connections_open.get() >= shard.bounds.connections {
        const FULL: &[u8] =
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.try_write(FULL);
        return;
    }
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOTSENT_LOWAT);
    let address = match peer.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    let connection = Connection::new(address);
    let Some(tls) = tls else { return spawn(shard, registry, Socket::Tcp(outbox::Tcp::new(stream)), connection) };
    let (shard, registry, acceptor) = (shard.clone(), registry.clone(), tls.acceptor());
    tokio::spawn(async move {
        let limit = Duration::from_millis(shard.shared.options.limits.header_timeout_ms);
        match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => spawn(&shard, &registry, Socket::Tls(Box::new(stream)), connection),
            Ok(Err(error)) => tracing::debug!(%error, peer = %connection.peer, "TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %connection.peer, "TLS handshake took too long"),
        }
    });
}

fn spawn(shard: &Arc<Shard>, registry: &Arc<Registry>, socket: Socket, connection: Arc<Connection>) {
    shard.metrics.connections.add(1);
    shard.metrics.connections_open.add(1);
    let open = Open(shard.clone());
    let place = registry.enter(Some(connection.clone()));
    tokio::spawn(live(open, place, socket, connection));
}

struct Open(Arc<Shard>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections_open.add(-1);
    }
}

/// One connection, from its first byte to its last.
async fn live(open: Open, place: Place, socket: Socket, connection: Arc<Connection>) {
    let shard = open.0.clone();
    let io = TokioIo::new(Watched::new(socket, connection.clone()));
    let service = service_fn(move |request| front::serve(&shard, &connection, request));
    let builder = builder(&open.0.shared.options.limits, place.registry().clone());
    let mut serving = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        place.watch(cx);
        match place.order() {
            Order::None => {}
            Order::Leave if leaving => {}
            Order::Leave => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            Order::Drop => return Poll::Ready(()),
        }
        serving.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

fn builder(limits: &Limits, registry: Arc<Registry>) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(Executor::new(registry));
    builder
        .http1()
        // One small copy is cheaper than a vectored write: 2 % of a request, 4 % of an event.
        .writev(false)
        .max_buf_size(CONNECTION_BUFFER.max(limits.header_bytes * 2))
        .max_headers(limits.header_count * HEADER_HEADROOM);
    builder
        .http2()
        .max_concurrent_streams(limits.h2_streams)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_STREAM_WINDOW as usize)
        .max_header_list_size(u32::try_from(limits.header_bytes * 2).unwrap_or(u32::MAX));
    builder
}
