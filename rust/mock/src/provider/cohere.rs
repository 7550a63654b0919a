//! Cohere's chat, version 2, whole and streamed, and its embeddings.

use serde_json::json;

use super::answer::{Answer, Event, EventStream, Usage};
use super::embeddings::vector;
use super::errors::{Dialect, Failure, stream_error};
use super::fields::{Call, Fields};
use super::json::Quoted;
use super::said::{Said, argument_pieces};
use super::tools::ToolCall;

/// Length of a vector that is not asked for.
const DIMENSIONS: usize = 1536;
/// What is said before a call.
const PLAN: &str = "I will use a tool.";

/// `POST /v2/chat`.
pub fn chat(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.messages.ok_or_else(|| Failure::bad_request("invalid request: messages are required"))?;
    let said = fields.said(call.script, fields.max_tokens);
    let mut usage = call.usage(said.output);
    usage.told = call.tells_usage();
    let finish = Quoted(&said.finish(call.script, ["TOOL_CALL", "MAX_TOKENS", "COMPLETE"])).to_string();
    if fields.stream == Some(true) {
        return Ok(Answer::events(stream(call, &said, &finish, &usage)).with_usage(usage));
    }
    let body = whole(call, &said, &finish, &usage);
    Ok(Answer::json(body).with_usage(usage))
}

fn whole(call: &Call<'_>, said: &Said, finish: &str, usage: &Usage) -> String {
    let Said { speech, tools, .. } = said;
    let thought =
        call.script.think.as_deref().map(|text| format!(r#"{{"type":"thinking","thinking":{}}}"#, Quoted(text)));
    let text = tools.is_empty().then(|| format!(r#"{{"type":"text","text":{}}}"#, Quoted(&speech.pieces.joined())));
    let content: Vec<String> = thought.into_iter().chain(text).collect();
    let calls: Vec<String> = tools.iter().enumerate().map(|(index, tool)| tool_call(call, index, tool, true)).collect();
    let calls = match calls.is_empty() {
        true => String::new(),
        false => format!(r#","tool_plan":"{PLAN}","tool_calls":[{}]"#, calls.join(",")),
    };
    let cited =
        call.script.cite.as_deref().map_or_else(String::new, |url| format!(r#","citations":[{}]"#, citation(url)));
    format!(
        r#"{{"id":"mock{:012x}","finish_reason":{finish},"message":{{"role":"assistant","content":[{}]{calls}{cited}}}{}}}"#,
        call.number,
        content.join(","),
        told(usage)
    )
}

fn tool_call(call: &Call<'_>, index: usize, tool: &ToolCall, whole: bool) -> String {
    let arguments = if whole { Quoted(&tool.arguments).to_string() } else { r#""""#.to_owned() };
    format!(
        r#"{{"id":"tool_mock{:08x}_{index}","type":"function","function":{{"name":{},"arguments":{arguments}}}}}"#,
        call.number,
        Quoted(&tool.name)
    )
}

fn citation(url: &str) -> String {
    format!(
        r#"{{"start":0,"end":4,"text":"mock","type":"TEXT_CONTENT","sources":[{{"type":"document","id":"doc_0","document":{{"id":"doc_0","title":"Mock","url":{}}}}}]}}"#,
        Quoted(url)
    )
}

/// The `usage` member with its comma.
fn told(usage: &Usage) -> String {
    if !usage.told {
        return String::new();
    }
    let units = format!(r#"{{"input_tokens":{}.0,"output_tokens":{}.0}}"#, usage.input, usage.output);
    let cached = if usage.cached > 0 { format!(r#","cached_tokens":{}.0"#, usage.cached) } else { String::new() };
    format!(r#","usage":{{"billed_units":{units},"tokens":{units}{cached}}}"#)
}

fn stream(call: &Call<'_>, said: &Said, finish: &str, usage: &Usage) -> EventStream {
    let event =
        |name: &'static str, rest: String| Event { name: Some(name), data: format!(r#"{{"type":"{name}"{rest}}}"#) };
    let message = |index: usize, inner: &str| format!(r#","index":{index},"delta":{{"message":{{{inner}}}}}"#);
    let id = format!(
        r#","id":"mock{:012x}","delta":{{"message":{{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}}"#,
        call.number
    );
    let mut opening = vec![event("message-start", id)];
    let mut index = 0;
    if let Some(text) = &call.script.think {
        opening.push(event("content-start", message(0, r#""content":{"type":"thinking","thinking":""}"#)));
        let piece = format!(r#""content":{{"thinking":{}}}"#, Quoted(text));
        opening.push(event("content-delta", message(0, &piece)));
        opening.push(event("content-end", r#","index":0"#.to_owned()));
        index = 1;
    }
    let mut closing = Vec::new();
    let last = said.tools.len().saturating_sub(1);
    let (name, before, after) = if said.tools.is_empty() {
        opening.push(event("content-start", message(index, r#""content":{"type":"text","text":""}"#)));
        closing.push(event("content-end", format!(r#","index":{index}"#)));
        let before = format!(r#"{{"type":"content-delta","index":{index},"delta":{{"message":{{"content":{{"text":""#);
        ("content-delta", before, r#""}}}}"#)
    } else {
        opening.push(event("tool-plan-delta", format!(r#","delta":{{"message":{{"tool_plan":"{PLAN}"}}}}"#)));
        for (at, tool) in said.tools.iter().enumerate() {
            let inner = format!(r#""tool_calls":{}"#, tool_call(call, at, tool, false));
            opening.push(event("tool-call-start", message(at, &inner)));
            if at < last {
                let pieces = argument_pieces(&tool.arguments);
                let inner =
                    |piece| format!(r#""tool_calls":{{"function":{{"arguments":{}}}}}"#, Quoted(pieces.get(piece)));
                opening.extend((0..pieces.count()).map(|piece| event("tool-call-delta", message(at, &inner(piece)))));
                opening.push(event("tool-call-end", format!(r#","index":{at}"#)));
            }
        }
        closing.push(event("tool-call-end", format!(r#","index":{last}"#)));
        let before = format!(
            r#"{{"type":"tool-call-delta","index":{last},"delta":{{"message":{{"tool_calls":{{"function":{{"arguments":""#
        );
        ("tool-call-delta", before, r#""}}}}}"#)
    };
    if let Some(url) = &call.script.cite {
        closing.push(event("citation-start", message(0, &format!(r#""citations":{}"#, citation(url)))));
        closing.push(event("citation-end", r#","index":0"#.to_owned()));
    }
    let end = format!(r#","delta":{{"finish_reason":{finish}{}}}"#, told(usage));
    EventStream {
        frames: false,
        opening,
        delta_name: Some(name),
        delta_templates: vec![(before, after.to_owned())],
        pieces: said.pieces(),
        closing,
        terminator: Some(event("message-end", end)),
        error: stream_error(Dialect::Cohere, call.script),
    }
}

/// `POST /v2/embed`.
pub fn embed(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let texts = fields.texts.as_ref().ok_or_else(|| Failure::bad_request("invalid request: texts are required"))?;
    fields.input_type.as_ref().ok_or_else(|| Failure::bad_request("invalid request: input_type is required"))?;
    let dimensions = fields.output_dimension.unwrap_or(DIMENSIONS).clamp(1, 16_384);
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector(text, dimensions)).collect();
    let usage = call.usage(0);
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": usage.input}});
    let body = json!({"id": format!("mock{:012x}", call.number), "embeddings": {"float": vectors}, "texts": texts,
        "meta": meta, "response_type": "embeddings_by_type"});
    Ok(Answer::json(body.to_string()).with_usage(usage))
}
