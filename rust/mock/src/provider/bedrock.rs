//! Amazon Bedrock's Converse, whole and in frames.

use serde_json::{Value, json};

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::Call;
use super::json::Quoted;
use super::openai::argument_pieces;
use super::text::{Pieces, Speech};
use super::tools::{ToolCall, asks_for_tool, example};

/// A request body.
pub struct Fields(Value);

/// What is said, and how it ends.
struct Said {
    speech: Speech,
    tools: Vec<ToolCall>,
    finish: String,
}

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|error| Failure::bad_request(format!("Malformed input: {error}")))
    }

    pub fn body(&self) -> &Value {
        &self.0
    }

    fn list(&self, place: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.0.pointer(place).and_then(Value::as_array).into_iter().flatten()
    }

    fn last_user_text(&self) -> String {
        let last = self.list("/messages").rfind(|message| message["role"] == "user");
        let blocks = last.and_then(|message| message["content"].as_array()).into_iter().flatten();
        blocks.filter_map(|block| block.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// What Bedrock refuses before any model sees it.
    fn check(&self) -> Result<(), Failure> {
        let bad = |text: &str| Err(Failure::bad_request(text));
        let Some(messages) = self.0.get("messages").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
            return bad("messages is required");
        };
        if messages[0]["role"] != "user" {
            return bad("A conversation must start with a user message.");
        }
        if messages.windows(2).any(|pair| pair[0]["role"] == pair[1]["role"]) {
            return bad("roles must alternate between \"user\" and \"assistant\"");
        }
        let blocks = || messages.iter().filter_map(|message| message["content"].as_array()).flatten();
        if blocks().any(|block| block["text"].as_str().is_some_and(|text| text.trim().is_empty())) {
            return bad("The text field in the ContentBlock object is blank.");
        }
        let used = blocks().any(|block| block.get("toolUse").is_some() || block.get("toolResult").is_some());
        if used && self.0.get("toolConfig").is_none() {
            return bad("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
        }
        const KNOWN: [&str; 11] = [
            "messages",
            "system",
            "inferenceConfig",
            "toolConfig",
            "guardrailConfig",
            "additionalModelRequestFields",
            "additionalModelResponseFieldPaths",
            "promptVariables",
            "requestMetadata",
            "performanceConfig",
            "serviceTier",
        ];
        let unknown = self.0.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        match unknown.into_iter().find(|name| !KNOWN.contains(name) && *name != "outputConfig") {
            Some(name) => Err(Failure::bad_request(format!("extraneous key [{name}] is not permitted"))),
            None => Ok(()),
        }
    }
}

/// `POST /model/MODEL/converse[-stream]`.
pub fn converse(fields: &Fields, call: &Call<'_>, stream: bool) -> Result<Answer, Failure> {
    fields.check()?;
    let text = fields.last_user_text();
    let limit = fields.0.pointer("/inferenceConfig/maxTokens").and_then(Value::as_u64);
    let schema = fields.0.pointer("/outputConfig/textFormat/structure/jsonSchema/schema").and_then(Value::as_str);
    let schema = schema.and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    let speech = match schema.filter(|_| call.script.text.is_none()) {
        Some(schema) => {
            let json = example(&schema, 0).to_string();
            let tokens = (json.len() as u64).div_ceil(4);
            Speech { pieces: Pieces::Parts(vec![json]), tokens, cut_short: false }
        }
        None => Speech::plan(call.script, Some(&text), limit),
    };
    let tools = tool_calls(fields, call, &text);
    let output = match tools.first() {
        Some(tool) => (tool.arguments.len() as u64).div_ceil(4) * tools.len() as u64,
        None => speech.tokens,
    };
    let mut usage = call.usage(output);
    usage.told = call.tells_usage();
    let natural = match (tools.is_empty(), speech.cut_short) {
        (false, _) => "tool_use",
        (true, true) => "max_tokens",
        (true, false) => "end_turn",
    };
    let said = Said { finish: call.script.finish.as_deref().unwrap_or(natural).to_owned(), speech, tools };
    let answer =
        if stream { Answer::frames(frames(call, said, &usage)) } else { Answer::json(whole(call, &said, &usage)) };
    Ok(answer.with_usage(usage))
}

fn tool_calls(fields: &Fields, call: &Call<'_>, text: &str) -> Vec<ToolCall> {
    let choice = fields.0.pointer("/toolConfig/toolChoice");
    let named = choice.and_then(|choice| choice.pointer("/tool/name")?.as_str());
    let forced = named.is_some() || choice.is_some_and(|choice| choice.get("any").is_some());
    let wanted = forced || asks_for_tool(text);
    if !call.script.tool.unwrap_or(wanted) {
        return Vec::new();
    }
    let specs: Vec<Value> = fields
        .list("/toolConfig/tools")
        .filter_map(|tool| tool.get("toolSpec"))
        .map(|spec| json!({"name": spec["name"], "input_schema": spec["inputSchema"]["json"]}))
        .collect();
    (0..call.script.calls).filter_map(|_| ToolCall::of(&specs, named)).collect()
}

fn tool_id(call: &Call<'_>, index: usize) -> String {
    format!("tooluse_mock{:08x}_{index}", call.number)
}

fn metadata(usage: &Usage) -> String {
    let told = if usage.told {
        format!(
            r#""usage":{{"inputTokens":{},"outputTokens":{},"totalTokens":{},"cacheReadInputTokens":{},"cacheWriteInputTokens":{}}},"#,
            usage.input,
            usage.output,
            usage.input + usage.output + usage.cached + usage.cache_write,
            usage.cached,
            usage.cache_write
        )
    } else {
        String::new()
    };
    format!(r#"{told}"metrics":{{"latencyMs":1}}"#)
}

fn whole(call: &Call<'_>, said: &Said, usage: &Usage) -> String {
    let thought = call.script.think.as_deref().map(|text| {
        let text = Quoted(text);
        format!(r#"{{"reasoningContent":{{"reasoningText":{{"text":{text},"signature":"bW9jayBzaWduYXR1cmU="}}}}}}"#)
    });
    let text = said.tools.is_empty().then(|| format!(r#"{{"text":{}}}"#, Quoted(&said.speech.pieces.joined())));
    let calls = said.tools.iter().enumerate().map(|(index, tool)| {
        let (id, name) = (tool_id(call, index), Quoted(&tool.name));
        format!(r#"{{"toolUse":{{"toolUseId":"{id}","name":{name},"input":{}}}}}"#, tool.arguments)
    });
    let blocks: Vec<String> = thought.into_iter().chain(text).chain(calls).collect();
    format!(
        r#"{{"output":{{"message":{{"role":"assistant","content":[{}]}}}},"stopReason":{},{}}}"#,
        blocks.join(","),
        Quoted(&said.finish),
        metadata(usage)
    )
}

fn frames(call: &Call<'_>, said: Said, usage: &Usage) -> EventStream {
    let event = |name: &'static str, data: String| Event { name: Some(name), data };
    let delta = |index: usize, delta: &str| {
        event("contentBlockDelta", format!(r#"{{"contentBlockIndex":{index},"delta":{{{delta}}},"p":"abcdefgh"}}"#))
    };
    let stop = |index: usize| event("contentBlockStop", format!(r#"{{"contentBlockIndex":{index},"p":"ab"}}"#));
    let mut opening = vec![event("messageStart", r#"{"role":"assistant","p":"abcd"}"#.to_owned())];
    let mut index = 0;
    if let Some(thought) = call.script.think.as_deref() {
        opening.push(delta(0, &format!(r#""reasoningContent":{{"text":{}}}"#, Quoted(thought))));
        opening.push(delta(0, r#""reasoningContent":{"signature":"bW9jayBzaWduYXR1cmU="}"#));
        opening.push(stop(0));
        index = 1;
    }
    let start = |index: usize, number: usize, tool: &ToolCall| {
        let (id, name) = (tool_id(call, number), Quoted(&tool.name));
        let start = format!(r#"{{"toolUse":{{"toolUseId":"{id}","name":{name}}}}}"#);
        event("contentBlockStart", format!(r#"{{"contentBlockIndex":{index},"start":{start},"p":"a"}}"#))
    };
    let mut closing = Vec::new();
    // The last call is streamed piece by piece, those before it at once.
    for (number, tool) in said.tools.iter().enumerate() {
        opening.push(start(index, number, tool));
        if number + 1 < said.tools.len() {
            opening.push(delta(index, &format!(r#""toolUse":{{"input":{}}}"#, Quoted(&tool.arguments))));
            opening.push(stop(index));
            index += 1;
        }
    }
    let (pieces, before, after) = match said.tools.last() {
        Some(tool) => (argument_pieces(&tool.arguments), r#""toolUse":{"input":""#, r#""}"#),
        None => (said.speech.pieces, r#""text":""#, r#"""#),
    };
    closing.push(stop(index));
    closing.push(event("messageStop", format!(r#"{{"stopReason":{},"p":"abc"}}"#, Quoted(&said.finish))));
    EventStream {
        frames: true,
        opening,
        delta_name: Some("contentBlockDelta"),
        delta_templates: vec![(
            format!(r#"{{"contentBlockIndex":{index},"delta":{{{before}"#),
            format!(r#"{after}}},"p":"abcdefghijkl"}}"#),
        )],
        pieces,
        closing,
        terminator: Some(event("metadata", format!(r#"{{{},"p":"abcdef"}}"#, metadata(usage)))),
        error: stream_error(Dialect::Bedrock, call.script),
    }
}
