//! The slow twin: a recursive reader over characters, with nothing in common with the scanner.
#![allow(clippy::indexing_slicing)]

use crate::wire::json::MAX_DEPTH;

pub type Member = (Vec<u16>, std::ops::Range<usize>);

/// The root object's members (keys as UTF-16, spans of the values), or `None` if the document is not valid.
pub fn members(body: &[u8]) -> Option<Vec<Member>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader { text, at: 0 };
    reader.space();
    let members = reader.object(1)?;
    reader.space();
    (reader.at == text.len()).then_some(members)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, allowed: impl Fn(char) -> bool) -> Option<char> {
        let next = self.peek().filter(|next| allowed(*next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn space(&mut self) {
        while self.take(|c| " \t\r\n".contains(c)).is_some() {}
    }

    fn object(&mut self, depth: u32) -> Option<Vec<Member>> {
        self.take(|c| c == '{')?;
        self.space();
        let mut members = Vec::new();
        if self.take(|c| c == '}').is_some() {
            return Some(members);
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(|c| c == ':')?;
            self.space();
            let start = self.at;
            self.value(depth)?;
            members.push((key, start..self.at));
            self.space();
            if self.take(|c| c == ',').is_none() {
                self.take(|c| c == '}')?;
                return Some(members);
            }
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.take(|c| c == '[')?;
        self.space();
        if self.take(|c| c == ']').is_some() {
            return Some(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            if self.take(|c| c == ',').is_none() {
                return self.take(|c| c == ']').map(|_| ());
            }
        }
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            '{' if depth < MAX_DEPTH => self.object(depth + 1).map(|_| ()),
            '[' if depth < MAX_DEPTH => self.array(depth + 1),
            '"' => self.string().map(|_| ()),
            '-' | '0'..='9' => self.number(),
            _ => ["true", "false", "null"].iter().find(|word| self.text[self.at..].starts_with(**word)).map(|word| {
                self.at += word.len();
            }),
        }
    }

    fn digits(&mut self) -> Option<()> {
        self.take(|c| c.is_ascii_digit())?;
        while self.take(|c| c.is_ascii_digit()).is_some() {}
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.take(|c| c == '-');
        if self.take(|c| c == '0').is_none() {
            self.digits()?;
        }
        if self.take(|c| c == '.').is_some() {
            self.digits()?;
        }
        if self.take(|c| "eE".contains(c)).is_some() {
            let _ = self.take(|c| "+-".contains(c));
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<Vec<u16>> {
        self.take(|c| c == '"')?;
        let mut units = Vec::new();
        loop {
            let next = self.take(|c| c >= ' ')?;
            match next {
                '"' => return Some(units),
                '\\' => {
                    let escape = self.take(|c| "\"\\/bfnrtu".contains(c))?;
                    units.push(match escape {
                        'b' => 8,
                        'f' => 12,
                        'n' => 10,
                        'r' => 13,
                        't' => 9,
                        'u' => {
                            let mut unit = 0;
                            for _ in 0..4 {
                                unit = unit * 16 + self.take(|c| c.is_ascii_hexdigit())?.to_digit(16)? as u16;
                            }
                            unit
                        }
                        same => same as u16,
                    });
                }
                _ => units.extend_from_slice(next.encode_utf16(&mut [0; 2])),
            }
        }
    }
}
