//! Cohere's second chat format, and what its embeddings share with it.

mod answer;
mod encode;
mod encoder;
mod features;
mod messages;
mod request;
mod stream;

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;

pub use answer::{decode_answer, encode_answer};
pub use encode::encode_request;
pub use encoder::Encoder;
pub use features::treatment;
pub use request::decode_request;
pub use stream::Decoder;

use super::{Seen, text_length};
use crate::error::Error;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;
use crate::wire::json::{Kind, scan_object, scan_value_object};
use crate::wire::sse;

pub fn error_body(error: &Error, request_id: &str) -> Bytes {
    let mut out = Writer::with_capacity(96 + error.message.len());
    out.begin_object().member("id", request_id).member("message", &error.message).end_object();
    out.finish().into()
}

/// What ends a stream that cannot go on.
pub fn failure_event(message: &str) -> Vec<u8> {
    let mut out = b"event: message-end\ndata: ".to_vec();
    let mut json = Writer::onto(std::mem::take(&mut out));
    json.begin_object().member("type", "message-end").key("delta").begin_object();
    json.member("finish_reason", "ERROR").member("error", message).end_object().end_object();
    out = json.finish();
    out.extend_from_slice(b"\n\n");
    out
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UsageWire {
    billed_units: Option<Units>,
    tokens: Option<Units>,
    cached_tokens: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Units {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
}

/// Reads a `usage` (chat) or `meta` (embeddings, rerank) object: what is billed, where that is told.
pub fn parse_usage(raw: &[u8]) -> Option<Usage> {
    let wire: UsageWire = serde_json::from_slice(raw).ok()?;
    let units = wire.billed_units.filter(|units| units.input_tokens.is_some() || units.output_tokens.is_some());
    let units = units.or(wire.tokens)?;
    // Cohere writes counts as numbers with a fraction.
    let count = |number: Option<f64>| number.unwrap_or(0.0).max(0.0) as u64;
    let input = count(units.input_tokens);
    let cache_read = count(wire.cached_tokens).min(input);
    Some(Usage { input: input - cache_read, output: count(units.output_tokens), cache_read, ..Usage::default() })
}

/// Writes the object in Cohere's accounting.
pub(super) fn write_usage(out: &mut Writer, usage: &Usage) {
    let (input, output) = (usage.prompt(), usage.answer());
    out.begin_object();
    for name in ["billed_units", "tokens"] {
        out.key(name).begin_object().key("input_tokens").uint(input).key("output_tokens").uint(output).end_object();
    }
    if usage.cached() > 0 {
        out.key("cached_tokens").uint(usage.cached());
    }
    out.end_object();
}

/// Members of an event that hold generated text.
static GENERATED: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
    let names = ["text", "thinking", "tool_plan", "arguments"];
    let spaced = names.map(|name| Finder::new(&format!("\"{name}\": \"")).into_owned());
    let plain = names.map(|name| Finder::new(&format!("\"{name}\":\"")).into_owned());
    let mut all = spaced.into_iter().chain(plain);
    std::array::from_fn(|_| all.next().unwrap_or_else(|| Finder::new("\"text\":\"")))
});
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("message-end"));

/// Watches the events of a stream.
#[derive(Debug, Default)]
pub struct Tap {
    pub usage: Option<Usage>,
}

impl Tap {
    pub fn event(&mut self, event: &[u8]) -> Seen {
        if END.find(event).is_none() || sse::name(event).is_some_and(|name| name != b"message-end") {
            return Seen { text: text_length(event, &*GENERATED), ..Seen::default() };
        }
        let data = sse::data(event);
        let Ok(scan) = scan_object(&data, &["type", "delta"]) else { return Seen::default() };
        let [kind, delta] = scan.fields;
        if kind.is_none_or(|kind| kind.raw(&data) != b"\"message-end\"") {
            return Seen { text: text_length(event, &*GENERATED), ..Seen::default() };
        }
        let delta = delta.filter(|delta| delta.kind == Kind::Object);
        let inner = delta.and_then(|delta| scan_value_object(&data, delta, &["usage", "finish_reason"]).ok());
        let [usage, finish] = inner.map_or([None, None], |inner| inner.fields);
        self.usage = usage.and_then(|usage| parse_usage(usage.raw(&data)));
        let error = finish.is_some_and(|finish| finish.raw(&data) == b"\"ERROR\"");
        Seen { terminal: true, finished: true, error, ..Seen::default() }
    }
}

#[cfg(test)]
mod tests;
