//! Cuts a text into the pieces that are encoded one by one, as the patterns of OpenAI's encodings say:
//!
//! ```text
//! cl100k  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! o200k   [^\r\n\p{L}\p{N}]?U*W+C?|[^\r\n\p{L}\p{N}]?U+W*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//!         U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]   W = [\p{Ll}\p{Lm}\p{Lo}\p{M}]   C = (?i:'s|'t|'re|'ve|'m|'ll|'d)
//! ```
//!
//! By hand instead of by a regular expression: the cutting is most of the work of counting, and this is several times as
//! fast. Classes of characters are those of the Unicode version that `regex-syntax` carries.

use regex_syntax::hir::{Class, HirKind};

const LETTER: u8 = 1;
const NUMBER: u8 = 2;
const SPACE: u8 = 4;
/// `\r` and `\n`.
const BREAK: u8 = 8;
const UPPER: u8 = 16;
const LOWER: u8 = 32;

/// What each character is; two bytes to choose a page of 256, of which most are alike.
pub struct Classes {
    ascii: [u8; 128],
    pages: Vec<u16>,
    bits: Vec<[u8; 256]>,
}

impl Classes {
    pub fn load() -> Classes {
        let mut flat = vec![0_u8; 0x11_0000];
        for (pattern, bit) in [
            (r"\p{L}", LETTER),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[\r\n]", BREAK),
            (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
            (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
        ] {
            let Ok(hir) = regex_syntax::parse(pattern) else { continue };
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else { continue };
            for range in class.ranges() {
                for one in &mut flat[range.start() as usize..=range.end() as usize] {
                    *one |= bit;
                }
            }
        }
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        let mut bits: Vec<[u8; 256]> = Vec::new();
        let mut pages = Vec::with_capacity(0x1100);
        for page in flat.chunks_exact(256) {
            let known = bits.iter().position(|one| one == page).unwrap_or_else(|| {
                let mut fresh = [0; 256];
                fresh.copy_from_slice(page);
                bits.push(fresh);
                bits.len() - 1
            });
            pages.push(known as u16);
        }
        Classes { ascii, pages, bits }
    }

    /// The class of the character at `at` and its length; nothing (0, 0) at the end.
    #[inline]
    fn at(&self, text: &str, at: usize) -> (u8, usize) {
        match text.as_bytes().get(at) {
            None => (0, 0),
            Some(byte) if *byte < 128 => (self.ascii[usize::from(*byte)], 1),
            Some(_) => self.wide(text, at),
        }
    }

    fn wide(&self, text: &str, at: usize) -> (u8, usize) {
        let Some(one) = text.get(at..).and_then(|rest| rest.chars().next()) else { return (0, 1) };
        let code = one as usize;
        (self.bits[usize::from(self.pages[code >> 8])][code & 255], one.len_utf8())
    }

    /// Where the run of characters of `class` that begins at `at` ends.
    #[inline]
    fn run(&self, text: &str, mut at: usize, class: u8) -> usize {
        loop {
            let (found, length) = self.at(text, at);
            if found & class == 0 {
                return at;
            }
            at += length;
        }
    }

    /// Where the piece of cl100k that begins at `at` ends. Always behind `at`, if that is not the end.
    pub fn cl100k(&self, text: &str, at: usize) -> usize {
        let (class, length) = self.at(text, at);
        if let Some(end) = contraction(text, at) {
            return end;
        }
        if class & LETTER != 0 {
            return self.run(text, at + length, LETTER);
        }
        if class & (NUMBER | BREAK) == 0 {
            let end = self.run(text, at + length, LETTER);
            if end > at + length {
                return end;
            }
        }
        self.others(text, at, false)
    }

    /// The same of o200k.
    pub fn o200k(&self, text: &str, at: usize) -> usize {
        let (class, length) = self.at(text, at);
        // Most words: lower case, or a capital and lower case.
        let leads = class & (LETTER | NUMBER | BREAK) == 0;
        let after = if leads { at + length } else { at };
        let from = [after, at];
        for from in &from[..if leads { 2 } else { 1 }] {
            if let Some(end) = self.cased(text, *from) {
                return contraction(text, end).unwrap_or(end);
            }
        }
        for from in &from[..if leads { 2 } else { 1 }] {
            let upper = self.run(text, *from, UPPER);
            if upper > *from {
                let end = self.run(text, upper, LOWER);
                return contraction(text, end).unwrap_or(end);
            }
        }
        self.others(text, at, true)
    }

    /// `U*W+` from `at`. Characters that are both go wherever they make it match.
    fn cased(&self, text: &str, at: usize) -> Option<usize> {
        let (mut upper, mut both) = (at, None);
        loop {
            let (class, length) = self.at(text, upper);
            if class & UPPER == 0 {
                break;
            }
            upper += length;
            if class & LOWER != 0 {
                both = Some(upper);
            }
        }
        let end = self.run(text, upper, LOWER);
        if end > upper { Some(end) } else { both }
    }

    /// Numbers, signs and white space, alike in both but for the slash.
    fn others(&self, text: &str, at: usize, slash: bool) -> usize {
        let (class, length) = self.at(text, at);
        if class & NUMBER != 0 {
            let mut end = at + length;
            for _ in 0..2 {
                let (class, length) = self.at(text, end);
                if class & NUMBER != 0 {
                    end += length;
                }
            }
            return end;
        }
        let is_sign = |at: usize| {
            let (class, length) = self.at(text, at);
            length > 0 && class & (SPACE | LETTER | NUMBER) == 0
        };
        let first = if text.as_bytes().get(at) == Some(&b' ') { at + 1 } else { at };
        if is_sign(first) {
            let mut end = first;
            while is_sign(end) {
                end += self.at(text, end).1;
            }
            while text.as_bytes().get(end).is_some_and(|byte| matches!(byte, b'\r' | b'\n') || slash && *byte == b'/') {
                end += 1;
            }
            return end;
        }
        self.blank(text, at)
    }

    /// White space: up to the last line break in it; else all but the last character, which belongs to the next word.
    fn blank(&self, text: &str, at: usize) -> usize {
        let (mut end, mut last, mut broken) = (at, at, None);
        loop {
            let (class, length) = self.at(text, end);
            if class & SPACE == 0 {
                break;
            }
            last = end;
            end += length;
            if class & BREAK != 0 {
                broken = Some(end);
            }
        }
        match broken {
            Some(broken) => broken,
            None if end == text.len() || last == at => end.max(at + 1),
            None => last,
        }
    }
}

/// The end of a contraction that begins at `at`. The long s is an s in lower case.
#[inline]
fn contraction(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    let (b'\'', rest) = rest.split_first()? else { return None };
    match rest {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(at + 2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] => Some(at + 3),
        [0xc5, 0xbf, ..] => Some(at + 3),
        _ => None,
    }
}
