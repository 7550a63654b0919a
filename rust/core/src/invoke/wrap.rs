//! Answers in the envelope that their caller opened the conversation with.

use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};

use super::{CHUNK, METRICS};
use crate::body::{Body, Broken, Source};
use crate::dialect::bedrock_converse::{STREAM_TYPE, error_type_of, failure_frame};
use crate::dialect::error_message;
use crate::stream::{EVENT_MAX, split};
use crate::wire::eventstream::{self, Frame, Framer};
use crate::wire::json::{self, Kind, scan_object, scan_value_object};
use crate::wire::sse;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An answer as callers of `InvokeModel` read it: events in frames, errors as Amazon tells them, whole answers as they are.
pub fn wrap(mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        if response.headers().contains_key(ERROR_TYPE) {
            return response;
        }
        let kind = HeaderValue::from_static(error_type_of(status.as_u16()));
        response.headers_mut().insert(ERROR_TYPE, kind);
        return response.map(|body| match body.into_source() {
            Ok(source) => Body::stream(Boxed(source)),
            Err(body) => {
                let said = error_message(&body).unwrap_or_else(|| "The request failed.".to_string());
                Body::full(serde_json::json!({ "message": said }).to_string())
            }
        });
    }
    let kind = response.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let reading = match kind {
        kind if kind.starts_with(b"text/event-stream") => Reading::Events,
        kind if kind.starts_with(STREAM_TYPE.as_bytes()) => Reading::Frames(Framer::new(EVENT_MAX)),
        _ => return response,
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STREAM_TYPE));
    let mut envelope = Envelope { reading, input: 0, output: 0 };
    response.map(|body| match body.into_source() {
        Ok(source) => Body::stream(Enveloped { source, envelope }),
        Err(events) => Body::full(envelope.put(&events)),
    })
}

/// A source that passes as it is.
struct Boxed(Box<dyn Source>);

impl Source for Boxed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.0.poll_data(cx)
    }

    fn remaining(&self) -> Option<u64> {
        self.0.remaining()
    }
}

enum Reading {
    /// Server-sent events of Anthropic or `OpenAI`.
    Events,
    /// Frames of Converse.
    Frames(Framer),
}

struct Envelope {
    reading: Reading,
    /// Tokens that Anthropic's events have told.
    input: u64,
    output: u64,
}

impl Envelope {
    /// The frames that some events become.
    fn put(&mut self, events: &Bytes) -> Vec<u8> {
        let mut out = Vec::with_capacity(events.len() * 2);
        if let Reading::Frames(framer) = &mut self.reading {
            if let Ok(batch) = framer.push(events.clone()) {
                batch.events().for_each(|frame| reframe(frame, &mut out));
            }
            return out;
        }
        for event in split(events) {
            let data = sse::data(event);
            if !data.is_empty() && &*data != b"[DONE]" {
                self.event(&data, &mut out);
            }
        }
        out
    }

    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let Ok(scan) = scan_object(data, &["type", "error", "message", "usage"]) else { return chunk(data, out) };
        let [kind, error, message, usage] = scan.fields;
        let kind = kind.and_then(|kind| json::string(data, kind)).unwrap_or_default();
        if kind == "error" || kind.is_empty() && error.is_some_and(|error| error.kind == Kind::Object) {
            let said = error_message(data).unwrap_or_else(|| "The stream failed.".to_string());
            return failure_frame(exception(data, error), &said, out);
        }
        let count = |usage: Option<json::Value>, name: &str| {
            let inner = scan_value_object(data, usage?, &[name]).ok()?;
            json::as_u64(data, inner.fields[0]?)
        };
        match &*kind {
            "message_start" => {
                let told = message.and_then(|message| scan_value_object(data, message, &["usage"]).ok());
                self.input = count(told.and_then(|told| told.fields[0]), "input_tokens").unwrap_or(0);
            }
            "message_delta" => {
                self.input = count(usage, "input_tokens").unwrap_or(self.input);
                self.output = count(usage, "output_tokens").unwrap_or(self.output);
            }
            "message_stop" => {
                let metrics = format!(
                    "{{\"type\":\"message_stop\",\"{METRICS}\":{{\"inputTokenCount\":{},\"outputTokenCount\":{}}}}}",
                    self.input, self.output
                );
                return chunk(metrics.as_bytes(), out);
            }
            _ => {}
        }
        chunk(data, out);
    }
}

