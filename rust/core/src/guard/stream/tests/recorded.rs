//! Recorded streams: whatever the bytes are cut into, the same leaves.

use super::*;

const RECORDED: [(usize, &[u8]); 6] = [
    (0, include_bytes!("../../../dialect/translate/tests/recorded/chat.sse")),
    (2, include_bytes!("../../../dialect/translate/tests/recorded/responses.sse")),
    (3, include_bytes!("../../../dialect/translate/tests/recorded/messages.sse")),
    (4, include_bytes!("../../../dialect/translate/tests/recorded/gemini.sse")),
    (5, include_bytes!("../../../dialect/translate/tests/recorded/cohere.sse")),
    (6, include_bytes!("../../../dialect/translate/tests/recorded/converse.frames")),
];

fn bytes(at: usize, recorded: &[u8]) -> Vec<u8> {
    if DIALECTS[at].0 != Dialect::Bedrock {
        return recorded.to_vec();
    }
    let mut out = Vec::new();
    let lines = std::str::from_utf8(recorded).expect("UTF-8").lines();
    for (kind, payload) in lines.filter_map(|line| line.split_once(' ')) {
        let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
        eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload.as_bytes()));
    }
    out
}

pub(super) fn all() -> impl Iterator<Item = ((Dialect, Operation), Vec<u8>)> {
    RECORDED.into_iter().map(|(at, recorded)| (DIALECTS[at], bytes(at, recorded)))
}

fn every_cut(caller: (Dialect, Operation), side: &Side, stream: &[u8]) -> Outcome {
    let expected = run(caller, side, [stream]);
    // Every fifth place: cuts between lines and inside characters are all met.
    for at in (1..stream.len()).step_by(5) {
        assert_eq!(run(caller, side, [&stream[..at], &stream[at..]]), expected, "{caller:?} cut at {at}");
    }
    assert_eq!(run(caller, side, stream.chunks(1)), expected, "{caller:?} in bytes");
    expected
}

#[test]
fn what_nothing_is_found_in_leaves_byte_for_byte() {
    for (caller, stream) in all() {
        let outcome = every_cut(caller, &side("nowhere[0-9]", "redact", "window"), &stream);
        assert_eq!(outcome, Outcome { out: stream.clone(), refusal: None }, "{caller:?}");
    }
}

#[test]
fn texts_thoughts_and_arguments_are_redacted() {
    for (caller, stream) in all() {
        for (regex, hidden) in [("Zürich", "Zürich"), ("e see", "e see"), (r#"a": ?1"#, "\"a"), ("é", "é")] {
            // Google's arguments do not come in pieces.
            if caller.0 == Dialect::Gemini && !["Zürich", "e see"].contains(&regex) {
                continue;
            }
            let outcome = every_cut(caller, &side(regex, "redact", "window"), &stream);
            let before = texts(caller.0, &stream);
            let after = texts(caller.0, &outcome.out);
            assert!(before.values().any(|text| text.contains(hidden)), "{caller:?} {before:?}");
            assert!(!after.values().any(|text| text.contains(hidden)), "{caller:?} {after:?}");
            let whole = String::from_utf8_lossy(&outcome.out).into_owned();
            assert!(whole.contains("[SECRET]"), "{caller:?} {whole}");
            for text in after.iter().filter(|(name, _)| name.ends_with("arguments") || name.ends_with("json")) {
                serde_json::from_str::<Value>(text.1).expect(text.1);
            }
        }
    }
}

#[test]
fn what_blocks_ends_the_stream_as_the_dialect_does() {
    for (caller, stream) in all() {
        for mode in ["window", "hold"] {
            for regex in ["Zürich", "e see"] {
                let outcome = every_cut(caller, &side(regex, "block", mode), &stream);
                assert!(outcome.refusal.expect("blocked").contains("'rule'"));
                let told = events(caller.0, &outcome.out);
                assert!(!String::from_utf8_lossy(&outcome.out).contains(regex));
                let reason = match caller.0 {
                    Dialect::Anthropic => "refusal",
                    Dialect::Gemini => "SAFETY",
                    Dialect::Cohere => "ERROR",
                    Dialect::Bedrock => "guardrail_intervened",
                    _ => "content_filter",
                };
                let is = |event: &(String, Value), text: &str| event.1.to_string().contains(text);
                assert!(told.iter().any(|event| is(event, &format!("\"{reason}\""))), "{caller:?} {told:?}");
                assert!(told.iter().any(|event| is(event, "Guardrail 'rule'")), "{caller:?} {told:?}");
                let texts = texts(caller.0, &outcome.out);
                assert_eq!(mode == "hold", texts.is_empty(), "{caller:?} {mode} {texts:?}");
            }
        }
    }
}
