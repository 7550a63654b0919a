//! One wire format per file: errors, usage and the end of a stream as that format has them.

pub mod anthropic_messages;
pub mod bedrock_converse;
pub mod citations;
pub mod cohere;
pub mod family;
mod format;
pub mod gemini;
pub mod hub;
pub mod openai_chat;
mod openai_completions;
pub mod openai_responses;
mod read;
pub mod translate;

pub use format::{Context, Fault, Format, Target};

use bytes::Bytes;
use http::HeaderMap;
use memchr::memchr2;
use memchr::memmem::{self, Finder};

use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::{Value, scan_value_object};

/// What one event of a stream means to the gateway; the bytes themselves are never changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The event carries nothing but the usage the gateway itself asked for.
    pub usage_only: bool,
    /// The stream is over: nothing meaningful follows.
    pub terminal: bool,
    /// The provider reports a failure inside the stream.
    pub error: bool,
    /// A finish reason was given: an end without terminator is not a loss.
    pub finished: bool,
    /// Bytes of generated text, 0 for an event without any.
    pub text: u32,
}

/// Watches the events of one stream.
#[derive(Debug)]
pub enum Tap {
    OpenAi(openai_chat::Tap),
    Responses(openai_responses::Tap),
    Anthropic(anthropic_messages::Tap),
    Gemini(gemini::Tap),
    Cohere(cohere::Tap),
    Bedrock(bedrock_converse::Tap),
}

impl Tap {
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Tap::OpenAi(openai_chat::Tap::default()),
            Dialect::Responses => Tap::Responses(openai_responses::Tap::default()),
            Dialect::Anthropic => Tap::Anthropic(anthropic_messages::Tap::default()),
            Dialect::Gemini => Tap::Gemini(gemini::Tap::default()),
            Dialect::Cohere => Tap::Cohere(cohere::Tap::default()),
            Dialect::Bedrock => Tap::Bedrock(bedrock_converse::Tap::default()),
        }
    }

    pub fn event(&mut self, event: &[u8]) -> Seen {
        match self {
            Tap::OpenAi(tap) => tap.event(event),
            Tap::Responses(tap) => tap.event(event),
            Tap::Anthropic(tap) => tap.event(event),
            Tap::Gemini(tap) => tap.event(event),
            Tap::Cohere(tap) => tap.event(event),
            Tap::Bedrock(tap) => tap.event(event),
        }
    }

    /// The usage reported so far, if it is complete.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Tap::OpenAi(tap) => tap.usage,
            Tap::Responses(tap) => tap.usage,
            Tap::Anthropic(tap) => tap.usage(),
            Tap::Gemini(tap) => tap.usage(),
            Tap::Cohere(tap) => tap.usage,
            Tap::Bedrock(tap) => tap.usage,
        }
    }

    /// Input tokens, where the provider told them before the end.
    pub fn early_input(&self) -> Option<Usage> {
        match self {
            Tap::OpenAi(_) | Tap::Responses(_) | Tap::Cohere(_) | Tap::Bedrock(_) => None,
            Tap::Anthropic(tap) => tap.started(),
            Tap::Gemini(tap) => tap.told,
        }
    }
}

/// The member of a whole JSON answer that tells its usage.
pub fn usage_name(dialect: Dialect, operation: Operation) -> &'static str {
    match dialect {
        Dialect::Cohere if operation == Operation::CohereEmbed => "meta",
        Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic | Dialect::Cohere | Dialect::Bedrock => "usage",
        Dialect::Gemini => "usageMetadata",
    }
}

/// The usage of a whole JSON answer, from its member of that name.
pub fn usage(dialect: Dialect, operation: Operation, member: Option<&[u8]>) -> Option<Usage> {
    if operation.is_free() {
        return Some(Usage::default());
    }
    match dialect {
        Dialect::OpenAi | Dialect::Responses => openai_chat::parse_usage(member?).map(|usage| match operation {
            // Who makes images and does not tell their tokens apart has no others.
            Operation::ImagesGenerations | Operation::ImagesEdits | Operation::ImagesVariations
                if usage.image_output == 0 =>
            {
                Usage { output: 0, image_output: usage.output, ..usage }
            }
            _ => usage,
        }),
        Dialect::Anthropic => anthropic_messages::parse_usage(member?),
        Dialect::Gemini => gemini::parse_usage(member?),
        Dialect::Cohere => cohere::parse_usage(member?),
        Dialect::Bedrock => bedrock_converse::parse_usage(member?),
    }
}

