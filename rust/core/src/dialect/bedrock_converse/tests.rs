#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::*;
use crate::dialect::format::{Context, Fault, Format, Target};
use crate::dialect::hub::Losses;
use crate::dialect::translate::{self, Stream};
use crate::kernel::cost::Usage;
use crate::wire::eventstream::{self, Frame};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn target(model: &str) -> Target<'_> {
    Target { model, stream: false, ask_usage: false, max_output: None }
}

fn to_converse(from: Format, body: &Value, model: &str) -> (Value, String) {
    let made = translate::request(from, Format::Converse, body.to_string().as_bytes(), &target(model)).expect("told");
    let dropped: Vec<String> = made.losses.names().map(str::to_string).collect();
    (serde_json::from_slice(&made.body).expect("JSON"), dropped.join(","))
}

fn from_converse(to: Format, body: &Value) -> Value {
    let made = translate::request(Format::Converse, to, body.to_string().as_bytes(), &target("m")).expect("told");
    serde_json::from_slice(&made.body).expect("JSON")
}

fn frame(kind: &str, payload: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload.to_string().as_bytes()));
    out
}

/// Kind and payload of every frame.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let frame = Frame::parse(&bytes[..length]).expect("sound");
        let kind = frame.text(":event-type").or_else(|| frame.text(":exception-type")).expect("kind");
        found.push((kind.to_string(), serde_json::from_slice(frame.payload).expect("JSON")));
        bytes = &bytes[length..];
    }
    found
}

#[test]
fn a_chat_request_in_converse() {
    let chat = json!({
        "model": "m", "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": ["END", " "],
        "seed": 7, "user": "u", "presence_penalty": 0.1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "call 1", "type": "function", "function": {"name": "a", "arguments": "{\"x\":1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "b", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call 1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": "two"},
            {"role": "user", "content": "and?"},
        ],
        "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": "required",
    });
    let (made, dropped) = to_converse(Format::Chat, &chat, CLAUDE);
    let replaced = made["messages"][1]["content"][0]["toolUse"]["toolUseId"].as_str().unwrap().to_string();
    assert!(replaced.starts_with("call1-") && replaced.len() <= 64);
    assert_eq!(
        made,
        json!({
            "messages": [
                {"role": "user", "content": [
                    {"text": "look"},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                    {"image": {"format": "png", "source": {"bytes": "aGk="}}},
                ]},
                {"role": "assistant", "content": [
                    {"toolUse": {"toolUseId": replaced, "name": "a", "input": {"x": 1}}},
                    {"toolUse": {"toolUseId": "call_2", "name": "b", "input": {}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": replaced, "content": [{"text": "one"}]}},
                    {"toolResult": {"toolUseId": "call_2", "content": [{"text": "two"}]}},
                    {"text": "and?"},
                ]},
            ],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {"type": "object"}}, "strict": true}}],
                "toolChoice": {"any": {}},
            },
        })
    );
    assert_eq!(dropped, "penalties,seed,stop,user");
}

#[test]
fn reasoning_is_said_in_the_words_of_the_family() {
    let chat = json!({"model": "m", "reasoning_effort": "high", "max_tokens": 9000,
        "messages": [{"role": "user", "content": "hi"}]});
    let fields = |model: &str| to_converse(Format::Chat, &chat, model).0["additionalModelRequestFields"].clone();
    assert_eq!(fields(CLAUDE), json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}));
    let nova = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}});
    assert_eq!(fields("us.amazon.nova-2-lite-v1:0"), nova);
    assert_eq!(fields("openai.gpt-oss-120b-1:0"), json!({"reasoning_effort": "high"}));
    let (made, dropped) = to_converse(Format::Chat, &chat, "meta.llama3-70b");
    assert_eq!((made.get("additionalModelRequestFields"), dropped.as_str()), (None, "reasoning"));
}

#[test]
fn a_history_with_calls_names_its_tools() {
    let chat = json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]});
    let (made, _) = to_converse(Format::Chat, &chat, CLAUDE);
    assert_eq!(made["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (content, feature) in [
        (json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]), "image_url"),
        (json!([{"type": "file", "file": {"file_id": "file-1"}}]), "file_id"),
    ] {
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
        let made = translate::request(Format::Chat, Format::Converse, chat.to_string().as_bytes(), &target(CLAUDE));
        let Err(Fault::Unsupported(unsupported)) = made else { panic!("{made:?}") };
        assert_eq!(unsupported.feature.name(), feature);
    }
}

