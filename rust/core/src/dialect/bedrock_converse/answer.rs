//! A whole Converse answer.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::blocks;
use super::write::allowed;
use crate::dialect::citations::{Source, sources};
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Media, Part, Text, sealed, unsealed};
use crate::dialect::openai_chat::served;
use crate::dialect::read;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// How urgently the model was served.
#[derive(Deserialize)]
pub struct Tier<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Text<'a>,
}

/// Tokens as Bedrock counts them: those of the cache are apart from the input.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageWire {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_write_input_tokens: Option<u64>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Usage {
        Usage {
            input: wire.input_tokens,
            output: wire.output_tokens,
            cache_read: wire.cache_read_input_tokens.unwrap_or(0),
            cache_write: wire.cache_write_input_tokens.unwrap_or(0),
            ..Usage::default()
        }
    }
}

/// Reads a `usage` object.
pub fn parse_usage(raw: &[u8]) -> Option<Usage> {
    serde_json::from_slice::<UsageWire>(raw).ok().map(Usage::from)
}

/// Members of a usage object, in Bedrock's accounting.
pub fn write_usage(out: &mut Writer, usage: &Usage) {
    let (prompt, output) = (usage.prompt(), usage.answer());
    let input = prompt.saturating_sub(usage.cached()).saturating_sub(usage.written());
    out.key("inputTokens").uint(input).key("outputTokens").uint(output);
    out.key("totalTokens").uint(prompt.saturating_add(output));
    out.key("cacheReadInputTokens").uint(usage.cached()).key("cacheWriteInputTokens").uint(usage.written());
}

pub fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        "malformed_tool_use" => Finish::MalformedCall,
        _ => Finish::Other,
    }
}

pub fn stop_reason(finish: Option<Finish>, stopped_by: bool) -> &'static str {
    match finish {
        Some(Finish::Stop) if stopped_by => "stop_sequence",
        Some(Finish::Length) => "max_tokens",
        Some(Finish::ContextWindow) => "model_context_window_exceeded",
        Some(Finish::ToolCalls) => "tool_use",
        Some(Finish::ContentFilter | Finish::Refusal) => "content_filtered",
        Some(Finish::MalformedCall) => "malformed_tool_use",
        Some(Finish::Stop | Finish::Pause | Finish::Other) | None => "end_turn",
    }
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a Converse answer.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        #[serde(borrow)]
        output: Output<'a>,
        #[serde(borrow)]
        stop_reason: Text<'a>,
        #[serde(default)]
        usage: Option<UsageWire>,
        #[serde(default, borrow)]
        service_tier: Option<Tier<'a>>,
    }
    #[derive(Deserialize)]
    struct Output<'a> {
        #[serde(borrow)]
        message: Message<'a>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let wire: Wire<'_> = read::document(body)?;
    let choice = Choice {
        parts: blocks("output.message.content", wire.output.message.content)?,
        finish: Some(finish(&wire.stop_reason)),
        ..Choice::default()
    };
    Ok(Answer {
        choices: vec![choice],
        usage: wire.usage.map(|usage| served(usage.into(), wire.service_tier.as_ref().map(|tier| &*tier.kind))),
        service_tier: wire.service_tier.map(|tier| tier.kind),
        ..Answer::default()
    })
}

pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let choice = answer.choices.first();
    let mut out = Writer::with_capacity(1024);
    out.begin_object().key("output").begin_object().key("message").begin_object();
    out.member("role", "assistant").key("content").begin_array();
    for part in choice.into_iter().flat_map(|choice| &choice.parts) {
        write_part(&mut out, part);
    }
    out.end_array().end_object().end_object();
    let stopped_by = choice.is_some_and(|choice| choice.stopped_by.is_some());
    out.member("stopReason", stop_reason(choice.and_then(|choice| choice.finish), stopped_by));
    out.key("usage").begin_object();
    write_usage(&mut out, &answer.usage.unwrap_or_default());
    out.end_object();
    out.key("metrics").begin_object().key("latencyMs").uint(context.elapsed_ms()).end_object();
    if let Some(tier @ ("default" | "priority" | "flex" | "reserved")) = answer.service_tier.as_deref() {
        out.key("serviceTier").begin_object().member("type", tier).end_object();
    }
    out.end_object();
    out.finish()
}

