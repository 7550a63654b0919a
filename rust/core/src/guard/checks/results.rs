//! What came of checks, in the answer: Portkey's `hook_results` and its status 246.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::json;

use super::FAILED;
use crate::body::{Body, Broken, Source};
use crate::exchange::Exchange;

/// The answer with what came of the checks, for those who are told: 246 where one failed that did not refuse.
pub fn told(exchange: &mut Exchange, response: Response<Body>) -> Response<Body> {
    let Some(checks) = &exchange.checks else { return response };
    if checks.told.iter().all(Vec::is_empty) || !response.status().is_success() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    if checks.failed
        && head.status == http::StatusCode::OK
        && let Ok(status) = http::StatusCode::from_u16(FAILED)
    {
        head.status = status;
    }
    let results = exchange.results();
    match body.into_source() {
        Err(bytes) => {
            let kind = head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
            let bytes = match bytes.trim_ascii_end() {
                [inner @ .., b'}'] if kind.starts_with(b"application/json") => {
                    head.headers.remove(CONTENT_LENGTH);
                    let comma = if inner.trim_ascii() == b"{" { "" } else { "," };
                    let mut out = BytesMut::from(inner);
                    out.extend_from_slice(format!("{comma}\"hook_results\":{results}}}").as_bytes());
                    out.freeze()
                }
                _ if kind.starts_with(b"text/event-stream") && exchange.takes_results() => {
                    head.headers.remove(CONTENT_LENGTH);
                    let mut out = BytesMut::from(first(&results).as_ref());
                    out.extend_from_slice(&bytes);
                    out.freeze()
                }
                _ => bytes,
            };
            Response::from_parts(head, Body::full(bytes))
        }
        Ok(source) if exchange.takes_results() => {
            let body = Body::stream(First { first: Some(first(&results)), inner: source });
            Response::from_parts(head, body)
        }
        Ok(source) => Response::from_parts(head, Body::stream(First { first: None, inner: source })),
    }
}

fn first(results: &serde_json::Value) -> Bytes {
    format!("data: {{\"hook_results\":{results}}}\n\n").into()
}

/// An event before a stream.
struct First {
    first: Option<Bytes>,
    inner: Box<dyn Source>,
}

impl Source for First {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Bytes, Broken>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.inner.poll_data(cx),
        }
    }
}

/// Asks for the results of checks in the answer.
const RESULTS: &str = "x-ailink-hook-results";
/// Portkey's clients say `false` when their streams may hold what OpenAI's do not.
const STRICT: &str = "x-portkey-strict-open-ai-compliance";

impl Exchange {
    /// The caller asks what came of checks.
    pub fn tells_results(&self) -> bool {
        self.headers.get(RESULTS).is_some_and(|value| value == "true")
    }

    fn takes_results(&self) -> bool {
        self.headers.get(STRICT).is_some_and(|value| value == "false")
    }

    pub fn results(&self) -> serde_json::Value {
        let none = [Vec::new(), Vec::new()];
        let [before, after] = self.checks.as_ref().map_or(&none, |checks| &checks.told);
        json!({"before_request_hooks": before, "after_request_hooks": after})
    }
}
