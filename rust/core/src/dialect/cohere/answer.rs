//! Whole answers, read and written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{parse_usage, write_usage};
use crate::dialect::citations::{Source, sources};
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Part, Text};
use crate::dialect::openai_chat::{ToolCallWire, content};
use crate::dialect::read::{self, Shape, shape};
use crate::wire::json::write::Writer;

#[derive(Deserialize)]
struct AnswerWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    message: MessageWire<'a>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_plan: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<ToolCallWire<'a>>>,
    #[serde(default, borrow)]
    citations: Option<&'a RawValue>,
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a chat answer.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    let wire: AnswerWire<'_> = read::document(body)?;
    let message = wire.message;
    let mut parts = Vec::new();
    if let Some(raw) = message.content {
        content("message.content", raw, &mut parts)?;
    }
    parts.extend(message.tool_plan.filter(|plan| !plan.is_empty()).map(Part::text));
    let cited = message.citations.filter(|raw| shape(raw) == Shape::Array && raw.get().len() > 2);
    let last = parts.iter_mut().rev().find(|part| matches!(part, Part::Text { .. }));
    if let (Some(raw), Some(Part::Text { citations, .. })) = (cited, last) {
        *citations = Some(Citations { format: Format::Cohere, raw });
    }
    for call in message.tool_calls.into_iter().flatten() {
        let path = "message.tool_calls[].function";
        let function = call.function.ok_or_else(|| Fault::invalid(path, "missing"))?;
        let arguments = function.arguments()?;
        let id = call.id.unwrap_or_default();
        parts.push(Part::ToolCall { id, name: function.name, arguments, signature: None, cache: None });
    }
    let finish = wire.finish_reason.map(|reason| finish(&reason));
    Ok(Answer {
        id: wire.id.unwrap_or_default(),
        choices: vec![Choice { parts, finish, ..Choice::default() }],
        usage: wire.usage.and_then(|raw| parse_usage(raw.get().as_bytes())),
        ..Answer::default()
    })
}

pub fn finish(reason: &str) -> Finish {
    match reason {
        "COMPLETE" | "STOP_SEQUENCE" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR_TOXIC" => Finish::ContentFilter,
        _ => Finish::Other,
    }
}

/// Cohere's name for a reason.
pub fn finish_name(finish: Finish, stopped_by: bool) -> &'static str {
    match finish {
        Finish::Stop if stopped_by => "STOP_SEQUENCE",
        Finish::Stop | Finish::Pause | Finish::Refusal => "COMPLETE",
        Finish::Length | Finish::ContextWindow => "MAX_TOKENS",
        Finish::ToolCalls => "TOOL_CALL",
        Finish::ContentFilter | Finish::MalformedCall | Finish::Other => "ERROR",
    }
}

/// Writes the hub's answer. An answer is one: of several choices, the first.
pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut out = Writer::with_capacity(512);
    let choice = answer.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let finish = choice.and_then(|choice| choice.finish).unwrap_or(Finish::Stop);
    let stopped_by = choice.is_some_and(|choice| choice.stopped_by.is_some());
    out.begin_object().member("id", context.answer_id(&answer.id));
    out.member("finish_reason", finish_name(finish, stopped_by));
    out.key("message").begin_object().member("role", "assistant");
    let called = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    if called {
        plan(&mut out, parts);
        calls(&mut out, parts);
    }
    out.key("content").begin_array();
    for part in parts {
        match part {
            Part::Text { text, .. } | Part::Refusal { text } if !called => {
                out.begin_object().member("type", "text").member("text", text).end_object();
            }
            Part::Reasoning { text, .. } if !text.is_empty() => {
                out.begin_object().member("type", "thinking").member("thinking", text).end_object();
            }
            _ => {}
        }
    }
    out.end_array();
    cited(&mut out, parts);
    out.end_object();
    if let Some(usage) = &answer.usage {
        out.key("usage");
        write_usage(&mut out, usage);
    }
    out.end_object();
    out.finish()
}

fn plan(out: &mut Writer, parts: &[Part<'_>]) {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal { text } => Some(&**text),
        _ => None,
    });
    let plan: String = texts.collect();
    if !plan.is_empty() {
        out.member("tool_plan", &plan);
    }
}

fn calls(out: &mut Writer, parts: &[Part<'_>]) {
    out.key("tool_calls").begin_array();
    for part in parts {
        let Part::ToolCall { id, name, arguments, .. } = part else { continue };
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        out.begin_object().member("id", id).member("type", "function").key("function").begin_object();
        out.member("name", name).member("arguments", arguments).end_object().end_object();
    }
    out.end_array();
}

fn cited(out: &mut Writer, parts: &[Part<'_>]) {
    let citations = |part: &Part<'_>| match part {
        Part::Text { citations, .. } => citations.is_some(),
        _ => false,
    };
    if !parts.iter().any(citations) {
        return;
    }
    out.key("citations").begin_array();
    let mut start = 0;
    for part in parts {
        let Part::Text { text, citations, .. } = part else { continue };
        let end = start + text.chars().count() as u64;
        for source in citations.iter().flat_map(sources) {
            citation(out, &source, (start, end));
        }
        start = end;
    }
    out.end_array();
}

/// One citation; `whole`: the place of the text, for sources that name none.
pub fn citation(out: &mut Writer, source: &Source<'_>, whole: (u64, u64)) {
    let place = source.start.zip(source.end).map(|(from, to)| (whole.0 + from, whole.0 + to));
    let (start, end) = place.unwrap_or(whole);
    out.begin_object().key("start").uint(start).key("end").uint(end);
    out.member("text", source.cited.as_deref().unwrap_or_default()).member("type", "TEXT_CONTENT");
    out.key("sources").begin_array().begin_object().member("type", "document");
    let id = source.id.as_deref().or(source.url.as_deref()).unwrap_or_default();
    out.member("id", id).key("document").begin_object().member("id", id);
    for (name, value) in [("title", &source.title), ("url", &source.url)] {
        if let Some(value) = value {
            out.member(name, value);
        }
    }
    out.end_object().end_object().end_array().end_object();
}