/// The last object of that name in a piece of JSON that may begin and end anywhere. A string cannot be mistaken for it:
/// inside one, the quotes would be escaped.
pub fn usage_member<'p>(piece: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let key = [b"\"".as_slice(), name.as_bytes(), b"\""].concat();
    let after = &piece[memmem::rfind(piece, &key)? + key.len()..];
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let mut values = serde_json::Deserializer::from_slice(value).into_iter::<&serde_json::value::RawValue>();
    let raw = values.next()?.ok()?.get();
    raw.starts_with('{').then_some(raw.as_bytes())
}

/// The member of a whole JSON answer that tells how urgently the provider worked.
pub fn tier_name(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Bedrock { "serviceTier" } else { "service_tier" }
}

/// How urgently the provider worked, from that member.
pub fn service(dialect: Dialect, body: &[u8], value: Option<Value>) -> Service {
    let inner = match dialect {
        Dialect::Bedrock => value.and_then(|value| scan_value_object(body, value, &["type"]).ok()?.fields[0]),
        _ => value,
    };
    openai_chat::service_of(body, inner)
}

/// How urgently the provider works, where the head of its answer tells.
pub fn told_by_head(dialect: Dialect, headers: &HeaderMap) -> Service {
    let told = match dialect {
        Dialect::Gemini => headers.get("x-gemini-service-tier").and_then(|tier| tier.to_str().ok()),
        _ => None,
    };
    told.map_or(Service::Standard, gemini::service)
}

/// How urgently a provider says it worked, in a piece of JSON that may begin and end anywhere.
pub fn tier_member(piece: &[u8]) -> Option<&str> {
    let key = b"\"service_tier\"";
    let after = &piece[memmem::rfind(piece, key)? + key.len()..];
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(&value[..memchr::memchr(b'"', value)?]).ok()
}

/// The body of an error answer in the caller's dialect.
pub fn error_body(dialect: Dialect, error: &Error, request_id: &str) -> Bytes {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => openai_chat::error_body(error),
        Dialect::Anthropic => anthropic_messages::error_body(error, request_id),
        Dialect::Gemini => gemini::error_body(error, request_id),
        Dialect::Cohere => cohere::error_body(error, request_id),
        Dialect::Bedrock => bedrock_converse::error_body(error),
    }
}

/// What ends a stream that cannot go on: the dialect's error event, and its terminator where it has one.
pub fn error_event(dialect: Dialect, error: &Error, request_id: &str) -> Bytes {
    match dialect {
        Dialect::Bedrock => bedrock_converse::exception_frame(error),
        _ => failure_event(dialect, &error_body(dialect, error, request_id)),
    }
}

/// An error body as the last event of a stream.
pub fn failure_event(dialect: Dialect, body: &[u8]) -> Bytes {
    // An event's data must stay on one line; line breaks in JSON are white space only.
    let line: Vec<u8> = body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
    match dialect {
        Dialect::OpenAi => [b"data: ".as_slice(), &line, b"\n\ndata: [DONE]\n\n"].concat(),
        Dialect::Responses => openai_responses::error_event(body),
        Dialect::Anthropic => [b"event: error\ndata: ".as_slice(), &line, b"\n\n"].concat(),
        Dialect::Gemini => [b"data: ".as_slice(), &line, b"\n\n"].concat(),
        Dialect::Cohere => cohere::failure_event(error_message(body).as_deref().unwrap_or("The request failed.")),
        Dialect::Bedrock => bedrock_converse::failure_event(body),
    }
    .into()
}

/// What a provider says in an error body, whatever its dialect.
pub fn error_message(body: &[u8]) -> Option<String> {
    // OpenAI, Anthropic and Google; Google's streams that are arrays; Ollama; Cohere, Bedrock; AWS's front; FastAPI's
    // servers, with one text, an object (ElevenLabs) or a list; Cloudflare; Deepgram.
    const PLACES: [&str; 11] = [
        "/error/message",
        "/0/error/message",
        "/error",
        "/message",
        "/Message",
        "/detail",
        "/detail/message",
        "/detail/0/msg",
        "/errors/0/message",
        "/error_message",
        "/err_msg",
    ];
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let mut said = PLACES.iter().filter_map(|place| body.pointer(place)?.as_str());
    said.find(|message| !message.trim().is_empty()).map(String::from)
}

