//! What must not pass of a growing text.

use crate::guard::apply::Span;

/// Adds a span to disjoint ones. What they are called does not depend on the order in which they come.
pub(super) fn cover(spans: &mut Vec<Span>, mut span: Span) {
    spans.retain(|known| {
        let apart = known.range.end <= span.range.start || span.range.end <= known.range.start;
        if !apart {
            span.join(known);
        }
        apart
    });
    let at = spans.partition_point(|known| known.range.start < span.range.start);
    spans.insert(at, span);
}
