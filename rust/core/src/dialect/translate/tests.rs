mod answers;
mod documented;
mod matrix;
mod random;
mod recorded;
mod requests;
mod streams;

use serde_json::Value;

use super::*;
use crate::dialect::format::Fault;
use crate::dialect::hub::Finish;
use crate::wire::sse::Framer;

const TARGET: Target<'static> = Target { model: "up", stream: true, ask_usage: true, max_output: None };

fn asked(from: Format, to: Format, body: &Value) -> (Value, Vec<String>) {
    asked_of(from, to, body, &TARGET)
}

fn asked_of(from: Format, to: Format, body: &Value, target: &Target<'_>) -> (Value, Vec<String>) {
    let request = request(from, to, body.to_string().as_bytes(), target).expect("translated");
    let losses = request.losses.names().map(String::from).collect();
    (serde_json::from_slice(&request.body).expect("JSON"), losses)
}

fn refused(from: Format, to: Format, body: &Value) -> Fault {
    request(from, to, body.to_string().as_bytes(), &TARGET).expect_err("refused")
}

fn answered(from: Format, to: Format, body: &Value) -> Value {
    let context = Context { id: "req_1".into(), created: 7, ..Context::default() };
    let (body, _) = answer(from, to, body.to_string().as_bytes(), &context).expect("translated");
    serde_json::from_slice(&body).expect("JSON")
}

/// Translates a stream that is cut into pieces of `size` bytes.
fn streamed(from: Format, to: Format, stream: &str, size: usize) -> String {
    let context = Context { id: "req_1".into(), created: 7, include_usage: true, ..Context::default() };
    let mut framer = Framer::new(1 << 20);
    let mut translated = Stream::new(from, to, context);
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        let batch = framer.push(piece.to_vec().into()).expect("framed");
        for event in batch.events() {
            translated.event(event, &mut out).expect("translated");
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

fn sse(events: &[Value]) -> String {
    let named = |event: &Value| event["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
    events.iter().map(|event| format!("{}data: {event}\n\n", named(event))).collect()
}

fn data_of(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}
