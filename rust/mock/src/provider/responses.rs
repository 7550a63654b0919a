//! OpenAI's Responses, whole and streamed.

use serde_json::{Value, json};

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::Failure;
use super::fields::{Call, Fields};
use super::openai::argument_pieces;
use super::text::{Speech, last_user_text};
use super::tools::ToolCall;

/// `POST /v1/responses`.
pub fn responses(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let input = fields.input.ok_or_else(|| Failure::missing("input"))?;
    let said =
        if call.script.echo { serde_json::from_str(input.get()).ok().or_else(|| last_user_text(input)) } else { None };
    let speech = Speech::plan(call.script, said.as_deref(), fields.max_output_tokens);
    let tool = ToolCall::plan(fields, call.script);
    let output = tool.as_ref().map_or(speech.tokens, |tool| (tool.arguments.len() as u64).div_ceil(4));
    let mut usage = call.usage(output);
    usage.told = call.tells_usage();
    let item = item(call, tool.as_ref(), &speech.pieces.joined());
    let whole = response(call, &item, &usage, speech.cut_short && tool.is_none());
    if fields.stream == Some(true) {
        return Ok(Answer::events(stream(call, speech, tool, &item, &whole)).with_usage(usage));
    }
    Ok(Answer::json(whole.to_string()).with_usage(usage))
}

fn item(call: &Call<'_>, tool: Option<&ToolCall>, text: &str) -> Value {
    match tool {
        Some(tool) => json!({
            "id": format!("fc_mock{:08x}", call.number), "type": "function_call", "status": "completed",
            "call_id": format!("call_mock{:08x}", call.number), "name": tool.name, "arguments": tool.arguments,
        }),
        None => json!({
            "id": format!("msg_mock{:08x}", call.number), "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
        }),
    }
}

fn response(call: &Call<'_>, item: &Value, usage: &Usage, cut: bool) -> Value {
    let told = usage.told.then(|| {
        json!({
            "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        })
    });
    json!({
        "id": format!("resp_mock{:012x}", call.number), "object": "response", "created_at": call.created,
        "status": if cut { "incomplete" } else { "completed" }, "error": null,
        "incomplete_details": cut.then(|| json!({"reason": "max_output_tokens"})),
        "model": call.model, "output": [item], "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": told,
    })
}

fn stream(call: &Call<'_>, speech: Speech, tool: Option<ToolCall>, item: &Value, whole: &Value) -> EventStream {
    let event = |name: &'static str, mut data: Value| {
        data["type"] = name.into();
        Event { name: Some(name), data: data.to_string() }
    };
    let mut begun = whole.clone();
    (begun["status"], begun["output"], begun["usage"]) = ("in_progress".into(), json!([]), Value::Null);
    let mut empty = item.clone();
    empty["status"] = "in_progress".into();
    let id = &item["id"];
    let (delta, done) = match &tool {
        Some(tool) => {
            empty["arguments"] = "".into();
            let done = json!({"item_id": id, "output_index": 0, "arguments": tool.arguments});
            ("response.function_call_arguments.delta", event("response.function_call_arguments.done", done))
        }
        None => {
            empty["content"] = json!([]);
            let text = speech.pieces.joined();
            let done = json!({"item_id": id, "output_index": 0, "content_index": 0, "text": text, "logprobs": []});
            ("response.output_text.delta", event("response.output_text.done", done))
        }
    };
    let mut opening = vec![
        event("response.created", json!({"response": begun})),
        event("response.output_item.added", json!({"output_index": 0, "item": empty})),
    ];
    let mut closing = vec![done];
    if tool.is_none() {
        let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
        let place = json!({"item_id": id, "output_index": 0, "content_index": 0, "part": part});
        opening.push(event("response.content_part.added", place.clone()));
        closing.push(event("response.content_part.done", place));
    }
    closing.push(event("response.output_item.done", json!({"output_index": 0, "item": item})));
    let last = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
    let before =
        format!(r#"{{"type":"{delta}","item_id":{id},"output_index":0,"content_index":0,"logprobs":[],"delta":""#);
    let mut failed = whole.clone();
    failed["status"] = "failed".into();
    failed["output"] = json!([]);
    let message = call.script.error_message.as_deref().unwrap_or("The server had an error.");
    failed["error"] = json!({"code": call.script.error_code.as_deref().unwrap_or("server_error"), "message": message});
    EventStream {
        opening,
        delta_name: Some(delta),
        delta_templates: vec![(before, r#""}"#.to_owned())],
        pieces: tool.map_or(speech.pieces, |tool| argument_pieces(&tool.arguments)),
        closing,
        terminator: Some(event(last, json!({"response": whole}))),
        error: event("response.failed", json!({"response": failed})),
        frames: false,
    }
}
/// `POST /v1/responses/input_tokens`.
pub fn input_tokens(_: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let count = call.script.tokens.input.unwrap_or(super::answer::input_tokens(call.bytes_in));
    Ok(Answer::json(format!(r#"{{"object":"response.input_tokens","input_tokens":{count}}}"#)))
}
