use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::format::Fault;
use crate::wire::sse::Framer;

const TARGET: Target<'static> = Target { model: "up", stream: true, ask_usage: true, max_output: None };

fn asked(from: Format, to: Format, body: &Value) -> (Value, Vec<String>) {
    asked_of(from, to, body, &TARGET)
}

fn asked_of(from: Format, to: Format, body: &Value, target: &Target<'_>) -> (Value, Vec<String>) {
    let request = request(from, to, body.to_string().as_bytes(), target).expect("translated");
    let losses = request.losses.names().map(String::from).collect();
    (serde_json::from_slice(&request.body).expect("JSON"), losses)
}

fn refused(from: Format, to: Format, body: &Value) -> Fault {
    request(from, to, body.to_string().as_bytes(), &TARGET).expect_err("refused")
}

fn answered(from: Format, to: Format, body: &Value) -> Value {
    let context = Context { id: "req_1".into(), created: 7, ..Context::default() };
    let (body, _) = answer(from, to, body.to_string().as_bytes(), &context).expect("translated");
    serde_json::from_slice(&body).expect("JSON")
}

/// Translates a stream that is cut into pieces of `size` bytes.
fn streamed(from: Format, to: Format, stream: &str, size: usize) -> String {
    let context = Context { id: "req_1".into(), created: 7, include_usage: true, ..Context::default() };
    let mut framer = Framer::new(1 << 20);
    let mut translated = Stream::new(from, to, context);
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        let batch = framer.push(piece.to_vec().into()).expect("framed");
        for event in batch.events() {
            translated.event(event, &mut out).expect("translated");
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

fn sse(events: &[Value]) -> String {
    let named = |event: &Value| event["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
    events.iter().map(|event| format!("{}data: {event}\n\n", named(event))).collect()
}

fn data_of(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[test]
fn a_chat_request_becomes_a_messages_request() {
    let body = json!({
        "model": "m", "max_completion_tokens": 900, "temperature": 1.5, "stop": "END", "stream": true, "seed": 1,
        "parallel_tool_calls": false, "service_tier": "default", "user": "u",
        "messages": [
            {"role": "developer", "content": "One."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "https://h/i.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}},
            ]},
            {"role": "assistant", "content": null, "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "redacted_thinking", "data": "enc"}
            ], "tool_calls": [
                {"id": "call.1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}
            ]},
            {"role": "tool", "tool_call_id": "call.1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "two"}]},
            {"role": "system", "content": "Two."},
            {"role": "assistant", "content": "so far "},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    });
    let (asked, mut losses) = asked(Format::Chat, Format::Messages, &body);
    losses.sort();
    assert_eq!(losses, ["image_detail", "name", "seed", "temperature"]);
    let expected = json!({
        "model": "up", "max_tokens": 900, "temperature": 1, "stop_sequences": ["END"], "stream": true,
        "system": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
        "service_tier": "standard_only", "metadata": {"user_id": "u"},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "QUJD"}},
                {"type": "image", "source": {"type": "url", "url": "https://h/i.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}, "title": "a.pdf"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "a.txt"},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "enc"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "one"}]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "two"}]},
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "so far"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
    });
    assert_eq!(asked, expected);
}

#[test]
fn a_messages_request_becomes_a_chat_request() {
    let body = json!({
        "model": "m", "max_tokens": 900, "temperature": 0.5, "top_k": 3, "stop_sequences": ["END"], "stream": true,
        "system": [{"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 2000}, "new_thing": 1,
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "calling"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "bad"},
                {"type": "text", "text": "go on"},
            ]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    });
    let (asked, mut losses) = asked(Format::Messages, Format::Chat, &body);
    losses.sort();
    assert_eq!(losses, ["cache_control", "is_error", "new_thing", "reasoning_history", "top_k"]);
    let expected = json!({
        "model": "up", "max_tokens": 900, "temperature": 0.5, "stop": ["END"], "stream": true, "user": "u",
        "stream_options": {"include_usage": true}, "reasoning_effort": "medium",
        "messages": [
            {"role": "system", "content": "One."},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "text", "text": "# t\n\nhi"},
            ]},
            {"role": "assistant", "content": "calling", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}
            ]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "bad"},
            {"role": "user", "content": "go on"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "parallel_tool_calls": false,
    });
    assert_eq!(asked, expected);
}

#[test]
fn reasoning_is_asked_for_as_the_model_understands_it() {
    let hello = json!([{"role": "user", "content": "hi"}]);
    let body = |more: Value| {
        let mut body = json!({"model": "m", "messages": hello});
        body.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        body
    };
    let old = Target { model: "claude-sonnet-4-5", ..TARGET };
    let new = Target { model: "claude-opus-4-7", ..TARGET };
    let to = |target: &Target<'_>, more: Value| asked_of(Format::Chat, Format::Messages, &body(more), target);
    let (asked, losses) = to(&old, json!({"reasoning_effort": "high", "temperature": 0.2}));
    assert_eq!(asked["thinking"], json!({"type": "enabled", "budget_tokens": 4096}));
    assert_eq!((asked["max_tokens"].as_u64(), losses), (Some(8192), vec!["temperature".to_string()]));
    let (asked, _) = to(&old, json!({"reasoning_effort": "high", "max_tokens": 3000}));
    assert_eq!(asked["thinking"]["budget_tokens"], 2999);
    // Too small a limit to think in.
    let (asked, losses) = to(&old, json!({"reasoning_effort": "high", "max_tokens": 500}));
    assert_eq!((&asked["thinking"], losses), (&Value::Null, vec!["reasoning".to_string()]));
    let (asked, _) = to(&new, json!({"reasoning_effort": "high"}));
    assert_eq!((&asked["thinking"]["type"], &asked["output_config"]["effort"]), (&json!("adaptive"), &json!("high")));
    let (asked, _) = to(&old, json!({"reasoning_effort": "none"}));
    assert_eq!(asked["thinking"], json!({"type": "disabled"}));
    // "Do not think" has no word that every chat model takes.
    let quiet = json!({"model": "m", "max_tokens": 9, "messages": hello, "thinking": {"type": "disabled"}});
    assert_eq!(self::asked(Format::Messages, Format::Chat, &quiet).0["reasoning_effort"], Value::Null);
    let limit = Target { model: "gpt-5.1", ..TARGET };
    let (asked, _) = asked_of(Format::Messages, Format::Chat, &quiet, &limit);
    assert_eq!((&asked["max_completion_tokens"], &asked["max_tokens"]), (&json!(9), &Value::Null));
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let with = |part: Value| json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    let feature = |fault: Fault| match fault {
        Fault::Unsupported(unsupported) => unsupported.feature.name(),
        Fault::Invalid { path, reason } => panic!("{path}: {reason}"),
    };
    let audio = json!({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}});
    assert_eq!(feature(refused(Format::Chat, Format::Messages, &with(audio))), "audio");
    let file = json!({"type": "file", "file": {"file_id": "file-1"}});
    assert_eq!(feature(refused(Format::Chat, Format::Messages, &with(file))), "file_id");
    let search = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    assert_eq!(feature(refused(Format::Messages, Format::Chat, &search)), "hosted_tools");
    let page = json!({"type": "document", "source": {"type": "url", "url": "https://h/a.pdf"}});
    assert_eq!(feature(refused(Format::Messages, Format::Chat, &with(page))), "documents");
    let odd = json!({"type": "hologram"});
    assert_eq!(feature(refused(Format::Chat, Format::Messages, &with(odd))), "foreign");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (from, body, place) in [
        (Format::Chat, json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role"),
        (Format::Chat, json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
        (Format::Chat, json!({"messages": [], "tools": [{"function": 1}]}), "tools[0]"),
        (Format::Chat, json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (Format::Chat, json!({"messages": [], "reasoning_effort": "some"}), "reasoning_effort"),
        (
            Format::Messages,
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            "messages[0].content[0].source",
        ),
        (Format::Messages, json!({"messages": [], "tool_choice": {"type": "tool"}}), "tool_choice.name"),
    ] {
        let to = if from == Format::Chat { Format::Messages } else { Format::Chat };
        let Fault::Invalid { path, .. } = refused(from, to, &body) else { panic!("{body}") };
        assert_eq!(path, place);
    }
}

#[test]
fn a_message_becomes_a_chat_answer_and_nothing_is_lost() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "enc"},
            {"type": "text", "text": "As they say", "citations": [
                {"type": "web_search_result_location", "url": "https://h", "title": "H", "cited_text": "c", "encrypted_index": "e"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, 2]}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        ],
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 10, "output_tokens": 7},
    });
    let answer = answered(Format::Messages, Format::Chat, &body);
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&answer["id"], &answer["object"], &answer["created"]),
        (&json!("msg_1"), &json!("chat.completion"), &json!(7))
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("As they say"), &json!("hm")));
    assert_eq!(
        message["thinking_blocks"],
        json!([
        {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "redacted_thinking", "data": "enc"}])
    );
    assert_eq!(
        message["tool_calls"],
        json!([
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[1,2]}"}},
        {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}])
    );
    assert_eq!(
        message["annotations"][0]["url_citation"],
        json!({"start_index": 0, "end_index": 11, "url": "https://h", "title": "H"})
    );
    assert_eq!(message["provider_specific_fields"]["citations"][0][0]["encrypted_index"], "e");
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(115), &json!(7), &json!(122))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 100);
    // What the client sends back is what Anthropic said.
    let back = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, message]});
    let (asked, losses) = asked(Format::Chat, Format::Messages, &back);
    assert!(losses.is_empty(), "{losses:?}");
    let mut said = body["content"].clone();
    said[2].as_object_mut().expect("text").remove("citations");
    assert_eq!(asked["messages"][1]["content"], said);
}

