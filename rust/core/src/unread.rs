//! What a refused request has not sent yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Sleep;

/// Most of a body that is read to keep its connection, and the longest time that may take.
const DISCARDED: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(250);

/// Reads what is left of a body, so that its connection can go on: false when that is more than it is worth, and the
/// connection must be closed.
pub struct Unread {
    body: Incoming,
    left: usize,
    asked: bool,
    linger: Option<Pin<Box<Sleep>>>,
}

/// Whether the whole of a request came at once, as nearly all do: then hyper passes over its body by itself, and nothing
/// has to be read. `arrived`: bytes that came for it.
pub fn is_all_there(request: &Request<Incoming>, arrived: usize) -> bool {
    let Some(body) = request.body().size_hint().exact() else { return false };
    head_length(request).is_some_and(|head| u64::try_from(arrived - head.min(arrived)) == Ok(body))
}

/// The length of a head of HTTP/1.1 that is still in the buffer it was read into, from its target to its last value.
fn head_length<B>(request: &Request<B>) -> Option<usize> {
    let target = request.uri().path_and_query()?.as_str().as_ptr().addr();
    let mut end = target;
    for value in request.headers().values() {
        end = end.max(value.as_bytes().as_ptr_range().end.addr());
    }
    // `METHOD target … value CRLF CRLF`. What is not in one buffer comes out too long.
    Some(request.method().as_str().len() + 1 + (end - target) + 4)
}

impl Unread {
    /// `None`: there is nothing to wait for, the connection must be closed.
    pub fn new(body: Incoming, headers: &HeaderMap) -> Option<Self> {
        // Who waits for our leave to send the body has not sent it, and will not.
        let awaited = headers.contains_key(EXPECT);
        (!awaited).then_some(Unread { body, left: DISCARDED, asked: false, linger: None })
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Ok(frame)) => match frame.data_ref().map_or(0, Bytes::len) {
                    length if length <= self.left => self.left -= length,
                    _ => return Poll::Ready(false),
                },
                Some(Err(_)) => return Poll::Ready(false),
            }
        }
    }
}

impl Future for Unread {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if let Poll::Ready(drained) = self.drain(cx) {
            return Poll::Ready(drained);
        }
        // hyper hands over what has already arrived in the poll after the one that asked for it: no timer for that.
        if !self.asked {
            self.asked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(cx).map(|()| false)
    }
}
