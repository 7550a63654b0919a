//! What a refused request has not sent yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
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

/// Whether all of a body came with the head of its request, as nearly all do: hyper passes over it then, and nothing has to
/// be read. `behind`: bytes that came behind the head, if that is known.
pub fn is_all_there(body: &Incoming, behind: Option<usize>) -> bool {
    body.size_hint().exact().is_some_and(|length| behind.map(|bytes| bytes as u64) == Some(length))
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
