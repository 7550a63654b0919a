//! Texts that grow, and the events that wait for them.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::ending::Mark;
use crate::guard::apply::{Edit, Span};
use crate::guard::nested::Nested;
use crate::kernel::patterns::Scanner;

/// A text that grows over events.
pub(super) struct Field {
    pub key: u64,
    pub choice: u64,
    pub name: String,
    pub scanner: Scanner,
    pub nested: Option<Nested>,
    /// What must not pass, disjoint, in order.
    pub spans: Vec<Span>,
    /// Nothing from here on may leave.
    pub stop: usize,
}

impl Field {
    /// What may leave.
    pub fn safe(&self) -> usize {
        let safe = self.scanner.safe().min(self.stop);
        self.nested.as_ref().map_or(safe, |nested| nested.floor(safe))
    }

    /// Forgets what is only needed for text that has left.
    pub fn trim(&mut self, left: usize) {
        if self.spans.first().is_some_and(|span| span.range.end <= left) {
            self.spans.retain(|span| span.range.end > left);
        }
        if let Some(nested) = &mut self.nested {
            // A match that has begun to leave is divided once more for the rest of it.
            nested.trim(self.spans.first().map_or(left, |span| span.range.start.min(left)));
        }
    }
}

/// A part of a growing text in an event.
pub(super) struct Piece {
    pub field: usize,
    /// In the field's text.
    pub range: Range<usize>,
    /// In the event: the string's content.
    pub raw: Range<usize>,
}

/// An event that waits.
pub(super) struct Waiting {
    pub bytes: Bytes,
    /// Where its JSON stands.
    pub data: Range<usize>,
    pub pieces: SmallVec<[Piece; 2]>,
    pub edits: Vec<Edit>,
    pub mark: Mark,
    /// Where finish reasons stand.
    pub finishes: SmallVec<[Range<usize>; 1]>,
}