#[test]
fn a_chat_answer_becomes_a_message() {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "so", "reasoning_content": "hm", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{oops"}}]},
            "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 6}},
    });
    assert_eq!(
        answered(Format::Chat, Format::Messages, &body),
        json!({
            "id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {"raw_arguments": "{oops"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 6, "output_tokens": 4},
        })
    );
    let refusal =
        json!({"id": "c", "model": "m", "choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]});
    let refused = answered(Format::Chat, Format::Messages, &refusal);
    assert_eq!((&refused["stop_reason"], &refused["content"][0]["text"]), (&json!("refusal"), &json!("no")));
}

fn claude_stream() -> String {
    let block =
        |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    sse(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "h"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "m\n"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        json!({"type": "ping"}),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "é\"1"})),
        stop(1),
        block(2, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(2),
        block(3, json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}})),
        stop(3),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
}

#[test]
fn a_message_stream_becomes_a_chat_stream_however_it_is_cut() {
    let stream = claude_stream();
    let whole = streamed(Format::Messages, Format::Chat, &stream, stream.len());
    for size in 1..stream.len() {
        assert_eq!(streamed(Format::Messages, Format::Chat, &stream, size), whole);
    }
    assert!(whole.ends_with("data: [DONE]\n\n") && whole.contains(": keep-alive\n\n"));
    let chunks = data_of(&whole);
    let deltas: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta")).collect();
    let text = |name: &str| deltas.iter().filter_map(|delta| delta[name].as_str()).collect::<String>();
    assert_eq!((text("content"), text("reasoning_content")), ("é\"1".to_string(), "hm\n".to_string()));
    assert!(
        deltas
            .iter()
            .any(|delta| delta["thinking_blocks"]
                == json!([{"type": "thinking", "thinking": "hm\n", "signature": "sig"}]))
    );
    let calls: Vec<&Value> = deltas.iter().filter_map(|delta| delta.pointer("/tool_calls/0")).collect();
    let arguments = |index: u32| {
        calls
            .iter()
            .filter(|call| call["index"] == index)
            .filter_map(|call| call.pointer("/function/arguments")?.as_str())
            .collect::<String>()
    };
    assert_eq!((arguments(0), arguments(1)), ("{\"a\":1}".to_string(), "{}".to_string()));
    assert_eq!((&calls[0]["id"], &calls[0]["function"]["name"]), (&json!("toolu_1"), &json!("f")));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    let last = &chunks[chunks.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(14)));
    assert!(chunks.iter().all(|chunk| chunk["id"] == "msg_1" && chunk["object"] == "chat.completion.chunk"));
}

