//! Anthropic's Messages format.

mod answer;
mod blocks;
mod content;
mod encode;
mod encoder;
mod features;
mod request;
mod stream;
mod thinking;

pub use answer::{decode_answer, encode_answer};
pub use encode::encode_request;
pub use encoder::Encoder;
pub use features::treatment;
pub use request::{decode_request, thinking};
pub use stream::Decoder;
pub use thinking::{Plan, plan};

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::{self, Finder};
use serde::Deserialize;

use super::{Seen, escape, text_length};
use crate::error::Error;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::{Kind, scan_object, scan_value_object};
use crate::wire::sse;

pub fn error_body(error: &Error, request_id: &str) -> Bytes {
    let mut out = String::with_capacity(160 + error.message.len());
    out.push_str("{\"type\":\"error\",\"error\":{\"type\":\"");
    out.push_str(error.anthropic_kind());
    out.push_str("\",\"message\":\"");
    escape(&mut out, &error.message);
    out.push_str("\"},\"request_id\":\"");
    escape(&mut out, request_id);
    out.push_str("\"}");
    out.into()
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct UsageWire {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: Option<CacheCreation>,
    #[serde(default)]
    server_tool_use: Option<ServerTools>,
    #[serde(default)]
    service_tier: Option<ServiceTier>,
}

/// Parts of `cache_creation_input_tokens`, by how long they are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct ServerTools {
    #[serde(default)]
    web_search_requests: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServiceTier {
    Batch,
    Priority,
    #[serde(other)]
    Other,
}

impl UsageWire {
    /// `input_tokens` does not include what was read from or written to the cache.
    fn usage(self) -> Usage {
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let long = self.cache_creation.unwrap_or_default().ephemeral_1h_input_tokens.min(written);
        Usage {
            input: self.input_tokens.unwrap_or(0),
            output: self.output_tokens.unwrap_or(0),
            cache_read: self.cache_read_input_tokens.unwrap_or(0),
            cache_write: written - long,
            cache_write_long: long,
            searches: self.server_tool_use.unwrap_or_default().web_search_requests,
            service: match self.service_tier {
                Some(ServiceTier::Batch) => Service::Batch,
                Some(ServiceTier::Priority) => Service::Priority,
                Some(ServiceTier::Other) | None => Service::Standard,
            },
            ..Usage::default()
        }
    }

    /// Later events repeat and correct earlier ones.
    fn update(&mut self, later: UsageWire) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.server_tool_use = later.server_tool_use.or(self.server_tool_use);
        self.service_tier = later.service_tier.or(self.service_tier);
    }
}

/// Reads a `usage` object.
pub fn parse_usage(raw: &[u8]) -> Option<Usage> {
    serde_json::from_slice::<UsageWire>(raw).ok().map(UsageWire::usage)
}

/// Members of a delta that hold generated text.
static GENERATED: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["\"text\":\"", "\"partial_json\":\"", "\"thinking\":\""].map(Finder::new));

/// Watches the events of a message stream.
#[derive(Debug, Default)]
pub struct Tap {
    known: UsageWire,
    started: bool,
    complete: bool,
}

impl Tap {
    pub fn usage(&self) -> Option<Usage> {
        self.complete.then(|| self.known.usage())
    }

    /// What `message_start` told, before the output is known.
    pub fn started(&self) -> Option<Usage> {
        self.started.then(|| self.known.usage())
    }

    pub fn event(&mut self, event: &[u8]) -> Seen {
        let delta = memmem::find(event, b"content_block_delta").is_some();
        if delta && memmem::find(event, b"\"usage\"").is_none() {
            return Seen { text: text_length(event, &*GENERATED), ..Seen::default() };
        }
        match sse::name(event) {
            Some(b"message_stop") => Seen { terminal: true, ..Seen::default() },
            Some(b"error") => Seen { error: true, ..Seen::default() },
            Some(b"message_start") => {
                self.take_usage(event, true);
                Seen::default()
            }
            Some(b"message_delta") => {
                self.take_usage(event, false);
                Seen { finished: true, ..Seen::default() }
            }
            _ if delta => Seen { text: text_length(event, &*GENERATED), ..Seen::default() },
            _ => Seen::default(),
        }
    }

    fn take_usage(&mut self, event: &[u8], start: bool) {
        let data = sse::data(event);
        let Ok(scan) = scan_object(&data, &["usage", "message"]) else { return };
        let [mut usage, message] = scan.fields;
        if let Some(message) = message.filter(|value| start && value.kind == Kind::Object) {
            usage = scan_value_object(&data, message, &["usage"]).ok().and_then(|inner| inner.fields[0]);
        }
        let Some(usage) = usage.filter(|value| value.kind == Kind::Object) else { return };
        if let Ok(wire) = serde_json::from_slice::<UsageWire>(usage.raw(&data)) {
            self.known.update(wire);
            self.started = true;
            self.complete |= !start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_collected_over_a_stream() {
        let mut tap = Tap::default();
        tap.event(
            b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
        );
        assert_eq!(tap.usage(), None);
        assert_eq!(tap.started().map(|usage| usage.input), Some(25));
        let delta =
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"four\"}}\n\n";
        assert_eq!(tap.event(delta).text, 4);
        let end = b"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n";
        assert!(tap.event(end).finished);
        let usage = tap.usage().expect("complete");
        assert_eq!((usage.input, usage.cache_read, usage.output), (25, 5, 15));
        assert!(tap.event(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n").terminal);
    }

    #[test]
    fn usage_objects_are_read() {
        let usage =
            parse_usage(br#"{"input_tokens":3,"output_tokens":4,"cache_creation_input_tokens":2}"#).expect("usage");
        assert_eq!((usage.input, usage.output, usage.cache_write), (3, 4, 2));
    }
}
