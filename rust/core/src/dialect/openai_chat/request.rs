//! Reads a chat request into the hub.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::parts::{ExtraWire, ThinkingWire, ToolCallWire, content};
use super::tools::{output_format, tool_choice, tools};
use crate::dialect::format::Fault;
use crate::dialect::hub::{CacheMark, Effort, Members, Message, Part, Reasoning, Request, Role, Text};
use crate::dialect::read::{self, CacheControl, Shape, shape};

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a chat request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request::default();
    for (name, raw) in members.0 {
        if shape(raw) != Shape::Null {
            member(&mut request, name, raw)?;
        }
    }
    Ok(request)
}

fn member<'a>(request: &mut Request<'a>, name: Text<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = &*name;
    let sampling = &mut request.sampling;
    match at {
        "model" => {}
        "messages" => request.messages = messages(raw)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => request.tool_choice = Some(tool_choice(raw)?),
        "parallel_tool_calls" => request.parallel_tools = Some(read::value(at, raw)?),
        "max_completion_tokens" => request.max_output = Some(read::value(at, raw)?),
        "max_tokens" => request.max_output = request.max_output.or(Some(read::value(at, raw)?)),
        "temperature" => sampling.temperature = Some(raw),
        "top_p" => sampling.top_p = Some(raw),
        "top_k" => sampling.top_k = Some(raw),
        "seed" => sampling.seed = Some(raw),
        "presence_penalty" => sampling.presence_penalty = Some(raw),
        "frequency_penalty" => sampling.frequency_penalty = Some(raw),
        "logit_bias" => sampling.logit_bias = Some(raw).filter(|raw| raw.get().len() > 2),
        "stop" if shape(raw) == Shape::Text => request.stop = vec![read::value(at, raw)?],
        "stop" => request.stop = read::value(at, raw)?,
        "n" => request.choices = Some(read::value(at, raw)?),
        "logprobs" => {
            let wanted: bool = read::value(at, raw)?;
            request.logprobs = if wanted { request.logprobs.or(Some(0)) } else { None };
        }
        "top_logprobs" => request.logprobs = Some(read::value(at, raw)?),
        "response_format" => request.format = output_format(raw)?,
        "reasoning_effort" => {
            let text: Text<'_> = read::value(at, raw)?;
            let effort =
                Effort::parse(&text).ok_or_else(|| Fault::invalid(at, format!("unknown effort '{}'", &*text)))?;
            request.reasoning.get_or_insert_default().effort = Some(effort);
        }
        "reasoning" => reasoning(request.reasoning.get_or_insert_default(), raw)?,
        "thinking" => request.reasoning = crate::dialect::anthropic_messages::thinking(at, raw)?,
        "verbosity" => request.verbosity = Some(read::value(at, raw)?),
        "user" => request.user = Some(read::value(at, raw)?),
        "service_tier" => request.service_tier = Some(read::value(at, raw)?),
        "prompt_cache_key" => request.prompt_cache_key = Some(read::value(at, raw)?),
        "metadata" => request.metadata = Some(raw).filter(|raw| raw.get().len() > 2),
        "store" => request.store = Some(read::value(at, raw)?),
        "modalities" => request.modalities = read::value(at, raw)?,
        "audio" => request.audio = Some(raw),
        "stream" => request.stream = read::value(at, raw)?,
        "stream_options" => {
            #[derive(Deserialize)]
            struct Options {
                #[serde(default)]
                include_usage: Option<bool>,
            }
            request.include_usage = read::value::<Options>(at, raw)?.include_usage.unwrap_or(false);
        }
        "functions" | "function_call" => {
            return Err(Fault::invalid(
                at,
                "this model is reached by translation; send 'tools' and 'tool_choice' instead",
            ));
        }
        _ => request.rest.push((name, raw)),
    }
    Ok(())
}

/// OpenRouter's form.
fn reasoning(into: &mut Reasoning, raw: &RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        effort: Option<Text<'a>>,
        #[serde(default)]
        max_tokens: Option<u64>,
        #[serde(default)]
        exclude: Option<bool>,
        #[serde(default)]
        enabled: Option<bool>,
    }
    let wire: Wire<'_> = read::value("reasoning", raw)?;
    into.effort = wire.effort.as_deref().and_then(Effort::parse).or(into.effort);
    into.budget = wire.max_tokens.or(into.budget);
    into.visible = wire.exclude.map(|exclude| !exclude).or(into.visible);
    match wire.enabled {
        Some(false) => into.budget = Some(0),
        Some(true) if into.effort.is_none() && into.budget.is_none() => into.effort = Some(Effort::Medium),
        _ => {}
    }
    Ok(())
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<ToolCallWire<'a>>>,
    #[serde(default, borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(default, borrow)]
    thinking_blocks: Option<Vec<ThinkingWire<'a>>>,
    #[serde(default)]
    cache_control: Option<CacheControl>,
}

/// The messages of a conversation.
pub(in crate::dialect) fn messages(raw: &RawValue) -> Result<Vec<Message<'_>>, Fault> {
    let raws = read::array("messages", raw)?;
    raws.into_iter().enumerate().map(|(index, raw)| message(index, raw)).collect()
}

fn message(index: usize, raw: &RawValue) -> Result<Message<'_>, Fault> {
    let at = format!("messages[{index}]");
    let wire: MessageWire<'_> = read::value(&at, raw)?;
    let role = match &*wire.role {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => return Err(Fault::invalid(format!("{at}.role"), format!("unknown role '{other}'"))),
    };
    let mut parts = Vec::new();
    if role == Role::Assistant {
        match wire.thinking_blocks {
            Some(blocks) if !blocks.is_empty() => parts.extend(blocks.into_iter().map(ThinkingWire::part)),
            _ => parts.extend(wire.reasoning_content.filter(|text| !text.is_empty()).map(|text| Part::Reasoning {
                text,
                signature: None,
                encrypted: None,
                id: None,
            })),
        }
    }
    if let Some(raw) = wire.content {
        content(&format!("{at}.content"), raw, &mut parts)?;
    }
    parts.extend(wire.refusal.map(|text| Part::Refusal { text }));
    for call in wire.tool_calls.into_iter().flatten() {
        let path = || format!("{at}.tool_calls");
        let function = call.function.ok_or_else(|| Fault::invalid(path(), "only function calls can be translated"))?;
        let id = call.id.ok_or_else(|| Fault::invalid(path(), "a call has no id"))?;
        let arguments = function.arguments()?;
        let signature = call.extra_content.and_then(ExtraWire::signature);
        parts.push(Part::ToolCall { id, name: function.name, arguments, signature, cache: None });
    }
    if let Some(cache) = wire.cache_control {
        mark_last(&mut parts, cache.mark());
    }
    if role == Role::Tool {
        let id = wire.tool_call_id.ok_or_else(|| Fault::invalid(format!("{at}.tool_call_id"), "missing"))?;
        let cache = wire.cache_control.map(CacheControl::mark);
        parts = vec![Part::ToolResult { id, name: wire.name, parts, error: false, cache }];
        return Ok(Message { role, parts, name: None });
    }
    Ok(Message { role, parts, name: wire.name })
}

fn mark_last(parts: &mut [Part<'_>], mark: CacheMark) {
    if let Some(Part::Text { cache, .. } | Part::Image { cache, .. } | Part::Document { cache, .. }) = parts.last_mut()
    {
        *cache = Some(mark);
    }
}
