//! What leaves of the events that wait, and as what.

use bytes::{Bytes, BytesMut};

use super::field::{Field, Piece, Waiting};
use super::frame::sealed;
use super::watch::Watch;
use crate::guard::apply::{Edit, probabilities, replaced, spliced};
use crate::guard::{Action, Mode, walk};
use crate::wire::json::write::escape;

impl Watch {
    /// Lets the events out that may leave.
    pub(super) fn release(&mut self, mode: Mode, ended: bool, out: &mut Out) {
        while let Some(first) = self.waiting.front() {
            let safe = |piece: &Piece| self.fields.get(piece.field).is_none_or(|field| piece.range.end <= field.safe());
            let may = match mode {
                Mode::Hold => ended,
                Mode::Window => ended || first.pieces.iter().all(safe),
                Mode::Audit => true,
            };
            if !may {
                break;
            }
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes.len());
            let bytes = if mode == Mode::Audit { waiting.bytes.clone() } else { self.cleaned(&waiting, Vec::new()) };
            self.leave(&waiting, bytes, out);
        }
    }

    fn leave(&mut self, waiting: &Waiting, bytes: Bytes, out: &mut Out) {
        if waiting.data.end > 0 {
            self.passed.note(&waiting.mark, &bytes);
        }
        for piece in &waiting.pieces {
            if let Some(field) = self.fields.get_mut(piece.field) {
                field.trim(piece.range.end);
            }
        }
        out.push(bytes);
    }

    /// The stream ends here: of what waits, the text in front of the match that ends it leaves; of a stream that is held,
    /// only that an answer has begun.
    pub(super) fn cut(&mut self, mode: Mode, out: &mut Out) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let ends = waiting.mark.finishes() || (waiting.pieces.is_empty() && !waiting.finishes.is_empty());
            if ends || waiting.bytes.is_empty() || (mode == Mode::Hold && !waiting.mark.begins()) {
                continue;
            }
            let mut edits = Vec::new();
            let mut left = waiting.pieces.is_empty();
            for piece in &waiting.pieces {
                let safe = self.fields.get(piece.field).map_or(usize::MAX, Field::safe).max(piece.range.start);
                left |= safe > piece.range.start;
                if piece.range.end > safe {
                    let content = waiting.bytes.get(piece.raw.clone()).unwrap_or_default();
                    let at = walk::Offsets::new(content).of(safe - piece.range.start);
                    edits.push((piece.raw.start + at..piece.raw.end, Vec::new()));
                }
            }
            if !left {
                continue;
            }
            if !edits.is_empty() {
                // It may not say that the answer has ended well.
                edits.extend(waiting.finishes.drain(..).map(|range| (range, self.reason.to_vec())));
            }
            let bytes = self.cleaned(&waiting, edits);
            self.leave(&waiting, bytes, out);
        }
        self.waiting_bytes = 0;
    }

    /// An event without what must not pass, and with some edits more, which come first.
    fn cleaned(&self, waiting: &Waiting, more: Vec<Edit>) -> Bytes {
        let mut edits = more;
        for piece in &waiting.pieces {
            let Some(field) = self.fields.get(piece.field).filter(|field| !field.spans.is_empty()) else { continue };
            let content = waiting.bytes.get(piece.raw.clone()).unwrap_or_default();
            let mut decoded = String::new();
            let mut offsets = walk::Offsets::new(content);
            for span in field.spans.iter().filter(|span| span.range.end > piece.range.start) {
                if span.range.start >= piece.range.end && field.nested.is_none() {
                    break;
                }
                if span.action == Action::Mask && decoded.is_empty() {
                    walk::decode(content, &mut decoded);
                }
                for (range, text) in replaced(span, field.nested.as_ref(), &decoded, &piece.range, None) {
                    let start = piece.raw.start + offsets.of(range.start - piece.range.start);
                    let end = piece.raw.start + offsets.of(range.end - piece.range.start);
                    let mut quoted = Vec::new();
                    escape(&mut quoted, &text);
                    edits.push((start..end, quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec()));
                }
            }
        }
        if edits.is_empty() && waiting.edits.is_empty() {
            return waiting.bytes.clone();
        }
        edits.extend(waiting.edits.iter().cloned());
        let data = waiting.bytes.get(waiting.data.clone()).unwrap_or_default();
        let start = waiting.data.start;
        let told_again = probabilities(data).into_iter();
        edits.extend(told_again.map(|(range, text)| (range.start + start..range.end + start, text)));
        sealed(spliced(&waiting.bytes, edits), self.amazon)
    }
}

/// Bytes that leave: as they are while they are one piece.
#[derive(Default)]
pub(super) struct Out {
    first: Bytes,
    joined: BytesMut,
}

impl Out {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = bytes;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&bytes);
    }

    pub fn bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}
