//! Streams whose provider keeps the caller waiting: after a while of silence the answer begins with comments, so that
//! proxies and clients on the way do not give up.
//!
//! Comments are no provider's event: retries and failover go on behind them. Only the status line is spoken for, so that
//! a failure that comes now is told by the dialect's error event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, Broken, Source};
use crate::clock::wall_us;
use crate::dialect::{self, Format, translate};
use crate::endpoint::Dialect;
use crate::exchange::RequestId;

/// What keeps a waiting stream alive. Readers of events ignore it.
pub const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Waits for the answer for `interval`; begins without it after that.
pub async fn answer(
    mut answering: Answering,
    interval: Duration,
    (dialect, format): (Dialect, Option<Format>),
    id: RequestId,
) -> Response<Body> {
    let mut timer = Box::pin(tokio::time::sleep(interval));
    tokio::select! {
        biased;
        response = &mut answering => return response,
        () = &mut timer => {}
    }
    timer.as_mut().reset(Instant::now() + interval);
    let late = Late { state: State::Waiting { answering, timer, owed: true }, interval, dialect, format, id };
    let mut response = Response::new(Body::stream(late));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.insert(HeaderName::from_static("x-request-id"), id.header());
    headers.insert(HeaderName::from_static("x-ailink-request-id"), id.header());
    response
}

struct Late {
    state: State,
    interval: Duration,
    dialect: Dialect,
    /// Of the conversation, where it is one.
    format: Option<Format>,
    id: RequestId,
}

enum State {
    Waiting { answering: Answering, timer: Pin<Box<Sleep>>, owed: bool },
    Streaming(Box<dyn Source>),
    Done,
}

impl Late {
    fn whole(&self, body: &Bytes) -> Bytes {
        events_of(body, self.dialect, self.format, &self.id)
    }

    /// What the answer turned out to be: a stream that goes on here, or something to be said as one event.
    fn take(&mut self, response: Response<Body>) -> Option<Bytes> {
        let success = response.status().is_success();
        match response.into_body().into_source() {
            Ok(source) if success => {
                self.state = State::Streaming(source);
                None
            }
            Ok(_) => {
                self.state = State::Done;
                None
            }
            Err(bytes) => {
                self.state = State::Done;
                Some(if success { self.whole(&bytes) } else { dialect::failure_event(self.dialect, &bytes) })
            }
        }
    }
}

/// A whole body as the stream that was asked for, in the format's own events and with its own end; a stream that comes from
/// the cache has events already.
fn events_of(body: &Bytes, dialect: Dialect, format: Option<Format>, id: &RequestId) -> Bytes {
    if body.starts_with(b"data:") || body.starts_with(b"event:") {
        return body.clone();
    }
    let context = dialect::Context {
        id: id.to_string(),
        created: wall_us() / 1_000_000,
        include_usage: true,
        ..dialect::Context::default()
    };
    // Text completions have a format of their own for callers only.
    let format = format.filter(|format| *format != Format::Completions);
    let replayed = format.and_then(|format| translate::replay(format, format, body, context).ok());
    if let Some((events, _)) = replayed {
        return events.into();
    }
    let end: &[u8] = if dialect == Dialect::OpenAi { b"\n\ndata: [DONE]\n\n" } else { b"\n\n" };
    [b"data: ".as_slice(), body, end].concat().into()
}

impl Source for Late {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Streaming(source) => return source.poll_data(cx),
                State::Waiting { answering, timer, owed } => {
                    if std::mem::take(owed) {
                        return Poll::Ready(Some(Ok(COMMENT)));
                    }
                    if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                        match self.take(response) {
                            Some(event) => return Poll::Ready(Some(Ok(event))),
                            None => continue,
                        }
                    }
                    std::task::ready!(timer.as_mut().poll(cx));
                    timer.as_mut().reset(Instant::now() + self.interval);
                    *owed = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &'static str, dialect: Dialect, format: Option<Format>) -> String {
        let events = events_of(&Bytes::from_static(body.as_bytes()), dialect, format, &RequestId([7; 16]));
        String::from_utf8(events.to_vec()).expect("text")
    }

    #[test]
    fn every_format_ends_in_its_own_way() {
        let chat = r#"{"id":"1","model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
        let events = told(chat, Dialect::OpenAi, Some(Format::Chat));
        assert!(events.contains(r#""delta":{"content":"hi"}"#) && events.ends_with("data: [DONE]\n\n"));
        let message =
            r#"{"id":"1","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{}}"#;
        let events = told(message, Dialect::Anthropic, Some(Format::Messages));
        assert!(events.starts_with("event: message_start") && events.contains("text_delta"));
        assert!(events.contains("event: message_stop") && !events.contains("[DONE]"));
        let response = r#"{"id":"resp_1","model":"m","status":"completed","output":[]}"#;
        let events = told(response, Dialect::Responses, Some(Format::Responses));
        assert!(events.contains("event: response.completed") && !events.contains("[DONE]"));
        let cohere = r#"{"id":"1","finish_reason":"COMPLETE","message":{"content":[{"type":"text","text":"hi"}]}}"#;
        let events = told(cohere, Dialect::Cohere, Some(Format::Cohere));
        assert!(events.contains("event: message-end") && !events.contains("[DONE]"));
        assert_eq!(told("{}", Dialect::OpenAi, None), "data: {}\n\ndata: [DONE]\n\n");
        assert_eq!(told("data: x\n\n", Dialect::OpenAi, None), "data: x\n\n");
    }
}