/// True when an error body of a provider already has the shape the caller's dialect promises.
pub fn is_error_shape(body: &[u8]) -> bool {
    use crate::wire::json::{Kind, scan_object};
    scan_object(body, &["error"])
        .is_ok_and(|scan| scan.fields[0].is_some_and(|error| matches!(error.kind, Kind::Object | Kind::String)))
}

/// The length of the first non-empty string among `members` (each given as `"name":"`) of an event, as unescaped bytes.
pub(crate) fn text_length(event: &[u8], members: &[Finder<'static>]) -> u32 {
    let lengths = members.iter().filter_map(|member| {
        let start = member.find(event)? + member.needle().len();
        Some(string_length(event.get(start..)?)).filter(|length| *length > 0)
    });
    lengths.into_iter().next().unwrap_or(0)
}

/// The unescaped length of a JSON string whose opening quote has been read.
fn string_length(rest: &[u8]) -> u32 {
    let (mut at, mut length) = (0, 0);
    while let Some(found) = rest.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        length += found;
        at += found;
        if rest.get(at) == Some(&b'"') {
            break;
        }
        // `\uXXXX` is up to three bytes of UTF-8, any other escape one.
        let unicode = rest.get(at + 1) == Some(&b'u');
        (at, length) = if unicode { (at + 6, length + 3) } else { (at + 2, length + 1) };
    }
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn escape(out: &mut String, text: &str) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Hardly any text has something to escape, and to see that takes a few wide instructions.
    if !text.bytes().fold(false, |found, byte| found | special(byte)) {
        return out.push_str(text);
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                use std::fmt::Write;
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn errors_are_valid_json_in_every_dialect() {
        let error = Error::new(Code::ModelNotFound, "no \"model\"\n\u{1}").param("model");
        for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
            let body = error_body(dialect, &error, "req_1");
            let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(value["error"]["message"], "no \"model\"\n\u{1}");
        }
    }

    #[test]
    fn usage_is_found_in_a_piece_of_json() {
        let piece = br#"0.1,0.2]}],"text":"\"usage\":{}","model":"m","usage" : {"prompt_tokens":3,"total_tokens":3}}"#;
        assert_eq!(usage_member(piece, "usage"), Some(br#"{"prompt_tokens":3,"total_tokens":3}"#.as_slice()));
        for none in [&br#""usage":null}"#[..], br#""usage":{"prompt"#, br#""text":"\"usage\":{}""#, b""] {
            assert_eq!(usage_member(none, "usage"), None);
        }
    }

    #[test]
    fn tiers_are_found_in_a_piece_of_json() {
        for (piece, tier) in [
            (&br#"..],"usage":{},"service_tier" : "flex"}"#[..], Some("flex")),
            (br#""text":"\"service_tier\":\"flex\""}"#, None),
            (br#""service_tier":null}"#, None),
            (br#""service_tier":"fl"#, None),
        ] {
            assert_eq!(tier_member(piece), tier);
        }
    }

    #[test]
    fn generated_text_is_measured() {
        let members = ["\"content\":\"", "\"arguments\":\""].map(Finder::new);
        for (event, length) in [
            (r#"{"delta":{"content":"hello"}}"#, 5),
            (r#"{"delta":{"content":"a\"b\\c\n"}}"#, 6),
            (r#"{"delta":{"content":"\u00e9"}}"#, 3),
            (r#"{"delta":{"content":"","arguments":"{}"}}"#, 2),
            (r#"{"delta":{"content":null}}"#, 0),
            (r#"{"delta":{"content":"cut"#, 0),
        ] {
            assert_eq!(text_length(event.as_bytes(), &members), length, "{event}");
        }
    }

    #[test]
    fn errors_are_read_whoever_wrote_them() {
        for body in [
            r#"{"error":{"message":"x"}}"#,
            r#"[{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"error":"x"}"#,
            r#"{"id":"1","message":"x"}"#,
            r#"{"Message":"x"}"#,
            r#"{"detail":"x"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#,
            r#"{"success":false,"errors":[{"code":1,"message":"x"}]}"#,
        ] {
            assert_eq!(error_message(body.as_bytes()).as_deref(), Some("x"), "{body}");
        }
        for body in ["", "<html>", "{}", r#"{"error":{"message":" "}}"#, "[]"] {
            assert_eq!(error_message(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn error_shapes_are_recognised() {
        assert!(is_error_shape(br#"{"error":{"message":"x"}}"#));
        assert!(is_error_shape(br#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#));
        assert!(!is_error_shape(b"<html>502</html>"));
        assert!(!is_error_shape(br#"{"detail":"nope"}"#));
    }
}
