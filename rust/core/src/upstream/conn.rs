//! One connection to a provider, carrying one HTTP/1.1 exchange at a time.
//!
//! The caller drives it from its own task: no connection task, no channel, so a byte that arrives wakes exactly the
//! request that waits for it.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::clock::coarse_ns;
use crate::outbox;
use crate::wire::http1::{self, BodyDecoder, Frame, Head, WireError};

/// Bytes asked for in one read: an event of a stream is far smaller, a usual JSON answer fits, and every request that waits
/// holds that much. Answers that fill it get more room with each read.
const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 8 * 1024;

/// What can go wrong between us and a provider.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IoError {
    #[error("{0}")]
    Connect(String),
    /// The connection broke; `written` tells whether any byte of the request may have left, `seen` whether the
    /// provider had begun to answer.
    #[error("connection lost: {message}")]
    Lost { message: String, written: bool, seen: bool },
    #[error("{0}")]
    Wire(#[from] WireError),
}

impl IoError {
    pub fn connect(error: io::Error) -> Self {
        IoError::Connect(error.to_string())
    }
}

pub enum Stream {
    Tcp(outbox::Tcp),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// The pieces of a request, sent with one vectored write where the socket takes them.
pub struct Outgoing<'a> {
    pub parts: &'a [&'a [u8]],
}

pub struct Conn {
    stream: Stream,
    buffer: BytesMut,
    /// Bytes to ask for in the next read.
    room: usize,
    /// When it was opened, on the coarse clock.
    pub born_ns: u64,
    /// Spreads the retirement of connections that were opened together.
    pub jitter: u8,
    /// Carried at least one exchange already: a failure before any answer may be a stale keep-alive.
    pub reused: bool,
}

impl Conn {
    pub fn new(stream: Stream) -> Self {
        let room = FIRST_READ;
        Conn { stream, buffer: BytesMut::new(), room, born_ns: coarse_ns(), jitter: fastrand::u8(..), reused: false }
    }

    /// True when the peer has closed, or sent what nobody asked for, while the connection was idle.
    pub fn is_stale(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        !self.buffer.is_empty() || Pin::new(&mut self.stream).poll_read(&mut cx, &mut buf).is_ready()
    }

    /// Lets go of the read buffer, so that an idle connection costs no more than its socket.
    pub fn rest(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// The socket, and what was read of it beyond the head of the answer.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Writes the request. Returns early, with `Ok(false)`, when the provider answers before it has read everything.
    pub async fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<bool, IoError> {
        let total: usize = outgoing.parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        self.room = FIRST_READ;
        std::future::poll_fn(|cx| {
            while sent < total {
                let (slices, count) = unsent(outgoing.parts, sent);
                match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost("write returned 0", sent > 0, false))),
                    Poll::Ready(Ok(written)) => sent += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error, sent > 0, false))),
                    Poll::Pending => {
                        let read = ready!(self.poll_fill(cx)).map_err(|error| lost(error, sent > 0, false))?;
                        return Poll::Ready(match read {
                            0 => Err(lost("closed by the provider", sent > 0, false)),
                            _ => Ok(false),
                        });
                    }
                }
            }
            // TLS buffers records of its own; a bare socket has nothing to flush.
            match &mut self.stream {
                Stream::Tls(stream) => {
                    Pin::new(stream).poll_flush(cx).map_err(|error| lost(error, true, false)).map_ok(|()| true)
                }
                _ => Poll::Ready(Ok(true)),
            }
        })
        .await
    }

    /// Waits for the response head. `upgrades`: the request asked for another protocol.
    pub async fn head(&mut self, upgrades: bool) -> Result<Head, IoError> {
        loop {
            if let Some(head) = http1::parse_head(&mut self.buffer, upgrades)? {
                return Ok(head);
            }
            let read = std::future::poll_fn(|cx| self.poll_fill(cx)).await;
            let seen = !self.buffer.is_empty();
            match read {
                Ok(0) => return Err(lost("closed by the provider", true, seen)),
                Ok(_) => {}
                Err(error) => return Err(lost(error, true, seen)),
            }
        }
    }

    /// The next frame of the body; `None` at its end.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut BodyDecoder,
    ) -> Poll<Option<Result<Bytes, IoError>>> {
        loop {
            match decoder.decode(&mut self.buffer) {
                Ok(Frame::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Frame::End) => return Poll::Ready(None),
                Ok(Frame::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => {
                    return Poll::Ready(match decoder.at_close() {
                        Ok(()) => None,
                        Err(error) => Some(Err(error.into())),
                    });
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(lost(error, true, true)))),
            }
        }
    }

    /// Takes what of the body came with the head; true when that was all of it, as with most short answers.
    pub fn came_whole(&mut self, decoder: &mut BodyDecoder, body: &mut Bytes) -> bool {
        if decoder.remaining() == Some(self.buffer.len() as u64)
            && let Ok(Frame::Data(data)) = decoder.decode(&mut self.buffer)
        {
            *body = data;
        }
        decoder.is_end()
    }

    /// Ready as soon as the peer closes or answers; used to notice it while a request body is still being sent.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(self.room);
        let read = ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(cx));
        if matches!(read, Ok(count) if count >= self.room) {
            self.room = LARGEST_READ;
        }
        Poll::Ready(read)
    }
}

fn lost(message: impl ToString, written: bool, seen: bool) -> IoError {
    IoError::Lost { message: message.to_string(), written, seen }
}

const MAX_SLICES: usize = 8;

/// What of `parts` is left after `sent` bytes, as slices for a vectored write.
fn unsent<'a>(parts: &[&'a [u8]], mut sent: usize) -> ([IoSlice<'a>; MAX_SLICES], usize) {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    for part in parts {
        if sent >= part.len() {
            sent -= part.len();
            continue;
        }
        if let Some(slot) = slices.get_mut(count) {
            *slot = IoSlice::new(&part[sent..]);
            count += 1;
        }
        sent = 0;
    }
    (slices, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_skip_what_was_sent() {
        let parts: [&[u8]; 3] = [b"abc", b"", b"defg"];
        for sent in 0..7 {
            let (slices, count) = unsent(&parts, sent);
            let left: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(left, b"abcdefg"[sent..].to_vec());
        }
    }
}
