//! Cutting out of events what must not pass.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::Piece;
use crate::guard::Action;
use crate::kernel::patterns::Hit;
use crate::wire::sse;

/// Adds a hit to disjoint spans.
pub(super) fn cover(spans: &mut Vec<(Range<usize>, Action, Arc<str>)>, hit: &Hit, action: Action, label: &Arc<str>) {
    let mut range = hit.start..hit.end;
    let (mut action, mut label, mut first) = (action, label.clone(), hit.start);
    spans.retain(|(known, strength, name)| {
        let apart = known.end <= range.start || range.end <= known.start;
        if !apart {
            if known.start < first || (known.start == first && known.len() >= range.len()) {
                (first, label) = (known.start, name.clone());
            }
            range = range.start.min(known.start)..range.end.max(known.end);
            action = action.max(*strength);
        }
        apart
    });
    let at = spans.partition_point(|(known, _, _)| known.start < range.start);
    spans.insert(at, (range, action, label));
}

/// Applies edits and moves the pieces behind them.
pub(super) fn spliced(
    event: &Bytes,
    mut edits: Vec<(Range<usize>, Vec<u8>)>,
    pieces: &mut SmallVec<[Piece; 2]>,
) -> Bytes {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = BytesMut::with_capacity(event.len() + 64);
    let mut at = 0;
    for (range, text) in &edits {
        out.extend_from_slice(event.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(text);
        at = range.end;
    }
    out.extend_from_slice(event.get(at..).unwrap_or_default());
    for piece in pieces {
        let before = edits.iter().filter(|(range, _)| range.end <= piece.raw.start);
        let (added, removed) =
            before.fold((0, 0), |(added, removed), (range, text)| (added + text.len(), removed + range.len()));
        piece.raw = piece.raw.start + added - removed..piece.raw.end + added - removed;
    }
    out.freeze()
}

/// An event whose data stands on several lines, on one: a line break between JSON tokens is only white space.
pub(super) fn one_line(event: Bytes) -> Bytes {
    if !matches!(sse::data(&event), std::borrow::Cow::Owned(_)) {
        return event;
    }
    let mut out = BytesMut::with_capacity(event.len());
    for (name, value) in sse::fields(&event).filter(|(name, _)| *name != b"data") {
        for part in [name, b": ", value, b"\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"data: ");
    out.extend(sse::data(&event).iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    out.extend_from_slice(b"\n\n");
    out.freeze()
}
