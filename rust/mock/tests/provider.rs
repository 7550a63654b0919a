//! The provider over real sockets: what a script does shows on the wire, and the provider knows what happened.

#![allow(clippy::unwrap_used, reason = "a test that fails shall say where")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ailink_mock::provider::{Handle, Options, serve};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn started(options: Options) -> Handle {
    serve(options).unwrap()
}

fn sent(handle: &Handle, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(handle.address().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

/// All that comes, and the error that ended it.
fn answer(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).err();
    (String::from_utf8_lossy(&bytes).into_owned(), error.map(|error| error.kind()))
}

fn get(handle: &Handle, path: &str) -> Value {
    let (text, _) = answer(sent(handle, path, "", ""));
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn last(handle: &Handle) -> Value {
    get(handle, "/mock/requests?last=1")["requests"][0].clone()
}

fn wait_for_end(handle: &Handle) -> Value {
    let give_up = Instant::now() + Duration::from_secs(5);
    loop {
        let request = last(handle);
        if !request["end"].is_null() || Instant::now() > give_up {
            return request;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn chat(script: &str, stream: bool) -> String {
    json!({"model": format!("m?{script}"), "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
}

#[test]
fn broken_answers_break_as_told() {
    let handle = started(Options::default());
    let wire = |script: &str, stream: bool| answer(sent(&handle, CHAT, "", &chat(script, stream)));

    let (text, error) = wire("reset_at_byte=20", false);
    assert_eq!((text.split_once("\r\n\r\n").unwrap().1.len(), error), (20, Some(ErrorKind::ConnectionReset)));
    assert_eq!((&last(&handle)["end"], &last(&handle)["bytes_out"]), (&json!("reset"), &json!(20)));

    let (text, error) = wire("close_at_event=3", true);
    assert_eq!((text.matches("data: ").count(), error), (4, None), "{text}");
    assert!(!text.contains("0\r\n\r\n"));
    assert_eq!(last(&handle)["events_out"], 3);

    assert_eq!(wire("drop=reset", false), (String::new(), Some(ErrorKind::ConnectionReset)));
    assert_eq!(wire("drop=close", false), (String::new(), None));

    let (text, _) = wire("content_length=+7", false);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len() + 7)), "{head}");

    for empty in ["body=empty", "status=204"] {
        assert!(wire(empty, false).0.ends_with("\r\n\r\n"));
        assert_eq!((&last(&handle)["end"], &last(&handle)["bytes_out"]), (&json!("done"), &json!(0)));
    }

    let (text, _) = wire("slow_head=40", false);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with('}'));
    handle.stop();
}

#[test]
fn a_leaving_caller_is_noticed_at_once() {
    let handle = started(Options::default());
    for (script, stream) in
        [("latency=60s", false), ("gap=60s", true), ("stall_at_byte=9", false), ("stall_at_event=2", true)]
    {
        let connection = sent(&handle, CHAT, "", &chat(script, stream));
        while last(&handle)["path"] != CHAT || !last(&handle)["end"].is_null() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = Instant::now();
        drop(connection);
        assert_eq!(wait_for_end(&handle)["end"], "client_gone", "{script}");
        assert!(left.elapsed() < Duration::from_secs(2), "{script}: {:?}", left.elapsed());
    }
    handle.stop();
}

#[test]
fn every_carrier_is_read_and_later_ones_win() {
    let handle = started(Options { script: "status=500".to_owned(), ..Options::default() });
    let status = |path: &str, headers: &str, body: &str| {
        answer(sent(&handle, path, headers, body)).0.split(' ').nth(1).unwrap().to_owned()
    };
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(status(CHAT, "", plain), "500");
    assert_eq!(status("/mock:status=501/v1/chat/completions", "", plain), "501");
    assert_eq!(status("/mock:status=501/v1/chat/completions", "", &chat("status=502", false)), "502");
    assert_eq!(status("/v1/chat/completions?a=b&mock=status=503", "", &chat("status=502", false)), "503");
    assert_eq!(status("/v1/chat/completions?mock=status=503", "X-Mock: status=504\r\n", plain), "504");
    assert_eq!(status(CHAT, "x-mock: statsu=504\r\n", plain), "400");
    assert_eq!(status("/mock/defaults", "", r#"{"script":"status=429;retry_after=3"}"#), "200");
    assert_eq!(status(CHAT, "", plain), "429");
    assert_eq!(status("/mock/reset", "", " "), "200");
    assert_eq!(
        (status(CHAT, "", plain), get(&handle, "/mock/stats")["requests"].clone()),
        ("500".to_owned(), json!(1))
    );
    handle.stop();
}

#[test]
fn the_journal_knows_every_attempt() {
    let path = std::env::temp_dir().join(format!("mock-journal-{}.jsonl", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let handle = started(Options { journal: Some(path.clone()), ..Options::default() });
    for (attempt, script) in
        [("a1", "usage=10:20;events=4"), ("a2", "usage=10:20;events=4;reset_at_event=1"), ("a3", "status=503")]
    {
        let headers = format!("x-ailink-attempt: {attempt}\r\n");
        let (_, _) = answer(sent(&handle, CHAT, &headers, &chat(script, true)));
        wait_for_end(&handle);
    }
    assert!(get(&handle, "/mock/journal/stats")["lines"].as_u64().unwrap() >= 5);
    handle.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |attempt: &str, at: &str| lines.iter().find(|line| line["attempt"] == attempt && line["at"] == at).unwrap();
    assert_eq!(lines.len(), 6);
    assert_eq!((&of("a1", "received")["model"], &of("a1", "received")["path"]), (&json!("m"), &json!(CHAT)));
    let end = of("a1", "end");
    assert_eq!(
        (&end["end"], &end["usage_in"], &end["usage_out"], &end["events_out"]),
        (&json!("done"), &json!(10), &json!(20), &json!(4))
    );
    let end = of("a2", "end");
    assert_eq!((&end["end"], &end["usage_out"], &end["usage_told"]), (&json!("reset"), &json!(5), &json!(false)));
    assert_eq!(of("a3", "end")["status"], 503);
}

#[test]
fn keys_failures_and_connections() {
    let handle = started(Options { keys: vec!["good".to_owned()], ..Options::default() });
    let status = |headers: &str, script: &str| {
        answer(sent(&handle, CHAT, headers, &chat(script, false))).0.split(' ').nth(1).unwrap_or("none").to_owned()
    };
    assert_eq!(status("", ""), "401");
    let key = "authorization: Bearer good\r\n";
    assert_eq!(status(key, ""), "200");
    let statuses: Vec<String> = (0..4).map(|_| status(key, "fail_first=2;id=x;status=503")).collect();
    assert_eq!(statuses, ["503", "503", "200", "200"]);
    assert_eq!(status(key, "fail_first=1;id=y"), "500");
    assert_eq!(status(key, "fail_first=1;id=y"), "200");
    handle.stop();
}
