//! Google's other form of a stream: one JSON array whose elements come one by one (`streamGenerateContent` without
//! `alt=sse`).

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use crate::body::{Body, Broken, Source};
use crate::wire::sse;

/// An answer whose events become the elements of an array; any other answer stays as it is.
pub fn as_array(mut response: Response<Body>) -> Response<Body> {
    let kind = response.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    if !kind.starts_with(b"text/event-stream") {
        return response;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.map(|body| match body.into_source() {
        Ok(source) => Body::stream(JsonArray::new(source)),
        Err(events) => {
            let mut array = JsonArray::new(());
            let elements = array.elements(&events);
            Body::full([&elements[..], array.end()].concat())
        }
    })
}

/// Writes the events of a stream as the elements of an array.
struct JsonArray<S> {
    events: S,
    begun: bool,
    ended: bool,
}

impl<S> JsonArray<S> {
    fn new(events: S) -> Self {
        JsonArray { events, begun: false, ended: false }
    }

    /// The elements that whole events stand for; a comment becomes white space, which keeps the connection alive as well.
    fn elements(&mut self, events: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(events.len());
        for event in split(events) {
            let data = sse::data(event);
            if data.is_empty() {
                continue;
            }
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
            out.extend_from_slice(&data);
            self.begun = true;
        }
        if out.is_empty() { Bytes::from_static(b"\n") } else { out.freeze() }
    }

    fn end(&self) -> &'static [u8] {
        if self.begun { b"]" } else { b"[]" }
    }
}

/// Whole events, cut behind their blank lines.
pub fn split(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let end = blank_line(rest)?;
        let (event, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(event)
    })
}

/// Where the first event ends; the end of the bytes when no blank line follows.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', bytes.get(at..)?) {
        at += found;
        let rest = bytes.get(at..)?;
        for blank in [&b"\r\n\r\n"[..], b"\n\n", b"\r\r"] {
            if rest.starts_with(blank) {
                return Some(at + blank.len());
            }
        }
        at += if rest.starts_with(b"\r\n") { 2 } else { 1 };
    }
    (!bytes.is_empty()).then_some(bytes.len())
}

impl Source for JsonArray<Box<dyn Source>> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.events.poll_data(cx)) {
            Some(Ok(events)) => Poll::Ready(Some(Ok(self.elements(&events)))),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                self.ended = true;
                Poll::Ready(Some(Ok(Bytes::from_static(self.end()))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(chunks: &[&[u8]]) -> serde_json::Value {
        let mut array = JsonArray::new(());
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&array.elements(chunk));
        }
        out.extend_from_slice(array.end());
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn events_become_elements() {
        let array =
            written(&[b"data: {\"a\":1}\n\ndata: {\"b\":\ndata: 2}\r\n\r\n", b": comment\n\n", b"data: {}\r\r"]);
        assert_eq!(array, serde_json::json!([{"a": 1}, {"b": 2}, {}]));
        assert_eq!(written(&[]), serde_json::json!([]));
    }
}
