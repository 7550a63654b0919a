//! Both directions, against OpenAI's chat format.

use serde_json::{Value, json};

use crate::dialect::translate::{self, Stream};
use crate::dialect::{Context, Fault, Format, Target};

fn target(model: &str) -> Target<'_> {
    Target { model, stream: false, ask_usage: false, max_output: None }
}

fn request(from: Format, to: Format, model: &str, body: &Value) -> (Value, String) {
    let written = translate::request(from, to, body.to_string().as_bytes(), &target(model)).expect("a request");
    (serde_json::from_slice(&written.body).expect("JSON"), written.losses.names().collect::<Vec<_>>().join(","))
}

fn answer(from: Format, to: Format, body: &Value) -> Value {
    let context = Context { id: "req_1".to_string(), created: 7, ..Context::default() };
    let (written, _) = translate::answer(from, to, body.to_string().as_bytes(), &context).expect("an answer");
    serde_json::from_slice(&written).expect("JSON")
}

/// The data of every event that a stream becomes.
fn stream(from: Format, to: Format, events: &[Value], end: &str) -> Vec<Value> {
    let mut stream = Stream::new(from, to, Context { id: "req_1".to_string(), ..Context::default() });
    let mut out = Vec::new();
    for event in events {
        stream.event(format!("data: {event}\n\n").as_bytes(), &mut out).expect("an event");
    }
    if !end.is_empty() {
        stream.event(end.as_bytes(), &mut out).expect("the end");
    }
    assert!(stream.progress().finished);
    stream.end(&mut out);
    let text = String::from_utf8(out).expect("text");
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_chat_request_becomes_googles() {
    let chat = json!({
        "model": "m", "user": "u", "temperature": 0.5, "max_tokens": 9, "n": 2, "stop": "x", "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "safety_settings": [{"category": "c"}], "unheard_of": 1,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.webp?c"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
                 "extra_content": {"google": {"thought_signature": "c2ln"}}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "1", "content": "{\"b\":2}"},
            {"role": "tool", "tool_call_id": "2", "content": "plain"},
            {"role": "user", "content": "go on"}]});
    let (google, dropped) = request(Format::Chat, Format::Gemini, "gemini-2.5-pro", &chat);
    assert_eq!(dropped, "strict,user,unheard_of");
    assert_eq!(
        google,
        json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                    {"fileData": {"mimeType": "image/webp", "fileUri": "https://a.example/b.webp?c"}}]},
                {"role": "model", "parts": [
                    {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "2", "name": "g", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "1", "name": "f", "response": {"b": 2}}},
                    {"functionResponse": {"id": "2", "name": "g", "response": {"result": "plain"}}}]},
                {"role": "user", "parts": [{"text": "go on"}]}],
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9, "candidateCount": 2, "stopSequences": ["x"],
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": true}},
            "safetySettings": [{"category": "c"}]})
    );
}

#[test]
fn generations_differ() {
    let chat = json!({"messages": [{"role": "system", "content": "only this"}], "reasoning_effort": "medium",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
    let (three, _) = request(Format::Chat, Format::Gemini, "gemini-3-pro-preview", &chat);
    assert_eq!(three["generationConfig"]["thinkingConfig"]["thinkingLevel"], "high");
    assert_eq!(three["contents"], json!([{"role": "user", "parts": [{"text": "only this"}]}]));
    let (two, dropped) = request(Format::Chat, Format::Gemini, "gemini-2.0-flash", &chat);
    assert_eq!(two["tools"][0]["functionDeclarations"][0]["parameters"], json!({"type": "OBJECT"}));
    assert_eq!(dropped, "reasoning");
    let history = json!({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]});
    let (unsigned, _) = request(Format::Chat, Format::Gemini, "gemini-3-flash", &history);
    assert_eq!(unsigned["contents"][0]["parts"][0]["thoughtSignature"], "skip_thought_signature_validator");
}

#[test]
fn a_google_request_becomes_chat() {
    let google = json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [{"parts": [{"text": "hi"}, {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "two"}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 2048}}, "safetySettings": []});
    let (chat, dropped) = request(Format::Gemini, Format::Chat, "gpt-4o", &google);
    assert_eq!(dropped, "safetySettings");
    let messages = chat["messages"].as_array().expect("messages");
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(messages[3]["tool_call_id"], messages[2]["tool_calls"][0]["id"]);
    assert_eq!(messages[3]["content"], "two");
    assert_eq!(messages[1]["content"][1]["input_audio"], json!({"data": "AA==", "format": "wav"}));
    assert_eq!((&chat["tool_choice"], &chat["max_tokens"]), (&json!("required"), &json!(5)));
    assert_eq!(chat["reasoning_effort"], "medium");
    assert_eq!(chat["tools"][0]["function"]["parameters"]["type"], "object");
}

