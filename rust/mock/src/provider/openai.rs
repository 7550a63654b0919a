//! Chat completions, legacy completions and fill-in-the-middle, whole and streamed.

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::{Call, Fields};
use super::json::Quoted;
use super::said::{Said, Wish, argument_pieces, joined, member};
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
    let said = fields.said(call.script, fields.output_limit());
    Ok(completion(fields, call, said))
}

/// `POST /v1/fim/completions`: answers as chat does.
pub fn fim(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.prompt.ok_or_else(|| Failure::missing("prompt"))?;
    let said = Said::plan(call.script, &Wish { limit: fields.output_limit(), ..Wish::default() }, || None);
    Ok(completion(fields, call, said))
}

const REASONS: [&str; 3] = ["tool_calls", "length", "stop"];

fn completion(fields: &Fields<'_>, call: &Call<'_>, said: Said) -> Answer {
    let choices = fields.n.unwrap_or(1).clamp(1, 128);
    let mut usage = call.usage(said.output * choices);
    if fields.stream == Some(true) {
        let asked = fields.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        usage.told = call.stream_tells_usage(asked);
        return Answer::events(chat_stream(call, &said, choices, &usage)).with_usage(usage);
    }
    usage.told = call.tells_usage();
    Answer::json(chat_whole(call, &said, choices, &usage)).with_usage(usage)
}

fn chat_whole(call: &Call<'_>, said: &Said, count: u64, usage: &Usage) -> String {
    let calls: Vec<String> = (0..).zip(&said.tools).map(|(index, tool)| tool_call(call, index, tool, true)).collect();
    let message = match calls.is_empty() {
        true => format!(r#""content":{}"#, Quoted(&said.speech.pieces.joined())),
        false => format!(r#""content":null,"tool_calls":[{}]"#, calls.join(",")),
    };
    let thought = member("reasoning_content", call.script.think.as_deref());
    let cited = call.script.cite.as_deref().map_or_else(String::new, annotation);
    let message = joined([thought, Some(message)]);
    let finish = said.finish(call.script, REASONS);
    let choices: Vec<String> = (0..count)
        .map(|index| {
            format!(
                r#"{{"index":{index},"message":{{"role":"assistant",{message},"refusal":null,"annotations":[{cited}]}},"logprobs":null,"finish_reason":{}}}"#,
                Quoted(&finish)
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

/// One call; the index stands in streams only.
fn tool_call(call: &Call<'_>, index: u64, tool: &ToolCall, whole: bool) -> String {
    let arguments = if whole { tool.arguments.as_str() } else { "" };
    let counted = if whole { String::new() } else { format!(r#""index":{index},"#) };
    format!(
        r#"{{{counted}"id":"call_mock{:08x}_{index}","type":"function","function":{{"name":{},"arguments":{}}}}}"#,
        call.number,
        Quoted(&tool.name),
        Quoted(arguments)
    )
}

fn annotation(url: &str) -> String {
    format!(
        r#"{{"type":"url_citation","url_citation":{{"start_index":0,"end_index":4,"url":{},"title":"Mock"}}}}"#,
        Quoted(url)
    )
}

fn chat_stream(call: &Call<'_>, said: &Said, count: u64, usage: &Usage) -> EventStream {
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
    let mut deltas = match said.tools.is_empty() {
        true => vec![r#"{"role":"assistant","content":"","refusal":null}"#.to_owned()],
        false => vec![r#"{"role":"assistant","content":null,"refusal":null}"#.to_owned()],
    };
    deltas.extend(member("reasoning_content", call.script.think.as_deref()).map(|thought| format!("{{{thought}}}")));
    let fragment = |index: usize, piece: &str| {
        format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{}}}}}]}}"#, Quoted(piece))
    };
    let last = said.tools.len().saturating_sub(1);
    for (index, tool) in said.tools.iter().enumerate() {
        deltas.push(format!(r#"{{"tool_calls":[{}]}}"#, tool_call(call, index as u64, tool, false)));
        if index < last {
            let pieces = argument_pieces(&tool.arguments);
            deltas.extend((0..pieces.count()).map(|at| fragment(index, pieces.get(at))));
        }
    }
    let (before, after) = match said.tools.is_empty() {
        true => (r#"{"content":""#.to_owned(), r#""}"#),
        false => (format!(r#"{{"tool_calls":[{{"index":{last},"function":{{"arguments":""#), r#""}}]}"#),
    };
    let delta_templates = (0..count)
        .map(|index| {
            let start = format!(r#"{head}"choices":[{{"index":{index},"delta":{before}"#);
            (start, format!(r#"{after},"logprobs":null,"finish_reason":null}}]{tail}"#))
        })
        .collect();
    let finish = Quoted(&said.finish(call.script, REASONS)).to_string();
    let cited = call.script.cite.as_deref().map(|url| format!(r#"{{"annotations":[{}]}}"#, annotation(url)));
    let mut closing: Vec<Event> = Vec::new();
    for index in 0..count {
        closing.extend(cited.iter().map(|delta| event(choice(index, delta, "null"))));
        closing.push(event(choice(index, "{}", &finish)));
    }
    if usage.told {
        closing.push(Event { name: None, data: format!(r#"{head}"choices":[],"usage":{}}}"#, usage_json(usage)) });
    }
    let opening = (0..count).flat_map(|index| deltas.iter().map(move |delta| (index, delta)));
    EventStream {
        frames: false,
        opening: opening.map(|(index, delta)| event(choice(index, delta, "null"))).collect(),
        delta_name: None,
        delta_templates,
        pieces: said.pieces(),
        closing,
        terminator: Some(done()),
        error: stream_error(Dialect::OpenAi, call.script),
    }
}

/// `POST /v1/completions`.
pub fn completions(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let prompt = fields.prompt.ok_or_else(|| Failure::missing("prompt"))?;
    let said: Option<String> = serde_json::from_str(prompt.get()).ok();
    let wish = Wish { limit: fields.output_limit(), ..Wish::default() };
    let said = Said::plan(call.script, &wish, || said.clone());
    let choices = fields.n.unwrap_or(1).clamp(1, 128);
    let mut usage = call.usage(said.output * choices);
    let finish = said.finish(call.script, REASONS);
    let speech = said.speech;
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
