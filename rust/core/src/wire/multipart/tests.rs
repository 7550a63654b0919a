//! Forms as real clients send them, every truncation, and bodies that parsers read differently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const FORM: &[u8] = b"--X-b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--X-b\r\n\
    content-disposition:form-data;name=file;filename=\"a \\\"b\\\".wav\"\r\nContent-Type: audio/wav\r\nX-Other: 1\r\n\r\n\
    RIFF\r\n--X-\r\n\0\xff--X-b\r\n--X-b  \r\nContent-Disposition: form-data; name=\"empty\"; filename=\"\"\r\n\r\n\r\n--X-b--\r\n";

fn kind(body: &[u8]) -> MultipartErrorKind {
    parts(body, "b").unwrap_err().kind
}

/// A form with one part of this header block and content.
fn one(header: &str, content: &str) -> Vec<u8> {
    format!("--b\r\n{header}\r\n\r\n{content}\r\n--b--\r\n").into_bytes()
}

fn named(parameters: &str) -> Vec<u8> {
    one(&format!("Content-Disposition: form-data; {parameters}"), "x")
}

#[test]
fn reads_the_boundary() {
    for (content_type, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data;BOUNDARY=\"a b'()+_,-./:=?c\"", Some("a b'()+_,-./:=?c")),
        (
            "multipart/form-data; charset=utf-8; boundary=----WebKitFormBoundary7MA4YWxk",
            Some("----WebKitFormBoundary7MA4YWxk"),
        ),
        ("multipart/form-data; boundary=\"a\\bc\";", Some("abc")),
        ("multipart/form-data ; boundary=abc ; x=\"y;boundary=z\"", Some("abc")),
        ("multipart/form-data; boundary=abc; boundary=abc", None),
        ("multipart/form-data; boundary=abc; boundary*0=x", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"\"", None),
        ("multipart/form-data; boundary=\"abc", None),
        ("multipart/form-data; boundary=\"abc \"", None),
        ("multipart/form-data; boundary=a b", None),
        ("multipart/form-data; boundary=a@b", None),
        ("multipart/form-data; boundary=é", None),
        ("multipart/form-data; boundary", None),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
    }
    let exactly = |length: usize| boundary(&format!("multipart/form-data; boundary={}", "x".repeat(length)));
    assert!(exactly(70).is_some());
    assert!(exactly(71).is_none());
}

#[test]
fn finds_fields_and_files() {
    let found = parts(FORM, "X-b").unwrap();
    let content: Vec<&[u8]> = found.iter().map(|part| &FORM[part.content.clone()]).collect();
    assert_eq!(content, [&b"whisper-1"[..], b"RIFF\r\n--X-\r\n\0\xff--X-b", b""]);
    let names: Vec<_> = found.iter().map(|part| (part.name.as_str(), part.filename.as_deref())).collect();
    assert_eq!(names, [("model", None), ("file", Some("a \"b\".wav")), ("empty", Some(""))]);
    assert_eq!(found[1].content_type.as_deref(), Some("audio/wav"));
    assert_eq!(field(&found, "model").unwrap(), Some(&found[0]));
    assert_eq!(field(&found, "missing").unwrap(), None);
    let twice = [found[0].clone(), found[0].clone()];
    assert_eq!(field(&twice, "model").unwrap_err().kind, MultipartErrorKind::Repeated);
    assert_eq!(parts(b"--b--", "b").unwrap(), []);
    assert_eq!(parts(b"\r\n--b--\r\n\r\n", "b").unwrap(), []);
}

#[test]
fn reads_file_names_of_all_clients() {
    for (parameters, expected) in [
        ("name=\"f\"; filename=\"C:\\dir\\a.wav\"", "C:\\dir\\a.wav"),
        ("name=\"f\"; filename=\"../../etc/passwd\"", "../../etc/passwd"),
        ("name=\"f\"; filename=\"a;b=c.wav\"", "a;b=c.wav"),
        ("name=\"f\"; filename=\"été.wav\"; filename*=UTF-8''x", "été.wav"),
        ("filename*=UTF-8''%C3%A9.wav; name=f;", "UTF-8''%C3%A9.wav"),
        ("name=\"f\"; filename=a.wav", "a.wav"),
    ] {
        assert_eq!(parts(&named(parameters), "b").unwrap()[0].filename.as_deref(), Some(expected), "{parameters}");
    }
    let latin = [&b"--b\r\nContent-Disposition: form-data; name=f; filename=\"\xe9\"\r\n\r\n\r\n--b--"[..]].concat();
    assert_eq!(parts(&latin, "b").unwrap()[0].filename.as_deref(), Some("\u{fffd}"));
}

#[test]
fn refuses_every_truncation() {
    for end in 0..FORM.len() {
        let body = &FORM[..end];
        // The last line end may be missing.
        let whole = FORM.len() - 2;
        assert_eq!(parts(body, "X-b").is_ok(), end >= whole && end != whole + 1, "{end}");
    }
}

