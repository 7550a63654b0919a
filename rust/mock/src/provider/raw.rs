//! Answers that no HTTP library would send: broken off, reset, with a wrong length or a slow head. Written by hand on
//! an HTTP/1.1 connection that hyper gave up; the connection ends with the answer.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::feed::{Fed, Feed};
use super::requests::End;
use super::script::{CutAt, CutKind, Script, StatedLength};
use super::state::Exchange;

/// Before a reset, what was sent gets so long to be read: a reset overtakes it otherwise.
const BEFORE_RESET: Duration = Duration::from_millis(5);
/// Writes that a slow head is spread over.
const HEAD_PIECES: u32 = 8;

/// An answer to be written by hand.
pub struct RawAnswer {
    head: Vec<u8>,
    slow_head: Option<Duration>,
    drop_at_head: Option<CutKind>,
    chunked: bool,
    feed: Feed,
    exchange: Box<Exchange>,
}

/// The caller has left.
struct Gone;

impl RawAnswer {
    /// Renders the head; the length is stated as the script says.
    pub fn new(status: u16, headers: &HeaderMap, script: &Script, feed: Feed, exchange: Box<Exchange>) -> Self {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Mock");
        let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
        for (name, value) in headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let length = feed.known_length().filter(|_| !script.chunked);
        let stated = match script.content_length {
            Some(StatedLength::Exactly(length)) => Some(length),
            Some(StatedLength::Off(off)) => Some(length.unwrap_or(0).saturating_add_signed(off)),
            None => length,
        };
        head.extend_from_slice(
            match stated {
                Some(length) => format!("content-length: {length}\r\n\r\n"),
                None => "transfer-encoding: chunked\r\n\r\n".to_owned(),
            }
            .as_bytes(),
        );
        let drop_at_head = script.cut.filter(|cut| cut.at == CutAt::Head).map(|cut| cut.kind);
        Self { head, slow_head: script.slow_head, drop_at_head, chunked: stated.is_none(), feed, exchange }
    }

    /// Writes the answer and ends the connection.
    pub async fn send<S>(mut self, mut io: S)
    where
        S: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        let end = match self.write(&mut io).await {
            Err(Gone) => End::ClientGone,
            Ok(None) => End::Done,
            Ok(Some(CutKind::Stall)) => {
                watch(&mut io, std::future::pending::<()>()).await;
                End::ClientGone
            }
            Ok(Some(CutKind::Close)) => End::Closed,
            Ok(Some(CutKind::Reset)) => {
                if self.feed.sent_bytes() > 0 || self.drop_at_head.is_none() {
                    tokio::time::sleep(BEFORE_RESET).await;
                }
                reset_on_close(&io);
                End::Reset
            }
        };
        self.exchange.finish(end);
        if matches!(end, End::Done | End::Closed) {
            // Whether the FIN was heard is not ours to care about.
            let _ = io.shutdown().await;
        }
    }

    /// Writes until the end or the cut.
    async fn write<S>(&mut self, io: &mut S) -> Result<Option<CutKind>, Gone>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.drop_at_head.is_some() {
            return Ok(self.drop_at_head);
        }
        let head = std::mem::take(&mut self.head);
        if let Some(time) = self.slow_head {
            for piece in head.chunks(head.len().div_ceil(HEAD_PIECES as usize).max(1)) {
                io.write_all(piece).await.map_err(|_| Gone)?;
                watch(io, tokio::time::sleep(time / HEAD_PIECES)).await.ok_or(Gone)?;
            }
        } else {
            io.write_all(&head).await.map_err(|_| Gone)?;
        }
        loop {
            let fed = watch(io, poll_fn(|cx| self.feed.poll_next(cx))).await.ok_or(Gone)?;
            match fed {
                Fed::Data(data) => self.write_data(io, data).await.map_err(|_| Gone)?,
                Fed::Cut(kind) => return Ok(Some(kind)),
                Fed::End => {
                    if self.chunked {
                        io.write_all(b"0\r\n\r\n").await.map_err(|_| Gone)?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    async fn write_data<S: AsyncWrite + Unpin>(&mut self, io: &mut S, data: Bytes) -> io::Result<()> {
        if self.chunked {
            let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
            chunk.extend_from_slice(&data);
            chunk.extend_from_slice(b"\r\n");
            io.write_all(&chunk).await?;
        } else {
            io.write_all(&data).await?;
        }
        self.exchange.bytes_out = self.feed.sent_bytes();
        self.exchange.events_out = self.feed.sent_events();
        Ok(())
    }
}

/// Makes the close that follows a reset. A unix socket has none; there it stays a close.
pub fn reset_on_close(io: &impl AsFd) {
    let _ = socket2::SockRef::from(io).set_linger(Some(Duration::ZERO));
}

/// Runs a future while the caller is there; None when it leaves first. What it sends meanwhile is passed over.
async fn watch<S: AsyncRead + Unpin, T>(io: &mut S, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if poll_gone(io, cx) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

fn poll_gone<S: AsyncRead + Unpin>(io: &mut S, cx: &mut Context<'_>) -> bool {
    loop {
        let mut scratch = [0; 256];
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(&mut *io).poll_read(cx, &mut buffer) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return true,
        }
    }
}
