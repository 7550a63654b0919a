//! What is said of a response that is made in the background and streamed: every event, for as long as the response is kept.
//!
//! Whoever follows gets what was said so far and then what comes, as often and from wherever he likes. Events are numbered
//! anew, as the first two are the gateway's own: the caller knows the response's id before any provider was asked.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::Response as Answer;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::keep::LONGEST;
use crate::body::{Body, Broken, Source};
use crate::wire::sse::{self, Framer};

/// Longest error that is told.
const ERROR_MAX: usize = 64 * 1024;

#[derive(Default)]
struct Said {
    events: Vec<Bytes>,
    bytes: usize,
    over: bool,
    waiting: Vec<Waker>,
}

/// The events of one response.
#[derive(Default)]
pub struct Told(Mutex<Said>);

impl Told {
    /// Begins with a response that waits for its provider.
    pub fn begin(queued: &Value) -> Arc<Self> {
        let told = Arc::new(Told::default());
        told.response("response.created", queued);
        told.response("response.queued", queued);
        told
    }

    /// Says an event about the whole response.
    pub fn response(&self, name: &str, response: &Value) {
        self.say(json!({"type": name, "response": response}));
    }

    /// False when nothing more is to be said.
    fn say(&self, mut event: Value) -> bool {
        let mut said = self.0.lock();
        if said.over || said.bytes > LONGEST {
            return false;
        }
        event["sequence_number"] = said.events.len().into();
        let name = event.get("type").and_then(Value::as_str).unwrap_or("message");
        let text: Bytes = format!("event: {name}\ndata: {event}\n\n").into();
        said.bytes += text.len();
        said.events.push(text);
        said.waiting.drain(..).for_each(Waker::wake);
        true
    }

    /// There is nothing more to come.
    pub fn end(&self) {
        let mut said = self.0.lock();
        said.over = true;
        said.waiting.drain(..).for_each(Waker::wake);
    }

    /// All of it, as it is kept.
    pub fn text(&self) -> Vec<u8> {
        self.0.lock().events.concat()
    }

    /// Reads from event number `first` on.
    pub fn follow(self: &Arc<Self>, first: usize) -> Body {
        Body::stream(Follower { told: self.clone(), at: first })
    }

    /// Passes an answer on; what is wrong when it is not the whole response.
    pub async fn listen(&self, id: &str, answer: Answer<Body>) -> Option<Value> {
        let (head, mut body) = answer.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
        if !(head.status.is_success() && kind.starts_with(b"text/event-stream")) {
            let whole = read(&mut body, if head.status.is_success() { LONGEST } else { ERROR_MAX }).await;
            return match head.status.is_success() {
                true => self.whole(id, &whole),
                false => Some(error_of(&whole)),
            };
        }
        let mut framer = Framer::new(LONGEST);
        let mut failure = None;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Some(batch) = frame.into_data().ok().and_then(|data| framer.push(data).ok()) else { break };
            for event in batch.events() {
                match self.hear(id, event) {
                    Heard::More => {}
                    Heard::End => return None,
                    Heard::TooMuch => return Some(server_error("The response is too long to be kept.")),
                    Heard::Error(error) => failure = Some(error),
                }
            }
        }
        failure.or_else(|| Some(server_error("The provider's stream ended before the response was complete.")))
    }

    /// A provider may answer whole all the same.
    fn whole(&self, id: &str, body: &[u8]) -> Option<Value> {
        let response: Value = serde_json::from_slice(body).unwrap_or_default();
        match response.get("status").and_then(Value::as_str) {
            Some(status @ ("completed" | "incomplete" | "failed")) => {
                let name = format!("response.{status}");
                self.say(ours(json!({"type": name, "response": response}), id));
                None
            }
            _ => Some(server_error("The provider's answer is no response.")),
        }
    }

    fn hear(&self, id: &str, event: &[u8]) -> Heard {
        let Ok(event) = serde_json::from_slice::<Value>(&sse::data(event)) else { return Heard::More };
        let name = event.get("type").and_then(Value::as_str).unwrap_or_default();
        match name {
            // The gateway has said so before.
            "response.created" | "response.queued" => return Heard::More,
            "error" => {
                let of = |name: &str| event.get(name).cloned().unwrap_or_default();
                return Heard::Error(json!({"code": of("code"), "message": of("message")}));
            }
            _ => {}
        }
        let ends = matches!(name, "response.completed" | "response.incomplete" | "response.failed");
        match self.say(ours(event, id)) {
            false => Heard::TooMuch,
            true if ends => Heard::End,
            true => Heard::More,
        }
    }
}

enum Heard {
    More,
    End,
    TooMuch,
    Error(Value),
}

/// An event about the response as its caller knows it.
fn ours(mut event: Value, id: &str) -> Value {
    if let Some(Value::Object(response)) = event.get_mut("response") {
        response.insert("id".to_string(), id.into());
        response.insert("background".to_string(), true.into());
    }
    event
}

fn server_error(text: &str) -> Value {
    json!({"code": "server_error", "message": text})
}

