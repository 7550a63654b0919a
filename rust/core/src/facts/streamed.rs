//! What a stream of events says, put together, in every dialect.

use bytes::Bytes;
use serde_json::Value;

use super::tools::Call;
use crate::stream::{Frames, Framing};
use crate::wire::{eventstream, sse};

/// Texts and calls of a stream.
#[derive(Debug, Default)]
pub struct Said {
    pub text: String,
    pub calls: Vec<Call>,
}

impl Said {
    fn add(&mut self, piece: Option<&str>) {
        self.text.push_str(piece.unwrap_or_default());
    }
}

/// A call whose arguments still come.
#[derive(Default)]
struct Growing {
    key: (u64, u64),
    name: String,
    arguments: String,
}

/// Puts a stream together; `None` when an event is no JSON.
pub fn said(stream: Bytes, framing: Framing) -> Option<Said> {
    let mut out = Said::default();
    let mut growing: Vec<Growing> = Vec::new();
    for event in events(stream, framing)? {
        if let Some((kind, value)) = read(&event, framing)? {
            take(kind.as_deref(), &value, &mut out, &mut growing);
        }
    }
    out.calls.extend(
        growing
            .into_iter()
            .filter(|call| !call.name.is_empty())
            .map(|call| Call { name: call.name, arguments: serde_json::from_str(&call.arguments).unwrap_or_default() }),
    );
    Some(out)
}

/// The events of a stream; `None` when it cannot be cut into them.
pub fn events(stream: Bytes, framing: Framing) -> Option<Vec<Bytes>> {
    let mut frames = Frames::new(framing.is_amazon());
    let batch = frames.push(stream).ok()?;
    let mut start = 0;
    let mut all: Vec<Bytes> = Vec::with_capacity(batch.ends.len() + 1);
    for end in &batch.ends {
        let end = *end as usize;
        all.push(batch.bytes.slice(start..end));
        start = end;
    }
    // What stands behind the last blank line is no event, but ends here.
    let rest = frames.take_rest();
    if !rest.is_empty() {
        all.push([&rest[..], b"\n\n"].concat().into());
    }
    Some(all)
}

/// What an event says: the kind that its frame gives it, and its JSON. Outer `None`: it cannot be read.
pub fn read(event: &Bytes, framing: Framing) -> Option<Option<(Option<String>, Value)>> {
    if framing.is_amazon() {
        let frame = eventstream::Frame::parse(event).ok()?;
        let kind = frame.text(":event-type").map(str::to_string);
        return Some(Some((kind, serde_json::from_slice(frame.payload).ok()?)));
    }
    let data = sse::data(event);
    let data = data.trim_ascii();
    if data.is_empty() || data == b"[DONE]" {
        return Some(None);
    }
    Some(Some((None, serde_json::from_slice(data).ok()?)))
}

