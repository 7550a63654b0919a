//! Anthropic's messages, whole and streamed, and its token counting.

use super::answer::{Answer, Event, EventStream, Usage, input_tokens};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::{Call, Fields};
use super::json::Quoted;
use super::openai::argument_pieces;
use super::text::{Speech, last_user_text};
use super::tools::ToolCall;

/// `POST /v1/messages`.
pub fn messages(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let limit = fields.max_tokens.ok_or_else(|| required("max_tokens"))?;
    let messages = fields.messages.ok_or_else(|| required("messages"))?;
    let said = if call.script.echo { last_user_text(messages) } else { None };
    let speech = Speech::plan(call.script, said.as_deref(), Some(limit));
    let tool = ToolCall::plan(fields, call.script);
    let output = tool.as_ref().map_or(speech.tokens, |tool| (tool.arguments.len() as u64).div_ceil(4));
    let mut usage = call.usage(output);
    usage.told = call.tells_usage();
    let natural = match (&tool, speech.cut_short) {
        (Some(_), _) => "tool_use",
        (None, true) => "max_tokens",
        (None, false) => "end_turn",
    };
    let finish = Quoted(call.script.finish.as_deref().unwrap_or(natural)).to_string();
    if fields.stream == Some(true) {
        return Ok(Answer::events(stream(call, speech, tool, &finish, &usage)).with_usage(usage));
    }
    let block = match &tool {
        Some(tool) => format!(
            r#"{{"type":"tool_use","id":"toolu_mock{:08x}","name":{},"input":{}}}"#,
            call.number,
            Quoted(&tool.name),
            tool.arguments
        ),
        None => format!(r#"{{"type":"text","text":{}}}"#, Quoted(&speech.pieces.joined())),
    };
    let body = message(call, &block, &finish, &usage, usage.output);
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

fn stream(call: &Call<'_>, speech: Speech, tool: Option<ToolCall>, finish: &str, usage: &Usage) -> EventStream {
    let event =
        |name: &'static str, rest: &str| Event { name: Some(name), data: format!(r#"{{"type":"{name}"{rest}}}"#) };
    let start = message(call, "", "null", usage, 1);
    let (block, before) = match &tool {
        Some(tool) => (
            format!(
                r#"{{"type":"tool_use","id":"toolu_mock{:08x}","name":{},"input":{{}}}}"#,
                call.number,
                Quoted(&tool.name)
            ),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""#,
        ),
        None => (
            r#"{"type":"text","text":""}"#.to_owned(),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""#,
        ),
    };
    let told = if usage.told { format!(r#","usage":{{"output_tokens":{}}}"#, usage.output) } else { String::new() };
    EventStream {
        frames: false,
        opening: vec![
            event("message_start", &format!(r#","message":{start}"#)),
            event("content_block_start", &format!(r#","index":0,"content_block":{block}"#)),
            event("ping", ""),
        ],
        delta_name: Some("content_block_delta"),
        delta_templates: vec![(before.to_owned(), r#""}}"#.to_owned())],
        pieces: tool.map_or(speech.pieces, |tool| argument_pieces(&tool.arguments)),
        closing: vec![
            event("content_block_stop", r#","index":0"#),
            event("message_delta", &format!(r#","delta":{{"stop_reason":{finish},"stop_sequence":null}}{told}"#)),
        ],
        terminator: Some(event("message_stop", "")),
        error: stream_error(Dialect::Anthropic, call.script),
    }
}
