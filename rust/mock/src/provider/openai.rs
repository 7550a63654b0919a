//! Chat completions, legacy completions and fill-in-the-middle, whole and streamed.

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::{Call, Fields};
use super::json::Quoted;
use super::text::{Pieces, Speech, last_user_text};
use super::tools::ToolCall;

/// What all chunks of a stream carry besides the choice.
const ENVELOPE: &str = r#""service_tier":"default","system_fingerprint":"fp_mock","#;

/// `POST /v1/chat/completions`.
pub fn chat(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let messages = fields.messages.ok_or_else(|| Failure::missing("messages"))?;
    if !messages.get().starts_with('[') || messages.get().trim_start_matches(['[', ' ', '\n']).starts_with(']') {
        let mut failure = Failure::bad_request("Invalid 'messages': expected an array with at least one message.");
        failure.param = Some("messages".to_owned());
        return Err(failure);
    }
    let said = if call.script.echo { last_user_text(messages) } else { None };
    let speech = Speech::plan(call.script, said.as_deref(), fields.output_limit());
    Ok(completion(fields, call, speech, ToolCall::plan(fields, call.script)))
}

/// `POST /v1/fim/completions`: answers as chat does.
pub fn fim(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.prompt.ok_or_else(|| Failure::missing("prompt"))?;
    let speech = Speech::plan(call.script, None, fields.output_limit());
    Ok(completion(fields, call, speech, None))
}

fn completion(fields: &Fields<'_>, call: &Call<'_>, speech: Speech, tool: Option<ToolCall>) -> Answer {
    let choices = fields.n.unwrap_or(1).clamp(1, 128);
    let output = tool.as_ref().map_or(speech.tokens, |tool| (tool.arguments.len() as u64).div_ceil(4));
    let mut usage = call.usage(output * choices);
    let said = Said { choices, finish: finish(call, &speech, tool.is_some()), speech, tool };
    if fields.stream == Some(true) {
        let asked = fields.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        usage.told = call.stream_tells_usage(asked);
        return Answer::events(chat_stream(call, said, &usage)).with_usage(usage);
    }
    usage.told = call.tells_usage();
    Answer::json(chat_whole(call, &said, &usage)).with_usage(usage)
}

/// What the choices of an answer hold.
struct Said {
    choices: u64,
    speech: Speech,
    tool: Option<ToolCall>,
    finish: String,
}

fn finish(call: &Call<'_>, speech: &Speech, calls_tool: bool) -> String {
    let natural = match (calls_tool, speech.cut_short) {
        (true, _) => "tool_calls",
        (false, true) => "length",
        (false, false) => "stop",
    };
    call.script.finish.as_deref().unwrap_or(natural).to_owned()
}

