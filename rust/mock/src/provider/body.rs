//! An answer's body as hyper sends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::feed::{Fed, Feed};
use super::requests::End;
use super::script::CutKind;
use super::service::IdleClose;
use super::state::Exchange;

/// The body of any answer of the provider.
pub enum MockBody {
    /// Of the `/mock/…` endpoints.
    Plain(Option<Bytes>),
    /// Of an answer that is accounted for.
    Fed(Box<FedBody>),
}

/// The body of an answer, with what has to know how it ends.
pub struct FedBody {
    pub feed: Feed,
    pub exchange: Box<Exchange>,
    /// Send no content-length even if it is known.
    pub chunked: bool,
    pub _idle_close: Option<IdleClose>,
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let FedBody { feed, exchange, .. } = match self.get_mut() {
            Self::Plain(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Fed(fed) => &mut **fed,
        };
        let Poll::Ready(fed) = feed.poll_next(cx) else {
            return Poll::Pending;
        };
        exchange.bytes_out = feed.sent_bytes();
        exchange.events_out = feed.sent_events();
        match fed {
            Fed::Data(data) => {
                // Once content-length bytes are out, hyper does not ask again.
                if feed.is_over() && feed.known_length().is_some() {
                    exchange.finish(End::Done);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Fed::End => {
                exchange.finish(End::Done);
                Poll::Ready(None)
            }
            Fed::Cut(CutKind::Stall) => Poll::Pending,
            Fed::Cut(kind) => {
                exchange.finish(if kind == CutKind::Reset { End::Reset } else { End::Closed });
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Fed(fed) => match fed.feed.known_length() {
                Some(length) if !fed.chunked => SizeHint::with_exact(length),
                _ => SizeHint::default(),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        // Left to poll_frame, which notes the end; an empty body is polled once and says so.
        matches!(self, Self::Plain(None))
    }
}
