//! OpenAI's Responses, whole and streamed.

use serde_json::{Value, json};

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::Failure;
use super::fields::{Call, Fields};
use super::said::{SIGNATURE, Said, argument_pieces};
use super::tools::ToolCall;

/// `POST /v1/responses`.
pub fn responses(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.input.ok_or_else(|| Failure::missing("input"))?;
    let said = fields.said(call.script, fields.max_output_tokens);
    let mut usage = call.usage(said.output);
    usage.told = call.tells_usage();
    let items = items(call, &said);
    let whole = response(call, &items, &usage, said.finish(call.script, ["completed", "incomplete", "completed"]));
    if fields.stream == Some(true) {
        return Ok(Answer::events(stream(call, &said, &items, &whole)).with_usage(usage));
    }
    Ok(Answer::json(whole.to_string()).with_usage(usage))
}

/// All output items: what was thought, then calls or a text.
fn items(call: &Call<'_>, said: &Said) -> Vec<Value> {
    let thought = call.script.think.as_deref().map(|text| {
        json!({
            "id": format!("rs_mock{:08x}", call.number), "type": "reasoning",
            "summary": [{"type": "summary_text", "text": text}], "encrypted_content": SIGNATURE,
        })
    });
    let calls = said.tools.iter().enumerate().map(|(index, tool)| function_call(call, index, tool));
    let text = said.tools.is_empty().then(|| {
        let cited = call.script.cite.as_deref().map(annotation);
        let part = json!({"type": "output_text", "text": said.speech.pieces.joined(),
            "annotations": cited.into_iter().collect::<Vec<_>>(), "logprobs": []});
        json!({
            "id": format!("msg_mock{:08x}", call.number), "type": "message", "status": "completed", "role": "assistant",
            "content": [part],
        })
    });
    thought.into_iter().chain(calls).chain(text).collect()
}

fn function_call(call: &Call<'_>, index: usize, tool: &ToolCall) -> Value {
    json!({
        "id": format!("fc_mock{:08x}_{index}", call.number), "type": "function_call", "status": "completed",
        "call_id": format!("call_mock{:08x}_{index}", call.number), "name": tool.name, "arguments": tool.arguments,
    })
}

fn annotation(url: &str) -> Value {
    json!({"type": "url_citation", "start_index": 0, "end_index": 4, "url": url, "title": "Mock"})
}

