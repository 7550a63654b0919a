//! Tokens in a text that arrives in pieces.
//!
//! A token is `<NAME>`, a name being a label and what tells values of it apart: `EMAIL_1`. Models that write JSON or HTML
//! may escape the brackets, so `\u003c` and `&lt;` open one, too.

use std::ops::Range;

/// Longest name.
pub const NAME: usize = 64;
const OPEN: [&str; 4] = ["<", "\\u003c", "\\u003C", "&lt;"];
const CLOSE: [&str; 4] = [">", "\\u003e", "\\u003E", "&gt;"];

/// Finds tokens in one text, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Finder {
    /// Everything before here is decided.
    base: usize,
    /// What may become a token.
    carry: String,
}

impl Finder {
    /// Length of the text so far.
    pub fn len(&self) -> usize {
        self.base + self.carry.len()
    }

    /// No token still to come begins before this offset.
    pub fn safe(&self) -> usize {
        self.base
    }

    /// Adds a piece; tells tokens with their brackets' place in the whole text, and their names.
    pub fn push(&mut self, text: &str, mut found: impl FnMut(Range<usize>, &str)) {
        if self.carry.is_empty() && next(text).is_none() {
            self.base += text.len();
            return;
        }
        let mut all = std::mem::take(&mut self.carry);
        all.push_str(text);
        let mut at = 0;
        while let Some(step) = next(all.get(at..).unwrap_or_default()) {
            at += step;
            match read(all.get(at..).unwrap_or_default()) {
                Read::Token(name, length) => {
                    found(self.base + at..self.base + at + length, name);
                    at += length;
                }
                Read::Unfinished => {
                    self.base += at;
                    all.drain(..at);
                    self.carry = all;
                    return;
                }
                Read::Other => at += 1,
            }
        }
        self.base += all.len();
    }

    /// The text ends here: what had begun is no token.
    pub fn finish(&mut self) {
        self.base += self.carry.len();
        self.carry.clear();
    }
}

/// Where the next token may begin.
pub fn next(text: &str) -> Option<usize> {
    memchr::memchr3(b'<', b'\\', b'&', text.as_bytes())
}

enum Read<'t> {
    /// Its name, and how long it is with its brackets.
    Token(&'t str, usize),
    Unfinished,
    Other,
}

fn read(text: &str) -> Read<'_> {
    let open = match bracket(text, &OPEN) {
        Bracket::Whole(length) => length,
        Bracket::Begun => return Read::Unfinished,
        Bracket::No => return Read::Other,
    };
    let inner = text.get(open..).unwrap_or_default();
    let length = inner.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let (name, rest) = inner.split_at(length);
    if length > NAME || !inner.bytes().next().is_none_or(|byte| byte.is_ascii_uppercase()) {
        return Read::Other;
    }
    match bracket(rest, &CLOSE) {
        Bracket::Whole(close) if name.contains('_') => Read::Token(name, open + length + close),
        Bracket::Begun => Read::Unfinished,
        _ => Read::Other,
    }
}

enum Bracket {
    Whole(usize),
    /// The text ends before it can be told.
    Begun,
    No,
}

fn bracket(text: &str, forms: &[&str]) -> Bracket {
    if let Some(form) = forms.iter().find(|form| text.starts_with(**form)) {
        return Bracket::Whole(form.len());
    }
    if forms.iter().any(|form| form.starts_with(text)) { Bracket::Begun } else { Bracket::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pieces: &[&str]) -> Vec<(Range<usize>, String)> {
        let (mut finder, mut all) = (Finder::default(), Vec::new());
        for piece in pieces {
            finder.push(piece, |range, name| all.push((range, name.to_string())));
        }
        finder.finish();
        assert_eq!(finder.len(), pieces.iter().map(|piece| piece.len()).sum::<usize>());
        assert_eq!(finder.safe(), finder.len());
        all
    }

    #[test]
    fn brackets_of_three_kinds_enclose_a_name() {
        let text = r"a <B_1> <<C_2x> \u003cD_3\u003E &lt;E_4&gt; <F> <g_1> <H_1 > < I_1> <J_1";
        let names: Vec<String> = found(&[text]).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["B_1", "C_2x", "D_3", "E_4"]);
    }

    #[test]
    fn cuts_change_nothing() {
        let text = r"a <B_1> <<C_2x> ü \u003cD_3\u003E &lt;E_4&gt; \\u003 <";
        let expected = found(&[text]);
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(found(&[&text[..at], &text[at..]]), expected, "{at}");
        }
        assert_eq!(found(&text.split("").collect::<Vec<_>>()), expected);
        assert_eq!(found(&[&format!("<{}", "A".repeat(500)), "_1>"]), []);
    }
}
