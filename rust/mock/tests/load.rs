//! The generator against the provider: what it counts is what happened.

#![allow(clippy::unwrap_used, reason = "a test that fails shall say where")]

use ailink_mock::provider::{Handle, Options, serve};
use serde_json::{Value, json};

fn provider() -> Handle {
    serve(Options { threads: 2, ..Options::default() }).unwrap()
}

fn load(handle: &Handle, path: &str, args: &str) -> Value {
    let url = format!("http://{}{path}", handle.address().unwrap());
    let args = ["--url".to_owned(), url].into_iter().chain(args.split(' ').map(str::to_owned)).collect();
    ailink_mock::load::report(args).unwrap()
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn whole_answers_are_checked_and_paired() {
    let handle = provider();
    let report = load(&handle, CHAT, "--connections 4 --requests 200");
    assert_eq!((&report["ok"], &report["errors"]), (&json!(200), &json!({})), "{report}");
    let slow = load(&handle, CHAT, "--rate 200 --requests 60 --script latency=40 --threads 2");
    assert_eq!((&slow["ok"], &slow["sent"]), (&json!(60), &json!(60)), "{slow}");
    let latency = &slow["latency_us"];
    assert!(latency["total"]["min"].as_f64().unwrap() >= 40_000.0, "{slow}");
    // The provider's own 40 ms are taken off request by request.
    assert_eq!(latency["added"]["count"], 60);
    assert!(latency["added"]["p50"].as_f64().unwrap() < 30_000.0, "{slow}");
    handle.stop();
}

#[test]
fn streams_are_followed_event_by_event() {
    let handle = provider();
    let args = "--connections 3 --requests 12 --stream --expect-events 23 --script events=20;gap=2;stamp=1";
    let report = load(&handle, CHAT, args);
    assert_eq!((&report["ok"], &report["events"]), (&json!(12), &json!(12 * 23)), "{report}");
    assert_eq!(report["latency_us"]["event_added"]["count"], 12 * 23);
    let args = "--preset messages --stream --connections 2 --requests 6 --expect-events 26 --script events=20;split=7";
    let report = load(&handle, "/v1/messages", args);
    assert_eq!((&report["ok"], &report["errors"]), (&json!(6), &json!({})), "{report}");
    handle.stop();
}

#[test]
fn failures_have_their_classes() {
    let handle = provider();
    let classes = [
        ("--script status=429", "status_429"),
        ("--script reset_at_byte=9", "reset"),
        ("--script close_at_byte=9", "cut"),
        ("--script drop=close", "no_answer"),
        ("--script body=garbage", "content"),
        ("--timeout 200 --script latency=60s", "timeout"),
        ("--stream --script done=0", "no_terminator"),
        ("--stream --script error_at_event=2", "error_event"),
        ("--stream --expect-events 99 --script events=4", "missing_events"),
    ];
    for (args, class) in classes {
        let report = load(&handle, CHAT, &format!("--connections 1 --requests 3 {args}"));
        assert_eq!(report["errors"], json!({class: 3}), "{args}: {report}");
    }
    let left = load(&handle, CHAT, "--rate 100 --requests 20 --stream --leave 1:3events --script events=9;gap=5");
    assert_eq!((&left["left"], &left["errors"]), (&json!(20), &json!({})), "{left}");
    let slow = load(&handle, CHAT, "--rate 100 --requests 4 --slow 1:20000");
    assert_eq!(slow["ok"], 4, "{slow}");
    handle.stop();
}