/// `end`: its status, or the reason why it is incomplete.
fn response(call: &Call<'_>, items: &[Value], usage: &Usage, end: String) -> Value {
    let told = usage.told.then(|| {
        json!({
            "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        })
    });
    let reason = match end.as_str() {
        "completed" => None,
        "incomplete" => Some("max_output_tokens".to_owned()),
        _ => Some(end),
    };
    json!({
        "id": format!("resp_mock{:012x}", call.number), "object": "response", "created_at": call.created,
        "status": if reason.is_some() { "incomplete" } else { "completed" }, "error": null,
        "incomplete_details": reason.map(|reason| json!({"reason": reason})),
        "model": call.model, "output": items, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": told,
    })
}

fn event(name: &'static str, mut data: Value) -> Event {
    data["type"] = name.into();
    Event { name: Some(name), data: data.to_string() }
}

/// The events of an item that come before its pieces, and those behind them.
fn around(item: &Value, index: usize) -> (Vec<Event>, Vec<Event>) {
    let mut empty = item.clone();
    let id = &item["id"];
    let (mut before, mut after) = (Vec::new(), Vec::new());
    match item["type"].as_str() {
        Some("function_call") => {
            (empty["status"], empty["arguments"]) = ("in_progress".into(), "".into());
            let done = json!({"item_id": id, "output_index": index, "arguments": item["arguments"]});
            after.push(event("response.function_call_arguments.done", done));
        }
        Some("reasoning") => {
            empty["summary"] = json!([]);
            empty.as_object_mut().map(|members| members.remove("encrypted_content"));
            let place = |part: Value| json!({"item_id": id, "output_index": index, "summary_index": 0, "part": part});
            let text = &item["summary"][0]["text"];
            let part = json!({"type": "summary_text", "text": ""});
            before.push(event("response.reasoning_summary_part.added", place(part)));
            let done = json!({"item_id": id, "output_index": index, "summary_index": 0, "text": text});
            after.push(event("response.reasoning_summary_text.done", done));
            after.push(event("response.reasoning_summary_part.done", place(item["summary"][0].clone())));
        }
        _ => {
            (empty["status"], empty["content"]) = ("in_progress".into(), json!([]));
            let whole = &item["content"][0];
            let place = |part: Value| json!({"item_id": id, "output_index": index, "content_index": 0, "part": part});
            let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
            before.push(event("response.content_part.added", place(part)));
            for (at, annotation) in whole["annotations"].as_array().into_iter().flatten().enumerate() {
                let added = json!({"item_id": id, "output_index": index, "content_index": 0, "annotation_index": at,
                    "annotation": annotation});
                after.push(event("response.output_text.annotation.added", added));
            }
            let done = json!({"item_id": id, "output_index": index, "content_index": 0, "text": whole["text"], "logprobs": []});
            after.push(event("response.output_text.done", done));
            after.push(event("response.content_part.done", place(whole.clone())));
        }
    }
    before.insert(0, event("response.output_item.added", json!({"output_index": index, "item": empty})));
    after.push(event("response.output_item.done", json!({"output_index": index, "item": item})));
    (before, after)
}

fn stream(call: &Call<'_>, said: &Said, items: &[Value], whole: &Value) -> EventStream {
    let mut begun = whole.clone();
    (begun["status"], begun["output"], begun["usage"]) = ("in_progress".into(), json!([]), Value::Null);
    let mut opening = vec![event("response.created", json!({"response": begun}))];
    let mut closing = Vec::new();
    let last = items.len().saturating_sub(1);
    for (index, item) in items.iter().enumerate() {
        let (before, after) = around(item, index);
        opening.extend(before);
        if index == last {
            closing.extend(after);
            continue;
        }
        let (name, pieces) = match item["type"].as_str() {
            Some("reasoning") => (
                "response.reasoning_summary_text.delta",
                argument_pieces(item["summary"][0]["text"].as_str().unwrap_or("")),
            ),
            _ => ("response.function_call_arguments.delta", argument_pieces(item["arguments"].as_str().unwrap_or(""))),
        };
        let piece =
            |at| json!({"item_id": item["id"], "output_index": index, "summary_index": 0, "delta": pieces.get(at)});
        opening.extend((0..pieces.count()).map(|at| event(name, piece(at))));
        opening.extend(after);
    }
    let delta = match said.tools.is_empty() {
        true => "response.output_text.delta",
        false => "response.function_call_arguments.delta",
    };
    let id = items.last().map_or(&Value::Null, |item| &item["id"]);
    let before =
        format!(r#"{{"type":"{delta}","item_id":{id},"output_index":{last},"content_index":0,"logprobs":[],"delta":""#);
    let end = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
    let mut failed = whole.clone();
    (failed["status"], failed["output"]) = ("failed".into(), json!([]));
    let message = call.script.error_message.as_deref().unwrap_or("The server had an error.");
    failed["error"] = json!({"code": call.script.error_code.as_deref().unwrap_or("server_error"), "message": message});
    EventStream {
        opening,
        delta_name: Some(delta),
        delta_templates: vec![(before, r#""}"#.to_owned())],
        pieces: said.pieces(),
        closing,
        terminator: Some(event(end, json!({"response": whole}))),
        error: event("response.failed", json!({"response": failed})),
        frames: false,
    }
}
/// `POST /v1/responses/input_tokens`.
pub fn input_tokens(_: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let count = call.script.tokens.input.unwrap_or(super::answer::input_tokens(call.bytes_in));
    Ok(Answer::json(format!(r#"{{"object":"response.input_tokens","input_tokens":{count}}}"#)))
}
