//! One client connection: its socket with a watch on its progress, and what it remembers between requests.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use http::HeaderValue;
use memchr::memmem::Finder;
use parking_lot::Mutex;
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::clock::coarse_ns;
use crate::outbox;
use crate::state::keys::KeyDigest;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Preparing a search costs more than a search in a usual head.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END_OF_HEAD));
const UNKNOWN: usize = usize::MAX;

/// What is known of a connection while it lives. Times are monotonic nanoseconds, 0 = not the case.
pub struct Connection {
    pub peer: IpAddr,
    /// Requests being answered.
    busy: AtomicU32,
    /// When the last request ended, or the connection began.
    idle_since: AtomicU64,
    /// When the first byte of a request came whose head is not complete yet.
    head_since: AtomicU64,
    /// Bytes that came behind that head.
    behind: AtomicUsize,
    /// Since when the client takes nothing although something waits to be sent.
    stalled_since: AtomicU64,
    multiplexed: AtomicBool,
    /// For every HTTP/2 body: since when it holds data that its client has not asked for more of.
    streams: Mutex<Slab<Arc<AtomicU64>>>,
    remembered: Mutex<Option<(HeaderValue, KeyDigest)>>,
}

/// Why a connection should be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// No request for too long.
    Idle,
    /// A request head that does not complete.
    Head,
    /// A client that does not read.
    Stalled,
}

/// Longest times a connection may stay in a state, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub idle_ns: u64,
    pub head_ns: u64,
    pub stall_ns: u64,
}

impl Connection {
    pub fn new(peer: IpAddr) -> Arc<Self> {
        Arc::new(Connection {
            peer,
            busy: AtomicU32::new(0),
            idle_since: AtomicU64::new(coarse_ns()),
            head_since: AtomicU64::new(0),
            behind: AtomicUsize::new(UNKNOWN),
            stalled_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            streams: Mutex::default(),
            remembered: Mutex::new(None),
        })
    }

    /// The digest of a credential, hashed only when it is not that of the request before.
    pub fn digest(&self, credential: &HeaderValue, hash: impl FnOnce() -> KeyDigest) -> KeyDigest {
        let mut remembered = self.remembered.lock();
        match remembered.as_ref() {
            Some((known, digest)) if known == credential => *digest,
            _ => {
                let digest = hash();
                *remembered = Some((credential.clone(), digest));
                digest
            }
        }
    }

    /// A request head is complete.
    pub fn begin(self: &Arc<Self>) -> Active {
        self.busy.fetch_add(1, Ordering::Relaxed);
        if self.head_since.swap(0, Ordering::Relaxed) == 0 {
            self.behind.store(UNKNOWN, Ordering::Relaxed);
        }
        Active(self.clone())
    }

    /// Bytes that came with the head of the request that has begun last, behind it; `None` when that is not known, as for
    /// heads that came in pieces or behind other requests.
    pub fn behind_head(&self) -> Option<usize> {
        Some(self.behind.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    /// The client speaks HTTP/2: it can be told to go without losing what it is just sending.
    pub fn multiplexes(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
    }

    /// A closing process may close this connection: it has said nothing for `silence_ns`, or can be told first.
    pub fn may_go(&self, now: u64, silence_ns: u64) -> bool {
        if self.multiplexed.load(Ordering::Relaxed) {
            return true;
        }
        let idle = self.busy.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0;
        idle && now.saturating_sub(self.idle_since.load(Ordering::Relaxed)) >= silence_ns
    }

    /// One HTTP/2 stream stalls without stalling the socket. Like a blocked socket, it ends the connection.
    fn stream_stalls(&self, now: u64, stall_ns: u64) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
            && self.streams.lock().iter().any(|(_, since)| {
                let since = since.load(Ordering::Relaxed);
                since != 0 && now.saturating_sub(since) >= stall_ns
            })
    }

    /// What is overdue at `now`, if anything.
    pub fn overdue(&self, now: u64, patience: &Patience) -> Option<Overdue> {
        let since = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let longer = |start: u64, limit: u64| start != 0 && now.saturating_sub(start) >= limit;
        if longer(since(&self.stalled_since), patience.stall_ns) || self.stream_stalls(now, patience.stall_ns) {
            return Some(Overdue::Stalled);
        }
        if self.busy.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if longer(since(&self.head_since), patience.head_ns) {
            return Some(Overdue::Head);
        }
        let waiting = since(&self.head_since) == 0 && longer(since(&self.idle_since), patience.idle_ns);
        waiting.then_some(Overdue::Idle)
    }

    fn read(&self, bytes: &[u8]) {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return;
        }
        if self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(coarse_ns(), Ordering::Relaxed);
            // Empty lines before a request (RFC 9112 section 2.2) would be taken for its end.
            let end = HEAD_END.find(bytes).filter(|_| bytes.first().is_some_and(u8::is_ascii_uppercase));
            self.behind.store(end.map_or(UNKNOWN, |end| bytes.len() - end - END_OF_HEAD.len()), Ordering::Relaxed);
        } else if let Some(behind) = self.behind_head() {
            self.behind.store(behind + bytes.len(), Ordering::Relaxed);
        }
    }

    fn wrote<T>(&self, written: &Poll<io::Result<T>>) {
        if written.is_ready() {
            if self.stalled_since.load(Ordering::Relaxed) != 0 {
                self.stalled_since.store(0, Ordering::Relaxed);
            }
        } else if self.stalled_since.load(Ordering::Relaxed) == 0 {
            self.stalled_since.store(coarse_ns(), Ordering::Relaxed);
        }
    }
}

