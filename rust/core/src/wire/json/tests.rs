//! Equivalence with `serde_json` and with a slow, obvious twin; the published test suite; hostile documents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod suite;
mod twin;

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::*;
use suite::{ACCEPTED, REFUSED};

fn is_valid(body: &[u8]) -> bool {
    scan_object(body, &[]).is_ok()
}

/// Checks the scanner against the twin and `serde_json` on any bytes.
fn check(body: &[u8]) {
    let ours = scan_object(body, &["model", "a", "stream", "é"]);
    let members = twin::members(body);
    let trimmed = body.trim_ascii_start();
    if std::str::from_utf8(body).is_ok() && trimmed.starts_with(b"{") {
        let theirs = serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let too_deep = matches!(&ours, Err(error) if error.kind == JsonErrorKind::TooDeep);
        assert!(theirs == members.is_some() || too_deep, "serde_json disagrees on {:?}", String::from_utf8_lossy(body));
    }
    let shown = String::from_utf8_lossy(body);
    let Some(members) = members else {
        assert!(ours.is_err(), "accepted {shown:?}");
        return;
    };
    let mut keys = HashSet::new();
    let twice = members.iter().find(|member| !keys.insert(&member.0));
    match ours {
        Ok(scan) => {
            assert_eq!(twice, None, "accepted a duplicate in {shown:?}");
            assert_eq!(scan.keys as usize, members.len());
            assert_eq!(body[scan.root.range()], *body.trim_ascii());
            for (name, field) in ["model", "a", "stream", "é"].iter().zip(scan.fields) {
                let key: Vec<u16> = name.encode_utf16().collect();
                let span = members.iter().find(|member| member.0 == key).map(|member| member.1.clone());
                assert_eq!(field.map(Value::range), span, "{name} in {shown:?}");
                if let Some(value) = field {
                    check_value(body, value);
                }
            }
        }
        Err(error) => {
            assert!(twice.is_some(), "refused {shown:?}: {error}");
            assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}");
        }
    }
}

