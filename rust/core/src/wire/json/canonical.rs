//! One form for all spellings of a value: members sorted by key, numbers by their value, escapes resolved, no white space.
//!
//! Two documents have the same form exactly when any JSON reader takes them for the same thing. The form is binary and no
//! two values share one: strings carry their length, so that no text can be mistaken for structure.
//!
//! ## How it stays fast
//! One pass over bytes that [`scan_object`](super::scan_object) has accepted. Every member is written where it comes; only
//! an object whose keys are not in order is put together once more. Buffers are reused by the thread.

use std::ops::Range;

use memchr::memchr2;

use super::Value;
use super::names::unescape;

/// Integers up to here are the same number as a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A written member: its key and all of it, as places in the output.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: usize,
    key_end: usize,
    end: usize,
}

/// Writes canonical forms one after the other into one buffer.
#[derive(Debug, Default)]
pub struct Canonical {
    out: Vec<u8>,
    segments: Vec<Segment>,
    scratch: Vec<u8>,
}

impl Canonical {
    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    pub fn clear(&mut self) {
        self.out.clear();
        self.segments.clear();
    }

    /// Memory held for the next use.
    pub fn capacity(&self) -> usize {
        self.out.capacity() + self.scratch.capacity()
    }

    /// Bytes of any kind, with their length.
    pub fn text(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.out.extend_from_slice(text);
    }

    /// Any value.
    pub fn value(&mut self, body: &[u8], value: Value) {
        self.any(body, value.start as usize);
    }

    /// The root of a document, without the members that `skip` names and without those that are null.
    pub fn root(&mut self, body: &[u8], root: Value, skip: impl Fn(&[u8]) -> bool) {
        self.object(body, root.start as usize, true, &skip);
    }

    /// Writes the value at `at` and returns where it ends.
    fn any(&mut self, body: &[u8], at: usize) -> usize {
        match byte(body, at) {
            b'"' => self.string(body, at),
            b'{' => self.object(body, at, false, &|_| false),
            b'[' => self.array(body, at),
            b't' => self.literal(b't', at + 4),
            b'f' => self.literal(b'f', at + 5),
            b'n' => self.literal(b'n', at + 4),
            _ => self.number(body, at),
        }
    }

    fn literal(&mut self, tag: u8, end: usize) -> usize {
        self.out.push(tag);
        end
    }

    fn string(&mut self, body: &[u8], at: usize) -> usize {
        let (content, escaped) = content(body, at);
        let end = content.end + 1;
        let raw = body.get(content).unwrap_or_default();
        if escaped {
            self.text(&unescape(raw))
        } else {
            self.text(raw)
        }
        end
    }