#[test]
fn a_chat_stream_becomes_a_message_stream_however_it_is_cut() {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 3, "model": "gpt",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let call = |call: Value| chunk(json!({"tool_calls": [call]}), Value::Null);
    let mut stream = sse(&[
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"reasoning_content": "hm"}), Value::Null),
        chunk(json!({"content": "a"}), Value::Null),
        chunk(json!({"content": "b"}), Value::Null),
        call(json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(json!({"index": 0, "function": {"arguments": "{\"a\""}})),
        call(json!({"index": 0, "function": {"arguments": ":1}"}})),
        call(json!({"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
        chunk(json!({}), json!("tool_calls")),
        json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}}),
    ]);
    stream.push_str("data: [DONE]\n\n");
    let whole = streamed(Format::Chat, Format::Messages, &stream, stream.len());
    for size in 1..stream.len() {
        assert_eq!(streamed(Format::Chat, Format::Messages, &stream, size), whole);
    }
    let events = data_of(&whole);
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        (kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]),
        ("message_start", "message_delta", "message_stop")
    );
    let starts: Vec<&Value> = events.iter().filter_map(|event| event.get("content_block")).collect();
    let blocks: Vec<&str> = starts.iter().filter_map(|block| block["type"].as_str()).collect();
    assert_eq!(blocks, ["thinking", "text", "tool_use", "tool_use"]);
    let opened = kinds.iter().filter(|kind| **kind == "content_block_start").count();
    assert_eq!(kinds.iter().filter(|kind| **kind == "content_block_stop").count(), opened);
    let json: String = events
        .iter()
        .filter(|event| event["index"] == 2)
        .filter_map(|event| event.pointer("/delta/partial_json")?.as_str())
        .collect();
    assert_eq!(json, "{\"a\":1}");
    let end = &events[events.len() - 2];
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["input_tokens"], &end["usage"]["output_tokens"]),
        (&json!("tool_use"), &json!(5), &json!(6))
    );
}

