//! Amazon Bedrock's Converse, whole and in frames.

use serde_json::Value;

use super::answer::{Answer, Event, EventStream, Usage};
use super::errors::{Dialect, Failure, stream_error};
use super::fields::Call;
use super::json::Quoted;
use super::said::{SIGNATURE, Said, Wish, argument_pieces};
use super::tools::ToolCall;

/// A request body.
pub struct Fields(Value);

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
    let schema = fields.0.pointer("/outputConfig/textFormat/structure/jsonSchema/schema").and_then(Value::as_str);
    let choice = fields.0.pointer("/toolConfig/toolChoice");
    let named = choice.and_then(|choice| choice.pointer("/tool/name")?.as_str());
    let any = choice.is_some_and(|choice| choice.get("any").is_some());
    let wish = Wish {
        limit: fields.0.pointer("/inferenceConfig/maxTokens").and_then(Value::as_u64),
        schema: schema.and_then(|schema| serde_json::from_str(schema).ok()),
        tools: fields.list("/toolConfig/tools").filter_map(|tool| tool.get("toolSpec")).cloned().collect(),
        named,
        forced: (named.is_some() || any).then_some(true),
    };
    let said = Said::plan(call.script, &wish, || Some(fields.last_user_text()));
    let mut usage = call.usage(said.output);
    usage.told = call.tells_usage();
    let answer =
        if stream { Answer::frames(frames(call, &said, &usage)) } else { Answer::json(whole(call, &said, &usage)) };
    Ok(answer.with_usage(usage))
}

const REASONS: [&str; 3] = ["tool_use", "max_tokens", "end_turn"];

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
        format!(r#"{{"reasoningContent":{{"reasoningText":{{"text":{text},"signature":"{SIGNATURE}"}}}}}}"#)
    });
    let text = said.tools.is_empty().then(|| {
        let text = format!(r#"{{"text":{}}}"#, Quoted(&said.speech.pieces.joined()));
        match call.script.cite.as_deref() {
            Some(url) => format!(r#"{{"citationsContent":{{"content":[{text}],"citations":[{}]}}}}"#, citation(url)),
            None => text,
        }
    });
    let calls = said.tools.iter().enumerate().map(|(index, tool)| {
        let (id, name) = (tool_id(call, index), Quoted(&tool.name));
        format!(r#"{{"toolUse":{{"toolUseId":"{id}","name":{name},"input":{}}}}}"#, tool.arguments)
    });
    let blocks: Vec<String> = thought.into_iter().chain(text).chain(calls).collect();
    format!(
        r#"{{"output":{{"message":{{"role":"assistant","content":[{}]}}}},"stopReason":{},{}}}"#,
        blocks.join(","),
        Quoted(&said.finish(call.script, REASONS)),
        metadata(usage)
    )
}

fn citation(url: &str) -> String {
    let url = Quoted(url);
    format!(
        r#"{{"title":"Mock","source":{url},"sourceContent":[{{"text":"mock"}}],"location":{{"web":{{"url":{url},"domain":"mock"}}}}}}"#
    )
}

fn event(name: &'static str, data: String) -> Event {
    Event { name: Some(name), data }
}

fn delta(index: usize, delta: &str) -> Event {
    event("contentBlockDelta", format!(r#"{{"contentBlockIndex":{index},"delta":{{{delta}}},"p":"abcdefgh"}}"#))
}

fn stop(index: usize) -> Event {
    event("contentBlockStop", format!(r#"{{"contentBlockIndex":{index},"p":"ab"}}"#))
}

fn start(call: &Call<'_>, index: usize, number: usize, tool: &ToolCall) -> Event {
    let (id, name) = (tool_id(call, number), Quoted(&tool.name));
    let start = format!(r#"{{"toolUse":{{"toolUseId":"{id}","name":{name}}}}}"#);
    event("contentBlockStart", format!(r#"{{"contentBlockIndex":{index},"start":{start},"p":"a"}}"#))
}

fn frames(call: &Call<'_>, said: &Said, usage: &Usage) -> EventStream {
    let mut opening = vec![event("messageStart", r#"{"role":"assistant","p":"abcd"}"#.to_owned())];
    let mut index = 0;
    if let Some(thought) = call.script.think.as_deref() {
        opening.push(delta(0, &format!(r#""reasoningContent":{{"text":{}}}"#, Quoted(thought))));
        opening.push(delta(0, &format!(r#""reasoningContent":{{"signature":"{SIGNATURE}"}}"#)));
        opening.push(stop(0));
        index = 1;
    }
    for (number, tool) in said.earlier() {
        opening.push(start(call, index, number, tool));
        let pieces = argument_pieces(&tool.arguments);
        let piece = |at| delta(index, &format!(r#""toolUse":{{"input":{}}}"#, Quoted(pieces.get(at))));
        opening.extend((0..pieces.count()).map(piece));
        opening.push(stop(index));
        index += 1;
    }
    let mut closing = Vec::new();
    let (before, after) = match said.tools.last() {
        Some(tool) => {
            opening.push(start(call, index, said.tools.len() - 1, tool));
            (r#""toolUse":{"input":""#, r#""}"#)
        }
        None => {
            let cited = call.script.cite.as_deref();
            closing.extend(cited.map(|url| delta(index, &format!(r#""citation":{}"#, citation(url)))));
            (r#""text":""#, r#"""#)
        }
    };
    closing.push(stop(index));
    let finish = said.finish(call.script, REASONS);
    closing.push(event("messageStop", format!(r#"{{"stopReason":{},"p":"abc"}}"#, Quoted(&finish))));
    EventStream {
        frames: true,
        opening,
        delta_name: Some("contentBlockDelta"),
        delta_templates: vec![(
            format!(r#"{{"contentBlockIndex":{index},"delta":{{{before}"#),
            format!(r#"{after}}},"p":"abcdefghijkl"}}"#),
        )],
        pieces: said.pieces(),
        closing,
        terminator: Some(event("metadata", format!(r#"{{{},"p":"abcdef"}}"#, metadata(usage)))),
        error: stream_error(Dialect::Bedrock, call.script),
    }
}
