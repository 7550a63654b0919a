//! Whole messages answers, read and written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::block;
use super::content::is_object;
use super::parse_usage;
use crate::dialect::citations::sources;
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Part, Text, sealed};
use crate::dialect::read;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

#[derive(Deserialize)]
struct AnswerWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(default, borrow)]
    stop_sequence: Option<Text<'a>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a message.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    #[derive(Deserialize)]
    struct Tier<'a> {
        #[serde(default, borrow)]
        service_tier: Option<Text<'a>>,
    }
    let wire: AnswerWire<'_> = read::document(body)?;
    let mut parts = Vec::with_capacity(wire.content.len());
    for (index, raw) in wire.content.into_iter().enumerate() {
        parts.push(block(&format!("content[{index}]"), raw)?);
    }
    let tier = wire.usage.and_then(|raw| serde_json::from_str::<Tier<'_>>(raw.get()).ok());
    Ok(Answer {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: None,
        choices: vec![Choice {
            parts,
            finish: wire.stop_reason.as_deref().map(finish),
            stopped_by: wire.stop_sequence,
            logprobs: None,
        }],
        usage: wire.usage.and_then(|raw| parse_usage(raw.get().as_bytes())),
        service_tier: tier.and_then(|tier| tier.service_tier),
        fingerprint: None,
    })
}

pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "pause_turn" => Finish::Pause,
        "refusal" => Finish::Refusal,
        "model_context_window_exceeded" => Finish::ContextWindow,
        _ => Finish::Other,
    }
}

pub(super) fn finish_name(finish: Finish, stopped: bool) -> &'static str {
    match finish {
        Finish::Stop if stopped => "stop_sequence",
        Finish::Stop | Finish::MalformedCall | Finish::Other => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ContextWindow => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Pause => "pause_turn",
    }
}

/// Writes the hub's answer as a message. A message is one answer: of several, the first.
pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    out.begin_object().member("id", context.answer_id(&answer.id)).member("type", "message");
    out.member("role", "assistant").member("model", context.model.as_deref().unwrap_or(&answer.model));
    out.key("content").begin_array();
    let choice = answer.choices.first();
    for part in choice.into_iter().flat_map(|choice| &choice.parts) {
        write_block(&mut out, part);
    }
    out.end_array().key("stop_reason");
    let refused = choice.is_some_and(|choice| choice.parts.iter().any(|part| matches!(part, Part::Refusal { .. })));
    let finish = choice.and_then(|choice| choice.finish).map(|finish| match finish {
        Finish::Stop if refused => Finish::Refusal,
        finish => finish,
    });
    let stopped_by = choice.and_then(|choice| choice.stopped_by.as_deref());
    out.string(finish_name(finish.unwrap_or(Finish::Stop), stopped_by.is_some()));
    match stopped_by {
        Some(stop) => out.member("stop_sequence", stop),
        None => out.key("stop_sequence").null(),
    };
    out.key("usage");
    write_usage(&mut out, &answer.usage.unwrap_or_default());
    out.end_object();
    out.finish()
}

/// Anthropic counts what was read from and written to the cache apart from the input.
pub(super) fn write_usage(out: &mut Writer, usage: &Usage) {
    let written = usage.written();
    let input = usage.prompt().saturating_sub(usage.cached()).saturating_sub(written);
    out.begin_object().key("input_tokens").uint(input);
    out.key("cache_creation_input_tokens").uint(written);
    out.key("cache_read_input_tokens").uint(usage.cached());
    if written > 0 {
        out.key("cache_creation").begin_object().key("ephemeral_5m_input_tokens").uint(usage.cache_write);
        out.key("ephemeral_1h_input_tokens").uint(usage.cache_write_long).end_object();
    }
    out.key("output_tokens").uint(usage.answer());
    if usage.searches > 0 {
        out.key("server_tool_use").begin_object();
        out.key("web_search_requests").uint(u64::from(usage.searches)).end_object();
    }
    out.member("service_tier", usage.service.name()).end_object();
}

fn write_block(out: &mut Writer, part: &Part<'_>) {
    match part {
        Part::Text { text, citations, .. } => {
            out.begin_object().member("type", "text").member("text", text);
            if let Some(citations) = citations {
                out.key("citations").begin_array();
                write_citations(out, citations);
                out.end_array();
            }
            out.end_object();
        }
        Part::Refusal { text } => _ = out.begin_object().member("type", "text").member("text", text).end_object(),
        Part::Reasoning { text, encrypted: Some(data), signature: None, id } => {
            if !text.is_empty() {
                out.begin_object()
                    .member("type", "thinking")
                    .member("thinking", text)
                    .member("signature", "")
                    .end_object();
            }
            out.begin_object()
                .member("type", "redacted_thinking")
                .member("data", &sealed(data, id.as_deref()))
                .end_object();
        }
        Part::Reasoning { text, signature, .. } => {
            out.begin_object().member("type", "thinking").member("thinking", text);
            out.member("signature", signature.as_deref().unwrap_or("")).end_object();
        }
        Part::ToolCall { id, name, arguments, signature, .. } => {
            if let Some(signature) = signature {
                // A call has no place for its proof here: a thought that clients give back carries it.
                out.begin_object().member("type", "thinking").member("thinking", "").member("signature", signature);
                out.end_object();
            }
            out.begin_object().member("type", "tool_use").member("id", id).member("name", name).key("input");
            if is_object(arguments) {
                out.json(arguments.trim());
            } else if arguments.trim().is_empty() {
                out.begin_object().end_object();
            } else {
                // The model wrote something that is no object; the caller's code can still look at it.
                out.begin_object().member("raw_arguments", arguments).end_object();
            }
            out.end_object();
        }
        Part::Foreign { format: Format::Messages, raw, .. } => _ = out.raw(raw),
        // No model answers with these in a format that reaches messages.
        Part::Image { .. }
        | Part::Audio { .. }
        | Part::Video { .. }
        | Part::Document { .. }
        | Part::ToolResult { .. }
        | Part::Foreign { .. } => {}
    }
}

/// Its own citations as they came, those of others as web sources.
pub(super) fn write_citations(out: &mut Writer, citations: &Citations<'_>) {
    if citations.format == Format::Messages {
        for raw in citations.each() {
            out.raw(raw);
        }
        return;
    }
    for source in sources(citations) {
        let Some(url) = source.url else { continue };
        out.begin_object().member("type", "web_search_result_location").member("url", &url);
        out.member("title", source.title.as_deref().unwrap_or("")).member("encrypted_index", "");
        out.member("cited_text", source.cited.as_deref().unwrap_or("")).end_object();
    }
}