/// Marks a connection as busy until the answer's body is gone.
pub struct Active(Arc<Connection>);

impl Active {
    /// A watch on the progress of the answer's body, where the socket's own is not enough.
    pub fn watch_stream(&self) -> Option<StreamWatch> {
        self.0.multiplexed.load(Ordering::Relaxed).then(|| {
            let since = Arc::new(AtomicU64::new(0));
            let index = self.0.streams.lock().insert(since.clone());
            StreamWatch { connection: self.0.clone(), index, since }
        })
    }
}

/// Tells since when a stream's client has not asked for more.
pub struct StreamWatch {
    connection: Arc<Connection>,
    index: usize,
    since: Arc<AtomicU64>,
}

impl StreamWatch {
    pub fn asked(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    pub fn handed(&self) {
        self.since.store(coarse_ns(), Ordering::Relaxed);
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        self.connection.streams.lock().try_remove(self.index);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle_since.store(coarse_ns(), Ordering::Relaxed);
        }
    }
}

/// The socket of a client.
pub enum Socket {
    Tcp(outbox::Tcp),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket that tells its connection what it does.
pub struct Watched {
    socket: Socket,
    connection: Arc<Connection>,
}

impl Watched {
    pub fn new(socket: Socket, connection: Arc<Connection>) -> Self {
        Watched { socket, connection }
    }
}

macro_rules! each {
    ($self:expr, $socket:ident => $call:expr) => {
        match &mut $self.socket {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
            Socket::Tls($socket) => $call,
        }
    };
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = each!(self, socket => Pin::new(socket).poll_read(cx, buf));
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.connection.read(bytes);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = each!(self, socket => Pin::new(socket).poll_write(cx, buf));
        self.connection.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = each!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs));
        self.connection.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(socket) => socket.is_write_vectored(),
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000_000;
    const PATIENCE: Patience = Patience { idle_ns: 60 * SECOND, head_ns: 10 * SECOND, stall_ns: 30 * SECOND };

    #[test]
    fn what_is_overdue_depends_on_the_state() {
        let connection = Connection::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let now = coarse_ns() + 1;
        assert_eq!(connection.overdue(now, &PATIENCE), None);
        assert_eq!(connection.overdue(now + 61 * SECOND, &PATIENCE), Some(Overdue::Idle));
        connection.read(b"G");
        assert_eq!(connection.overdue(now + 11 * SECOND, &PATIENCE), Some(Overdue::Head));
        let active = connection.begin();
        assert_eq!(connection.overdue(now + 600 * SECOND, &PATIENCE), None);
        connection.wrote::<()>(&Poll::Pending);
        assert_eq!(connection.overdue(now + 31 * SECOND, &PATIENCE), Some(Overdue::Stalled));
        connection.wrote(&Poll::Ready(Ok(())));
        assert_eq!(connection.overdue(now + 600 * SECOND, &PATIENCE), None);
        drop(active);
        assert_eq!(connection.overdue(now + 61 * SECOND, &PATIENCE), Some(Overdue::Idle));
    }

    #[test]
    fn what_comes_with_a_head_is_known_when_the_head_came_whole() {
        let connection = Connection::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        for (reads, behind) in [
            (&["POST / HTTP/1.1\r\na: b\r\n\r\nbody"][..], Some(4)),
            (&["POST / HTTP/1.1\r\na: b  \r\n\r\n", "bo", "dy"], Some(4)),
            (&["POST / HTTP/1.1\r\na: b", "\r\n\r\nbody"], None),
            (&["\r\n\r\nPOST / HTTP/1.1\r\na: b\r\n\r\nbody"], None),
            // Its head was read with the request before.
            (&[], None),
        ] {
            for read in reads {
                connection.read(read.as_bytes());
            }
            let active = connection.begin();
            connection.read(b"more of the body");
            assert_eq!(connection.behind_head(), behind, "{reads:?}");
            drop(active);
        }
    }

    #[test]
    fn a_credential_is_hashed_once() {
        let connection = Connection::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let one = HeaderValue::from_static("Bearer sk-1");
        assert_eq!(connection.digest(&one, || [1; 32]), [1; 32]);
        assert_eq!(connection.digest(&one, || [9; 32]), [1; 32]);
        let two = HeaderValue::from_static("Bearer sk-2");
        assert_eq!(connection.digest(&two, || [2; 32]), [2; 32]);
    }
}
