//! Plain TCP sockets whose small writes leave together, when the thread has nothing else to do.
//!
//! A system call per answer is what a request costs most, and its dearest part is waking the other side. So a write of
//! up to [`MOST`] bytes is taken at once and sent when the I/O thread is about to wait for events, or [`TOGETHER`]
//! sockets wait: on an idle gateway that is immediately, on a busy one the other side is woken once for many answers
//! (7 % of a plain request's CPU). What is larger, and what a slow reader leaves over, is written the ordinary way and
//! pushes back as usual.
//!
//! A socket and the threads' lists share an [`Outlet`], so that a socket that closes takes its bytes with it and its
//! descriptor is never written to again.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes held for one socket.
const MOST: usize = 16 * 1024;
/// Sockets that wait at most before all are served.
const TOGETHER: usize = 16;
/// Buffers a thread keeps for the next writes.
const SPARE: usize = TOGETHER;

thread_local! {
    /// Whether this thread says when it is about to wait.
    static TELLS: Cell<bool> = const { Cell::new(false) };
    static WAITING: RefCell<Vec<Arc<Outlet>>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// To be called once on a thread that will call [`flush`] whenever it is about to wait.
pub fn open() {
    TELLS.set(true);
}

/// Sends what waits on this thread.
pub fn flush() {
    let mut waiting = WAITING.take();
    for outlet in waiting.drain(..) {
        outlet.send();
    }
    // Nothing was put meanwhile: `send` at most wakes tasks.
    WAITING.set(waiting);
}

/// A TCP socket that lets small writes wait for others.
pub struct Tcp {
    stream: TcpStream,
    outlet: Arc<Outlet>,
}

/// The writing side of a socket, as long as it is open.
struct Outlet {
    held: Mutex<Held>,
}

struct Held {
    /// `None` once the socket is closed.
    descriptor: Option<RawFd>,
    bytes: Vec<u8>,
    /// A thread has it on its list; bytes that wait otherwise are the socket's own affair.
    listed: bool,
    failed: Option<io::Error>,
    /// Whom to wake when bytes are left over.
    owner: Option<Waker>,
}

impl Outlet {
    fn send(&self) {
        let mut held = self.held.lock();
        held.listed = false;
        held.send();
        if (held.failed.is_some() || !held.bytes.is_empty())
            && let Some(owner) = &held.owner
        {
            owner.wake_by_ref();
        }
    }
}

impl Held {
    /// Writes what the socket takes now.
    #[allow(unsafe_code)]
    fn send(&mut self) {
        let Some(descriptor) = self.descriptor.filter(|_| !self.bytes.is_empty()) else { return };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let sent = loop {
            // SAFETY: the descriptor is open, because closing it takes this lock first and clears it; the pointer and the
            // length are those of a live buffer.
            let sent = unsafe { libc::send(descriptor, self.bytes.as_ptr().cast(), self.bytes.len(), flags) };
            if let Ok(sent) = usize::try_from(sent) {
                break sent;
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::WouldBlock => break 0,
                error => {
                    self.failed = Some(error);
                    break self.bytes.len();
                }
            }
        };
        self.sent(sent);
    }

    fn sent(&mut self, count: usize) {
        if count < self.bytes.len() {
            self.bytes.drain(..count);
            return;
        }
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < SPARE {
                buffers.push(buffer);
            }
        });
    }
}

impl Tcp {
    pub fn new(stream: TcpStream) -> Self {
        let held =
            Held { descriptor: Some(stream.as_raw_fd()), bytes: Vec::new(), listed: false, failed: None, owner: None };
        Tcp { stream, outlet: Arc::new(Outlet { held: Mutex::new(held) }) }
    }

