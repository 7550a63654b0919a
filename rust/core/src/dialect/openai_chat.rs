//! OpenAI's chat format, and what its neighbours (completions, embeddings, images, audio) share with it.

mod answer;
mod encode;
mod encoder;
mod features;
mod messages;
mod parts;
mod request;
mod stream;
mod tools;
pub(super) mod write;

pub(super) use answer::served;
pub use answer::{decode_answer, encode_answer};
pub use encode::encode_request;
pub use encoder::Encoder;
pub use features::treatment;
pub use request::decode_request;
// Cohere shares these with OpenAI.
pub(super) use parts::{ToolCallWire, content};
pub(super) use request::messages;
pub use stream::Decoder;
pub(super) use tools::tools;
pub use write::flat_annotations;

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::{self, Finder};
use serde::Deserialize;

use super::{Seen, escape, text_length};
use crate::error::Error;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::{self, Kind, Value, scan_object};
use crate::wire::sse;

pub fn error_body(error: &Error) -> Bytes {
    let facts = error.code.facts();
    let mut out = String::with_capacity(160 + error.message.len());
    out.push_str("{\"error\":{\"message\":\"");
    escape(&mut out, &error.message);
    out.push_str("\",\"type\":\"");
    out.push_str(error.kind());
    out.push_str("\",\"param\":");
    match &error.param {
        Some(param) => {
            out.push('"');
            escape(&mut out, param);
            out.push('"');
        }
        None => out.push_str("null"),
    }
    out.push_str(",\"code\":\"");
    out.push_str(facts.code);
    out.push_str("\"}}");
    out.into()
}

#[derive(Deserialize)]
struct UsageWire {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: u64,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default, alias = "input_tokens_details", alias = "input_token_details")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default, alias = "output_tokens_details", alias = "output_token_details")]
    completion_tokens_details: Option<OutputDetails>,
    /// DeepSeek's name for cached input.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    /// Length of sound that is paid by time.
    #[serde(default)]
    seconds: Option<f64>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cached_tokens_details: Option<CachedDetails>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

/// Parts of `cached_tokens`; the counts beside it include them.
#[derive(Default, Deserialize)]
struct CachedDetails {
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

/// Takes up to `wanted` tokens out of what is `left` of a total.
fn part(left: &mut u64, wanted: Option<u64>) -> u64 {
    let taken = wanted.unwrap_or(0).min(*left);
    *left -= taken;
    taken
}

/// Reads a `usage` object; counts that are parts of another are taken out of it, so that each token is priced once.
pub fn parse_usage(raw: &[u8]) -> Option<Usage> {
    let wire: UsageWire = serde_json::from_slice(raw).ok()?;
    let input = wire.prompt_tokens_details.unwrap_or_default();
    let output = wire.completion_tokens_details.unwrap_or_default();
    let mut prompt = wire.prompt_tokens;
    let mut cache_read = part(&mut prompt, input.cached_tokens.or(wire.prompt_cache_hit_tokens));
    let cached = input.cached_tokens_details.unwrap_or_default();
    let cache_read_audio = part(&mut cache_read, cached.audio_tokens);
    let cache_read_image = part(&mut cache_read, cached.image_tokens);
    let cache_write = part(&mut prompt, input.cache_write_tokens);
    // Cached sound and images are part of both counts.
    let audio_input = part(&mut prompt, input.audio_tokens.map(|all| all.saturating_sub(cache_read_audio)));
    let image_input = part(&mut prompt, input.image_tokens.map(|all| all.saturating_sub(cache_read_image)));
    let mut completion = wire.completion_tokens;
    let reasoning = output.reasoning_tokens.unwrap_or(0);
    if let Some(total) = wire.total_tokens
        && total == wire.prompt_tokens + completion + reasoning
        && reasoning > 0
    {
        // xAI and a few others leave reasoning out of completion_tokens; the total tells.
        completion += reasoning;
    }
    let audio_output = part(&mut completion, output.audio_tokens);
    let image_output = part(&mut completion, output.image_tokens);
    Some(Usage {
        input: prompt,
        output: completion,
        cache_read,
        cache_write,
        audio_input,
        audio_output,
        cache_read_audio,
        image_input,
        image_output,
        cache_read_image,
        reasoning,
        seconds: seconds(wire.seconds),
        ..Usage::default()
    })
}

/// Whole seconds, as sound is billed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn seconds(told: Option<f64>) -> u32 {
    // A cast from a float saturates.
    told.map_or(0, |seconds| seconds.round() as u32)
}

