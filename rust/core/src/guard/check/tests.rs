use http::HeaderMap;
use serde_json::json;

use super::*;

fn view(text: &str) -> View {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
    View {
        output: false,
        pieces: texts::asked(body.as_bytes()).unwrap_or_default(),
        body: body.into(),
        answer: Bytes::new(),
        status: 0,
        model: "m".into(),
        provider: String::new(),
        kind: "chatComplete",
        stream: false,
        metadata: json!({"team": "a", "n": 1}).as_object().cloned().unwrap_or_default(),
        headers: HeaderMap::new(),
        request_id: String::new(),
        key: String::new(),
        key_alias: String::new(),
        user: String::new(),
        team: String::new(),
        body_value: OnceLock::new(),
        answer_value: OnceLock::new(),
    }
}

#[test]
fn parameters_that_nobody_reads_are_refused() {
    let fault = |id: &str, parameters: Value| Check::parse(id, &parameters, false).expect_err(id);
    assert_eq!(fault("regexMatch", json!({"rul": "a", "rule": "a"})).0, "rul");
    assert!(fault("regexMatch", json!({"rule": "(?=a)b"})).1.contains("linear time"));
    assert!(fault("regexmatch", json!({"rule": "a"})).1.contains("did you mean `regexMatch`"));
    assert!(fault("wordCount", json!({"minWords": 3, "maxWords": 2})).1.contains("more than"));
    assert!(fault("jsonSchema", json!({})).1.contains("missing"));
    assert!(fault("webhook", json!({"webhookURL": "ftp://x"})).1.contains("http"));
    assert!(fault("webhook", json!({"webhookURL": "unix:/x:/"})).1.contains("http"));
}

#[test]
fn a_change_is_of_the_text_it_was_made_of() {
    let check = Check::parse("regexReplace", &json!({"rule": "/b+/g", "redactText": "x"}), false).expect("valid");
    let outcome = check.run(&view("abba abb"), Scope::All);
    let Some(Change::Pieces(changes)) = outcome.change else { unreachable!("changed") };
    assert_eq!(changes, [(0, "axa ax".to_string())]);
}
