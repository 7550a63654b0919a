//! The body of an answer: bytes that are there, or a source that is polled through from the provider's socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::connection::{Active, StreamWatch};

/// A stream of bytes that ends the connection when it fails.
pub trait Source: Send {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>>;

    /// The exact number of bytes to come, if known.
    fn remaining(&self) -> Option<u64> {
        None
    }
}

/// The body cannot be completed: the client must see that the transfer failed.
#[derive(Debug, thiserror::Error)]
#[error("answer cut short: {0}")]
pub struct Broken(pub String);

enum Kind {
    Empty,
    Full(Bytes),
    Stream(Box<dyn Source>),
}

pub struct Body {
    kind: Kind,
    active: Option<Active>,
    watch: Option<StreamWatch>,
}

impl Body {
    pub fn empty() -> Self {
        Body { kind: Kind::Empty, active: None, watch: None }
    }

    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Body { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) }, active: None, watch: None }
    }

    pub fn stream(source: impl Source + 'static) -> Self {
        Body { kind: Kind::Stream(Box::new(source)), active: None, watch: None }
    }

    /// Ties the connection's busy mark to the life of the body.
    pub fn with_active(mut self, active: Active) -> Self {
        self.watch = active.watch_stream();
        self.active = Some(active);
        self
    }

    /// Reads it to its end, for nobody.
    pub async fn drain(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {}
    }

    /// The source inside, for a body that is continued by another.
    pub fn into_source(self) -> Result<Box<dyn Source>, Bytes> {
        match self.kind {
            Kind::Stream(source) => Ok(source),
            Kind::Full(bytes) => Err(bytes),
            Kind::Empty => Err(Bytes::new()),
        }
    }
}

impl Body {
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Kind::Stream(source) = &mut self.kind else { return Poll::Ready(None) };
        if let Some(watch) = &self.watch {
            watch.asked();
        }
        let data = std::task::ready!(source.poll_data(cx));
        if let Some(watch) = &self.watch {
            watch.handed();
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(_) => self.poll_stream(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(source) => source.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
