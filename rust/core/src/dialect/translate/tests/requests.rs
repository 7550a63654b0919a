//! Requests from one format to another.

use serde_json::json;

use super::*;

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