    /// Takes the pieces if they may wait; `false` leaves them to the caller, after `poll_clear`.
    fn take(&self, cx: &Context<'_>, pieces: &[IoSlice<'_>], total: usize) -> bool {
        if total > MOST || !TELLS.get() {
            return false;
        }
        let mut held = self.outlet.held.lock();
        let left_over = !held.listed && !held.bytes.is_empty();
        if left_over || held.failed.is_some() || held.bytes.len() + total > MOST {
            return false;
        }
        if held.bytes.capacity() == 0 {
            held.bytes = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        for piece in pieces {
            held.bytes.extend_from_slice(piece);
        }
        if !held.owner.as_ref().is_some_and(|owner| owner.will_wake(cx.waker())) {
            held.owner = Some(cx.waker().clone());
        }
        let newly = !std::mem::replace(&mut held.listed, true);
        drop(held);
        if newly {
            let waiting = WAITING.with_borrow_mut(|waiting| {
                waiting.push(self.outlet.clone());
                waiting.len()
            });
            if waiting >= TOGETHER {
                flush();
            }
        }
        true
    }

    /// Writes what is held, the ordinary way.
    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.outlet.held.lock();
        loop {
            if let Some(error) = held.failed.take() {
                return Poll::Ready(Err(error));
            }
            if held.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &held.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => held.sent(count),
            }
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        let mut held = self.outlet.held.lock();
        held.send();
        held.descriptor = None;
        held.owner = None;
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.take(cx, &[IoSlice::new(buf)], buf.len()) {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_clear(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        if self.take(cx, bufs, total) {
            return Poll::Ready(Ok(total));
        }
        ready!(self.poll_clear(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What a thread will send soon counts as sent; what was left over does not.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let held = self.outlet.held.lock();
            if held.failed.is_none() && (held.listed || held.bytes.is_empty()) {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_clear(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_clear(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A connected pair, on a runtime whose threads tell.
    fn with_pair<F: Future<Output = ()>>(run: impl FnOnce(Tcp, std::net::TcpStream) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(flush)
            .build()
            .expect("a runtime");
        open();
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
            let (far, _) = listener.accept().expect("accepted");
            run(Tcp::new(near), far).await;
        });
        TELLS.set(false);
    }

    #[test]
    fn small_writes_leave_when_the_thread_waits() {
        with_pair(|mut near, mut far| async move {
            far.set_nonblocking(true).expect("set");
            near.write_all(b"one ").await.expect("taken");
            near.write_all(b"two").await.expect("taken");
            let mut buffer = [0; 16];
            assert_eq!(far.read(&mut buffer).expect_err("nothing yet").kind(), io::ErrorKind::WouldBlock);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let count = far.read(&mut buffer).expect("both");
            assert_eq!(&buffer[..count], b"one two");
        });
    }

    #[test]
    fn a_socket_that_closes_sends_first() {
        with_pair(|mut near, mut far| async move {
            near.write_all(b"bye").await.expect("taken");
            drop(near);
            let mut text = String::new();
            far.read_to_string(&mut text).expect("read");
            assert_eq!(text, "bye");
        });
    }

    #[test]
    fn order_holds_for_every_size_and_a_slow_reader() {
        with_pair(|mut near, far| async move {
            let sent: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
            let copy = sent.clone();
            let reader = std::thread::spawn(move || {
                let mut far = far;
                let mut got = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    match far.read(&mut buffer).expect("read") {
                        0 => return got,
                        count => got.extend_from_slice(&buffer[..count]),
                    }
                    if got.len() % 7 == 0 {
                        std::thread::sleep(std::time::Duration::from_micros(300));
                    }
                }
            });
            let mut rest = copy.as_slice();
            for size in (1..).map(|turn: usize| turn * 7919 % 20_000 + 1) {
                let size = size.min(rest.len());
                near.write_all(&rest[..size]).await.expect("taken");
                rest = &rest[size..];
                if size % 3 == 0 {
                    near.flush().await.expect("flushed");
                    tokio::task::yield_now().await;
                }
                if rest.is_empty() {
                    break;
                }
            }
            near.shutdown().await.expect("shut down");
            assert!(reader.join().expect("read") == sent);
        });
    }

    #[test]
    fn a_lost_reader_is_an_error() {
        with_pair(|mut near, far| async move {
            drop(far);
            let mut failed = false;
            for _ in 0..50 {
                failed |= near.write_all(b"x").await.is_err() || near.flush().await.is_err();
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert!(failed);
            let mut byte = [0];
            assert!(!matches!(near.read(&mut byte).await, Ok(1..)));
        });
    }
}