/// The exception that stands for an error of Anthropic's or `OpenAI`'s.
fn exception(data: &[u8], error: Option<json::Value>) -> &'static str {
    let inner = error.and_then(|error| scan_value_object(data, error, &["type"]).ok()?.fields[0]);
    let kind = inner.and_then(|kind| json::string(data, kind)).unwrap_or_default();
    match &*kind {
        "rate_limit_error" => "throttlingException",
        "overloaded_error" => "serviceUnavailableException",
        "invalid_request_error" => "validationException",
        _ => "modelStreamErrorException",
    }
}

fn chunk(data: &[u8], out: &mut Vec<u8>) {
    let headers = [(":event-type", CHUNK), (":content-type", "application/json"), (":message-type", "event")];
    eventstream::write(out, &headers, |out| {
        out.extend_from_slice(b"{\"bytes\":\"");
        out.extend_from_slice(STANDARD.encode(data).as_bytes());
        out.extend_from_slice(b"\"}");
    });
}

/// An event of Converse as Nova tells it: its kind is a member instead of a header.
fn reframe(frame: &[u8], out: &mut Vec<u8>) {
    let Ok(parsed) = Frame::parse(frame) else { return };
    match parsed.text(":event-type") {
        // What is in an envelope already came from Amazon as it is.
        Some(kind) if kind != CHUNK && parsed.text(":message-type") == Some("event") => {
            chunk(&[b"{\"", kind.as_bytes(), b"\":", parsed.payload, b"}"].concat(), out);
        }
        _ => out.extend_from_slice(frame),
    }
}

struct Enveloped {
    source: Box<dyn Source>,
    envelope: Envelope,
}

impl Source for Enveloped {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match std::task::ready!(self.source.poll_data(cx)) {
                Some(Ok(events)) => {
                    let frames = self.envelope.put(&events);
                    // A comment becomes nothing.
                    if !frames.is_empty() {
                        return Poll::Ready(Some(Ok(frames.into())));
                    }
                }
                other => return Poll::Ready(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(frames: &[u8]) -> Vec<(String, String)> {
        let batch = Framer::new(EVENT_MAX).push(Bytes::copy_from_slice(frames)).expect("frames");
        let read = |frame: &[u8]| {
            let frame = Frame::parse(frame).expect("a frame");
            let body: serde_json::Value = serde_json::from_slice(frame.payload).expect("JSON");
            match frame.text(":event-type") {
                Some(kind) => {
                    let data = STANDARD.decode(body["bytes"].as_str().expect("bytes")).expect("base64");
                    (kind.to_string(), String::from_utf8(data).expect("text"))
                }
                None => (frame.text(":exception-type").expect("one").to_string(), body["message"].to_string()),
            }
        };
        batch.events().map(read).collect()
    }

    #[test]
    fn events_become_chunks() {
        let mut envelope = Envelope { reading: Reading::Events, input: 0, output: 0 };
        let events = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9}}}\n\n\
            : comment\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n\n\
            event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let told = unwrapped(&envelope.put(&Bytes::from(events)));
        assert_eq!(told.len(), 3);
        assert_eq!(
            told[2].1,
            format!("{{\"type\":\"message_stop\",\"{METRICS}\":{{\"inputTokenCount\":9,\"outputTokenCount\":4}}}}")
        );
        let failed =
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
        let told = unwrapped(&envelope.put(&Bytes::from(failed)));
        assert_eq!(told, [("serviceUnavailableException".to_string(), "\"x\"".to_string())]);
        let chat = Bytes::from("data: {\"choices\":[]}\n\ndata: [DONE]\n\n");
        assert_eq!(unwrapped(&envelope.put(&chat)), [("chunk".to_string(), "{\"choices\":[]}".to_string())]);
    }

    #[test]
    fn kinds_of_converse_become_members() {
        let mut frames = Vec::new();
        let headers = [(":event-type", "messageStop"), (":message-type", "event")];
        eventstream::write(&mut frames, &headers, |out| out.extend_from_slice(b"{\"stopReason\":\"end_turn\"}"));
        failure_frame("throttlingException", "x", &mut frames);
        let mut envelope = Envelope { reading: Reading::Frames(Framer::new(EVENT_MAX)), input: 0, output: 0 };
        let told = unwrapped(&envelope.put(&frames.into()));
        assert_eq!(told[0].1, "{\"messageStop\":{\"stopReason\":\"end_turn\"}}");
        assert_eq!(told[1].0, "throttlingException");
    }
}