    fn number(&mut self, body: &[u8], at: usize) -> usize {
        let rest = body.get(at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let raw = &rest[..length.unwrap_or(rest.len())];
        self.out.push(b'#');
        // Plain integers are as they should be, whatever their length.
        if raw.iter().all(u8::is_ascii_digit) || raw.len() > 1 && raw[0] == b'-' && is_plain(&raw[1..]) {
            self.out.extend_from_slice(raw);
        } else {
            self.real(raw);
        }
        self.out.push(b';');
        at + raw.len().max(1)
    }

    fn real(&mut self, raw: &[u8]) {
        let value = std::str::from_utf8(raw).ok().and_then(|text| text.parse::<f64>().ok());
        match value.filter(|value| value.is_finite()) {
            Some(value) if value.fract() == 0.0 && value.abs() < EXACT => {
                #[allow(clippy::cast_possible_truncation)]
                self.out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
            }
            Some(value) => {
                use std::io::Write;
                // The shortest text that reads back as the same number; a buffer takes every write.
                let _ = write!(self.out, "{value:e}");
            }
            None => self.out.extend_from_slice(raw),
        }
    }

    fn array(&mut self, body: &[u8], at: usize) -> usize {
        self.out.push(b'[');
        let mut at = space(body, at + 1);
        while byte(body, at) != b']' && at < body.len() {
            at = space(body, self.any(body, at));
            if byte(body, at) == b',' {
                at = space(body, at + 1);
            }
        }
        self.out.push(b']');
        at + 1
    }

    fn object(&mut self, body: &[u8], at: usize, root: bool, skip: &dyn Fn(&[u8]) -> bool) -> usize {
        self.out.push(b'{');
        let first = self.segments.len();
        let begin = self.out.len();
        let mut at = space(body, at + 1);
        while byte(body, at) == b'"' {
            let start = self.out.len();
            at = self.string(body, at);
            let key_end = self.out.len();
            // The colon.
            at = space(body, space(body, at) + 1);
            let wanted = !root || {
                let key = self.out.get(start + KEY_HEAD..key_end).unwrap_or_default();
                byte(body, at) != b'n' && !skip(key)
            };
            at = self.any(body, at);
            if wanted {
                self.segments.push(Segment { start, key_end, end: self.out.len() });
            } else {
                self.out.truncate(start);
            }
            at = space(body, at);
            if byte(body, at) == b',' {
                at = space(body, at + 1);
            }
        }
        self.sort(first, begin);
        self.out.push(b'}');
        at + 1
    }

    /// Puts the members written since `begin` in the order of their keys.
    fn sort(&mut self, first: usize, begin: usize) {
        let Canonical { out, segments, scratch } = self;
        let members = &mut segments[first..];
        let key = |out: &[u8], segment: &Segment| segment.start + KEY_HEAD..segment.key_end.min(out.len());
        if !members.is_sorted_by(|a, b| out[key(out, a)] <= out[key(out, b)]) {
            // A stable order: what a key given twice means depends on which stands last.
            members.sort_by(|a, b| out[key(out, a)].cmp(&out[key(out, b)]));
            scratch.clear();
            for segment in members.iter() {
                scratch.extend_from_slice(&out[segment.start..segment.end]);
            }
            out.truncate(begin);
            out.extend_from_slice(scratch);
        }
        segments.truncate(first);
    }
}

/// A tag and the length stand before the bytes of a string.
const KEY_HEAD: usize = 9;

/// Digits that no other spelling of the number has: no zero in front of others, not a negative zero.
fn is_plain(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0'
}

fn byte(body: &[u8], at: usize) -> u8 {
    body.get(at).copied().unwrap_or(0)
}

fn space(body: &[u8], mut at: usize) -> usize {
    while matches!(byte(body, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

/// What stands between the quotes of the string at `at`, and whether it has escapes.
fn content(body: &[u8], at: usize) -> (Range<usize>, bool) {
    let start = at + 1;
    let (mut end, mut escaped) = (start, false);
    while let Some(found) = body.get(end..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        end += found;
        if byte(body, end) == b'"' {
            return (start..end, escaped);
        }
        escaped = true;
        end += 2;
    }
    (start..body.len(), escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::wire::json::scan_object;

    fn form(body: &str) -> Vec<u8> {
        let root = scan_object(body.as_bytes(), &[]).expect("JSON").root;
        let mut canonical = Canonical::default();
        canonical.root(body.as_bytes(), root, |key| key == b"user");
        canonical.out
    }

    #[test]
    fn spellings_do_not_matter() {
        let same = [
            (r#"{"a":1,"b":[2,{"y":1,"x":2}]}"#, r#" { "b" : [ 2 , {"x":2,"y":1} ] , "a" : 1 } "#),
            (r#"{"a":1.0}"#, r#"{"a":1}"#),
            (r#"{"a":1e2,"b":-0}"#, r#"{"a":100,"b":0.0}"#),
            (r#"{"a":0.70}"#, r#"{"a":7e-1}"#),
            (r#"{"a":"\u00e9\n"}"#, "{\"a\":\"é\\u000a\"}"),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"user":"x","n":null}"#, r#"{"a":1}"#),
            (r#"{"a":{}}"#, r#"{"a": { } }"#),
        ];
        for (left, right) in same {
            assert_eq!(form(left), form(right), "{left} {right}");
        }
    }

    #[test]
    fn meanings_do() {
        let others = [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":[[1],2]}"#, r#"{"a":[[1,2]]}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":1e400}"#, r#"{"a":1e401}"#),
            (r#"{"a":{"user":1}}"#, r#"{"a":{}}"#),
            (r#"{"a":{"x":null}}"#, r#"{"a":{}}"#),
            (r#"{"a":{"x":1,"x":2}}"#, r#"{"a":{"x":2,"x":1}}"#),
            (r#"{"a":"b","c":"d"}"#, r#"{"a":"b\",\"c\":\"d"}"#),
            (r#"{"a":true}"#, r#"{"a":false}"#),
            (r#"{"a":" x"}"#, r#"{"a":"x"}"#),
        ];
        for (left, right) in others {
            assert_ne!(form(left), form(right), "{left} {right}");
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e9..1e9_f64).prop_map(Json::from),
            ".{0,6}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                prop::collection::vec(("[a-c\\\\\"é]{0,2}", inner), 0..5)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same document, members in the opposite order, with white space.
    fn respelled(value: &Json) -> String {
        match value {
            Json::Object(members) => {
                let inner: Vec<String> = members
                    .iter()
                    .rev()
                    .map(|(key, value)| format!(" {}\t: {}", json!(key), respelled(value)))
                    .collect();
                format!("{{{}\n}}", inner.join(","))
            }
            Json::Array(items) => format!("[ {} ]", items.iter().map(respelled).collect::<Vec<_>>().join(" , ")),
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn the_form_is_that_of_the_value(left in any_json(), right in any_json()) {
            let (left, right) = (json!({"root": left}), json!({"root": right}));
            prop_assert_eq!(form(&left.to_string()), form(&respelled(&left)));
            // serde's map compares by content: a twin of the comparison.
            let numbers_apart = left == right;
            if numbers_apart {
                prop_assert_eq!(form(&left.to_string()), form(&right.to_string()));
            } else if !has_float(&left) && !has_float(&right) {
                prop_assert_ne!(form(&left.to_string()), form(&right.to_string()));
            }
        }
    }

    fn has_float(value: &Json) -> bool {
        match value {
            Json::Number(number) => number.is_f64(),
            Json::Array(items) => items.iter().any(has_float),
            Json::Object(members) => members.values().any(has_float),
            _ => false,
        }
    }
}
