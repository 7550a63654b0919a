//! Writes JSON piece by piece.

use serde_json::value::RawValue;

/// Appends to a buffer and sets the commas. What is opened must be closed; the writer does not check it.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// A value stands before the next one on the same level.
    follows: bool,
}

impl Writer {
    pub fn with_capacity(capacity: usize) -> Self {
        Writer { out: Vec::with_capacity(capacity), follows: false }
    }

    /// Goes on behind what `out` holds.
    pub fn onto(out: Vec<u8>) -> Self {
        Writer { out, follows: false }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn separate(&mut self) {
        if self.follows {
            self.out.push(b',');
        }
        self.follows = true;
    }

    pub fn begin_object(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'{');
        self.follows = false;
        self
    }

    pub fn end_object(&mut self) -> &mut Self {
        self.out.push(b'}');
        self.follows = true;
        self
    }

    pub fn begin_array(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        self.follows = false;
        self
    }

    pub fn end_array(&mut self) -> &mut Self {
        self.out.push(b']');
        self.follows = true;
        self
    }

    pub fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        escape(&mut self.out, name);
        self.out.push(b':');
        self.follows = false;
        self
    }

    pub fn string(&mut self, text: &str) -> &mut Self {
        self.separate();
        escape(&mut self.out, text);
        self
    }

    /// JSON as it stands.
    pub fn raw(&mut self, json: &RawValue) -> &mut Self {
        self.json(json.get())
    }

    /// JSON text that is known to be valid.
    pub fn json(&mut self, json: &str) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    pub fn uint(&mut self, number: u64) -> &mut Self {
        self.json(itoa::Buffer::new().format(number))
    }

    pub fn int(&mut self, number: i64) -> &mut Self {
        self.json(itoa::Buffer::new().format(number))
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.json(if value { "true" } else { "false" })
    }

    pub fn null(&mut self) -> &mut Self {
        self.json("null")
    }

    /// `"name":"text"`, the most frequent member.
    pub fn member(&mut self, name: &str, text: &str) -> &mut Self {
        self.key(name).string(text)
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    // Copied in runs: hardly any text has something to escape.
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        match *byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_stand_between_values_only() {
        let mut writer = Writer::default();
        writer.begin_object().member("a", "x").key("b").begin_array().uint(1).null().begin_object().end_object();
        writer.end_array().key("c").begin_object().end_object().key("d").int(-2).end_object();
        assert_eq!(writer.finish(), br#"{"a":"x","b":[1,null,{}],"c":{},"d":-2}"#);
    }

    proptest! {
        #[test]
        fn strings_come_back(text in ".*|[\\x00-\\x7f\u{2028}é😀]*") {
            let mut out = Vec::new();
            escape(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }
    }
}
