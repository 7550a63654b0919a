//! Sockets and the life of connections: accepting within bounds, watching for those that hang, and going away politely.
//!
//! No connection has a timer of its own. A janitor per I/O thread looks over its connections once a second and wakes only
//! those that are overdue, or all of them when the process shuts down.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::clock;
use crate::connection::{Connection, Overdue, Patience, Socket, Watched};
use crate::front;
use crate::options::Limits;
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
/// How often the coarse clock moves, and how often connections and pools are looked over.
const TICK: Duration = Duration::from_millis(200);
const TICKS_PER_SWEEP: u32 = 5;
/// How long an HTTP/1.1 connection must have been silent before a closing process closes it: whoever sends within that time
/// is answered, with `Connection: close`.
const SILENCE_NS: u64 = 1_000_000_000;

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
    let Some(tls) = tls else { return spawn(shard, registry, Socket::Tcp(stream), connection) };
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
    let service = service_fn(move |request| {
        let answer = front::serve(shard.clone(), connection.clone(), request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let builder = builder(&open.0.shared.options.limits, place.registry.clone());
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        place.handle.waker.register(cx.waker());
        match place.handle.order.load(Ordering::Acquire) {
            ORDER_NONE => {}
            ORDER_LEAVE if leaving => {}
            ORDER_LEAVE => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            _ => return Poll::Ready(()),
        }
        serving.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

fn builder(limits: &Limits, registry: Arc<Registry>) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(Executor(registry));
    builder
        .http1()
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

const ORDER_NONE: u8 = 0;
/// Finish what is running, then close.
const ORDER_LEAVE: u8 = 1;
/// Close now.
const ORDER_DROP: u8 = 2;

struct Handle {
    waker: AtomicWaker,
    order: AtomicU8,
    connection: Option<Arc<Connection>>,
}

impl Handle {
    fn order(&self, order: u8) {
        self.order.fetch_max(order, Ordering::AcqRel);
        self.waker.wake();
    }
}

/// Everything that runs on one I/O thread and may have to be woken: connections, and HTTP/2's tasks.
#[derive(Default)]
pub struct Registry {
    handles: Mutex<Slab<Arc<Handle>>>,
}

struct Place {
    registry: Arc<Registry>,
    index: usize,
    handle: Arc<Handle>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.handles.lock().try_remove(self.index);
    }
}

impl Registry {
    fn enter(self: &Arc<Self>, connection: Option<Arc<Connection>>) -> Place {
        let handle = Arc::new(Handle { waker: AtomicWaker::new(), order: AtomicU8::new(ORDER_NONE), connection });
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
                Some(Overdue::Idle) => handle.order(ORDER_LEAVE),
                Some(Overdue::Head | Overdue::Stalled) => handle.order(ORDER_DROP),
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
                        handle.order(ORDER_LEAVE);
                    }
                }
                // A stream notices the phase when it is polled.
                Phase::Cut if handle.connection.is_some() => handle.order(ORDER_LEAVE),
                Phase::Cut => handle.waker.wake(),
            }
        }
    }
}

/// Looks after one thread's connections and pools until the runtime ends.
pub async fn janitor(shard: Arc<Shard>, registry: Arc<Registry>) {
    let limits = &shard.shared.options.limits;
    let ns = |ms: u64| ms.saturating_mul(1_000_000);
    let patience = Patience {
        idle_ns: ns(limits.keepalive_idle_ms),
        head_ns: ns(limits.header_timeout_ms),
        stall_ns: ns(limits.write_stall_ms),
    };
    let mut known = Phase::Serving;
    let mut ticks = 0u32;
    loop {
        clock::tick();
        let changed = shard.shared.phase_changed.notified();
        let phase = shard.shared.phase();
        if phase != known {
            known = phase;
            registry.announce(phase);
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(TICK) => {
                if known >= Phase::Draining {
                    registry.announce(known);
                }
                ticks = (ticks + 1) % TICKS_PER_SWEEP;
                if ticks != 0 {
                    continue;
                }
                registry.look(&patience);
                sweep_pools(&shard);
            }
        }
    }
}

fn sweep_pools(shard: &Shard) {
    let snapshot = shard.snapshot();
    for deployment in &snapshot.deployments {
        deployment.state.pool.sweep(shard.index, deployment.pool_idle);
    }
    let current: std::collections::HashSet<&str> =
        snapshot.deployments.iter().map(|deployment| &*deployment.id).collect();
    for retired in shard.shared.state.deployments().iter().filter(|state| !current.contains(state.id.as_str())) {
        retired.pool.sweep(shard.index, Duration::ZERO);
    }
}

/// Runs HTTP/2's tasks so that the janitor can wake them.
#[derive(Clone)]
struct Executor(Arc<Registry>);

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
        self.place.handle.waker.register(cx.waker());
        self.future.as_mut().poll(cx)
    }
}
