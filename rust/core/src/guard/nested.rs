//! JSON that travels inside a string, as the arguments of tools do: what is cut out of it leaves JSON behind.
//!
//! A match may begin in the middle of an escape, cover quotes and colons, or be a bare number. [`Nested`] knows where the
//! strings and bare words of the text stand, as far as it has arrived, and divides a match into the parts that may change.

use std::ops::Range;

use smallvec::SmallVec;

/// Where the next byte falls.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing has been said yet.
    #[default]
    Start,
    /// It is no JSON: no object, no array, no string.
    Plain,
    Outside,
    /// In a number or a literal that began here.
    Bare(usize),
    /// In a string whose content began here.
    Inside(usize),
    /// In an escape of such a string: where it began.
    Escape(usize, usize),
}

/// A string's content, or a bare word.
#[derive(Clone, Debug)]
struct Token {
    range: Range<usize>,
    bare: bool,
}

/// A part of a match that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub range: Range<usize>,
    /// It needs quotes when it becomes a text.
    pub bare: bool,
}

pub type Parts = SmallVec<[Part; 2]>;

/// The tokens of a JSON text that grows.
#[derive(Clone, Debug, Default)]
pub struct Nested {
    at: usize,
    state: State,
    tokens: Vec<Token>,
    escapes: Vec<Range<usize>>,
}

impl Nested {
    /// Of a whole text.
    pub fn of(text: &str) -> Self {
        let mut nested = Self::default();
        nested.push(text);
        nested
    }

    pub fn push(&mut self, text: &str) {
        if matches!(self.state, State::Plain) {
            return;
        }
        for byte in text.bytes() {
            self.byte(byte);
            self.at += 1;
        }
    }

    /// Whether the text is JSON, as far as it goes.
    pub fn is_json(&self) -> bool {
        !matches!(self.state, State::Start | State::Plain)
    }

    fn byte(&mut self, byte: u8) {
        let at = self.at;
        self.state = match self.state {
            State::Start if byte.is_ascii_whitespace() => State::Start,
            State::Start if !matches!(byte, b'{' | b'[' | b'"') => State::Plain,
            State::Start | State::Outside => Self::outside(byte, at),
            State::Bare(start) if ends_bare(byte) => {
                self.tokens.push(Token { range: start..at, bare: true });
                Self::outside(byte, at)
            }
            State::Inside(start) if byte == b'"' => {
                self.tokens.push(Token { range: start..at, bare: false });
                State::Outside
            }
            State::Inside(start) if byte == b'\\' => State::Escape(start, at),
            State::Escape(start, from) => {
                let length = at + 1 - from;
                if (length == 2 && byte != b'u') || length == 6 {
                    self.escapes.push(from..at + 1);
                    State::Inside(start)
                } else {
                    State::Escape(start, from)
                }
            }
            same => same,
        };
    }

    fn outside(byte: u8, at: usize) -> State {
        match byte {
            b'"' => State::Inside(at + 1),
            byte if ends_bare(byte) => State::Outside,
            _ => State::Bare(at),
        }
    }

    /// The last place up to `at` in front of which nothing changes when a match begins at `at`.
    pub fn floor(&self, at: usize) -> usize {
        let open = match self.state {
            State::Bare(start) | State::Escape(_, start) => Some(start),
            State::Start | State::Plain | State::Outside | State::Inside(_) => None,
        };
        let token = self.tokens.get(self.tokens.partition_point(|token| token.range.end <= at));
        let bare = token.filter(|token| token.bare).map(|token| token.range.start);
        let escape = self.escape(at).map(|escape| escape.start);
        [open, bare, escape].into_iter().flatten().fold(at, usize::min)
    }

    /// The parts of a match that may change: of strings what it covers, of bare words all.
    pub fn parts(&self, span: &Range<usize>) -> Parts {
        let open = match self.state {
            State::Start | State::Plain => return Parts::from_iter([Part { range: span.clone(), bare: false }]),
            State::Outside => None,
            State::Bare(start) => Some(Token { range: start..self.at, bare: true }),
            State::Inside(start) | State::Escape(start, _) => Some(Token { range: start..self.at, bare: false }),
        };
        let first = self.tokens.partition_point(|token| token.range.end <= span.start);
        let tokens = self.tokens.get(first..).unwrap_or_default().iter().chain(&open);
        let mut parts = Parts::new();
        for token in tokens.take_while(|token| token.range.start < span.end) {
            let range = if token.bare {
                token.range.clone()
            } else {
                self.widened(span.start.max(token.range.start)..span.end.min(token.range.end))
            };
            if range.start < range.end {
                parts.push(Part { range, bare: token.bare });
            }
        }
        parts
    }

    /// With the whole of the escapes at its ends.
    fn widened(&self, range: Range<usize>) -> Range<usize> {
        let start = self.escape(range.start).map_or(range.start, |escape| escape.start);
        start..self.escape(range.end).map_or(range.end, |escape| escape.end)
    }

    /// The escape that `at` is in the middle of.
    fn escape(&self, at: usize) -> Option<&Range<usize>> {
        let found = self.escapes.get(self.escapes.partition_point(|escape| escape.end <= at));
        found.filter(|escape| escape.start < at)
    }

    /// Forgets what stands before `at`.
    pub fn trim(&mut self, at: usize) {
        self.tokens.retain(|token| token.range.end > at);
        self.escapes.retain(|escape| escape.end > at);
    }
}

fn ends_bare(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' | b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, span: &str) -> Vec<(String, bool)> {
        let start = text.find(span).expect("the span");
        let nested = Nested::of(text);
        let parts = nested.parts(&(start..start + span.len()));
        parts.iter().map(|part| (text[part.range.clone()].to_string(), part.bare)).collect()
    }

    #[test]
    fn matches_are_divided_at_what_holds_json_together() {
        let part = |text: &str, bare| (text.to_string(), bare);
        assert_eq!(parts(r#"{"a": "b c"}"#, "b"), [part("b", false)]);
        assert_eq!(parts(r#"{"a": -4111}"#, "4111"), [part("-4111", true)]);
        assert_eq!(parts(r#"{"key": "val"}"#, r#"ey": "va"#), [part("ey", false), part("va", false)]);
        assert_eq!(parts(r#"{"a": "\njane"}"#, "njane"), [part(r"\njane", false)]);
        assert_eq!(parts(r#"{"a": "x\u00e9"}"#, "x\\u00"), [part(r"x\u00e9", false)]);
        assert_eq!(parts(r#"{"a": 12"#, "12"), [part("12", true)]);
        assert_eq!(parts(r#"{"a": "12"#, "2"), [part("2", false)]);
        assert_eq!(parts(r#"{"a": 1}"#, "\": "), []);
        assert_eq!(parts(" no \"JSON\" at all", "o \"J"), [part("o \"J", false)]);
    }

    #[test]
    fn what_may_change_is_held() {
        let floor = |text: &str, at| Nested::of(text).floor(at);
        assert_eq!(floor(r#"{"a": -41"#, 9), 6);
        assert_eq!(floor(r#"{"a": -41,"#, 7), 6);
        assert_eq!(floor(r#"{"a": -41,"#, 9), 9);
        assert_eq!(floor(r#"{"a": "\"#, 8), 7);
        assert_eq!(floor(r#"{"a": "\njane"#, 8), 7);
        assert_eq!(floor(r#"{"a": "jane"#, 9), 9);
    }
}
