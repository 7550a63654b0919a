//! One connection: the short way while it lasts, then hyper (HTTP/1.1 or, by prior knowledge, HTTP/2), and by hand what
//! hyper would not send.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::{future::Future, io};

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::fast::{self, Left};
use super::raw::reset_on_close;
use super::service::{Connection, Idle, Takeover, handle};
use super::state::Shared;

/// What HTTP/2 by prior knowledge begins with.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// Serves a connection until it ends.
pub async fn serve<S>(io: S, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let id = shared.counts.connections.fetch_add(1, Relaxed);
    shared.counts.connections_open.fetch_add(1, Relaxed);
    run(io, &shared, id).await;
    shared.counts.connections_open.fetch_sub(1, Relaxed);
}

async fn run<S>(mut io: S, shared: &Arc<Shared>, id: u64)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let prefix = match fast::serve(&mut io, shared, id).await {
        Left::Closed => return,
        Left::Unread(prefix) => prefix,
    };
    let connection = Arc::new(Connection::new(id));
    let service = service_fn({
        let (connection, shared) = (Arc::clone(&connection), Arc::clone(shared));
        move |request| handle(request, Arc::clone(&connection), Arc::clone(&shared))
    });
    let is_h2 = prefix.starts_with(H2_PREFACE);
    let io = TokioIo::new(Rewound { prefix, io });
    // Errors are the caller's doing and show in how its exchanges ended.
    if is_h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        return;
    }
    let mut http = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service);
    let mut idle: Option<Pin<Box<Sleep>>> = None;
    let takeover = poll_fn(|cx| {
        let finished = Pin::new(&mut http).poll(cx).is_ready();
        if let Some(takeover) = connection.take() {
            return Poll::Ready(Some(takeover));
        }
        match connection.take_idle() {
            Some(Idle::CloseAfter(after)) => idle = Some(Box::pin(tokio::time::sleep(after))),
            Some(Idle::Busy) => idle = None,
            None => {}
        }
        let expired = idle.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if finished || expired { Poll::Ready(None) } else { Poll::Pending }
    })
    .await;
    match takeover {
        None => {}
        Some(Takeover::Reset) => reset_on_close(&http.into_parts().io.inner().io),
        Some(Takeover::Session(session)) => {
            let parts = http.into_parts();
            session.run(parts.io.into_inner().io, parts.read_buf).await;
        }
        Some(Takeover::Answer(answer)) => answer.send(http.into_parts().io.into_inner().io).await,
    }
}

/// A stream with bytes that were read already.
struct Rewound<S> {
    prefix: Bytes,
    io: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let size = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
