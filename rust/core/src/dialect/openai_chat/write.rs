//! The pieces of chat answers that whole ones and streams share.

use serde_json::value::RawValue;

use crate::dialect::citations::sources as sources_of;
use crate::dialect::format::Format;
use crate::dialect::hub::{Choice, Citations, Part};
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// OpenAI counts everything read as prompt and everything written as completion.
pub fn write_usage(out: &mut Writer, usage: &Usage) {
    let (prompt, completion) = (usage.prompt(), usage.answer());
    out.begin_object().key("prompt_tokens").uint(prompt).key("completion_tokens").uint(completion);
    out.key("total_tokens").uint(prompt.saturating_add(completion));
    out.key("prompt_tokens_details").begin_object().key("cached_tokens").uint(usage.cached());
    out.key("audio_tokens").uint(usage.audio_input.saturating_add(usage.cache_read_audio));
    if usage.written() > 0 {
        out.key("cache_creation_tokens").uint(usage.written());
    }
    out.end_object();
    out.key("completion_tokens_details").begin_object().key("reasoning_tokens").uint(usage.reasoning);
    out.key("audio_tokens").uint(usage.audio_output).end_object().end_object();
}

/// The members of a message. What chat has no word for stands under the names that chat clients read already.
pub fn message(out: &mut Writer, choice: &Choice<'_>) {
    out.member("role", "assistant").key("content");
    let texts = || {
        choice.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(&**text),
            _ => None,
        })
    };
    match texts().count() {
        0 => out.null(),
        1 => out.string(texts().next().unwrap_or_default()),
        _ => out.string(&texts().collect::<String>()),
    };
    let refusals: String = choice
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Refusal { text } => Some(&**text),
            _ => None,
        })
        .collect();
    match refusals.is_empty() {
        true => out.key("refusal").null(),
        false => out.member("refusal", &refusals),
    };
    reasoning(out, &choice.parts);
    calls(out, &choice.parts);
    sources(out, &choice.parts);
}

fn reasoning(out: &mut Writer, parts: &[Part<'_>]) {
    let thoughts = || parts.iter().filter(|part| matches!(part, Part::Reasoning { .. }));
    if thoughts().next().is_none() {
        return;
    }
    let text: String = thoughts()
        .filter_map(|part| match part {
            Part::Reasoning { text, .. } => Some(&**text),
            _ => None,
        })
        .collect();
    if !text.is_empty() {
        out.member("reasoning_content", &text);
    }
    let proved = |part: &&Part<'_>| matches!(part, Part::Reasoning { signature, encrypted, .. } if signature.is_some() || encrypted.is_some());
    if !thoughts().any(|part| proved(&part)) {
        return;
    }
    out.key("thinking_blocks").begin_array();
    for part in thoughts() {
        let Part::Reasoning { text, signature, encrypted, id } = part else { continue };
        match (signature, encrypted) {
            (None, Some(data)) => encrypted_block(out, data, id.as_deref()),
            (signature, _) => thinking_block(out, signature.as_deref(), text),
        }
    }
    out.end_array();
}

/// LiteLLM's form of reasoning that can be given back.
pub fn thinking_block(out: &mut Writer, signature: Option<&str>, text: &str) {
    out.begin_object().member("type", "thinking").member("thinking", text);
    if let Some(signature) = signature {
        out.member("signature", signature);
    }
    out.end_object();
}

/// Reasoning that only the provider can read; `id`: OpenAI's, which it wants back.
pub fn encrypted_block(out: &mut Writer, data: &str, id: Option<&str>) {
    out.begin_object().member("type", "redacted_thinking").member("data", data);
    if let Some(id) = id {
        out.member("id", id);
    }
    out.end_object();
}

fn calls(out: &mut Writer, parts: &[Part<'_>]) {
    if !parts.iter().any(|part| matches!(part, Part::ToolCall { .. })) {
        return;
    }
    out.key("tool_calls").begin_array();
    for part in parts {
        let Part::ToolCall { id, name, arguments, signature, .. } = part else { continue };
        out.begin_object().member("id", id).member("type", "function").key("function").begin_object();
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        out.member("name", name).member("arguments", arguments).end_object();
        if let Some(signature) = signature {
            extra(out, signature);
        }
        out.end_object();
    }
    out.end_array();
}

/// Google's own name for a thought signature in its chat endpoint.
pub fn extra(out: &mut Writer, signature: &str) {
    out.key("extra_content").begin_object().key("google").begin_object();
    out.member("thought_signature", signature).end_object().end_object();
}

/// Citations: web sources as OpenAI's annotations, and all of them as they came.
fn sources(out: &mut Writer, parts: &[Part<'_>]) {
    let cited = |part: &&Part<'_>| matches!(part, Part::Text { citations: Some(_), .. });
    if !parts.iter().any(|part| cited(&part)) {
        return;
    }
    out.key("annotations").begin_array();
    let mut start = 0;
    for part in parts {
        let Part::Text { text, citations, .. } = part else { continue };
        let end = start + text.chars().count() as u64;
        if let Some(citations) = citations {
            annotations(out, citations, start, end);
        }
        start = end;
    }
    out.end_array();
    let foreign: Vec<&RawValue> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { citations: Some(citations), .. } if citations.format != Format::Chat => Some(citations.raw),
            _ => None,
        })
        .collect();
    if !foreign.is_empty() {
        out.key("provider_specific_fields").begin_object().key("citations").begin_array();
        for raw in foreign {
            out.raw(raw);
        }
        out.end_array().end_object();
    }
}

/// Sources of a text as annotations; `start` and `end`: where the text stands in the content.
pub fn annotations(out: &mut Writer, citations: &Citations<'_>, start: u64, end: u64) {
    if citations.format == Format::Chat {
        for raw in serde_json::from_str::<Vec<&RawValue>>(citations.raw.get()).unwrap_or_default() {
            out.raw(raw);
        }
        return;
    }
    for source in sources_of(citations) {
        let Some(url) = source.url else { continue };
        out.begin_object().member("type", "url_citation").key("url_citation").begin_object();
        let place = source.start.zip(source.end).map(|(from, to)| (start + from, (start + to).min(end)));
        let (from, to) = place.unwrap_or((start, end));
        out.key("start_index").uint(from).key("end_index").uint(to).member("url", &url);
        out.member("title", source.title.as_deref().unwrap_or("")).end_object().end_object();
    }
}

/// Web sources as annotations of the Responses format, which has no inner object; `end`: how long the text is so far.
pub fn flat_annotations(out: &mut Writer, citations: &Citations<'_>, end: u64) {
    if citations.format == Format::Responses {
        let raws = serde_json::from_str::<Vec<&RawValue>>(citations.raw.get()).unwrap_or_else(|_| vec![citations.raw]);
        for raw in raws {
            out.raw(raw);
        }
        return;
    }
    for source in sources_of(citations) {
        let Some(url) = source.url else { continue };
        let (from, to) = source.start.zip(source.end).unwrap_or((0, end));
        out.begin_object().member("type", "url_citation").key("start_index").uint(from).key("end_index").uint(to);
        out.member("url", &url).member("title", source.title.as_deref().unwrap_or("")).end_object();
    }
}
