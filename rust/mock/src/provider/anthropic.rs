//! Anthropic's messages, whole and streamed, and its token counting.

use super::answer::{Answer, Event, EventStream, Usage, input_tokens};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::{Call, Fields};
use super::json::Quoted;
use super::said::{SIGNATURE, Said, argument_pieces};
use super::tools::ToolCall;

/// `POST /v1/messages`.
pub fn messages(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let limit = fields.max_tokens.ok_or_else(|| required("max_tokens"))?;
    fields.messages.ok_or_else(|| required("messages"))?;
    let said = fields.said(call.script, Some(limit));
    let mut usage = call.usage(said.output);
    usage.told = call.tells_usage();
    let finish = Quoted(&said.finish(call.script, ["tool_use", "max_tokens", "end_turn"])).to_string();
    if fields.stream == Some(true) {
        return Ok(Answer::events(stream(call, &said, &finish, &usage)).with_usage(usage));
    }
    let thought = call.script.think.as_deref().map(|text| thinking(text, SIGNATURE));
    let text = said.tools.is_empty().then(|| text_block(call, &said.speech.pieces.joined()));
    let calls = said.tools.iter().enumerate().map(|(index, tool)| tool_use(call, index, tool, &tool.arguments));
    let blocks: Vec<String> = thought.into_iter().chain(text).chain(calls).collect();
    let body = message(call, &blocks.join(","), &finish, &usage, usage.output);
    Ok(Answer::json(body).with_usage(usage))
}

/// `POST /v1/messages/count_tokens`.
pub fn count_tokens(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.messages.ok_or_else(|| required("messages"))?;
    let count = call.script.tokens.input.unwrap_or(input_tokens(call.bytes_in));
    Ok(Answer::json(format!(r#"{{"input_tokens":{count}}}"#)))
}

fn required(field: &str) -> Failure {
    Failure::bad_request(format!("{field}: Field required"))
}

/// A message object; `output` is what its usage tells so far.
fn message(call: &Call<'_>, blocks: &str, finish: &str, usage: &Usage, output: u64) -> String {
    let usage = if usage.told { format!(r#","usage":{}"#, usage_json(usage, output)) } else { String::new() };
    format!(
        r#"{{"id":"msg_mock{:012x}","type":"message","role":"assistant","model":{},"content":[{blocks}],"stop_reason":{finish},"stop_sequence":null{usage}}}"#,
        call.number,
        Quoted(call.model)
    )
}

fn usage_json(usage: &Usage, output: u64) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#,
        usage.input, usage.cache_write, usage.cached, usage.cache_write
    )
}

fn thinking(text: &str, signature: &str) -> String {
    format!(r#"{{"type":"thinking","thinking":{},"signature":"{signature}"}}"#, Quoted(text))
}

fn text_block(call: &Call<'_>, text: &str) -> String {
    let cited = call.script.cite.as_deref();
    let cited = cited.map_or_else(String::new, |url| format!(r#","citations":[{}]"#, citation(url)));
    format!(r#"{{"type":"text","text":{}{cited}}}"#, Quoted(text))
}

fn citation(url: &str) -> String {
    format!(
        r#"{{"type":"web_search_result_location","url":{},"title":"Mock","encrypted_index":"bW9jaw==","cited_text":"mock"}}"#,
        Quoted(url)
    )
}

fn tool_use(call: &Call<'_>, index: usize, tool: &ToolCall, input: &str) -> String {
    format!(
        r#"{{"type":"tool_use","id":"toolu_mock{:08x}_{index}","name":{},"input":{input}}}"#,
        call.number,
        Quoted(&tool.name)
    )
}

/// An event of this name, with its members behind the type.
fn event(name: &'static str, rest: &str) -> Event {
    Event { name: Some(name), data: format!(r#"{{"type":"{name}"{rest}}}"#) }
}

fn begun(index: usize, block: &str) -> Event {
    event("content_block_start", &format!(r#","index":{index},"content_block":{block}"#))
}

fn delta(index: usize, kind: &str, member: &str, text: &str) -> Event {
    let rest = format!(r#","index":{index},"delta":{{"type":"{kind}","{member}":{}}}"#, Quoted(text));
    event("content_block_delta", &rest)
}

fn ended(index: usize) -> Event {
    event("content_block_stop", &format!(r#","index":{index}"#))
}

fn stream(call: &Call<'_>, said: &Said, finish: &str, usage: &Usage) -> EventStream {
    let start = message(call, "", "null", usage, 1);
    let mut opening = vec![event("message_start", &format!(r#","message":{start}"#))];
    let mut block = 0;
    if let Some(text) = call.script.think.as_deref() {
        opening.push(begun(block, &thinking("", "")));
        opening.push(delta(block, "thinking_delta", "thinking", text));
        opening.push(delta(block, "signature_delta", "signature", SIGNATURE));
        opening.push(ended(block));
        block += 1;
    }
    for (index, tool) in said.earlier() {
        opening.push(begun(block, &tool_use(call, index, tool, "{}")));
        let pieces = argument_pieces(&tool.arguments);
        let piece = |at| delta(block, "input_json_delta", "partial_json", pieces.get(at));
        opening.extend((0..pieces.count()).map(piece));
        opening.push(ended(block));
        block += 1;
    }
    let mut closing = Vec::new();
    let kind = match said.tools.last() {
        Some(tool) => {
            opening.push(begun(block, &tool_use(call, said.tools.len() - 1, tool, "{}")));
            r#""type":"input_json_delta","partial_json""#
        }
        None => {
            opening.push(begun(block, r#"{"type":"text","text":""}"#));
            if let Some(url) = call.script.cite.as_deref() {
                let rest =
                    format!(r#","index":{block},"delta":{{"type":"citations_delta","citation":{}}}"#, citation(url));
                closing.push(event("content_block_delta", &rest));
            }
            r#""type":"text_delta","text""#
        }
    };
    opening.push(event("ping", ""));
    closing.push(ended(block));
    let told = if usage.told { format!(r#","usage":{{"output_tokens":{}}}"#, usage.output) } else { String::new() };
    closing.push(event("message_delta", &format!(r#","delta":{{"stop_reason":{finish},"stop_sequence":null}}{told}"#)));
    let before = format!(r#"{{"type":"content_block_delta","index":{block},"delta":{{{kind}:""#);
    EventStream {
        frames: false,
        opening,
        delta_name: Some("content_block_delta"),
        delta_templates: vec![(before, r#""}}"#.to_owned())],
        pieces: said.pieces(),
        closing,
        terminator: Some(event("message_stop", "")),
        error: stream_error(Dialect::Anthropic, call.script),
    }
}