#[test]
fn a_converse_request_in_messages() {
    let converse = json!({
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [
                {"text": "read"},
                {"document": {"format": "pdf", "name": "a", "source": {"bytes": "aGk="}, "citations": {"enabled": true}}},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "cmVk"}},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}], "status": "error"}},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
            ]},
        ],
        "inferenceConfig": {"maxTokens": 2048, "stopSequences": ["X"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"tool": {"name": "f"}},
        },
        "additionalModelRequestFields": {"top_k": 5},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    });
    let made = from_converse(Format::Messages, &converse);
    assert_eq!(made["system"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(made["messages"][0]["content"][1]["source"]["media_type"], "application/pdf");
    assert_eq!(made["messages"][0]["content"][1]["citations"], json!({"enabled": true}));
    let assistant = &made["messages"][1]["content"];
    assert_eq!(assistant[0], json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"}));
    assert_eq!(assistant[1], json!({"type": "redacted_thinking", "data": "cmVk"}));
    assert_eq!(assistant[2]["input"], json!({"x": 1}));
    let result = &made["messages"][2]["content"][0];
    assert_eq!((&result["is_error"], &result["cache_control"]["ttl"]), (&json!(true), &json!("1h")));
    assert_eq!(result["content"][0]["text"], "{\"a\":1}");
    assert_eq!((&made["max_tokens"], &made["top_k"]), (&json!(2048), &json!(5)));
    assert_eq!(made["tool_choice"], json!({"type": "tool", "name": "f"}));
}

#[test]
fn converse_comes_back_as_it_was() {
    let converse = json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "a"},
                {"image": {"format": "webp", "source": {"bytes": "aGk="}}},
                {"document": {"format": "md", "name": "notes", "source": {"text": "# hi"}}},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/film.mp4"}}}},
                {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}},
            ]},
        ],
        "system": [{"text": "s"}],
        "inferenceConfig": {"maxTokens": 10, "temperature": 0.25},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}", "name": "n"}}}},
        "requestMetadata": {"team": "x"},
        "serviceTier": {"type": "flex"},
        "performanceConfig": {"latency": "optimized"},
    });
    let text = converse.to_string();
    let hub = decode_request(text.as_bytes()).expect("read");
    let mut losses = Losses::default();
    let again = encode_request(&hub, &target("amazon.nova-pro-v1:0"), &mut losses).expect("written");
    let mut again: Value = serde_json::from_slice(&again).unwrap();
    // A text document has no format of its own.
    again["messages"][0]["content"][2]["document"]["format"] = json!("md");
    assert_eq!(again, converse);
    assert!(losses.is_empty());
}