/// An error's answer, as a response says what it failed of.
pub fn error_of(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let of = |name: &str| body.get("error").and_then(|error| error.get(name)).cloned();
    let code = of("code").filter(|code| !code.is_null()).or_else(|| of("type"));
    json!({"code": code, "message": of("message")})
}

/// The body to its end, and of it at most this much.
pub async fn read(body: &mut Body, most: usize) -> BytesMut {
    let mut said = BytesMut::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        if let Some(data) = frame.data_ref() {
            said.extend_from_slice(data.get(..most.saturating_sub(said.len())).unwrap_or(data));
        }
    }
    said
}

/// The events of a response that is over, from number `first` on; `last` is one that was never written.
pub fn again(events: &[u8], first: usize, last: Option<&Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut count = 0;
    if let Ok(batch) = Framer::new(LONGEST).push(Bytes::copy_from_slice(events)) {
        for event in batch.events() {
            if count >= first {
                out.extend_from_slice(event);
            }
            count += 1;
        }
    }
    if let Some(response) = last {
        let number = count.max(first);
        let status = response.get("status").and_then(Value::as_str).unwrap_or("failed");
        let event = json!({"type": format!("response.{status}"), "sequence_number": number, "response": response});
        out.extend_from_slice(format!("event: response.{status}\ndata: {event}\n\n").as_bytes());
    }
    out
}

/// How many events there are, and whether the last one says how the response ended.
pub fn heard(events: &[u8]) -> (usize, bool) {
    let Ok(batch) = Framer::new(LONGEST).push(Bytes::copy_from_slice(events)) else { return (0, false) };
    let (mut count, mut over) = (0, false);
    for event in batch.events() {
        let event: Value = serde_json::from_slice(&sse::data(event)).unwrap_or_default();
        let named = event.get("type").and_then(Value::as_str).and_then(|name| name.strip_prefix("response."));
        (count, over) = (count + 1, matches!(named, Some("completed" | "incomplete" | "failed" | "cancelled")));
    }
    (count, over)
}

struct Follower {
    told: Arc<Told>,
    at: usize,
}

impl Source for Follower {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut said = self.told.0.lock();
        if let Some(event) = said.events.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(event.clone())));
        }
        if said.over {
            return Poll::Ready(None);
        }
        if !said.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            said.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8]) -> Vec<Value> {
        let batch = Framer::new(1 << 20).push(Bytes::copy_from_slice(bytes)).expect("events");
        batch.events().map(|event| serde_json::from_slice(&sse::data(event)).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn a_stream_is_told_from_anywhere() {
        let told = Told::begin(&json!({"id": "resp_1", "status": "queued"}));
        let upstream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"x\"}}\n\n\
                        : comment\n\n\
                        data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"sequence_number\":9}\n\n\
                        data: {\"type\":\"response.completed\",\"response\":{\"id\":\"x\",\"status\":\"completed\"}}\n\n";
        let mut answer = Answer::new(Body::full(upstream));
        answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        let mut following = told.follow(1);
        assert_eq!(told.listen("resp_1", answer).await, None);
        told.end();
        // Nothing is added to what is over.
        told.response("response.cancelled", &json!({}));
        let all = events(&told.text());
        let names: Vec<&str> = all.iter().filter_map(|event| event["type"].as_str()).collect();
        let expected = ["response.created", "response.queued", "response.output_text.delta", "response.completed"];
        assert_eq!(names, expected);
        for (number, event) in all.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
        }
        assert_eq!((&all[3]["response"]["id"], &all[3]["response"]["background"]), (&json!("resp_1"), &json!(true)));
        assert_eq!(events(&read(&mut following, 1 << 20).await), all[1..]);
        assert_eq!(events(&again(&told.text(), 2, None)), all[2..]);
        assert_eq!((heard(&told.text()), heard(b"")), ((4, true), (0, false)));
        assert!(read(&mut told.follow(9), 100).await.is_empty());
        let failed = again(&told.text(), 9, Some(&json!({"status": "failed"})));
        assert_eq!(events(&failed)[0]["sequence_number"], 9);
    }

    #[tokio::test]
    async fn what_is_no_response_fails() {
        let told = Told::begin(&json!({}));
        let answer = |kind: &'static str, text: &'static str| {
            let mut answer = Answer::new(Body::full(text));
            answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
            answer
        };
        let cut = answer("text/event-stream", "data: {\"type\":\"response.in_progress\"}\n\n");
        assert!(told.listen("r", cut).await.is_some_and(|error| error["code"] == "server_error"));
        let error = answer("text/event-stream", "data: {\"type\":\"error\",\"code\":\"c\",\"message\":\"m\"}\n\n");
        assert_eq!(told.listen("r", error).await, Some(json!({"code": "c", "message": "m"})));
        assert!(told.listen("r", answer("application/json", "<html>")).await.is_some());
        assert!(told.listen("r", answer("application/json", "{\"status\":\"completed\"}")).await.is_none());
        let mut refused = answer("application/json", "{\"error\":{\"code\":null,\"type\":\"t\",\"message\":\"m\"}}");
        *refused.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(told.listen("r", refused).await, Some(json!({"code": "t", "message": "m"})));
    }
}
