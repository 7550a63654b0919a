//! One text in every place of every dialect, cut into events at every place.

use super::*;

const MAIL: &str = r"\b[a-z.]+@[a-z]+\.[a-z]{2,}\b";

/// A place of a stream where text grows: the event that adds a piece.
pub(super) type Place = fn(&str) -> (&'static str, Value);

/// Writes an event as its dialect does.
pub(super) fn event(dialect: Dialect, (kind, data): (&str, Value)) -> Vec<u8> {
    if dialect == Dialect::Bedrock {
        let mut out = Vec::new();
        let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
        eventstream::write(&mut out, &headers, |out| out.extend_from_slice(data.to_string().as_bytes()));
        return out;
    }
    let name = if kind.is_empty() { String::new() } else { format!("event: {kind}\n") };
    format!("{name}data: {data}\n\n").into_bytes()
}

pub(super) fn places() -> Vec<(usize, &'static str, Place)> {
    let mut all: Vec<(usize, &'static str, Place)> = vec![
        (0, "content", |text| ("", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))),
        (0, "second choice", |text| ("", json!({"choices": [{"delta": {"content": text}, "index": 1}]}))),
        (0, "no number", |text| ("", json!({"choices": [{"delta": {"content": text}}]}))),
        (0, "empty finish", |text| {
            ("", json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": ""}]}))
        }),
        (0, "reasoning", |text| ("", json!({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]}))),
        (0, "refusal", |text| ("", json!({"choices": [{"index": 0, "delta": {"refusal": text}}]}))),
        (0, "parts", |text| {
            ("", json!({"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": text}]}}]}))
        }),
        (0, "arguments", |text| {
            let calls = json!([{"index": 2, "function": {"arguments": text}}]);
            ("", json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}))
        }),
        (1, "text", |text| ("", json!({"choices": [{"index": 0, "text": text, "logprobs": null}]}))),
        (3, "text", |text| {
            (
                "content_block_delta",
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            )
        }),
        (3, "thinking", |text| {
            (
                "content_block_delta",
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}),
            )
        }),
        (3, "arguments", |text| {
            (
                "content_block_delta",
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}}),
            )
        }),
        (4, "text", |text| ("", json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}))),
        (4, "thought", |text| {
            ("", json!({"candidates": [{"index": 1, "content": {"parts": [{"text": text, "thought": true}]}}]}))
        }),
        (4, "shifting place", |text| {
            let before = json!({"text": "hm", "thought": true});
            let parts =
                if text.len().is_multiple_of(2) { json!([before, {"text": text}]) } else { json!([{"text": text}]) };
            ("", json!({"candidates": [{"index": 0, "content": {"parts": parts}}]}))
        }),
        (5, "text", |text| {
            (
                "content-delta",
                json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}),
            )
        }),
        (5, "plan", |text| {
            ("tool-plan-delta", json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}}))
        }),
        (5, "arguments", |text| {
            let calls = json!({"function": {"arguments": text}});
            (
                "tool-call-delta",
                json!({"type": "tool-call-delta", "index": 1, "delta": {"message": {"tool_calls": calls}}}),
            )
        }),
        (6, "text", |text| ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}}))),
        (6, "reasoning", |text| {
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": text}}}))
        }),
        (6, "arguments", |text| {
            ("contentBlockDelta", json!({"contentBlockIndex": 3, "delta": {"toolUse": {"input": text}}}))
        }),
    ];
    let responses: [(&'static str, Place); 4] = [
        ("text", |text| {
            (
                "response.output_text.delta",
                json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "a", "output_index": 0, "content_index": 0, "delta": text, "obfuscation": "a.b"}),
            )
        }),
        ("refusal", |text| {
            (
                "response.refusal.delta",
                json!({"type": "response.refusal.delta", "sequence_number": 4, "item_id": "a", "output_index": 0, "content_index": 0, "delta": text}),
            )
        }),
        ("summary", |text| {
            (
                "response.reasoning_summary_text.delta",
                json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": text}),
            )
        }),
        ("arguments", |text| {
            (
                "response.function_call_arguments.delta",
                json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": text}),
            )
        }),
    ];
    all.extend(responses.map(|(name, place)| (2, name, place)));
    all
}