/// How urgently the provider worked, from an answer's `service_tier`.
pub fn service_of(body: &[u8], value: Option<Value>) -> Service {
    value.and_then(|value| json::string(body, value)).map_or(Service::Standard, |name| Service::parse(&name))
}

/// Members of a chunk that hold generated text.
static GENERATED: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
    ["\"content\":\"", "\"text\":\"", "\"arguments\":\"", "\"reasoning_content\":\"", "\"refusal\":\""].map(Finder::new)
});
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));

/// The first byte of the value behind one of the members that `finder` finds, for each of them.
fn values<'e>(finder: &'e Finder<'static>, event: &'e [u8]) -> impl Iterator<Item = u8> + 'e {
    finder.find_iter(event).filter_map(|at| {
        let rest = event.get(at + finder.needle().len()..)?.trim_ascii_start();
        rest.strip_prefix(b":")?.trim_ascii_start().first().copied()
    })
}

/// Watches `chat.completion.chunk` events for usage, end and failure.
#[derive(Debug, Default)]
pub struct Tap {
    pub usage: Option<Usage>,
}

impl Tap {
    pub fn event(&mut self, event: &[u8]) -> Seen {
        if event.len() < 32 && memmem::find(event, b"[DONE]").is_some() {
            return Seen { terminal: true, ..Seen::default() };
        }
        if event.starts_with(b"data: {\"error\"") {
            return Seen { error: true, ..Seen::default() };
        }
        let finished = values(&FINISH, event).any(|first| first == b'"');
        let seen = Seen { finished, text: text_length(event, &*GENERATED), ..Seen::default() };
        // Most providers that were asked for it say `"usage":null` in every event but the last.
        if !values(&USAGE, event).any(|first| first == b'{') {
            return seen;
        }
        let data = sse::data(event);
        let Ok(scan) = scan_object(&data, &["usage", "choices", "service_tier"]) else { return seen };
        let [usage, choices, service] = scan.fields;
        let Some(usage) = usage.filter(|value| value.kind == Kind::Object) else { return seen };
        let Some(parsed) = parse_usage(usage.raw(&data)) else { return seen };
        self.usage = Some(Usage { service: service_of(&data, service), ..parsed });
        // The final event has `"choices":[]`; some providers leave `choices` out.
        let usage_only = choices.is_none_or(|choices| {
            choices.kind == Kind::Array && choices.raw(&data).iter().all(|byte| b"[] \t\r\n".contains(byte))
        });
        Seen { usage_only, ..seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_counted_once() {
        let usage = parse_usage(
            br#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":30,"audio_tokens":10},
                "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5}}"#,
        )
        .expect("usage");
        assert_eq!((usage.input, usage.cache_read, usage.audio_input), (60, 30, 10));
        assert_eq!((usage.output, usage.audio_output, usage.reasoning), (45, 5, 20));
    }

    #[test]
    fn reasoning_outside_completion_is_added() {
        let usage = parse_usage(
            br#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        )
        .expect("usage");
        assert_eq!((usage.output, usage.reasoning), (25, 20));
    }

    #[test]
    fn lying_details_do_not_underflow() {
        let usage =
            parse_usage(br#"{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}"#)
                .expect("usage");
        assert_eq!((usage.input, usage.cache_read), (0, 1));
    }

    #[test]
    fn stream_events_are_told_apart() {
        let mut tap = Tap::default();
        let content = b"data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\"\"}}],\"usage\":null}\n\n";
        let seen = tap.event(content);
        assert!(seen.text == 11 && !seen.usage_only && tap.usage.is_none());
        let last =
            b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n";
        assert!(tap.event(last).usage_only);
        assert_eq!(tap.usage.map(|usage| (usage.input, usage.output)), Some((3, 4)));
        assert!(tap.event(b"data: [DONE]\n\n").terminal);
        assert!(tap.event(b"data: {\"error\":{\"message\":\"x\"}}\n\n").error);
    }
}
