//! Embeddings with an id. OpenAI's have none; the clients of Mistral refuse those.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Response};
use memchr::memmem;

use crate::body::{Body, Broken, Source};
use crate::exchange::RequestId;

/// A client that wants every answer to have an id.
pub fn wants_id(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| memmem::find(agent.as_bytes(), b"mistral").is_some())
}

/// An answer with the request's id, unless it has one of its own.
pub fn named(response: Response<Body>, id: &RequestId) -> Response<Body> {
    let kind = response.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    if !response.status().is_success() || !kind.starts_with(b"application/json") {
        return response;
    }
    let id = *id;
    response.map(|body| match body.into_source() {
        Ok(source) => Body::stream(Named { source, id: Some(id) }),
        Err(body) => Body::full(put(&body, &id)),
    })
}

/// The beginning of an answer, with an id in front of its members.
fn put(start: &Bytes, id: &RequestId) -> Bytes {
    // The vectors come first or behind what names them: an id behind them would be past many bytes.
    let before = start.get(..memmem::find(start, b"\"embedding\"").unwrap_or(start.len())).unwrap_or_default();
    match start.iter().position(|byte| *byte == b'{') {
        Some(at) if memmem::find(before, b"\"id\"").is_none() => {
            let (head, rest) = start.split_at(at + 1);
            let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
            [head, b"\"id\":\"", &id.text(), b"\"", comma, rest].concat().into()
        }
        _ => start.clone(),
    }
}

/// An answer that comes in pieces.
struct Named {
    source: Box<dyn Source>,
    /// Until it is written.
    id: Option<RequestId>,
}

impl Source for Named {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let data = std::task::ready!(self.source.poll_data(cx));
        Poll::Ready(match (data, self.id.take()) {
            (Some(Ok(data)), Some(id)) => Some(Ok(put(&data, &id))),
            (data, _) => data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_put_once() {
        let id = RequestId([0; 16]);
        let text = id.to_string();
        for (answer, expected) in [
            (r#"{"object":"list","data":[]}"#, format!(r#"{{"id":"{text}","object":"list","data":[]}}"#)),
            (r#"{"id":"x","data":[{"embedding":[]}]}"#, r#"{"id":"x","data":[{"embedding":[]}]}"#.to_string()),
            ("{ }", format!(r#"{{"id":"{text}" }}"#)),
            ("[]", "[]".to_string()),
        ] {
            assert_eq!(put(&Bytes::from(answer), &id), expected);
        }
    }
}
