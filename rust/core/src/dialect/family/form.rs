//! Forms as documents: what is a file becomes an object with `data` in base64 and its `type`; a field that is there several
//! times, or whose name ends in `[]`, an array.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Fault;
use crate::wire::multipart;

/// Fields whose values are numbers.
const NUMBERS: [&str; 3] = ["n", "seed", "output_compression"];
pub const UNSAID: &str = "application/octet-stream";

/// # Errors
/// The form cannot be read, or a field of it is no text.
pub fn document(body: &[u8], boundary: &str) -> Result<Value, Fault> {
    let parts = multipart::parts(body, boundary).map_err(|error| Fault::invalid("", error.to_string()))?;
    let mut found = Map::new();
    for part in &parts {
        let content = body.get(part.content.clone()).unwrap_or_default();
        let (name, listed) = part.name.strip_suffix("[]").map_or((part.name.as_str(), false), |name| (name, true));
        let value = match part.filename {
            Some(_) => {
                let kind =
                    part.content_type.as_deref().filter(|kind| *kind != UNSAID).unwrap_or_else(|| kind_of(content));
                json!({"data": STANDARD.encode(content), "type": kind})
            }
            None => {
                let text = std::str::from_utf8(content).map_err(|_| Fault::invalid(name, "UTF-8 is expected"))?;
                let number = text.trim().parse::<u64>().ok().filter(|_| NUMBERS.contains(&name));
                match (number, text.trim()) {
                    (Some(number), _) => number.into(),
                    (None, "true" | "false") if name == "stream" => (text.trim() == "true").into(),
                    _ => text.into(),
                }
            }
        };
        match found.get_mut(name) {
            Some(Value::Array(list)) => list.push(value),
            Some(one) => *one = json!([one.take(), value]),
            None if listed => drop(found.insert(name.to_string(), json!([value]))),
            None => drop(found.insert(name.to_string(), value)),
        }
    }
    Ok(Value::Object(found))
}

/// The same without its files, for what comes back.
pub fn fields(body: &[u8], boundary: &str) -> Vec<u8> {
    let Ok(Value::Object(mut found)) = document(body, boundary) else { return b"{}".to_vec() };
    let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    found.retain(|_, value| value.is_string() || value.is_number() || texts(value));
    Value::Object(found).to_string().into_bytes()
}

/// The type of a recording or a picture by the beginning of its bytes.
pub fn kind_of(content: &[u8]) -> &'static str {
    match content {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', ..] => "audio/wav",
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] if !content.starts_with(&[0xff, 0xd8]) => "audio/mpeg",
        [b'f', b'L', b'a', b'C', ..] => "audio/flac",
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "audio/mp4",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "audio/webm",
        [0xff, 0xd8, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        _ => UNSAID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_become_documents() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n\
            --x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n2\r\n\
            --x\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a\"\r\n\r\n\x89PNG\r\n--x--\r\n";
        let found = document(body, "x").expect("a form");
        assert_eq!(found, json!({"n": 2, "prompt": "2", "image": [{"data": "iVBORw==", "type": "image/png"}]}));
        assert_eq!(fields(body, "x"), br#"{"n":2,"prompt":"2"}"#);
        assert!(document(b"--x\r\n", "x").is_err());
    }

    #[test]
    fn recordings_are_told_by_their_beginning() {
        for (content, kind) in [
            (b"RIFF\0\0\0\0WAVEfmt ".as_slice(), "audio/wav"),
            (b"ID3\x04", "audio/mpeg"),
            (b"\xff\xfb\x90", "audio/mpeg"),
            (b"\xff\xd8\xff", "image/jpeg"),
            (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
            (b"what", UNSAID),
            (b"", UNSAID),
        ] {
            assert_eq!(kind_of(content), kind);
        }
    }
}