#[test]
fn servers_that_count_calls_oddly_are_understood() {
    let of = |calls: &[Value]| {
        let chunk = |call: &Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        let out = streamed(Format::Chat, Format::Messages, &sse(&calls.iter().map(chunk).collect::<Vec<_>>()), 1 << 20);
        data_of(&out)
            .iter()
            .filter_map(|event| event.pointer("/content_block/id")?.as_str().map(String::from))
            .collect::<Vec<_>>()
    };
    let call = |index: Value, id: Value, name: Value| json!({"index": index, "id": id, "function": {"name": name, "arguments": "{}"}});
    assert_eq!(of(&[call(json!(0), json!("a"), json!("f")), call(json!(0), json!("b"), json!("f"))]), ["a", "b"]);
    assert_eq!(of(&[call(Value::Null, json!("a"), json!("f")), call(Value::Null, json!("b"), json!("f"))]), ["a", "b"]);
    assert_eq!(of(&[call(json!(0), json!("a"), json!("f")), call(json!(0), json!("a"), json!("f"))]), ["a"]);
    assert_eq!(
        of(&[call(json!(0), json!(""), json!("f")), call(json!(1), json!(""), json!("f"))]),
        ["call_0_0", "call_0_1"]
    );
}

#[test]
fn failures_inside_a_stream_are_passed_on() {
    let overloaded = sse(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "too much"}})]);
    let out = streamed(Format::Messages, Format::Chat, &overloaded, 7);
    assert_eq!(data_of(&out)[0]["error"]["message"], "too much");
    assert!(out.ends_with("data: [DONE]\n\n"));
    for error in [json!({"error": {"message": "m", "type": "server_error"}}), json!({"error": "m"})] {
        let out = streamed(Format::Chat, Format::Messages, &sse(&[error]), 7);
        assert!(out.starts_with("event: error\n"));
        assert_eq!(data_of(&out)[0]["error"], json!({"type": "api_error", "message": "m"}));
    }
}

