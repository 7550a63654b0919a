//! Whole chat answers, read and written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::parse_usage;
use super::parts::{ExtraWire, ThinkingWire, ToolCallWire, content};
use super::write::{self, write_usage};
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Json, Part, Text};
use crate::dialect::read::{self, Shape, shape};
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::write::Writer;

#[derive(Deserialize)]
struct AnswerWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(borrow)]
    choices: Vec<ChoiceWire<'a>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(default, borrow)]
    system_fingerprint: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ChoiceWire<'a> {
    #[serde(borrow)]
    message: MessageWire<'a>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
    /// vLLM's name for the stop sequence.
    #[serde(default, borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<ToolCallWire<'a>>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking_blocks: Option<Vec<ThinkingWire<'a>>>,
    #[serde(default, borrow)]
    annotations: Option<&'a RawValue>,
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a chat answer.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    let wire: AnswerWire<'_> = read::document(body)?;
    let choices = wire.choices.into_iter().map(choice).collect::<Result<Vec<_>, _>>()?;
    let usage = wire.usage.and_then(|raw| parse_usage(raw.get().as_bytes()));
    Ok(Answer {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: wire.created.map(|created| created as i64),
        choices,
        usage: usage.map(|usage| served(usage, wire.service_tier.as_deref())),
        service_tier: wire.service_tier,
        fingerprint: wire.system_fingerprint,
    })
}

fn choice(wire: ChoiceWire<'_>) -> Result<Choice<'_>, Fault> {
    let message = wire.message;
    let mut parts = Vec::new();
    match message.thinking_blocks {
        Some(blocks) if !blocks.is_empty() => parts.extend(blocks.into_iter().map(ThinkingWire::part)),
        _ => parts.extend(reasoning(message.reasoning_content, message.reasoning)?.map(|text| Part::Reasoning {
            text,
            signature: None,
            encrypted: None,
            id: None,
        })),
    }
    if let Some(raw) = message.content {
        content("choices[].message.content", raw, &mut parts)?;
    }
    parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
    let sources = message.annotations.filter(|raw| shape(raw) == Shape::Array && raw.get().len() > 2);
    if let (Some(raw), Some(Part::Text { citations, .. })) = (sources, parts.last_mut()) {
        *citations = Some(Citations { format: Format::Chat, raw });
    }
    parts.extend(message.refusal.filter(|text| !text.is_empty()).map(|text| Part::Refusal { text }));
    let mut called = false;
    for call in message.tool_calls.into_iter().flatten() {
        let path = "choices[].message.tool_calls[].function";
        let function = call.function.ok_or_else(|| Fault::invalid(path, "missing"))?;
        let arguments = function.arguments()?;
        let signature = call.extra_content.and_then(ExtraWire::signature);
        let id = call.id.unwrap_or_default();
        parts.push(Part::ToolCall { id, name: function.name, arguments, signature, cache: None });
        called = true;
    }
    let stopped_by = wire.stop_reason.filter(|raw| shape(raw) == Shape::Text);
    Ok(Choice {
        parts,
        finish: wire.finish_reason.map(|reason| finish(&reason, called)),
        stopped_by: stopped_by.map(|raw| read::value("stop_reason", raw)).transpose()?,
        logprobs: wire.logprobs.filter(|raw| shape(raw) != Shape::Null).map(Json::Borrowed),
    })
}

/// The usage with what the answer says of how urgently the provider worked: it is priced by that.
pub(in crate::dialect) fn served(usage: Usage, tier: Option<&str>) -> Usage {
    Usage { service: tier.map_or(usage.service, Service::parse), ..usage }
}

/// DeepSeek's name, or the one of OpenRouter and others.
pub(super) fn reasoning<'a>(text: Option<Text<'a>>, other: Option<&'a RawValue>) -> Result<Option<Text<'a>>, Fault> {
    let other = other.filter(|raw| shape(raw) == Shape::Text);
    let text = match text {
        None => other.map(|raw| read::value("reasoning", raw)).transpose()?,
        text => text,
    };
    Ok(text.filter(|text| !text.is_empty()))
}

/// `called`: there are tool calls, whatever the provider says of the reason.
pub(super) fn finish(reason: &str, called: bool) -> Finish {
    match reason {
        "stop" | "eos" | "end_turn" if called => Finish::ToolCalls,
        "stop" | "eos" | "end_turn" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        "model_length" => Finish::ContextWindow,
        _ => Finish::Other,
    }
}

pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Pause | Finish::MalformedCall | Finish::Other => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
    }
}

/// Writes the hub's answer as a chat answer.
pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    out.begin_object();
    out.member("id", context.answer_id(&answer.id)).member("object", "chat.completion");
    out.key("created").int(answer.created.unwrap_or(context.created));
    out.member("model", context.model.as_deref().unwrap_or(&answer.model)).key("choices").begin_array();
    for (index, choice) in answer.choices.iter().enumerate() {
        out.begin_object().key("index").uint(index as u64).key("message").begin_object();
        write::message(&mut out, choice);
        out.end_object().key("logprobs");
        match choice.logprobs.as_deref() {
            Some(raw) => out.raw(raw),
            None => out.null(),
        };
        out.member("finish_reason", finish_name(choice.finish.unwrap_or(Finish::Stop)));
        if let Some(stop) = &choice.stopped_by {
            out.member("stop_reason", stop);
        }
        out.end_object();
    }
    out.end_array();
    if let Some(usage) = &answer.usage {
        out.key("usage");
        write_usage(&mut out, usage);
    }
    if let Some(tier) = &answer.service_tier {
        out.member("service_tier", if &**tier == "standard" { "default" } else { tier });
    }
    if let Some(fingerprint) = &answer.fingerprint {
        out.member("system_fingerprint", fingerprint);
    }
    out.end_object();
    out.finish()
}
