//! Whole answers from one format to another.

use serde_json::json;

use super::streams::claude_stream;
use super::*;

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
            "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 6, "output_tokens": 4,
                "service_tier": "standard"},
        })
    );
    let refusal =
        json!({"id": "c", "model": "m", "choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]});
    let refused = answered(Format::Chat, Format::Messages, &refusal);
    assert_eq!((&refused["stop_reason"], &refused["content"][0]["text"]), (&json!("refusal"), &json!("no")));
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
