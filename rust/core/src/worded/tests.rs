use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::error::Result;

/// A row's words, as Python sends them, without what they leave out.
fn worded(told: Value) -> Box<Worded> {
    let field = |mut field: Value| {
        let usual = json!({
            "place": "body", "to": field["name"], "words": {}, "only": false, "form": null, "like": null, "default": null,
            "require": false, "drop": false, "reject": null, "min": null, "max": null,
        });
        for (name, value) in usual.as_object().expect("an object") {
            if field.get(name).is_none() {
                field[name] = value.clone();
            }
        }
        field
    };
    let mut whole = json!({"body": "json", "rest": "body", "answer": null});
    for (name, value) in told.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    whole["fields"] = told["fields"].as_array().expect("an array").iter().cloned().map(field).collect();
    let wire = serde_json::from_value(whole).expect("a request of a row");
    Worded::compile(&wire, "m-2").expect("it can be compiled")
}

fn asked<'a>(line: &'a str, body: &'a Bytes, boundary: Option<&'a str>) -> Asked<'a> {
    Asked { provider: "p", model: "m-2", line: line.as_bytes(), body, boundary, content_type: None }
}

fn json_of(worded: &Worded, line: &str, body: Value) -> Result<(String, Value, Vec<String>)> {
    let body = Bytes::from(body.to_string());
    let written = worded.write(&asked(line, &body, None))?;
    let line = String::from_utf8(written.sent.line.to_vec()).expect("UTF-8");
    let made = serde_json::from_slice(&written.body.concat()).expect("JSON");
    assert_eq!(written.sent.content_type, "application/json");
    Ok((line, made, written.dropped.iter().map(ToString::to_string).collect()))
}

fn speech() -> Box<Worded> {
    worded(json!({"fields": [
        {"name": "model", "to": "model_id"},
        {"name": "input", "to": "text", "require": true},
        {"name": "voice", "place": "path", "require": true, "words": {"alloy": {"voice": "id-1"}}},
        {"name": "response_format", "place": "query", "to": "output", "only": true, "default": "mp3",
         "words": {"mp3": {"output": "mp3_1"}, "wav": {"output": "pcm", "box": "wav"}}},
        {"name": "speed", "to": "settings.speed", "min": 0.5, "max": 1.5},
        {"name": "instructions", "drop": true},
        {"name": "hook", "reject": "Wait for the answer."},
        {"name": "stream_format", "words": {"audio": {}}, "only": true},
    ]}))
}

const LINE: &str = "POST /v1/say/{voice}";

#[test]
fn every_parameter_goes_where_the_row_says() {
    let (line, body, dropped) = json_of(
        &speech(),
        LINE,
        json!({
            "model": "public", "input": "hello", "voice": "alloy", "response_format": "wav", "speed": 9, "seed": 7,
            "settings": {"calm": 1}, "instructions": "softly", "model_id": "dearer", "hook": false, "stream_format": "audio",
        }),
    )
    .expect("a request");
    assert_eq!(line, "POST /v1/say/id-1?box=wav&output=pcm");
    assert_eq!(body, json!({"model_id": "m-2", "text": "hello", "settings": {"calm": 1, "speed": 1.5}, "seed": 7}));
    assert_eq!(dropped, ["speed=1.5", "instructions", "model_id"]);
}

#[test]
fn what_is_not_said_is_left_out_or_has_its_default() {
    let (line, body, dropped) =
        json_of(&speech(), LINE, json!({"input": "x", "voice": {"id": "a/b é"}, "speed": null})).expect("a request");
    assert_eq!(line, "POST /v1/say/a%2Fb%20%C3%A9?output=mp3_1");
    assert_eq!((body, dropped.is_empty()), (json!({"model_id": "m-2", "text": "x"}), true));
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (more, says) in [
        (json!({"response_format": "aac"}), "does not support 'aac' as 'response_format'. Supported: mp3, wav."),
        (json!({"stream_format": "sse"}), "Supported: audio."),
        (json!({"voice": null}), "Missing required parameter: 'voice' (provider 'p' needs it)."),
        (json!({"voice": ".."}), "Invalid 'voice': it cannot be a part of a path."),
        (json!({"voice": " "}), "Invalid 'voice'"),
        (json!({"voice": ["a"]}), "Invalid 'voice'"),
        (json!({"voice": "x".repeat(257)}), "Invalid 'voice'"),
        (json!({"speed": "fast"}), "Invalid 'speed': a number is expected."),
        (json!({"settings": 1, "speed": 1}), "Invalid 'settings': an object is expected."),
        (json!({"hook": true}), "does not support the parameter 'hook'. Wait for the answer."),
    ] {
        let mut body = json!({"input": "x", "voice": "v"});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let error = json_of(&speech(), LINE, body).expect_err(&more.to_string());
        assert!(error.message.contains(says), "{}", error.message);
        assert_eq!(error.http_status().as_u16(), 400);
    }
    let body = Bytes::from_static(b"no");
    assert!(speech().write(&asked(LINE, &body, None)).is_err());
}

#[test]
fn a_value_may_have_the_model_around_it() {
    let worded = worded(json!({"rest": "query", "fields": [
        {"name": "input", "to": "text"},
        {"name": "voice", "place": "query", "to": "model", "form": "{model}-{value}", "like": "[a-z]+",
         "words": {"alloy": {"model": "thalia"}}},
    ]}));
    for (voice, model) in [("alloy", "m-2-thalia"), ("luna", "m-2-luna"), ("m-2-luna", "m-2-luna")] {
        let sent = json!({"input": "x", "voice": voice, "model": "public", "tag": ["a b", "c"], "é": 1});
        let (line, body, _) = json_of(&worded, "POST /speak?v=1", sent).expect("a request");
        assert_eq!(line, format!("POST /speak?v=1&model={model}&tag=a%20b&tag=c"));
        assert_eq!(body, json!({"text": "x"}));
    }
    // Not a dearer model by the name of a voice.
    for voice in ["3-luna", "m-2-3-luna", "", "luna x"] {
        let error = json_of(&worded, "POST /speak", json!({"input": "x", "voice": voice})).expect_err(voice);
        assert!(error.message.contains("as 'voice'. Supported: alloy."), "{}", error.message);
    }
}

