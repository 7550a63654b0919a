//! Parts lie in order inside the body, and splicing another value into one changes nothing else.
#![no_main]

use ailink_core::wire::multipart::{MAX_PARTS, boundary, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let line = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (first, rest) = input.split_at(line);
    let body = rest.strip_prefix(b"\n").unwrap_or(rest);
    let Ok(text) = std::str::from_utf8(first) else {
        return;
    };
    let _ = boundary(text);
    let named = boundary(&format!("multipart/form-data; boundary={text}"));
    for mark in named.as_deref().into_iter().chain(["b"]) {
        let Ok(found) = parts(body, mark) else {
            continue;
        };
        assert!(found.len() <= MAX_PARTS);
        let mut end = 0;
        for part in &found {
            assert!(end <= part.content.start && part.content.start <= part.content.end);
            end = part.content.end;
            assert!(body[end..].starts_with(format!("\r\n--{mark}").as_bytes()));
        }
        let Some(spliced) = found.first() else {
            continue;
        };
        let other = [&body[..spliced.content.start], b"another value", &body[spliced.content.end..]].concat();
        let again = parts(&other, mark).unwrap();
        assert_eq!(again.len(), found.len());
        assert_eq!(&other[again[0].content.clone()], b"another value");
        for (before, after) in found.iter().zip(&again) {
            assert_eq!(
                (&before.name, &before.filename, &before.content_type),
                (&after.name, &after.filename, &after.content_type)
            );
        }
        for (before, after) in found.iter().zip(&again).skip(1) {
            assert_eq!(body[before.content.clone()], other[after.content.clone()]);
        }
    }
});
