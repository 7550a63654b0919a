//! Streams whose provider keeps the caller waiting: after a while of silence the answer begins with comments, so that
//! proxies and clients on the way do not give up.
//!
//! Comments are no provider's event: retries and failover go on behind them. Only the status line is spoken for, so that
//! a failure that comes now is told by the dialect's error event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, Broken, Source};
use crate::dialect;
use crate::endpoint::Dialect;
use crate::exchange::RequestId;

/// What keeps a waiting stream alive. Readers of events ignore it.
pub const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Waits for the answer for `interval`; begins without it after that.
pub async fn answer(mut answering: Answering, interval: Duration, dialect: Dialect, id: RequestId) -> Response<Body> {
    let mut timer = Box::pin(tokio::time::sleep(interval));
    tokio::select! {
        biased;
        response = &mut answering => return response,
        () = &mut timer => {}
    }
    timer.as_mut().reset(Instant::now() + interval);
    let late = Late { state: State::Waiting { answering, timer, owed: true }, interval, dialect };
    let mut response = Response::new(Body::stream(late));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.insert(HeaderName::from_static("x-request-id"), id.header());
    headers.insert(HeaderName::from_static("x-ailink-request-id"), id.header());
    response
}

struct Late {
    state: State,
    interval: Duration,
    dialect: Dialect,
}

enum State {
    Waiting { answering: Answering, timer: Pin<Box<Sleep>>, owed: bool },
    Streaming(Box<dyn Source>),
    Done,
}

impl Late {
    /// What the answer turned out to be: a stream that goes on here, or something to be said as one event.
    fn take(&mut self, response: Response<Body>) -> Option<Bytes> {
        let success = response.status().is_success();
        match response.into_body().into_source() {
            Ok(source) if success => {
                self.state = State::Streaming(source);
                None
            }
            Ok(_) => {
                self.state = State::Done;
                None
            }
            Err(bytes) => {
                self.state = State::Done;
                Some(if success { data_event(&bytes) } else { dialect::failure_event(self.dialect, &bytes) })
            }
        }
    }
}

/// A whole body as one event; a stream that comes from the cache has events already.
fn data_event(body: &Bytes) -> Bytes {
    if body.starts_with(b"data:") || body.starts_with(b"event:") {
        return body.clone();
    }
    [b"data: ".as_slice(), body, b"\n\ndata: [DONE]\n\n"].concat().into()
}

impl Source for Late {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Streaming(source) => return source.poll_data(cx),
                State::Waiting { answering, timer, owed } => {
                    if std::mem::take(owed) {
                        return Poll::Ready(Some(Ok(COMMENT)));
                    }
                    if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                        match self.take(response) {
                            Some(event) => return Poll::Ready(Some(Ok(event))),
                            None => continue,
                        }
                    }
                    std::task::ready!(timer.as_mut().poll(cx));
                    timer.as_mut().reset(Instant::now() + self.interval);
                    *owed = true;
                }
            }
        }
    }
}
