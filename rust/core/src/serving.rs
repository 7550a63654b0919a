//! A request that is being answered, as hyper sees it: small, never failing, and cut when the shutdown says so.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::Body;
use crate::connection::Active;
use crate::endpoint::Dialect;
use crate::error::{Code, Error};
use crate::exchange::RequestId;
use crate::shard::{Phase, Shard};
use crate::stage::settle::error_response;
use crate::unread::{Unread, is_all_there};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A request that is being answered.
pub struct Serving {
    pub shard: Arc<Shard>,
    pub request_id: RequestId,
    pub dialect: Dialect,
    pub http2: bool,
    pub active: Option<Active>,
    pub answering: Answering,
}

pub enum Answering {
    Ready(Response<Body>),
    /// A refusal: it leaves when the rest of the request is read.
    Refused(Unread, Response<Body>),
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
    /// It panicked, or is over.
    Failed,
}

impl Future for Serving {
    type Output = std::result::Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let serving = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| serving.answering.poll(cx)));
        let response = match polled {
            Ok(Poll::Ready(Some(response))) => response,
            // The janitor wakes every connection when the shutdown cuts what is still waited for.
            Ok(Poll::Pending) if serving.shard.shared.phase() != Phase::Cut => return Poll::Pending,
            Ok(Poll::Pending) => serving.cut(),
            Ok(Poll::Ready(None)) | Err(_) => serving.failed(),
        };
        serving.answering = Answering::Failed;
        Poll::Ready(Ok(serving.finish(response)))
    }
}

impl Answering {
    /// `make` is called when there is a place for what it makes: futures are large, and moving one costs.
    #[inline]
    pub fn later<F>(make: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let place = Box::new_uninit();
        let future: Box<F> = Box::write(place, make());
        Answering::Later(Box::into_pin(future))
    }

    /// A refusal, sent as soon as its request is out of the way. `behind`: bytes that came with its head.
    pub fn refusal(
        request: Request<Incoming>,
        behind: Option<usize>,
        error: &Error,
        mut response: Response<Body>,
    ) -> Self {
        if error.close || is_all_there(request.body(), behind) {
            return Answering::Ready(response);
        }
        let (parts, body) = request.into_parts();
        match Unread::new(body, &parts.headers) {
            Some(unread) => Answering::Refused(unread, response),
            None => {
                response.headers_mut().insert(CONNECTION, CLOSE);
                Answering::Ready(response)
            }
        }
    }

    /// `None`: it failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Response<Body>>> {
        if let Answering::Refused(unread, response) = self {
            if !ready!(Pin::new(unread).poll(cx)) {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
        } else if let Answering::Later(answer) = self {
            return answer.as_mut().poll(cx).map(Some);
        }
        match std::mem::replace(self, Answering::Failed) {
            Answering::Ready(response) | Answering::Refused(_, response) => Poll::Ready(Some(response)),
            Answering::Later(_) | Answering::Failed => Poll::Ready(None),
        }
    }
}

impl Serving {
    #[cold]
    fn failed(&self) -> Response<Body> {
        self.shard.metrics.panics.add(1);
        let text = "The gateway failed on this request. Tell its operator the request id.";
        error_response(self.dialect, &Error::new(Code::Internal, text), &self.request_id)
    }

    #[cold]
    fn cut(&self) -> Response<Body> {
        let text = "The gateway is shutting down and its drain time is over. Send the request again.";
        let error = Error::new(Code::Draining, text).retry_after(Duration::from_secs(1));
        error_response(self.dialect, &error, &self.request_id)
    }

    fn finish(&mut self, mut response: Response<Body>) -> Response<Body> {
        if self.http2 {
            response.headers_mut().remove(CONNECTION);
        } else if self.shard.shared.phase() >= Phase::LameDuck && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        match self.active.take() {
            Some(active) => response.map(|body| body.with_active(active)),
            None => response,
        }
    }
}