#[test]
fn bad_requests_name_the_place() {
    for (body, place) in [
        (json!({"messages": [{"role": "robot", "content": []}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": [{}]}]}), "messages[0].content[0]"),
        (
            json!({"messages": [{"role": "user", "content": [{"image": {"format": "bmp", "source": {"bytes": ""}}}]}]}),
            "messages[0].content[0].image.format",
        ),
        (json!({"inferenceConfig": {"maxTokens": "many"}}), "inferenceConfig.maxTokens"),
        (json!({"toolConfig": {"tools": [{}]}}), "toolConfig.tools[0]"),
        (
            json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}}),
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
    ] {
        let Err(Fault::Invalid { path, .. }) = decode_request(body.to_string().as_bytes()) else { panic!("{body}") };
        assert_eq!(path, place);
    }
}

#[test]
fn answers_both_ways() {
    let converse = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"text": "hello"},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
        ]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 18, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 0},
        "metrics": {"latencyMs": 0},
    });
    let context = Context { id: "req_1".into(), created: 1, ..Context::default() };
    let text = converse.to_string();
    let (chat, usage) = translate::answer(Format::Converse, Format::Chat, text.as_bytes(), &context).expect("told");
    let chat: Value = serde_json::from_slice(&chat).unwrap();
    let message = &chat["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("hello"), &json!("hm")));
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
    assert_eq!(chat["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chat["usage"]["prompt_tokens"], 13);
    assert_eq!(usage, Some(Usage { input: 10, output: 5, cache_read: 3, ..Usage::default() }));
    let hub = decode_answer(text.as_bytes()).expect("read");
    let again: Value = serde_json::from_slice(&encode_answer(&hub, &context)).unwrap();
    assert_eq!(again, converse);
    assert!(matches!(decode_answer(b"{}"), Err(Fault::Invalid { .. })));
}

fn stream() -> Vec<Vec<u8>> {
    [
        ("messageStart", json!({"role": "assistant", "p": "abc"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2ln"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"text": "héllo"}})),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        ("contentBlockStart", json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{\"x\""}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": ":1}"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 2})),
        ("contentBlockStart", json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t2", "name": "g"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 3})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}, "metrics": {"latencyMs": 1}}),
        ),
    ]
    .iter()
    .map(|(kind, payload)| frame(kind, payload))
    .collect()
}

#[test]
fn a_stream_comes_back_as_it_was() {
    let mut back = Stream::new(Format::Converse, Format::Converse, Context::default());
    let mut out = Vec::new();
    for event in stream() {
        back.event(&event, &mut out).expect("sound");
    }
    let (mut expected, mut found) = (frames(&stream().concat()), frames(&out));
    expected[0].1 = json!({"role": "assistant"});
    let last = json!({"usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10,
        "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0}, "metrics": {"latencyMs": 0}});
    expected.last_mut().unwrap().1 = last;
    // Blocks are numbered and closed alike; a call without arguments has no delta.
    assert_eq!(found.pop(), expected.pop());
    assert_eq!(found, expected);
    let progress = back.progress();
    assert!(progress.ended && progress.finished && !progress.failed);
    assert_eq!(progress.usage.map(|usage| (usage.input, usage.output)), Some((7, 3)));
}

#[test]
fn a_stream_for_a_messages_client_and_from_one() {
    let mut there = Stream::new(Format::Converse, Format::Messages, Context::default());
    let mut out = Vec::new();
    for event in stream() {
        there.event(&event, &mut out).expect("sound");
    }
    let text = String::from_utf8(out).expect("UTF-8");
    for piece in [
        "\"signature_delta\"",
        "\"thinking\":\"hm\"",
        "héllo",
        "\"partial_json\":\":1}\"",
        "\"tool_use\"",
        "message_stop",
    ] {
        assert!(text.contains(piece), "{piece} in {text}");
    }
    let mut back = Stream::new(Format::Messages, Format::Converse, Context::default());
    let mut out = Vec::new();
    for event in text.split_inclusive("\n\n") {
        back.event(event.as_bytes(), &mut out).expect("sound");
    }
    let kinds: Vec<String> = frames(&out).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.first().map(String::as_str), Some("messageStart"));
    assert_eq!(kinds[kinds.len() - 2..], ["messageStop", "metadata"]);
    let text: String = frames(&out)
        .iter()
        .filter_map(|(_, payload)| payload["delta"]["toolUse"]["input"].as_str().map(str::to_string))
        .collect();
    assert_eq!(text, "{\"x\":1}");
}

#[test]
fn exceptions_end_a_stream() {
    let mut out = Vec::new();
    failure_frame_for_tests(&mut out);
    let mut there = Stream::new(Format::Converse, Format::Chat, Context::default());
    let mut written = Vec::new();
    let progress = there.event(&out, &mut written).expect("sound");
    assert!(progress.failed);
    assert!(String::from_utf8(written).unwrap().contains("slow down"));
    let mut back = Stream::new(Format::Messages, Format::Converse, Context::default());
    let mut written = Vec::new();
    let event =
        b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    assert!(back.event(event, &mut written).expect("sound").failed);
    let last = frames(&written).pop().unwrap();
    assert_eq!(last, ("serviceUnavailableException".to_string(), json!({"message": "busy"})));
}

fn failure_frame_for_tests(out: &mut Vec<u8>) {
    super::error::failure_frame("throttlingException", "slow down", out);
}

#[test]
fn damaged_frames_are_faults_and_never_panics() {
    let whole = stream().concat();
    for event in stream() {
        for at in 0..event.len() {
            let mut broken = event.clone();
            broken[at] ^= 0x11;
            assert!(Decoder::default().event(&broken, &mut |_| {}).is_err());
        }
    }
    // Sound frames around payloads that are cut short.
    for event in stream() {
        let parsed = Frame::parse(&event).unwrap();
        let kind = parsed.text(":event-type").unwrap().to_string();
        for cut in 0..parsed.payload.len() {
            let mut out = Vec::new();
            eventstream::write(&mut out, &[(":event-type", &kind), (":message-type", "event")], |out| {
                out.extend_from_slice(&parsed.payload[..cut]);
            });
            let _ = Decoder::default().event(&out, &mut |_| {});
        }
    }
    let mut tap = Tap::default();
    assert!(stream().iter().any(|event| tap.event(event).terminal));
    assert_eq!(tap.usage.map(|usage| usage.input), Some(7));
    assert!(!whole.is_empty());
}