#[test]
fn a_key_is_noted_however_it_is_written() {
    let noted = |body: &str| {
        let found = scan_object_noting(body.as_bytes(), &["model", "a"], |key| key == b"odd" || key == b"a");
        found.map(|(_, key)| key.map(|key| string(body.as_bytes(), key).unwrap().into_owned()))
    };
    assert_eq!(noted(r#"{"model":1,"odd":2,"x":{}}"#), Ok(Some("odd".to_string())));
    assert_eq!(noted(r#"{"\u006fd\u0064":null}"#), Ok(Some("odd".to_string())));
    // Behind more keys than are held in the array.
    let many: String = (0..40).map(|number| format!("\"k{number}\":0,")).collect();
    assert_eq!(noted(&format!("{{{many}\"odd\":0}}")), Ok(Some("odd".to_string())));
    // Not what is inside, nor what is wanted.
    assert_eq!(noted(r#"{"model":{"odd":1},"a":[{"odd":2}],"oddd":"odd"}"#), Ok(None));
    assert!(noted(r#"{"odd":1,"odd":2}"#).is_err());
}

/// Checks what the other functions read out of a valid value.
fn check_value(body: &[u8], value: Value) {
    let raw = value.raw(body);
    match value.kind {
        Kind::Null => assert_eq!(raw, b"null"),
        Kind::Bool => assert_eq!(as_bool(body, value), serde_json::from_slice(raw).ok()),
        Kind::Number => {
            let integer = raw.iter().all(u8::is_ascii_digit);
            assert_eq!(as_u64(body, value), serde_json::from_slice(raw).ok().filter(|_: &u64| integer));
        }
        Kind::String => {
            assert_eq!(string(body, value).map(Cow::into_owned), serde_json::from_slice(raw).ok());
        }
        Kind::Array => {
            let ours: Vec<&[u8]> = elements(body, value).map(|element| element.raw(body)).collect();
            let theirs: Vec<&RawValue> = serde_json::from_slice(raw).unwrap();
            assert_eq!(ours, theirs.iter().map(|raw| raw.get().as_bytes()).collect::<Vec<_>>());
            for element in elements(body, value) {
                check_value(body, element);
            }
        }
        Kind::Object => {
            let Ok(theirs) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(raw) else {
                return; // a lone surrogate in a key
            };
            match scan_value_object(body, value, &["a", "b"]) {
                Ok(scan) => {
                    assert_eq!(scan.root, value);
                    assert_eq!(scan.keys as usize, theirs.len());
                    for (name, field) in ["a", "b"].iter().zip(scan.fields) {
                        let raw = theirs.get(*name).map(|raw| raw.get().as_bytes());
                        assert_eq!(field.map(|field| field.raw(body)), raw);
                    }
                }
                Err(error) => assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}"),
            }
        }
    }
}

/// The value as a member, at the front, at the end and deep inside, with padding that moves it over block borders.
fn wrapped(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for padding in [0, 1, 7, 14, 15, 16, 17, 60, 64] {
        let padding = "p".repeat(padding);
        for (before, after) in [
            (format!("{{\"{padding}\":"), "}".to_owned()),
            (format!("{{\"a\":\"{padding}\",\"model\":"), format!(",\"y\":\"{padding}\"}}")),
            (format!("{{\"a\":[\"{padding}\",{{\"b\":"), format!("}},\"{padding}{padding}\"]}}")),
        ] {
            all.push([before.as_bytes(), value, after.as_bytes()].concat());
        }
    }
    all
}

#[test]
fn accepts_what_the_test_suite_accepts() {
    for (name, value) in ACCEPTED {
        for document in wrapped(value) {
            assert!(is_valid(&document), "{name}: {:?}", scan_object(&document, &[]));
            check(&document);
        }
        assert_eq!(is_valid(value), value.trim_ascii().starts_with(b"{"), "{name}");
    }
}

#[test]
fn refuses_what_the_test_suite_refuses() {
    for (name, value) in REFUSED {
        assert!(!is_valid(value), "{name}");
        for document in wrapped(value) {
            assert!(!is_valid(&document), "{name} in {:?}", String::from_utf8_lossy(&document));
            check(&document);
        }
    }
}

#[test]
fn names_the_fault_and_its_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "unexpected end of document at byte 0"),
        (b"  ", "unexpected end of document at byte 2"),
        (b"[1]", "expected a JSON object at byte 0"),
        (b"\xef\xbb\xbf{}", "byte order mark is not allowed at byte 0"),
        (b"{\"model\":1, \"model\":2}", "duplicate key \"model\" at byte 12"),
        (b"{\"model\":1, \"\\u006dodel\":2}", "duplicate key \"model\" at byte 12"),
        (b"{\"a\":1 \"b\":2}", "expected ',' or '}' at byte 7"),
        (b"{\"a\":[1 2]}", "expected ',' or ']' at byte 8"),
        (b"{\"a\":[1", "unexpected end of document at byte 7"),
        (b"{\"a\" 1}", "expected ':' at byte 5"),
        (b"{\"a\":}", "expected a value at byte 5"),
        (b"{1:2}", "expected a key or '}' at byte 1"),
        (b"{\"a\":1,}", "expected a key at byte 7"),
        (b"{\"a\":{\"b\":1,}}", "expected a key at byte 12"),
        (b"{\"a\":01}", "invalid number at byte 6"),
        (b"{\"a\":1.}", "invalid number at byte 7"),
        (b"{\"a\":\"\\x\"}", "invalid escape in a string at byte 6"),
        (b"{\"a\":\"\x01\"}", "unescaped control character in a string at byte 6"),
        (b"{\"a\":\"\xff\"}", "invalid UTF-8 at byte 6"),
        (b"{} {}", "unexpected data after the document at byte 3"),
    ];
    for (document, message) in cases {
        let error = scan_object(document, &[]).unwrap_err();
        assert_eq!(error.to_string(), *message, "{:?}", String::from_utf8_lossy(document));
    }
}

#[test]
fn finds_wanted_members() {
    let body = br#" {"stream" : true, "x":{"model":1}, "mod\u0065l":"gpt-4o", "n":[1, 2 ,3 ], "e":{}} "#;
    let scan = scan_object(body, &["model", "stream", "missing", "n"]).unwrap();
    let text = |index: usize| scan.fields[index].map(|value| std::str::from_utf8(value.raw(body)).unwrap());
    assert_eq!(text(0), Some("\"gpt-4o\""));
    assert_eq!(text(1), Some("true"));
    assert_eq!(text(2), None);
    assert_eq!(text(3), Some("[1, 2 ,3 ]"));
    assert_eq!(scan.keys, 5);
    assert_eq!(scan.root.range(), 1..body.len() - 1);
    assert_eq!(string(body, scan.fields[0].unwrap()).as_deref(), Some("gpt-4o"));
    assert_eq!(as_bool(body, scan.fields[1].unwrap()), Some(true));
    let numbers: Vec<_> = elements(body, scan.fields[3].unwrap()).map(|value| as_u64(body, value)).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
}

#[test]
fn refuses_duplicates_in_nested_objects_only_when_asked() {
    let body = br#"{"a":{"b":1,"c":2,"b":3}}"#;
    let value = scan_object(body, &["a"]).unwrap().fields[0].unwrap();
    let error = scan_value_object(body, value, &["b"]).unwrap_err();
    assert_eq!(error.to_string(), "duplicate key \"b\" at byte 18");
}

#[test]
fn finds_duplicates_among_any_number_of_keys() {
    for count in [2, 3, 31, 32, 33, 34, 96, 97, 500] {
        let keys: Vec<String> = (0..count).map(|index| format!("key{index}")).collect();
        let document = |keys: &[String]| {
            let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        };
        let body = document(&keys);
        let scan = scan_object(&body, &["key0", "key1", "key499"]).unwrap();
        assert_eq!(scan.keys, count);
        assert_eq!(scan.fields.map(|field| field.is_some()), [true, true, count == 500]);
        for (first, second) in [(0, count - 1), (0, 1), (count - 2, count - 1)] {
            for (name, again) in [("key", "key"), ("key", "\\u006bey"), ("\\\\\\\"key", "\\u005c\\\"key")] {
                let mut keys = keys.clone();
                keys[first as usize] = name.to_owned();
                keys[second as usize] = again.to_owned();
                let error = scan_object(&document(&keys), &[]).unwrap_err();
                assert!(matches!(error.kind, JsonErrorKind::DuplicateKey(_)), "{error}");
            }
        }
    }
}

#[test]
fn tells_apart_keys_that_look_alike() {
    // Same length, same first and last bytes; long ones; surrogates; the empty key.
    let long = "k".repeat(100);
    let keys = [
        "",
        "a",
        "b",
        "aa",
        "ab",
        "ba",
        "aba",
        "aca",
        "abcdefgh_1_abcdefgh",
        "abcdefgh_2_abcdefgh",
        "\\ud800",
        "\\udc00",
        "\\ud801",
        "\\ud800\\udc00",
        "\\u0000",
        "\\u0000\\u0000",
        "é",
        "e\u{301}",
        &long,
        &long[1..],
    ];
    let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
    let body = format!("{{{}}}", members.join(","));
    assert_eq!(scan_object(body.as_bytes(), &[]).unwrap().keys as usize, keys.len());
    for key in keys {
        let twice = format!("{{\"{key}\":0,{}}}", members.join(","));
        assert!(scan_object(twice.as_bytes(), &[]).is_err(), "{key}");
    }
    for (one, other) in [("\\ud83d\\ude00", "😀"), ("\\uD83D\\uDE00", "\\ud83d\\ude00"), ("\\/", "/"), ("\\u00e9", "é")]
    {
        let twice = format!("{{\"{one}\":0,\"{other}\":0}}");
        assert!(scan_object(twice.as_bytes(), &[]).is_err(), "{twice}");
    }
}

#[test]
fn names_the_first_duplicate_among_many_keys() {
    let members: Vec<String> = (0..200).map(|index| format!("\"k{index}\":0")).collect();
    let body = format!("{{{0},\"\\u006b7\":0,{0},\"k7\":0}}", members.join(","));
    let error = scan_object(body.as_bytes(), &[]).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::DuplicateKey("k7".into()));
    assert_eq!(error.offset, members.join(",").len() + 2);
}

#[test]
fn survives_a_hundred_thousand_keys() {
    for escape in ["", "\\n"] {
        let members: Vec<String> = (0..100_000).map(|index| format!("\"{escape}{index}\":0")).collect();
        let mut body = format!("{{{}}}", members.join(","));
        assert_eq!(scan_object(body.as_bytes(), &[]).unwrap().keys, 100_000);
        body.pop();
        body.push_str(&format!(",\"{escape}777\":0}}"));
        assert!(matches!(scan_object(body.as_bytes(), &[]).unwrap_err().kind, JsonErrorKind::DuplicateKey(_)));
    }
}

#[test]
fn survives_hostile_sizes() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"a\":{open}{close}}}").into_bytes()
    };
    assert!(is_valid(&nested(MAX_DEPTH as usize)));
    assert_eq!(scan_object(&nested(MAX_DEPTH as usize + 1), &[]).unwrap_err().kind, JsonErrorKind::TooDeep);
    assert_eq!(scan_object(&nested(100_000), &[]).unwrap_err().kind, JsonErrorKind::TooDeep);
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    check(objects.as_bytes());
    assert!(is_valid(objects.as_bytes()));
    check(format!("{{\"a\":{objects}}}").as_bytes());
    let number = format!("{{\"a\":{}}}", "9".repeat(10_000_000));
    assert!(is_valid(number.as_bytes()));
    let spaces = format!("{{{}}}", " ".repeat(1_000_000));
    assert!(is_valid(spaces.as_bytes()));
    let key = format!("{{\"{0}\":1,\"{0}\":2}}", "k".repeat(1_000_000));
    let error = scan_object(key.as_bytes(), &[]).unwrap_err();
    assert!(error.to_string().len() < 200);
}