fn chat_whole(call: &Call<'_>, said: &Said, usage: &Usage) -> String {
    let message = match &said.tool {
        Some(tool) => format!(
            r#""content":null,"tool_calls":[{{"id":"call_mock{:08x}","type":"function","function":{{"name":{},"arguments":{}}}}}]"#,
            call.number,
            Quoted(&tool.name),
            Quoted(&tool.arguments)
        ),
        None => format!(r#""content":{}"#, Quoted(&said.speech.pieces.joined())),
    };
    let choices: Vec<String> = (0..said.choices)
        .map(|index| {
            format!(
                r#"{{"index":{index},"message":{{"role":"assistant",{message},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":{}}}"#,
                Quoted(&said.finish)
            )
        })
        .collect();
    let usage = if usage.told { format!(r#""usage":{},"#, usage_json(usage)) } else { String::new() };
    format!(
        r#"{{"id":"chatcmpl-mock{:012x}","object":"chat.completion","created":{},"model":{},"choices":[{}],{usage}"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
        call.number,
        call.created,
        Quoted(call.model),
        choices.join(",")
    )
}

fn chat_stream(call: &Call<'_>, said: Said, usage: &Usage) -> EventStream {
    let head = format!(
        r#"{{"id":"chatcmpl-mock{:012x}","object":"chat.completion.chunk","created":{},"model":{},{ENVELOPE}"#,
        call.number,
        call.created,
        Quoted(call.model)
    );
    // With usage asked for, every chunk says that its usage is null, but the last.
    let tail = if usage.told { r#","usage":null}"# } else { "}" };
    let event = |choice: String| Event { name: None, data: format!(r#"{head}"choices":[{choice}]{tail}"#) };
    let choice = |index: u64, delta: &str, finish: &str| {
        format!(r#"{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#)
    };
    let (first, before, after) = match &said.tool {
        Some(tool) => (
            format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"call_mock{:08x}","type":"function","function":{{"name":{},"arguments":""}}}}],"refusal":null}}"#,
                call.number,
                Quoted(&tool.name)
            ),
            r#"{"tool_calls":[{"index":0,"function":{"arguments":""#,
            r#""}}]}"#,
        ),
        None => (r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(), r#"{"content":""#, r#""}"#),
    };
    let delta_templates = (0..said.choices)
        .map(|index| {
            let start = format!(r#"{head}"choices":[{{"index":{index},"delta":{before}"#);
            (start, format!(r#"{after},"logprobs":null,"finish_reason":null}}]{tail}"#))
        })
        .collect();
    let finish = Quoted(&said.finish).to_string();
    let mut closing: Vec<Event> = (0..said.choices).map(|index| event(choice(index, "{}", &finish))).collect();
    if usage.told {
        closing.push(Event { name: None, data: format!(r#"{head}"choices":[],"usage":{}}}"#, usage_json(usage)) });
    }
    EventStream {
        frames: false,
        opening: (0..said.choices).map(|index| event(choice(index, &first, "null"))).collect(),
        delta_name: None,
        delta_templates,
        pieces: said.tool.map_or(said.speech.pieces, |tool| argument_pieces(&tool.arguments)),
        closing,
        terminator: Some(done()),
        error: stream_error(Dialect::OpenAi, call.script),
    }
}

/// Tool arguments come in pieces of a few characters.
pub fn argument_pieces(arguments: &str) -> Pieces {
    let characters: Vec<char> = arguments.chars().collect();
    Pieces::Parts(characters.chunks(5).map(|piece| piece.iter().collect()).collect())
}

/// `POST /v1/completions`.
pub fn completions(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let prompt = fields.prompt.ok_or_else(|| Failure::missing("prompt"))?;
    let said: Option<String> = serde_json::from_str(prompt.get()).ok();
    let speech = Speech::plan(call.script, said.as_deref(), fields.output_limit());
    let choices = fields.n.unwrap_or(1).clamp(1, 128);
    let mut usage = call.usage(speech.tokens * choices);
    let finish = finish(call, &speech, false);
    let head = format!(
        r#"{{"id":"cmpl-mock{:012x}","object":"text_completion","created":{},"model":{},"#,
        call.number,
        call.created,
        Quoted(call.model)
    );
    let choice = |index: u64, text: &str, finish: &str| {
        format!(r#"{{"text":{},"index":{index},"logprobs":null,"finish_reason":{finish}}}"#, Quoted(text))
    };
    let finish = Quoted(&finish).to_string();
    if fields.stream != Some(true) {
        usage.told = call.tells_usage();
        let text = speech.pieces.joined();
        let choices: Vec<String> = (0..choices).map(|index| choice(index, &text, &finish)).collect();
        let tail = if usage.told { format!(r#","usage":{}"#, usage_json(&usage)) } else { String::new() };
        return Ok(Answer::json(format!(r#"{head}"choices":[{}]{tail}}}"#, choices.join(","))).with_usage(usage));
    }
    usage.told =
        call.stream_tells_usage(fields.stream_options.and_then(|options| options.include_usage).unwrap_or(false));
    let event = |choice: String| Event { name: None, data: format!(r#"{head}"choices":[{choice}]}}"#) };
    let mut closing: Vec<Event> = (0..choices).map(|index| event(choice(index, "", &finish))).collect();
    if usage.told {
        closing.push(Event { name: None, data: format!(r#"{head}"choices":[],"usage":{}}}"#, usage_json(&usage)) });
    }
    let delta_templates = (0..choices)
        .map(|index| {
            (
                format!(r#"{head}"choices":[{{"text":""#),
                format!(r#"","index":{index},"logprobs":null,"finish_reason":null}}]}}"#),
            )
        })
        .collect();
    let stream = EventStream {
        frames: false,
        opening: Vec::new(),
        delta_name: None,
        delta_templates,
        pieces: speech.pieces,
        closing,
        terminator: Some(done()),
        error: stream_error(Dialect::OpenAi, call.script),
    };
    Ok(Answer::events(stream).with_usage(usage))
}

/// The `usage` object of completions.
pub fn usage_json(usage: &Usage) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        usage.input,
        usage.output,
        usage.input + usage.output,
        usage.cached,
        usage.reasoning
    )
}

fn done() -> Event {
    Event { name: None, data: "[DONE]".to_owned() }
}