#[test]
fn what_google_cannot_say_is_refused() {
    let file = json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]});
    let refused = translate::request(Format::Chat, Format::Gemini, file.to_string().as_bytes(), &target("m"));
    assert!(matches!(refused, Err(Fault::Unsupported(_))));
    let broken = json!({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1"}}]}]});
    let refused = translate::request(Format::Chat, Format::Gemini, broken.to_string().as_bytes(), &target("m"));
    assert!(matches!(refused, Err(Fault::Invalid { .. })));
}

#[test]
fn answers_in_both_directions() {
    let google = json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "hm", "thought": true}, {"text": "see "}, {"text": "there"},
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}]},
            "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
                "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 3, "text": "see"}, "groundingChunkIndices": [0]}]},
            "logprobsResult": {"chosenCandidates": [{"token": "a", "logProbability": -0.5}],
                "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}]}]}}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 10},
        "modelVersion": "gemini-x", "responseId": "abc"});
    let chat = answer(Format::Gemini, Format::Chat, &google);
    let message = &chat["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("see there"), &json!("hm")));
    let call = &message["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("call_abc_0"), &json!("{\"a\":1}")));
    assert_eq!(call["extra_content"]["google"]["thought_signature"], "c2ln");
    let cited = &message["annotations"][0]["url_citation"];
    assert_eq!((&cited["url"], &cited["end_index"]), (&json!("https://a.example"), &json!(3)));
    assert_eq!(chat["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chat["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"], json!(-0.5));
    assert_eq!(chat["usage"]["completion_tokens"], 5);
    let back = answer(Format::Chat, Format::Gemini, &chat);
    let parts = &back["candidates"][0]["content"]["parts"];
    assert_eq!(parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(parts[1], json!({"text": "see there"}));
    assert_eq!(parts[2]["functionCall"], json!({"id": "call_abc_0", "name": "f", "args": {"a": 1}}));
    assert_eq!(parts[2]["thoughtSignature"], "c2ln");
    assert_eq!(back["usageMetadata"], google["usageMetadata"]);
    assert_eq!(back["candidates"][0]["logprobsResult"], google["candidates"][0]["logprobsResult"]);
    assert_eq!(back["candidates"][0]["groundingMetadata"]["groundingChunks"][0]["web"]["uri"], "https://a.example");
}

#[test]
fn blocked_prompts_and_broken_calls() {
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}});
    let chat = answer(Format::Gemini, Format::Chat, &blocked);
    assert_eq!(chat["choices"][0]["finish_reason"], "content_filter");
    assert!(chat["choices"][0]["message"]["refusal"].as_str().is_some_and(|text| text.contains("SAFETY")));
    let streamed = stream(Format::Gemini, Format::Chat, &[blocked], "");
    assert_eq!(streamed.last().expect("a chunk")["choices"][0]["finish_reason"], "content_filter");
    let broken = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}]}}]});
    let google = answer(Format::Chat, Format::Gemini, &broken);
    assert_eq!(google["candidates"][0]["finishReason"], "MALFORMED_FUNCTION_CALL");
}

#[test]
fn streams_in_both_directions() {
    let part = |part: Value| json!({"candidates": [{"content": {"parts": [part]}, "index": 0}], "responseId": "abc"});
    let last = json!({"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3}});
    let google = [
        part(json!({"text": "hm", "thought": true})),
        part(json!({"text": "see"})),
        part(json!({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"})),
        part(json!({"functionCall": {"name": "f"}})),
        last,
    ];
    let chat = stream(Format::Gemini, Format::Chat, &google, "");
    let deltas: Vec<&Value> = chat.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let calls: Vec<&Value> = deltas.iter().flat_map(|delta| delta["tool_calls"].as_array()).flatten().collect();
    assert_eq!(calls[0]["id"], "call_abc_0");
    assert_eq!(calls[0]["extra_content"]["google"]["thought_signature"], "c2ln");
    assert_eq!(calls[1]["function"]["arguments"], "{\"a\":1}");
    assert_eq!((&calls[2]["id"], &calls[2]["index"]), (&json!("call_abc_1"), &json!(1)));
    assert!(deltas.iter().any(|delta| delta["reasoning_content"] == "hm"));
    assert_eq!(chat.last().expect("a chunk")["choices"][0]["finish_reason"], "tool_calls");
    let back = stream(Format::Chat, Format::Gemini, &chat, "data: [DONE]\n\n");
    let parts: Vec<&Value> = back.iter().map(|chunk| &chunk["candidates"][0]["content"]["parts"][0]).collect();
    assert_eq!(*parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(*parts[1], json!({"text": "see"}));
    assert_eq!(parts[2]["functionCall"], json!({"id": "call_abc_0", "name": "f", "args": {"a": 1}}));
    assert_eq!(parts[3]["functionCall"]["args"], json!({}));
    assert_eq!(back.last().expect("a chunk")["candidates"][0]["finishReason"], "STOP");
}

#[test]
fn proofs_survive_googles_clients() {
    let messages = json!({"content": [{"type": "thinking", "thinking": "hm", "signature": "A+/=_-"},
        {"type": "redacted_thinking", "data": "gAAA_-"}], "stop_reason": "end_turn", "usage": {}, "id": "x", "model": "m"});
    let google = answer(Format::Messages, Format::Gemini, &messages);
    let content = &google["candidates"][0]["content"];
    let (back, _) = request(Format::Gemini, Format::Messages, "claude", &json!({"contents": [content]}));
    assert_eq!(back["messages"][0]["content"], messages["content"]);
}

#[test]
fn proofs_of_calls_survive_anthropics_clients() {
    let google = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"}]}}], "responseId": "x"});
    let message = answer(Format::Gemini, Format::Messages, &google);
    let (back, _) = request(
        Format::Messages,
        Format::Gemini,
        "gemini-3-flash",
        &json!({"max_tokens": 9, "messages": [{"role": "assistant", "content": message["content"]}]}),
    );
    assert_eq!(back["contents"][0]["parts"], google["candidates"][0]["content"]["parts"]);
}

#[test]
fn failures_inside_a_stream() {
    let mut reading = Stream::new(Format::Gemini, Format::Messages, Context::default());
    let mut out = Vec::new();
    let event = b"data: {\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}\n\n";
    reading.event(event, &mut out).expect("an event");
    assert!(reading.progress().failed && String::from_utf8_lossy(&out).contains("overloaded_error"));
    let mut writing = Stream::new(Format::Messages, Format::Gemini, Context::default());
    let mut out = Vec::new();
    let event =
        b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n";
    writing.event(event, &mut out).expect("an event");
    assert!(String::from_utf8_lossy(&out).contains(r#""status":"UNAVAILABLE""#));
}