#[test]
fn stops_at_every_place_of_a_block() {
    for length in 0..150 {
        for stop in [
            &b"\""[..],
            b"\\\"",
            b"\\\\",
            b"\\u12aF",
            b"\\u12a",
            b"\\u12aG",
            b"\\uG2aF",
            b"\\",
            b"\x01",
            b"\x1f",
            b"\x7f",
            b" ",
            b"!",
            b"#",
            b"[",
            b"]",
            b"\x80",
            b"\xff",
            b"\xc3\xa9",
            b"\xc3",
            b"\xf0\x9f\x98\x80",
        ] {
            for tail in [0, 1, 70] {
                let text = [&vec![b'x'; length], stop, &vec![b'y'; tail]].concat();
                check(&[b"{\"a\":\"", &text[..], b"\"}"].concat());
                check(&[b"{\"", &text[..], b"\":0}"].concat());
            }
        }
    }
}

#[test]
fn refuses_every_truncation() {
    let body = include_bytes!("sample.json").trim_ascii_end();
    check(body);
    for end in 0..body.len() {
        assert!(!is_valid(&body[..end]));
        check(&body[..end]);
    }
}

#[test]
fn survives_spans_that_do_not_belong() {
    let body = br#"{"a":[1,{"b":"c\n"}],"d":"e"}"#;
    for kind in [Kind::Null, Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object] {
        for start in (0..40).chain([u32::MAX]) {
            for end in (0..40).chain([u32::MAX]) {
                let value = Value { kind, start, end };
                let _ = (string(body, value), as_u64(body, value), as_bool(body, value), value.raw(body));
                let _ = scan_value_object(body, value, &["a", "b"]);
                assert!(elements(body, value).count() < 40);
            }
        }
    }
}