fn form(more: &str) -> Bytes {
    let field =
        |name: &str, value: &str| format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\\\"b.mp3\"\r\n";
    let file = file.replace("\\\"", "é");
    let whole = [
        field("model", "public"),
        field("language", "de"),
        field("timestamp_granularities[]", "word"),
        field("keyterm[]", "one"),
        field("keyterm[]", "two"),
        format!("{file}{more}\r\nID3 bytes\r\n--x--\r\n"),
    ];
    whole.concat().into()
}

fn transcript(body: &str, rest: &str) -> Box<Worded> {
    let place = if body == "file" { "query" } else { "body" };
    worded(json!({"body": body, "rest": rest, "fields": [
        {"name": "model", "place": place, "to": "model_id"},
        {"name": "language", "place": place, "to": "lang", "default": "auto", "words": {"auto": {"detect": "true"}}},
    ], "answer": {"text": "/text", "language": null, "duration": null, "words": null, "segments": null}}))
}

#[test]
fn a_file_alone_is_the_body() {
    let body = form("Content-Type: audio/mpeg\r\n");
    let written = transcript("file", "query").write(&asked("POST /listen", &body, Some("x"))).expect("a request");
    assert_eq!(&written.sent.line[..], b"POST /listen?model_id=m-2&lang=de&keyterm=one&keyterm=two");
    assert_eq!(written.sent.content_type, "audio/mpeg");
    assert_eq!(written.body.concat(), b"ID3 bytes");
    // A type that would make another request of it is not passed on.
    for kind in ["Content-Type: application/json\r\n", "Content-Type: application/octet-stream\r\n", ""] {
        let body = form(kind);
        let written = transcript("file", "query").write(&asked("POST /listen", &body, Some("x"))).expect("a request");
        assert_eq!(written.sent.content_type, "audio/mpeg");
    }
    let empty = Bytes::from_static(b"--x\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\n\r\n--x--\r\n");
    let error = transcript("file", "query").write(&asked("POST /listen", &empty, Some("x"))).expect_err("no file");
    assert_eq!(error.message, "Missing required parameter: 'file' (provider 'p' needs it).");
}

#[test]
fn a_form_is_written_anew() {
    let body = form("Content-Type: audio/mpeg\r\n");
    let content_type = HeaderValue::from_static("multipart/form-data; boundary=x");
    let mut asked = asked("POST /stt", &body, Some("x"));
    asked.content_type = Some(&content_type);
    let written = transcript("form", "body").write(&asked).expect("a request");
    assert_eq!((&written.sent.line[..], &written.sent.content_type), (b"POST /stt".as_slice(), &content_type));
    let whole = written.body.concat();
    let parts = crate::wire::multipart::parts(&whole, "x").expect("a form");
    let found: Vec<(String, Option<String>, String)> = parts
        .iter()
        .map(|part| {
            let content = String::from_utf8_lossy(&whole[part.content.clone()]).into_owned();
            (part.name.clone(), part.filename.clone(), content)
        })
        .collect();
    let field = |name: &str, value: &str| (name.to_string(), None, value.to_string());
    let mut fields = found.clone();
    let file = fields.pop().expect("a file");
    fields.sort();
    let told = [("keyterm[]", "one"), ("keyterm[]", "two"), ("lang", "de"), ("model_id", "m-2")];
    assert_eq!(fields, told.map(|(name, value)| field(name, value)));
    assert_eq!(file, ("file".to_string(), Some("ab.mp3".to_string()), "ID3 bytes".to_string()));
}

#[test]
fn formats_of_transcripts_are_known_before_anything_is_sent() {
    let form = |format: &str| {
        let field = format!("--x\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\n{format}\r\n");
        let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nb\r\n--x--\r\n";
        Bytes::from(format!("{field}{file}"))
    };
    for (format, fits) in
        [("json", true), ("text", true), ("verbose_json", true), ("srt", false), ("diarized_json", false)]
    {
        let body = form(format);
        let written = transcript("file", "query").write(&asked("POST /listen", &body, Some("x")));
        assert_eq!(written.is_ok(), fits, "{format}");
        match written {
            Ok(written) => assert_eq!(&written.sent.line[..], b"POST /listen?model_id=m-2&detect=true"),
            Err(error) => assert!(error.message.contains("Supported: json, text, verbose_json."), "{}", error.message),
        }
    }
}

#[test]
fn words_that_there_are_not_stop_the_start() {
    let wire = |body: &str, place: &str| wire::Worded {
        body: body.to_string(),
        rest: "body".to_string(),
        fields: vec![wire::Field {
            name: "a".to_string(),
            place: place.to_string(),
            to: "a".to_string(),
            words: BTreeMap::new(),
            only: false,
            form: None,
            like: None,
            default: None,
            require: false,
            drop: false,
            reject: None,
            min: None,
            max: None,
        }],
        answer: None,
    };
    assert!(Worded::compile(&wire("xml", "body"), "m").is_err());
    assert!(Worded::compile(&wire("json", "header"), "m").is_err());
    assert!(Worded::compile(&wire("json", "body"), "m").is_ok());
}
