//! Every text of a JSON document, in one pass, with where it stands.
//!
//! Nothing is looked up by name: a member nobody has heard of is walked like any other, so no odd field hides a text. Keys
//! and long numbers count as texts too. Left out are only values that are no text by their form: identifiers, base64 data.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use memchr::memchr2;
use smallvec::SmallVec;

pub use super::escapes::{Offsets, decode};

/// Longest identifier that is not looked at.
const IDENTIFIER: usize = 128;
/// Shortest number that could be a card, a phone, an account.
const NUMBER: usize = 7;
/// Longest number of seconds.
const TIME: usize = 10;
/// Base64 from this length on, in a member for data, is no text.
const BASE64: usize = 256;

/// What a text is to the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Key,
    Number,
}

/// An open object or array.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Number of the container in the document.
    pub id: u32,
    pub array: bool,
    /// Of an array: which element; of an object: how many members so far.
    pub place: u32,
    /// The member that is being read (content of its key).
    pub key: Range<usize>,
}

/// What the walk tells.
pub trait Visitor {
    /// A text: for strings the bytes between the quotes, as escaped as they stand.
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>);

    /// A number in a member `name` (content of the key).
    fn number(&mut self, _path: &[Frame], _name: &[u8], _raw: Range<usize>) {}

    /// A value that is not looked at because it is an identifier, in a member `name`: the bytes between its quotes.
    fn identifier(&mut self, _path: &[Frame], _name: &[u8], _raw: Range<usize>) {}

    /// An object or an array, before it is gone into: `path` leads to it.
    fn opened(&mut self, _path: &[Frame], _at: usize, _array: bool) {}

    /// A member `name` that is true.
    fn flag(&mut self, _path: &[Frame], _name: &[u8]) {}
}

/// A key stands twice in one object: readers would disagree about its value. Says where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate(pub usize);

/// Walks a document that has been validated. `unique`: refuse duplicate keys in nested objects too.
///
/// # Errors
/// The second of two equal keys.
pub fn walk(body: &[u8], unique: bool, visitor: &mut impl Visitor) -> Result<(), Duplicate> {
    let mut walker =
        Walker { body, frames: SmallVec::new(), keys: SmallVec::new(), unique, next: 0, hasher: RandomState::new() };
    walker.run(visitor)
}

struct Walker<'b> {
    body: &'b [u8],
    frames: SmallVec<[Frame; 12]>,
    keys: SmallVec<[Vec<u64>; 12]>,
    unique: bool,
    next: u32,
    hasher: RandomState,
}

impl Walker<'_> {
    fn run(&mut self, visitor: &mut impl Visitor) -> Result<(), Duplicate> {
        let mut at = 0;
        // Whether the next string of an object is a key.
        let mut key = false;
        while let Some(byte) = self.body.get(at) {
            match byte {
                b'{' | b'[' => {
                    key = *byte == b'{';
                    visitor.opened(&self.frames, at, !key);
                    self.frames.push(Frame { id: self.next, array: !key, place: 0, key: 0..0 });
                    self.keys.push(Vec::new());
                    self.next += 1;
                    at += 1;
                }
                b'}' | b']' => {
                    self.frames.pop();
                    self.keys.pop();
                    key = false;
                    at += 1;
                }
                b',' => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.place += 1;
                        key = !frame.array;
                    }
                    at += 1;
                }
                b':' => {
                    key = false;
                    at += 1;
                }
                b'"' => {
                    let end = string_end(self.body, at + 1);
                    self.string(key, at + 1..end, visitor)?;
                    at = end + 1;
                }
                b'-' | b'0'..=b'9' => {
                    let length = self.body[at..]
                        .iter()
                        .take_while(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                        .count();
                    self.digits(at..at + length, visitor);
                    at += length;
                }
                b't' => {
                    let name = self.frames.last().map_or(0..0, |frame| frame.key.clone());
                    visitor.flag(&self.frames, &self.body[name]);
                    at += 4;
                }
                _ => at += 1,
            }
        }
        Ok(())
    }

    fn string(&mut self, key: bool, raw: Range<usize>, visitor: &mut impl Visitor) -> Result<(), Duplicate> {
        if !key {
            let name = self.frames.last().map_or(0..0, |frame| frame.key.clone());
            let (name, value) = (&self.body[name], &self.body[raw.clone()]);
            match looked_at(name, value) {
                Some(seen) => visitor.text(Kind::Text, &self.frames, raw.start..raw.start + seen),
                None => visitor.identifier(&self.frames, name, raw),
            }
            return Ok(());
        }
        if self.unique
            && let Some(keys) = self.keys.last_mut()
        {
            let mut buffer = String::new();
            let content = &self.body[raw.clone()];
            let hash = if memchr::memchr(b'\\', content).is_some() {
                decode(content, &mut buffer);
                self.hasher.hash_one(buffer.as_bytes())
            } else {
                self.hasher.hash_one(content)
            };
            // Objects have few members; a crowd is sorted by the scanner of the whole document at its top level.
            if keys.contains(&hash) {
                return Err(Duplicate(raw.start));
            }
            if keys.len() < 4096 {
                keys.push(hash);
            }
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.key = raw.clone();
        }
        if raw.len() >= NUMBER {
            visitor.text(Kind::Key, &self.frames, raw);
        }
        Ok(())
    }

    fn digits(&mut self, raw: Range<usize>, visitor: &mut impl Visitor) {
        let name = self.frames.last().map_or(0..0, |frame| frame.key.clone());
        visitor.number(&self.frames, &self.body[name.clone()], raw.clone());
        // Parameters of the call itself (`seed`, …) are numbers by nature, and so are seconds since 1970.
        let time =
            raw.len() <= TIME && matches!(&self.body[name.clone()], b"created" | b"created_at" | b"completed_at");
        if raw.len() >= NUMBER && !time && self.frames.len() > 1 && !self.frames.last().is_some_and(|frame| frame.array)
        {
            visitor.text(Kind::Number, &self.frames, raw);
        }
    }
}