fn value_text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n", "\t\r ", "          "]);
    let character = prop_oneof![
        8 => "[a-z ]{1,12}",
        1 => Just("model".to_owned()),
        1 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0041", "\\ud83d\\ude00", "\\ud800", "\\udc00", "é", "日本", "😀", "\u{7f}"])
            .prop_map(str::to_owned),
    ];
    let text = prop::collection::vec(character, 0..6).prop_map(|parts| format!("\"{}\"", parts.concat()));
    let number = prop_oneof!["-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?"];
    let scalar = prop_oneof![
        3 => text.clone(),
        2 => number,
        1 => prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    let key = prop_oneof![
        text,
        prop::sample::select(vec!["\"a\"", "\"b\"", "\"model\"", "\"stream\"", "\"\\u0061\"", "\"é\"", "\"\\u00e9\""])
            .prop_map(str::to_owned)
    ];
    scalar.prop_recursive(4, 48, 6, move |inner| {
        let array = prop::collection::vec((space(), inner.clone(), space()), 0..6).prop_map(|items| {
            let items: Vec<String> = items.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
            format!("[{}]", items.join(","))
        });
        let object = prop::collection::vec((space(), key.clone(), space(), inner, space()), 0..6).prop_map(|items| {
            let items: Vec<String> =
                items.into_iter().map(|(a, key, b, value, c)| format!("{a}{key}{b}:{c}{value}{a}")).collect();
            format!("{{{}}}", items.join(","))
        });
        prop_oneof![array, object]
    })
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let member = ("(a|model|stream|é|[a-z]{1,9}|\\\\u0061)", value_text());
    prop::collection::vec(member, 0..8).prop_map(|members| {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(" , ")).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_on_documents(body in document()) {
        check(&body);
    }

    #[test]
    fn agrees_on_mutations(
        body in document(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, any::<u8>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut body = body;
        for (place, action, byte, choice) in edits {
            let syntax = b"\"\\{}[]:,0-.eE+ \n\x00\x1f\x80\xffntfu";
            let byte = if byte & 1 == 0 { byte } else { syntax[choice.index(syntax.len())] };
            let at = place.index(body.len() + 1);
            match action {
                0 if at < body.len() => body[at] = byte,
                1 if at < body.len() => { body.remove(at); }
                2 => body.truncate(at),
                3 if at < body.len() => { let copy = body[at..].to_vec(); body.extend(copy); }
                _ => body.insert(at, byte),
            }
        }
        check(&body);
    }

    #[test]
    fn agrees_on_noise(body in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0123eE+-. \nantrulfs\x80\xc3\xa9".to_vec()), 0..40)) {
        check(&body);
        let mut object = b"{\"a\":".to_vec();
        object.extend(&body);
        object.push(b'}');
        check(&object);
    }
}
