//! Escapes in the content of JSON strings.

/// The text a string's content stands for; lone surrogates become U+FFFD.
pub fn decode(raw: &[u8], out: &mut String) {
    let mut at = 0;
    while at < raw.len() {
        let run = memchr::memchr(b'\\', &raw[at..]).unwrap_or(raw.len() - at);
        // A string's content was validated as UTF-8 with the document.
        out.push_str(&String::from_utf8_lossy(&raw[at..at + run]));
        at += run;
        if at < raw.len() {
            let (character, length) = escape(&raw[at..]);
            out.push(character);
            at += length;
        }
    }
}

/// Where in a string's content the bytes of its decoded text stand; asked in order.
pub struct Offsets<'r> {
    raw: &'r [u8],
    at: usize,
    decoded: usize,
}

impl<'r> Offsets<'r> {
    pub fn new(raw: &'r [u8]) -> Self {
        Offsets { raw, at: 0, decoded: 0 }
    }

    /// Where `offset` stands; not before the one that was asked last.
    pub fn of(&mut self, offset: usize) -> usize {
        while self.at < self.raw.len() && self.decoded < offset {
            if self.raw[self.at] == b'\\' {
                let (character, length) = escape(&self.raw[self.at..]);
                self.decoded += character.len_utf8();
                self.at += length;
            } else {
                let left = &self.raw[self.at..];
                let run = memchr::memchr(b'\\', left).unwrap_or(left.len()).min(offset - self.decoded);
                self.decoded += run;
                self.at += run;
            }
        }
        self.at.min(self.raw.len())
    }
}

fn unit(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

/// The character of an escape and how long it is.
fn escape(raw: &[u8]) -> (char, usize) {
    match raw.get(1) {
        Some(b'u') => match (unit(raw), raw.get(6..).and_then(unit)) {
            (Some(high @ 0xd800..0xdc00), Some(low @ 0xdc00..0xe000)) => {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            (Some(code), _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            (None, _) => (char::REPLACEMENT_CHARACTER, raw.len()),
        },
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(other) => (char::from(*other), 2),
        None => ('\\', 1),
    }
}