/// Names of tools whose calls begin in an event.
pub fn names(kind: Option<&str>, event: &Value) -> Vec<String> {
    let mut out = Said::default();
    let mut growing = Vec::new();
    take(kind, event, &mut out, &mut growing);
    let begun = growing.into_iter().map(|call| call.name).filter(|name| !name.is_empty());
    out.calls.into_iter().map(|call| call.name).chain(begun).collect()
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    path.iter().try_fold(value, |value, step| value.get(step))?.as_str()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn grow(growing: &mut Vec<Growing>, key: (u64, u64), name: Option<&str>, arguments: Option<&str>) {
    let at = growing.iter().position(|call| call.key == key).unwrap_or_else(|| {
        growing.push(Growing { key, ..Growing::default() });
        growing.len() - 1
    });
    if let Some(call) = growing.get_mut(at) {
        if let Some(name) = name {
            call.name = name.to_string();
        }
        call.arguments.push_str(arguments.unwrap_or_default());
    }
}

fn take(kind: Option<&str>, event: &Value, out: &mut Said, growing: &mut Vec<Growing>) {
    for choice in list(event, "choices") {
        out.add(text(choice, &["delta", "content"]).or_else(|| text(choice, &["text"])));
        let Some(delta) = choice.get("delta") else { continue };
        for call in list(delta, "tool_calls") {
            let key = (number(choice, "index"), number(call, "index"));
            grow(growing, key, text(call, &["function", "name"]), text(call, &["function", "arguments"]));
        }
        // As calls were told before there could be several.
        if let Some(call) = delta.get("function_call") {
            let key = (number(choice, "index"), u64::MAX);
            grow(growing, key, text(call, &["name"]), text(call, &["arguments"]));
        }
    }
    for candidate in list(event, "candidates") {
        for part in candidate.get("content").into_iter().flat_map(|content| list(content, "parts")) {
            out.add(text(part, &["text"]));
            if let Some(call) = part.get("functionCall") {
                let name = text(call, &["name"]).unwrap_or_default().to_string();
                out.calls.push(Call { name, arguments: call.get("args").cloned().unwrap_or_default() });
            }
        }
    }
    let place = (number(event, "output_index"), number(event, "index"));
    match kind.or_else(|| text(event, &["type"])) {
        Some("contentBlockStart") => {
            let place = (0, number(event, "contentBlockIndex"));
            grow(growing, place, text(event, &["start", "toolUse", "name"]), None);
        }
        Some("contentBlockDelta") => {
            out.add(text(event, &["delta", "text"]));
            let place = (0, number(event, "contentBlockIndex"));
            if let Some(json) = text(event, &["delta", "toolUse", "input"]) {
                grow(growing, place, None, Some(json));
            }
        }
        Some("content_block_delta") => {
            out.add(text(event, &["delta", "text"]));
            if let Some(json) = text(event, &["delta", "partial_json"]) {
                grow(growing, place, None, Some(json));
            }
        }
        Some("content_block_start")
            if text(event, &["content_block", "type"]).is_some_and(|kind| kind.contains("tool_use")) =>
        {
            grow(growing, place, text(event, &["content_block", "name"]), None);
        }
        Some("content_block_start") => out.add(text(event, &["content_block", "text"])),
        Some("response.output_text.delta" | "response.refusal.delta") => out.add(text(event, &["delta"])),
        Some("response.output_item.added")
            if text(event, &["item", "type"]).is_some_and(|kind| kind.ends_with("_call")) =>
        {
            let name = text(event, &["item", "name"]).or_else(|| text(event, &["item", "type"]));
            grow(growing, place, name, None);
        }
        Some("response.function_call_arguments.delta") => grow(growing, place, None, text(event, &["delta"])),
        Some("content-delta") => out.add(text(event, &["delta", "message", "content", "text"])),
        Some("tool-call-start") => {
            let call = ["delta", "message", "tool_calls", "function", "name"];
            grow(growing, place, text(event, &call), None);
        }
        Some("tool-call-delta") => {
            let arguments = ["delta", "message", "tool_calls", "function", "arguments"];
            grow(growing, place, None, text(event, &arguments));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn streams_of_every_dialect_are_put_together() {
        for stream in [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"he\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\",\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}\"}}]}}]}\n\ndata: [DONE]\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hey\"}}\n\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"name\":\"f\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"partial_json\":\"{\\\"a\\\":1}\"}}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hey\"},{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}}}]}}]}\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hey\"}\n\ndata: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"name\":\"f\"}}\n\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"{\\\"a\\\":1}\"}\n\n",
            "data: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"hey\"}}}}\n\ndata: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"name\":\"f\",\"arguments\":\"\"}}}}}\n\ndata: {\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"{\\\"a\\\":1}\"}}}}}",
        ] {
            let said = said(stream.to_string().into(), Framing::Sse).expect("JSON");
            assert_eq!(said.text, "hey", "{stream}");
            assert_eq!(said.calls, [Call { name: "f".into(), arguments: json!({"a": 1}) }], "{stream}");
        }
    }
    #[test]
    fn frames_are_put_together() {
        let mut stream = Vec::new();
        for (kind, payload) in [
            ("messageStart", json!({"role": "assistant"})),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "he"}})),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "y"}})),
            (
                "contentBlockStart",
                json!({"contentBlockIndex": 1, "start": {"toolUse": {"name": "f", "toolUseId": "1"}}}),
            ),
            ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"a\""}}})),
            ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": ":1}"}}})),
            ("messageStop", json!({"stopReason": "tool_use"})),
        ] {
            let headers = [(":event-type", kind), (":message-type", "event")];
            eventstream::write(&mut stream, &headers, |out| out.extend_from_slice(payload.to_string().as_bytes()));
        }
        let told = said(stream.clone().into(), Framing::Amazon).expect("frames");
        assert_eq!(told.text, "hey");
        assert_eq!(told.calls, [Call { name: "f".into(), arguments: json!({"a": 1}) }]);
        if let Some(byte) = stream.get_mut(20) {
            *byte ^= 1;
        }
        assert!(said(stream.into(), Framing::Amazon).is_none());
    }
}