fn write_part(out: &mut Writer, part: &Part<'_>) {
    match part {
        Part::Text { text, citations: Some(citations), .. } => {
            out.begin_object().key("citationsContent").begin_object();
            out.key("content").begin_array().begin_object().member("text", text).end_object().end_array();
            out.key("citations").begin_array();
            write_citations(out, citations);
            out.end_array().end_object().end_object();
        }
        Part::Text { text, .. } | Part::Refusal { text } => _ = out.begin_object().member("text", text).end_object(),
        Part::ToolCall { id, name, arguments, signature, .. } => {
            if let Some(signature) = signature {
                // A call has no place for its proof here: a thought that clients give back carries it.
                said(out, "", Some(signature));
            }
            out.begin_object().key("toolUse").begin_object().member("toolUseId", &allowed(id)).member("name", name);
            out.key("input");
            match serde_json::from_str::<&RawValue>(arguments) {
                _ if arguments.trim().is_empty() => out.json("{}"),
                Ok(raw) => out.raw(raw),
                // What the model wrote is shown as it is.
                Err(_) => out.string(arguments),
            };
            out.end_object().end_object();
        }
        Part::Reasoning { text, signature, encrypted, id } => {
            if !text.is_empty() || signature.is_some() {
                said(out, text, signature.as_deref());
            }
            if let (None, Some(data)) = (signature, encrypted) {
                out.begin_object().key("reasoningContent").begin_object();
                out.member("redactedContent", &blob(data, id.as_deref())).end_object().end_object();
            }
        }
        Part::Image { media: Media::Base64 { mime, data }, .. } => {
            if let Some(format) = super::media::format(super::media::IMAGE, mime) {
                out.begin_object().key("image").begin_object().member("format", format);
                out.key("source").begin_object().member("bytes", data).end_object().end_object().end_object();
            }
        }
        _ => {}
    }
}

fn said(out: &mut Writer, text: &str, signature: Option<&str>) {
    out.begin_object().key("reasoningContent").begin_object().key("reasoningText").begin_object();
    out.member("text", text);
    if let Some(signature) = signature {
        out.member("signature", signature);
    }
    out.end_object().end_object().end_object();
}

/// Its own citations as they came, those of others as web pages.
fn write_citations(out: &mut Writer, citations: &Citations<'_>) {
    if citations.format == Format::Converse {
        for raw in citations.each() {
            out.raw(raw);
        }
        return;
    }
    for source in sources(citations) {
        citation(out, &source);
    }
}

/// One citation of another provider.
pub fn citation(out: &mut Writer, source: &Source<'_>) {
    out.begin_object().member("title", source.title.as_deref().unwrap_or(""));
    if let Some(name) = source.id.as_deref().or(source.url.as_deref()) {
        out.member("source", name);
    }
    if let Some(text) = &source.cited {
        out.key("sourceContent").begin_array().begin_object().member("text", text).end_object().end_array();
    }
    if let Some(url) = &source.url {
        out.key("location").begin_object().key("web").begin_object().member("url", url).end_object().end_object();
    }
    out.end_object();
}

/// Before encrypted reasoning of another provider: AWS's clients decode blobs as they read them.
const FOREIGN: &[u8] = b"ailink:";

/// Encrypted reasoning as the base64 that AWS's clients expect.
pub fn blob<'t>(data: &'t str, id: Option<&str>) -> Cow<'t, str> {
    if id.is_none() && STANDARD.decode(data).is_ok() {
        return Cow::Borrowed(data);
    }
    Cow::Owned(STANDARD.encode([FOREIGN, sealed(data, id).as_bytes()].concat()))
}

/// What [`blob`] was made of, and the id that belongs to it.
pub fn unblobbed(data: Text<'_>) -> (Text<'_>, Option<Text<'_>>) {
    let decoded = STANDARD.decode(data.as_bytes()).ok();
    let foreign = decoded.as_ref().and_then(|bytes| std::str::from_utf8(bytes.strip_prefix(FOREIGN)?).ok());
    match foreign {
        Some(text) => unsealed(text.to_string().into()),
        None => (data, None),
    }
}