#[test]
fn refuses_what_parsers_read_differently() {
    use MultipartErrorKind::{Delimiter, Disposition, Encoding, End, Header, Start, Trailing};
    let header = "Content-Disposition: form-data; name=x";
    for (body, expected) in [
        (b"preamble\r\n--b--".to_vec(), Start),
        (b"\n--b--".to_vec(), Start),
        (b"--b--epilogue".to_vec(), Delimiter),
        (b"--b--\r\nepilogue".to_vec(), Trailing),
        (b"--b--\r\n--b\r\n".to_vec(), Trailing),
        (b"--b\n".to_vec(), Delimiter),
        (b"--b \tx\r\n".to_vec(), Delimiter),
        (b"--b".to_vec(), End),
        (b"--b\r".to_vec(), End),
        (one(header, "a\n--b\nb"), Delimiter),
        (one(header, "a\r--b\rb"), Delimiter),
        (one(header, "a\r\n--bc\r\nb"), Delimiter),
        (one(header, "\n--b"), Delimiter),
        (format!("--b\r\n{header}\r\n\r\n--b--\r\n").into_bytes(), Delimiter),
        (format!("--b\r\n{header}\r\n--b--\r\n").into_bytes(), Header),
        (one(&format!("{header}\r\n--b: y"), "a"), Delimiter),
        (one(&format!("{header}\n"), "a"), Header),
        (one(&format!("{header}\r\n folded"), "a"), Header),
        (one(&format!("{header}\r\nno colon"), "a"), Header),
        (one(&format!("{header}\r\n: y"), "a"), Header),
        (one(&format!("{header}\r\nA : y"), "a"), Header),
        (one(&format!("{header}\r\nA: \0"), "a"), Header),
        (one(&format!("{header}\r\n{header}"), "a"), Header),
        (one(&format!("{header}\r\nContent-Type: a/b\r\ncontent-type: a/b"), "a"), Header),
        (one(&format!("{header}\r\nContent-Transfer-Encoding: base64"), "a"), Encoding),
        (one("Content-Type: a/b", "a"), Disposition),
        (one("Content-Disposition: form-data", "a"), Disposition),
        (one("Content-Disposition: attachment; name=x", "a"), Disposition),
        (named(""), Disposition),
        (named("filename=x"), Disposition),
        (named("name=x; name=y"), Disposition),
        (named("name=x; NAME=y"), Disposition),
        (named("name=x; name*=UTF-8''y"), Disposition),
        (named("name*0=x; name*1=y"), Disposition),
        (named("name=x; filename=a; filename=b"), Disposition),
        (named("name=\"mo\\del\""), Disposition),
        (named("name=\"mo\\\"del\""), Disposition),
        (named("name=\"x"), Disposition),
        (named("name=\"x\" y"), Disposition),
        (named("name=\"x\"\"y\""), Disposition),
        (named("name = x"), Disposition),
        (named("filename=\"a\\\"; name=\"model\""), Disposition),
    ] {
        assert_eq!(kind(&body), expected, "{:?}", String::from_utf8_lossy(&body));
    }
    let encoded = |name: &str| parts(&one(&format!("{header}\r\nContent-Transfer-Encoding: {name}"), "a"), "b").is_ok();
    assert!(encoded("7bit") && encoded("8BIT") && encoded("binary"));
    for bad in ["", "a ", "a\r\nb", "é", &"x".repeat(71)] {
        assert_eq!(parts(b"--b--", bad).unwrap_err().kind, MultipartErrorKind::Boundary);
    }
}

#[test]
fn bounds_parts_and_headers() {
    let many = |count: usize| {
        let part = "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n";
        format!("{}--b--\r\n", part.repeat(count)).into_bytes()
    };
    assert_eq!(parts(&many(MAX_PARTS), "b").unwrap().len(), MAX_PARTS);
    assert_eq!(kind(&many(MAX_PARTS + 1)), MultipartErrorKind::TooManyParts);
    assert_eq!(kind(&many(100_000)), MultipartErrorKind::TooManyParts);
    let long =
        |length: usize| one(&format!("Content-Disposition: form-data; name=x\r\nA: {}", "y".repeat(length)), "z");
    assert!(parts(&long(MAX_HEADER - 60), "b").is_ok());
    assert_eq!(kind(&long(MAX_HEADER)), MultipartErrorKind::Header);
    // Boundaries that occur at almost every byte.
    let dashes =
        [&b"----\r\nContent-Disposition: form-data; name=x\r\n\r\nx"[..], &[b'-'; 1 << 20], b"\r\n------\r\n"].concat();
    assert_eq!(parts(&dashes, "--").unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_was_written(
        fields in prop::collection::vec(("[a-z\\[\\]]{1,8}", prop::option::of("[a-z. ;=]{0,12}"), prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        boundary in "[a-zA-Z0-9'()+_,./:=?-]{12,70}",
    ) {
        let mut body = Vec::new();
        for (name, filename, content) in &fields {
            let file = filename.as_ref().map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
            body.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        let found = parts(&body, &boundary).unwrap();
        prop_assert_eq!(found.len(), fields.len());
        for (part, (name, filename, content)) in found.iter().zip(&fields) {
            prop_assert_eq!(&part.name, name);
            prop_assert_eq!(&part.filename, filename);
            prop_assert_eq!(&body[part.content.clone()], &content[..]);
        }
        prop_assert_eq!(super::boundary(&format!("multipart/form-data; boundary=\"{boundary}\"")), Some(boundary));
    }

    #[test]
    fn survives_noise(pieces in prop::collection::vec(
        prop::sample::select(vec!["--b", "\r\n", "\n", "\r", "--", "Content-Disposition: form-data; name=x", "name", "\"", ";", "=", " ", "\\", "x", "\0"]), 0..40)) {
        let body = pieces.concat().into_bytes();
        for body in [body.clone(), [&b"--b\r\n"[..], &body].concat(), [&b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n"[..], &body, b"\r\n--b--"].concat()] {
            if let Ok(found) = parts(&body, "b") {
                let mut end = 0;
                for part in found {
                    prop_assert!(end <= part.content.start && part.content.start <= part.content.end);
                    end = part.content.end;
                    prop_assert!(body[end..].starts_with(b"\r\n--b"));
                }
            }
        }
        let text = String::from_utf8(body).unwrap();
        let _ = super::boundary(&text);
        let _ = super::boundary(&format!("multipart/form-data; {text}"));
    }
}
