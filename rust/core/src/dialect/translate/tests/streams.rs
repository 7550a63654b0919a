//! Streams from one format to another.

use serde_json::{Value, json};

use super::*;

pub fn claude_stream() -> String {
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
