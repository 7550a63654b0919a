//! Where the events of a stream end, whichever way they are framed.

use bytes::Bytes;

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
