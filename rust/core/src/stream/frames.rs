//! Where the events of a stream end, whichever way they are framed.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::dialect::bedrock_converse::STREAM_TYPE;
use crate::wire::sse::Batch;
use crate::wire::{eventstream, sse};

/// Longest event that is held together.
pub const EVENT_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub enum Frames {
    /// Server-sent events.
    Sse(sse::Framer),
    /// Amazon's event stream.
    Amazon(eventstream::Framer),
}

/// How the events of an answer are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Sse,
    Amazon,
}

impl Framing {
    /// By the type of an answer; `None`: it is not streamed.
    pub fn of(headers: &HeaderMap) -> Option<Framing> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let is = |name: &[u8]| kind.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        if is(b"text/event-stream") {
            Some(Framing::Sse)
        } else {
            is(STREAM_TYPE.as_bytes()).then_some(Framing::Amazon)
        }
    }

    pub fn is_amazon(self) -> bool {
        self == Framing::Amazon
    }
}

impl Frames {
    /// For a stream of Amazon's, or of anybody else's.
    pub fn new(amazon: bool) -> Self {
        if amazon {
            Frames::Amazon(eventstream::Framer::new(EVENT_MAX))
        } else {
            Frames::Sse(sse::Framer::new(EVENT_MAX))
        }
    }

    /// Adds a chunk and returns the events it completed.
    ///
    /// # Errors
    /// Says what is wrong with the stream.
    pub fn push(&mut self, chunk: Bytes) -> Result<Batch, String> {
        match self {
            Frames::Sse(framer) => framer.push(chunk).map_err(|error| error.to_string()),
            Frames::Amazon(framer) => framer.push(chunk).map_err(|error| error.to_string()),
        }
    }

    /// Takes the incomplete event at the end of a stream; half a frame says nothing.
    pub fn take_rest(&mut self) -> Bytes {
        match self {
            Frames::Sse(framer) => framer.take_rest(),
            Frames::Amazon(_) => Bytes::new(),
        }
    }

    /// Bytes of the incomplete event that are kept.
    pub fn pending(&self) -> usize {
        match self {
            Frames::Sse(framer) => framer.pending(),
            Frames::Amazon(framer) => framer.pending(),
        }
    }
}
