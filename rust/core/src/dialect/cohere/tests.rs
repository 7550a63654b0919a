use serde_json::{Value, json};

use super::*;
use crate::dialect::translate::{self, Stream};
use crate::dialect::{Context, Fault, Format, Target};

fn request(from: Format, to: Format, body: &Value) -> (Value, String) {
    let target = Target { model: "m", stream: false, ask_usage: false, max_output: None };
    let written = translate::request(from, to, body.to_string().as_bytes(), &target).expect("a request");
    let body = serde_json::from_slice(&written.body).expect("JSON");
    (body, written.losses.names().collect::<Vec<_>>().join(","))
}

fn answer(from: Format, to: Format, body: &Value) -> Value {
    let context = Context { id: "req_1".to_string(), ..Context::default() };
    let (written, _) = translate::answer(from, to, body.to_string().as_bytes(), &context).expect("an answer");
    serde_json::from_slice(&written).expect("JSON")
}

#[test]
fn usage_is_what_is_billed() {
    let usage = parse_usage(br#"{"billed_units":{"input_tokens":5.0,"output_tokens":7},"tokens":{"input_tokens":70,"output_tokens":9},"cached_tokens":2}"#);
    assert_eq!(usage.map(|usage| (usage.input, usage.cache_read, usage.output)), Some((3, 2, 7)));
    let searched = parse_usage(br#"{"api_version":{},"billed_units":{"search_units":1}}"#);
    assert_eq!(searched, None);
}

#[test]
fn streams_are_watched() {
    let mut tap = Tap::default();
    let said = b"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"message-end\"}}}}\n\n";
    assert!(tap.event(said).text == 11 && !tap.event(said).terminal);
    let end = b"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":3,\"output_tokens\":4}}}}\n\n";
    assert!(tap.event(end).terminal);
    assert_eq!(tap.usage.map(|usage| (usage.input, usage.output)), Some((3, 4)));
    assert!(tap.event(&failure_event("broken \"x\"")).error);
}

#[test]
fn a_chat_request_becomes_coheres() {
    let chat = json!({"model": "x", "max_tokens": 9, "top_p": 0.5, "stop": ["a"], "user": "u", "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "g"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "I look", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "found"}]});
    let (cohere, dropped) = request(Format::Chat, Format::Cohere, &chat);
    assert_eq!(dropped, "user");
    assert_eq!(
        cohere,
        json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_plan": "I look", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "found"}],
            "tools": [{"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "REQUIRED", "p": 0.5, "max_tokens": 9, "stop_sequences": ["a"],
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            "thinking": {"type": "enabled", "token_budget": 1024}})
    );
}

#[test]
fn documents_travel_both_ways() {
    let cohere = json!({"messages": [{"role": "user", "content": "what?"}],
        "documents": ["plain", {"id": "d2", "data": {"title": "T", "snippet": "text"}}]});
    let (messages, _) = request(Format::Cohere, Format::Messages, &cohere);
    let content = &messages["messages"][0]["content"];
    assert_eq!(content[1]["title"], "T");
    assert_eq!(content[0]["citations"]["enabled"], true);
    let back = json!({"max_tokens": 5, "messages": messages["messages"]});
    let (again, _) = request(Format::Messages, Format::Cohere, &back);
    assert_eq!(again["documents"][1]["data"], json!({"title": "T", "text": "text"}));
}

#[test]
fn what_cohere_cannot_say_is_refused() {
    let target = Target { model: "m", stream: false, ask_usage: false, max_output: None };
    let chat = json!({"n": 2, "messages": []}).to_string();
    let refused = translate::request(Format::Chat, Format::Cohere, chat.as_bytes(), &target);
    assert!(matches!(refused, Err(Fault::Unsupported(_))));
}

#[test]
fn answers_in_both_directions() {
    let cohere = json!({"id": "c1", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_plan": "I look",
        "content": [{"type": "thinking", "thinking": "hm"}],
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}});
    let chat = answer(Format::Cohere, Format::Chat, &cohere);
    let message = &chat["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("I look"), &json!("hm")));
    assert_eq!(
        (&chat["choices"][0]["finish_reason"], &chat["usage"]["total_tokens"]),
        (&json!("tool_calls"), &json!(7))
    );
    let back = answer(Format::Chat, Format::Cohere, &chat);
    assert_eq!(back["message"]["tool_plan"], "I look");
    assert_eq!(back["message"]["content"], cohere["message"]["content"]);
    assert_eq!(back["message"]["tool_calls"], cohere["message"]["tool_calls"]);
    assert_eq!(back["usage"]["billed_units"], cohere["usage"]["billed_units"]);
    let cited = json!({"id": "c2", "finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "see there"}],
        "citations": [{"start": 4, "end": 9, "text": "there", "sources": [{"type": "document", "id": "d",
            "document": {"url": "https://a.example", "title": "A"}}]}]}});
    let chat = answer(Format::Cohere, Format::Chat, &cited);
    let annotation = &chat["choices"][0]["message"]["annotations"][0]["url_citation"];
    assert_eq!((&annotation["start_index"], &annotation["url"]), (&json!(4), &json!("https://a.example")));
    let back = answer(Format::Chat, Format::Cohere, &chat);
    assert_eq!(
        (&back["message"]["citations"][0]["start"], &back["message"]["citations"][0]["end"]),
        (&json!(4), &json!(9))
    );
}

#[test]
fn streams_in_both_directions() {
    let event = |kind: &str, message: Value| json!({"type": kind, "index": 0, "delta": {"message": message}});
    let events = [
        json!({"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}),
        event("tool-plan-delta", json!({"tool_plan": "I look"})),
        event(
            "tool-call-start",
            json!({"tool_calls": {"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}}),
        ),
        event("tool-call-delta", json!({"tool_calls": {"function": {"arguments": "{\"a\":"}}})),
        event("tool-call-delta", json!({"tool_calls": {"function": {"arguments": "1}"}}})),
        json!({"type": "tool-call-end", "index": 0}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}}),
    ];
    let mut to_chat = Stream::new(Format::Cohere, Format::Chat, Context { include_usage: true, ..Context::default() });
    let mut chat = Vec::new();
    for event in &events {
        let kind = event["type"].as_str().unwrap_or_default();
        to_chat.event(format!("event: {kind}\ndata: {event}\n\n").as_bytes(), &mut chat).expect("an event");
    }
    assert!(to_chat.progress().ended);
    assert_eq!(to_chat.progress().usage.map(|usage| usage.output), Some(4));
    let mut back = Stream::new(Format::Chat, Format::Cohere, Context::default());
    let mut cohere = Vec::new();
    let text = String::from_utf8(chat).expect("text");
    for event in text.split_inclusive("\n\n") {
        back.event(event.as_bytes(), &mut cohere).expect("an event");
    }
    let text = String::from_utf8(cohere).expect("text");
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        kinds,
        [
            "message-start",
            "content-start",
            "content-delta",
            "content-end",
            "tool-call-start",
            "tool-call-delta",
            "tool-call-delta",
            "tool-call-end",
            "message-end"
        ]
    );
    assert!(text.contains(r#""finish_reason":"TOOL_CALL""#));
    let mut failing = Stream::new(Format::Cohere, Format::Messages, Context::default());
    let mut out = Vec::new();
    failing.event(&failure_event("too much"), &mut out).expect("an event");
    assert!(failing.progress().failed && String::from_utf8_lossy(&out).contains("too much"));
}
