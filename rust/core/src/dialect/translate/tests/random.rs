//! Anything is translated or refused, and what is written is whole.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

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