#[test]
fn a_whole_answer_can_be_told_as_a_stream() {
    let body = json!({"id": "c", "model": "m", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let context = Context { id: "req_1".into(), ..Context::default() };
    let (out, usage) = replay(Format::Chat, Format::Messages, body.to_string().as_bytes(), context).expect("told");
    let kinds: Vec<String> = data_of(&String::from_utf8(out).expect("UTF-8"))
        .iter()
        .map(|event| event["type"].as_str().unwrap_or("").to_string())
        .collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(usage.map(|usage| (usage.input, usage.output)), Some((1, 2)));
}

#[test]
fn reasoning_survives_a_responses_client_of_a_claude_model() {
    let stream = claude_stream();
    let whole = streamed(Format::Messages, Format::Responses, &stream, stream.len());
    for size in (1..stream.len()).step_by(7) {
        assert_eq!(streamed(Format::Messages, Format::Responses, &stream, size), whole);
    }
    let events = data_of(&whole);
    let response = &events[events.len() - 1]["response"];
    let kinds: Vec<&str> =
        response["output"].as_array().expect("items").iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(response["output"][0]["summary"][0]["text"], "hm\n");
    assert_eq!(response["output"][3]["arguments"], "{}");
    assert_eq!((&response["status"], &response["usage"]["total_tokens"]), (&json!("completed"), &json!(14)));
    // Given back, it is what Anthropic said.
    let (asked, losses) =
        asked(Format::Responses, Format::Messages, &json!({"model": "m", "input": response["output"]}));
    assert!(losses.is_empty(), "{losses:?}");
    let blocks = &asked["messages"][0]["content"];
    assert_eq!(blocks[0], json!({"type": "thinking", "thinking": "hm\n", "signature": "sig"}));
    assert_eq!(blocks[2], json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}));
}

#[test]
fn openais_own_reasoning_survives_a_chat_client() {
    let body = json!({"id": "resp_1", "model": "m", "status": "completed", "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "enc"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so", "annotations": [
            {"type": "url_citation", "url": "https://h", "title": "H", "start_index": 0, "end_index": 2}]}]},
    ], "usage": {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}}});
    let answer = answered(Format::Responses, Format::Chat, &body);
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["thinking_blocks"], json!([{"type": "redacted_thinking", "data": "enc", "id": "rs_1"}]));
    assert_eq!(message["annotations"][0]["url_citation"]["url"], "https://h");
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    let back = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, message]});
    let (again, _) = asked(Format::Chat, Format::Responses, &back);
    assert_eq!((&again["input"][1]["id"], &again["input"][1]["encrypted_content"]), (&json!("rs_1"), &json!("enc")));
    // Anthropic has no use for it, and would refuse it.
    let (asked, losses) = asked(Format::Chat, Format::Messages, &back);
    assert_eq!(
        (asked["messages"][1]["content"].as_array().map(Vec::len), losses),
        (Some(1), vec!["reasoning_history".to_string()])
    );
}