/// What a place says, as a client puts it together.
pub(super) fn said(stream: &[u8], dialect: Dialect, place: Place) -> String {
    // The text's place in the event is where a probe stands.
    let (_, probe) = place("\u{1}a");
    fn pointer(value: &Value) -> Option<String> {
        match value {
            Value::String(text) if text == "\u{1}a" => Some(String::new()),
            Value::Object(members) => {
                members.iter().find_map(|(name, value)| Some(format!("/{name}{}", pointer(value)?)))
            }
            Value::Array(elements) => {
                elements.iter().enumerate().find_map(|(at, value)| Some(format!("/{at}{}", pointer(value)?)))
            }
            _ => None,
        }
    }
    let pointer = pointer(&probe).expect("the probe");
    let other = pointer.replace("parts/1", "parts/0");
    let events = events(dialect, stream);
    let piece = |data: &Value| {
        let thought = data.pointer("/candidates/0/content/parts/0/thought").is_some();
        let found = data.pointer(&pointer).or_else(|| data.pointer(&other).filter(|_| !thought || pointer == other));
        found.and_then(|text| text.as_str().map(str::to_string))
    };
    events.iter().filter(|(kind, _)| kind != "error").filter_map(|(_, data)| piece(data)).collect()
}

pub(super) fn cuts(text: &str) -> Vec<Vec<&str>> {
    let at: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    let mut all: Vec<Vec<&str>> = at.iter().map(|at| vec![&text[..*at], &text[*at..]]).collect();
    all.push(at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect());
    all.push(vec![text]);
    all
}

pub(super) fn stream(dialect: Dialect, place: Place, parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| event(dialect, place(part))).collect()
}

#[test]
fn every_cut_of_a_text_is_redacted_alike() {
    let texts = [
        ("write to jane.doe@example.org today", "write to [SECRET] today"),
        ("to jane\u{200b}.doe@\u{ff45}xample.org, ok", "to [SECRET], ok"),
        ("jane.doe@example.org", "[SECRET]"),
        ("a@b.cd e@f.gh\" \\", "[SECRET] [SECRET]\" \\"),
    ];
    for mode in ["window", "hold"] {
        let side = side(MAIL, "redact", mode);
        for (at, name, place) in places().into_iter().filter(|(_, name, _)| *name != "arguments") {
            for (text, clean) in texts {
                for parts in cuts(text) {
                    let outcome = run(DIALECTS[at], &side, [&stream(DIALECTS[at].0, place, &parts)[..]]);
                    let heard = said(&outcome.out, DIALECTS[at].0, place);
                    assert_eq!(heard, clean, "{:?} {name} {parts:?}", DIALECTS[at]);
                    assert!(!String::from_utf8_lossy(&outcome.out).contains("doe"));
                }
            }
        }
    }
}

