//! Tokens in every place of every dialect, cut into events and packets at every place, become values again.

use std::sync::Arc;

use super::cuts::{cuts, event, places, said, stream};
use super::*;
use crate::guard::vault::{Restorer, Tokens};

const VALUE: &str = "jane \"q\" \\ <j@example.com>\nZürich";

fn tokens() -> Arc<Tokens> {
    let mut tokens = Tokens::default();
    assert_eq!(tokens.token("EMAIL", VALUE, 0), "<EMAIL_1>");
    assert_eq!(tokens.token("EMAIL", "x@example.com", 0), "<EMAIL_2>");
    Arc::new(tokens)
}

fn restored(dialect: Dialect, packets: &[&[u8]]) -> Vec<u8> {
    let mut restorer = Restorer::new(tokens(), dialect == Dialect::Bedrock);
    let mut out = Vec::new();
    for packet in packets {
        out.extend_from_slice(&restorer.push(Bytes::copy_from_slice(packet)).expect("events"));
    }
    out.extend_from_slice(&restorer.end());
    out
}

#[test]
fn tokens_become_values_wherever_they_are_cut() {
    let spoken = "to <EMAIL_1>, <EMAIL_9> < <EMAIL_2>&lt;EMAIL_2&gt; <EMAIL_";
    let meant = format!("to {VALUE}, <EMAIL_9> < x@example.comx@example.com <EMAIL_");
    let quoted = serde_json::to_string(VALUE).expect("text");
    let asked = r#"{"to":"<EMAIL_1>","cc":["\u003cEMAIL_2\u003e"]}"#;
    let wanted = format!(r#"{{"to":{quoted},"cc":["x@example.com"]}}"#);
    for (at, name, place) in places() {
        let dialect = DIALECTS[at].0;
        let (text, expected) = if name == "arguments" { (asked, &wanted) } else { (spoken, &meant) };
        for parts in cuts(text) {
            let out = restored(dialect, &[&stream(dialect, place, &parts)]);
            assert_eq!(&said(&out, dialect, place), expected, "{dialect:?} {name} {parts:?}");
        }
    }
}

#[test]
fn packets_may_be_cut_anywhere() {
    for (at, name, place) in places().into_iter().filter(|(_, name, _)| *name == "text" || *name == "arguments") {
        let dialect = DIALECTS[at].0;
        let parts = ["a <EMA", "IL_1", "> b <EMAIL_2", "> c"];
        let stream = stream(dialect, place, &parts);
        let expected = restored(dialect, &[&stream]);
        assert!(!String::from_utf8_lossy(&expected).contains("EMAIL"), "{dialect:?} {name}");
        for cut in 1..stream.len() {
            assert_eq!(restored(dialect, &[&stream[..cut], &stream[cut..]]), expected, "{dialect:?} {name} at {cut}");
        }
    }
}

#[test]
fn streams_without_tokens_leave_byte_for_byte() {
    for ((dialect, _), stream) in super::recorded::all() {
        assert_eq!(restored(dialect, &[&stream]), stream, "{dialect:?}");
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(restored(dialect, &bytes), stream, "{dialect:?} in bytes");
    }
}

#[test]
fn what_never_becomes_a_token_does_not_hold_the_stream() {
    let mut restorer = Restorer::new(tokens(), false);
    let chunk = |member: &str, text: &str| {
        event(Dialect::OpenAi, ("", json!({"choices": [{"index": 0, "delta": {member: text}}]})))
    };
    assert!(restorer.push(chunk("reasoning_content", "is a <").into()).expect("an event").is_empty());
    let passed: usize =
        (0..1000).map(|_| restorer.push(chunk("content", "word ").into()).expect("an event").len()).sum();
    assert!(passed > 800 * chunk("content", "word ").len());
}