#[test]
fn a_response_that_failed_is_no_answer() {
    let body =
        json!({"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "boom"}, "output": []});
    let context = Context::default();
    let fault = answer(Format::Responses, Format::Chat, body.to_string().as_bytes(), &context).expect_err("failed");
    assert!(matches!(fault, Fault::Invalid { reason, .. } if reason == "boom"));
}

/// `docs/dialects.md` between its marks. With `AILINK_UPDATE_DOCS` set, the page is written anew.
#[test]
fn the_documented_table_is_that_of_the_code() {
    const MARKS: (&str, &str) = ("<!-- begin: table -->\n", "<!-- end: table -->\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dialects.md");
    let page = std::fs::read_to_string(&path).expect("docs/dialects.md");
    let (before, rest) = page.split_once(MARKS.0).expect("a mark where the table begins");
    let (found, after) = rest.split_once(MARKS.1).expect("a mark where the table ends");
    let table = table();
    if std::env::var_os("AILINK_UPDATE_DOCS").is_some() {
        std::fs::write(&path, [before, MARKS.0, &table, MARKS.1, after].concat()).expect("written");
    } else {
        assert_eq!(found, table, "run the test once more with AILINK_UPDATE_DOCS=1");
    }
}

fn table() -> String {
    use crate::dialect::hub::{Feature, Treatment};
    let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    let mut out = format!("| what | name | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for feature in Feature::ALL {
        let cells = Format::ALL.map(|format| match format.treatment(*feature) {
            Treatment::Carry => "carried".to_string(),
            Treatment::Emulate(how) => format!("emulated: {how}"),
            Treatment::Drop => "left out, announced".to_string(),
            Treatment::Reject(alternative) => format!("refused: {alternative}"),
        });
        out.push_str(&format!("| {} | `{}` | {} |\n", feature.what(), feature.name(), cells.join(" | ")));
    }
    out
}

/// JSON made of the words that the formats know, so that random documents go deep.
fn documents() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "text",
        "thinking",
        "tool_use",
        "tool_result",
        "image",
        "document",
        "image_url",
        "file",
        "assistant",
        "user",
        "tool",
        "system",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "error",
        "response.created",
        "response.completed",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "function_call",
        "function_call_output",
        "tool_calls",
        "data:;base64,",
    ]);
    let names = prop::sample::select(vec![
        "messages",
        "content",
        "role",
        "type",
        "text",
        "tools",
        "function",
        "name",
        "arguments",
        "tool_calls",
        "id",
        "index",
        "choices",
        "delta",
        "message",
        "usage",
        "prompt_tokens",
        "source",
        "image_url",
        "url",
        "system",
        "thinking",
        "signature",
        "content_block",
        "partial_json",
        "finish_reason",
        "stop_reason",
        "input",
        "tool_choice",
        "response_format",
        "reasoning",
        "tool_use_id",
        "tool_call_id",
        "cache_control",
        "file",
        "citations",
        "max_tokens",
        "error",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
            }),
        ]
    })
}

/// Do Amazon's frames fill the bytes, each with a JSON object between its headers and its checksum?
fn whole_frames(mut bytes: &[u8]) -> bool {
    let number = |at: &[u8]| u32::from_be_bytes(at.try_into().expect("four bytes")) as usize;
    while !bytes.is_empty() {
        if bytes.len() < 16 || bytes.len() < number(&bytes[..4]) {
            return false;
        }
        let (frame, rest) = bytes.split_at(number(&bytes[..4]));
        let payload = frame.get(12 + number(&frame[4..8])..frame.len() - 4);
        if !payload.is_some_and(|payload| serde_json::from_slice::<Value>(payload).is_ok_and(|value| value.is_object()))
        {
            return false;
        }
        bytes = rest;
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn anything_is_translated_or_refused(document in documents(), more in documents()) {
        let bytes = document.to_string();
        let pairs = Format::ALL.into_iter().flat_map(|from| Format::ALL.map(|to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            if let Ok(request) = request(from, to, bytes.as_bytes(), &TARGET) {
                prop_assert!(serde_json::from_slice::<Value>(&request.body).is_ok());
            }
            let context = Context::default();
            if let Ok((body, _)) = answer(from, to, bytes.as_bytes(), &context) {
                prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
            }
            let mut stream = Stream::new(from, to, context);
            let mut out = Vec::new();
            for event in [&document, &more] {
                let _ = stream.event(format!("data: {event}\n\n").as_bytes(), &mut out);
            }
            stream.end(&mut out);
            if to == Format::Converse {
                prop_assert!(whole_frames(&out), "{:?}", out);
                continue;
            }
            for line in String::from_utf8(out).expect("UTF-8").lines().filter_map(|line| line.strip_prefix("data: ")) {
                prop_assert!(line == "[DONE]" || serde_json::from_str::<Value>(line).is_ok(), "{}", line);
            }
        }
    }
}