#[test]
fn arguments_stay_json() {
    let texts = [
        (r#"{"to": "jane.doe@example.org", "n": 1}"#, MAIL, r#"{"to": "[SECRET]", "n": 1}"#),
        (r#"{"to": "\njane.doe@example.org\n"}"#, MAIL, r#"{"to": "[SECRET]\n"}"#),
        (r#"{"card": -4111111111111111}"#, r"\d{16}", r#"{"card": "[SECRET]"}"#),
        (r#"{"n": 4111111111111111, "m": [5111111111111111]}"#, r"\d{16}", r#"{"n": "[SECRET]", "m": ["[SECRET]"]}"#),
        (r#"{"password": "hunter22", "x": 1}"#, r#"password\W+\w{8}"#, r#"{"[SECRET]": "", "x": 1}"#),
        (r#"{"k": "abc\u0031\u0032\u0033z"}"#, "abc123", r#"{"k": "[SECRET]z"}"#),
    ];
    for (text, regex, clean) in texts {
        let side = side(regex, "redact", "window");
        let masks = self::side(regex, "mask", "window");
        for (at, name, place) in places().into_iter().filter(|(_, name, _)| *name == "arguments") {
            for parts in cuts(text) {
                let stream = stream(DIALECTS[at].0, place, &parts);
                let outcome = run(DIALECTS[at], &side, [&stream[..]]);
                let heard = said(&outcome.out, DIALECTS[at].0, place);
                assert_eq!(heard, clean, "{:?} {name} {parts:?}", DIALECTS[at]);
                let outcome = run(DIALECTS[at], &masks, [&stream[..]]);
                let heard = said(&outcome.out, DIALECTS[at].0, place);
                serde_json::from_str::<Value>(&heard).expect(&heard);
                assert_ne!(heard, text);
            }
        }
    }
}

#[test]
fn every_cut_of_a_text_is_blocked_alike() {
    let text = "write to jane.doe@example.org today";
    let side = side(MAIL, "block", "window");
    for (at, name, place) in places() {
        let mut refusals = Vec::new();
        for parts in cuts(text) {
            let outcome = run(DIALECTS[at], &side, [&stream(DIALECTS[at].0, place, &parts)[..]]);
            let heard = said(&outcome.out, DIALECTS[at].0, place);
            assert_eq!(heard, "write to ", "{:?} {name} {parts:?}", DIALECTS[at]);
            refusals.push(outcome.refusal.expect("blocked"));
        }
        refusals.dedup();
        assert!(refusals.len() == 1 || name == "shifting place", "{refusals:?}");
    }
}

#[test]
fn texts_that_grow_at_the_same_time_are_told_apart() {
    let (jane, other) = ("jane.doe@example.org", "nothing at all here!");
    let side = side(MAIL, "redact", "window");
    let mut out = Vec::new();
    for (one, two) in jane.chars().zip(other.chars()) {
        for (index, text) in [(0, one), (1, two)] {
            let data = json!({"choices": [{"index": index, "delta": {"content": text.to_string()}}]});
            out.extend(event(Dialect::OpenAi, ("", data)));
        }
    }
    let outcome = run(DIALECTS[0], &side, [&out[..]]);
    let texts = texts(Dialect::OpenAi, &outcome.out);
    assert_eq!(texts.values().map(String::as_str).collect::<Vec<_>>(), ["[SECRET]", other]);
}

#[test]
fn numbers_names_and_probabilities_do_not_tell() {
    let digits = side(r"\d{16}", "redact", "window");
    let call = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"card": 4111111111111111_u64}}}]}}]});
    let outcome = run(DIALECTS[4], &digits, [&event(Dialect::Gemini, ("", call))[..]]);
    let told = events(Dialect::Gemini, &outcome.out);
    assert_eq!(told[0].1.pointer("/candidates/0/content/parts/0/functionCall/args/card"), Some(&json!("[SECRET]")));
    let probable = json!({"content": [{"token": "jane", "logprob": -0.1, "bytes": [106], "top_logprobs": []}, {"token": ".doe@example.org"}]});
    let mail = side(MAIL, "redact", "window");
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "jane.doe@example.org"}, "logprobs": probable}]});
    let outcome = run(DIALECTS[0], &mail, [&event(Dialect::OpenAi, ("", chunk))[..]]);
    let told = events(Dialect::OpenAi, &outcome.out);
    assert_eq!(told[0].1["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn a_finish_reason_with_the_text_does_not_say_that_all_is_well() {
    let mail = side(MAIL, "block", "window");
    let last =
        json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "to a@b.cd"}]}, "finishReason": "STOP"}]});
    let outcome = run(DIALECTS[4], &mail, [&event(Dialect::Gemini, ("", last))[..]]);
    let told = events(Dialect::Gemini, &outcome.out);
    assert_eq!(told[0].1["candidates"][0]["finishReason"], "SAFETY");
    assert_eq!(told[0].1["candidates"][0]["content"]["parts"][0]["text"], "to ");
    assert!(told[1].1["error"].is_object());
    assert_eq!(told.len(), 2);
}

#[test]
fn the_last_event_needs_no_blank_line() {
    let mail = side(MAIL, "redact", "window");
    let stream = br#"data: {"choices":[{"index":0,"delta":{"content":"a@b.cd"}}]}"#;
    let outcome = run(DIALECTS[0], &mail, [&stream[..]]);
    assert_eq!(texts(Dialect::OpenAi, &outcome.out).into_values().collect::<Vec<_>>(), ["[SECRET]"]);
}

#[test]
fn a_match_that_only_the_end_completes_stops_the_stream_before_its_finish() {
    let mail = side(MAIL, "block", "window");
    let mut stream =
        event(Dialect::OpenAi, ("", json!({"choices": [{"index": 0, "delta": {"content": "to a@b.cd"}}]})));
    stream
        .extend(event(Dialect::OpenAi, ("", json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))));
    stream.extend(b"data: [DONE]\n\n");
    let outcome = run(DIALECTS[0], &mail, [&stream[..]]);
    let told = events(Dialect::OpenAi, &outcome.out);
    assert_eq!(told[0].1["choices"][0]["delta"]["content"], "to ");
    assert_eq!(told[1].1["choices"][0]["finish_reason"], "content_filter");
    assert!(told[2].1["error"].is_object());
    assert_eq!(told.len(), 4);
}