fn string_end(body: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        if body[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    body.len()
}

/// How many bytes of a value are text; `None`: none.
fn looked_at(name: &[u8], value: &[u8]) -> Option<usize> {
    if value.is_empty() {
        return None;
    }
    let identifier = matches!(
        name,
        b"id"
            | b"type"
            | b"role"
            | b"object"
            | b"model"
            | b"tool_call_id"
            | b"call_id"
            | b"tool_use_id"
            | b"item_id"
            | b"finish_reason"
            | b"finishReason"
            | b"stop_reason"
            | b"system_fingerprint"
            | b"created"
            | b"status"
            | b"event"
            | b"media_type"
            | b"mimeType"
            | b"mime_type"
            | b"previous_response_id"
            | b"response_id"
            | b"service_tier"
    );
    if identifier
        && value.len() <= IDENTIFIER
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(byte))
    {
        return None;
    }
    let base64 = |value: &[u8]| value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-\\".contains(byte));
    let sealed = matches!(
        name,
        b"signature"
            | b"encrypted_content"
            | b"thoughtSignature"
            | b"thought_signature"
            | b"b64_json"
            | b"data"
            | b"audio"
    );
    if sealed && value.len() >= BASE64 && base64(value) {
        return None;
    }
    if value.starts_with(b"data:")
        && let Some(comma) = value.iter().take(256).position(|byte| *byte == b',')
        && value[..comma].ends_with(b";base64")
        && base64(&value[comma + 1..])
    {
        return Some(comma);
    }
    Some(value.len())
}

/// Where the object or array that begins at `at` ends.
pub fn value_end(body: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0_usize);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    body.len()
}

/// `messages[2].content[0].text`, for people.
pub fn place(body: &[u8], path: &[Frame]) -> String {
    let mut out = String::new();
    for frame in path {
        if frame.array {
            out.push_str(&format!("[{}]", frame.place));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            let key = String::from_utf8_lossy(body.get(frame.key.clone()).unwrap_or_default());
            out.extend(key.chars().take(64));
        }
        if out.len() > 512 {
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Collect(Vec<(String, String)>, Vec<u8>);

    impl Visitor for Collect {
        fn text(&mut self, _: Kind, path: &[Frame], raw: Range<usize>) {
            let mut text = String::new();
            decode(&self.1[raw], &mut text);
            self.0.push((place(&self.1, path), text));
        }
    }

    fn texts(json: &str) -> Vec<(String, String)> {
        let mut visitor = Collect(Vec::new(), json.as_bytes().to_vec());
        walk(json.as_bytes(), true, &mut visitor).expect("unique");
        visitor.0
    }

    #[test]
    fn every_text_is_told_with_its_place() {
        let found = texts(
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\"\u00e9\n"}],"x":{"odd key 1":[["deep"]],"n":41111111}}]}"#,
        );
        let expected = [
            ("messages", "messages"),
            ("messages[0].content", "content"),
            ("messages[0].content[0].text", "a\"é\n"),
            ("messages[0].x.odd key 1", "odd key 1"),
            ("messages[0].x.odd key 1[0][0]", "deep"),
            ("messages[0].x.n", "41111111"),
        ];
        assert_eq!(found, expected.map(|(place, text)| (place.to_string(), text.to_string())));
    }

    #[test]
    fn duplicates_are_found_behind_escapes() {
        let mut nothing = Collect(Vec::new(), vec![0; 64]);
        assert!(walk(br#"{"a":{"b":1,"\u0062":2}}"#, true, &mut nothing).is_err());
        assert!(walk(br#"{"a":{"b":1},"c":{"b":2}}"#, true, &mut nothing).is_ok());
    }

    #[test]
    fn data_is_no_text_unless_it_is_one() {
        assert_eq!(texts(&format!(r#"{{"data":"{}"}}"#, "QUJD".repeat(100))), []);
        assert_eq!(texts(r#"{"data":"a secret"}"#).len(), 1);
        assert_eq!(texts(r#"{"id":"a secret, in words"}"#).len(), 1);
        assert_eq!(texts(r#"{"url":"data:image/png;base64,QUJD"}"#)[0].1, "data:image/png;base64");
        assert_eq!(texts(r#"{"url":"data:image/png;base64,my secret"}"#)[0].1, "data:image/png;base64,my secret");
    }

    #[test]
    fn offsets_go_back_through_escapes() {
        let raw = br"a\u00e9\ud83d\ude00b";
        let mut text = String::new();
        decode(raw, &mut text);
        assert_eq!(text, "aé😀b");
        let mut offsets = Offsets::new(raw);
        assert_eq!([0, 1, 3, 7, 8].map(|offset| offsets.of(offset)), [0, 1, 7, 19, 20]);
    }
}
