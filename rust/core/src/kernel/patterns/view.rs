//! The second view of a text: what a reader (or a model) takes it for.
//!
//! Characters that look like ASCII become it, invisible ones and accents disappear, width and style are dropped, and the
//! escapes that travel inside texts (`\u0041`, `%41`, `&#65;`) are resolved, one level deep. Every character is mapped on
//! its own, so the view of a text does not depend on the pieces in which it arrives.

use std::collections::VecDeque;
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

use super::Hit;

/// Whether the second view of a text is the text itself.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.is_ascii() && memchr::memchr3(b'\\', b'%', b'&', text.as_bytes()).is_none()
}

/// The second view of a whole text.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut cooked = Cooked::default();
    cooked.push(text, true);
    String::from_utf8_lossy(&cooked.bytes).into_owned()
}

/// Bytes of the view that come from one place: one for one from `raw` on, or together from `raw..raw + length`.
#[derive(Clone, Copy, Debug)]
struct Segment {
    view: usize,
    raw: usize,
    /// 0: one for one.
    length: usize,
}

/// The view of a text, as far as it has arrived and is still needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Cooked {
    bytes: Vec<u8>,
    base: usize,
    segments: VecDeque<Segment>,
    /// Bytes of the text that are in the view.
    raw: usize,
    /// The start of an escape whose rest has not arrived.
    pending: String,
}

impl Cooked {
    /// Goes on behind a text that looked the same in both views; `bytes` are its last ones, from `base` on.
    pub fn behind(bytes: &[u8], base: usize) -> Self {
        let segments = VecDeque::from([Segment { view: base, raw: base, length: 0 }]);
        Cooked { bytes: bytes.to_vec(), base, segments, raw: base + bytes.len(), pending: String::new() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn base(&self) -> usize {
        self.base
    }

    /// Adds more of the text; `ends`: there is no more.
    pub fn push(&mut self, text: &str, ends: bool) {
        if self.pending.is_empty() {
            let rest = self.cook(text, ends);
            self.pending.push_str(&text[text.len() - rest..]);
            return;
        }
        let mut joined = std::mem::take(&mut self.pending);
        joined.push_str(text);
        let rest = self.cook(&joined, ends);
        self.pending.push_str(&joined[joined.len() - rest..]);
    }

    /// Returns how many bytes at the end of `text` could not be decided.
    fn cook(&mut self, text: &str, ends: bool) -> usize {
        let mut rest = text;
        while !rest.is_empty() {
            let run =
                rest.bytes().position(|byte| byte >= 0x80 || matches!(byte, b'\\' | b'%' | b'&')).unwrap_or(rest.len());
            self.same(&rest[..run]);
            rest = &rest[run..];
            let Some(first) = rest.chars().next() else { break };
            let step = match first {
                '\\' => backslash(rest, ends),
                '%' => percent(rest, ends),
                '&' => entity(rest, ends),
                other => Step::Character(other, other.len_utf8()),
            };
            match step {
                Step::Wait => return rest.len(),
                Step::Plain => {
                    self.same(&rest[..1]);
                    rest = &rest[1..];
                }
                Step::Character(character, length) => {
                    self.character(character, &rest[..length]);
                    rest = &rest[length..];
                }
            }
        }
        0
    }

    fn same(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let view = self.base + self.bytes.len();
        let follows =
            self.segments.back().is_some_and(|last| last.length == 0 && self.raw - last.raw == view - last.view);
        if !follows {
            self.segments.push_back(Segment { view, raw: self.raw, length: 0 });
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.raw += text.len();
    }

    fn character(&mut self, character: char, source: &str) {
        let mut buffer = [0; 4];
        let same = |text: &str| text == source;
        match look(character) {
            Look::Same if same(character.encode_utf8(&mut buffer)) => self.same(source),
            Look::Same => self.replaced(character.encode_utf8(&mut buffer).as_bytes(), source.len()),
            Look::Nothing => self.raw += source.len(),
            Look::Text(text) => self.replaced(text.as_bytes(), source.len()),
        }
    }

    fn replaced(&mut self, bytes: &[u8], length: usize) {
        self.segments.push_back(Segment { view: self.base + self.bytes.len(), raw: self.raw, length });
        self.bytes.extend_from_slice(bytes);
        self.raw += length;
    }

    fn segment(&self, view: usize) -> Option<&Segment> {
        let behind = self.segments.partition_point(|segment| segment.view <= view);
        self.segments.get(behind.checked_sub(1)?)
    }

    /// Where in the text the byte of the view stands, or its end the view ends.
    pub fn start(&self, view: usize) -> usize {
        if view >= self.base + self.bytes.len() {
            return self.raw;
        }
        self.segment(view)
            .map_or(0, |segment| if segment.length == 0 { segment.raw + view - segment.view } else { segment.raw })
    }

    /// The same for the end of a range.
    fn end(&self, view: usize) -> usize {
        let Some(last) = view.checked_sub(1) else { return 0 };
        self.segment(last).map_or(0, |segment| match segment.length {
            0 => segment.raw + view - segment.view,
            length => segment.raw + length,
        })
    }

    pub fn in_text(&self, hit: Hit) -> Hit {
        Hit { start: self.start(hit.start), end: self.end(hit.end), first: self.end(hit.first), ..hit }
    }

    /// Forgets what stands before `view`.
    pub fn trim(&mut self, view: usize) {
        let count = view.saturating_sub(self.base).min(self.bytes.len());
        self.bytes.drain(..count);
        self.base += count;
        while self.segments.get(1).is_some_and(|next| next.view <= self.base) {
            self.segments.pop_front();
        }
    }
}

enum Step {
    /// The rest of the escape has to arrive first.
    Wait,
    /// No escape after all.
    Plain,
    /// A character written in that many bytes.
    Character(char, usize),
}

fn wait_or_plain(ends: bool) -> Step {
    if ends { Step::Plain } else { Step::Wait }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

fn backslash(rest: &str, ends: bool) -> Step {
    let bytes = rest.as_bytes();
    match bytes.get(1) {
        None => wait_or_plain(ends),
        Some(b'u') => {
            let unit = |at: usize| -> Option<Option<u32>> {
                // None: not an escape; Some(None): more has to arrive.
                let head = bytes.get(at..bytes.len().min(at + 6))?;
                let fits = head.iter().zip(b"\\u").all(|(one, other)| one == other)
                    && head.iter().skip(2).all(u8::is_ascii_hexdigit);
                if !fits {
                    None
                } else if head.len() < 6 {
                    Some(None)
                } else {
                    Some(hex(&head[2..]))
                }
            };
            match unit(0) {
                Some(None) => wait_or_plain(ends),
                Some(Some(high @ 0xd800..0xdc00)) => match unit(6) {
                    Some(Some(low @ 0xdc00..0xe000)) => {
                        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(code).map_or(Step::Plain, |character| Step::Character(character, 12))
                    }
                    Some(None) if !ends => Step::Wait,
                    _ => Step::Plain,
                },
                Some(Some(code)) => char::from_u32(code).map_or(Step::Plain, |character| Step::Character(character, 6)),
                None => Step::Plain,
            }
        }
        Some(b'n' | b'r' | b't') => Step::Character(' ', 2),
        Some(quote @ (b'"' | b'\'' | b'\\' | b'/')) => Step::Character(char::from(*quote), 2),
        Some(_) => Step::Plain,
    }
}

fn percent(rest: &str, ends: bool) -> Step {
    let bytes = rest.as_bytes();
    let mut decoded = [0_u8; 4];
    let mut wanted = 1;
    let mut at = 0;
    while at < wanted {
        let head = &bytes[(at * 3).min(bytes.len())..bytes.len().min(at * 3 + 3)];
        if head.first().is_some_and(|first| *first != b'%') || !head.iter().skip(1).all(u8::is_ascii_hexdigit) {
            return Step::Plain;
        }
        if head.len() < 3 {
            return wait_or_plain(ends);
        }
        let byte = hex(&head[1..]).and_then(|byte| u8::try_from(byte).ok()).unwrap_or(0);
        if at == 0 {
            wanted = match byte {
                0..0x80 => 1,
                0xc2..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0..0xf5 => 4,
                _ => return Step::Plain,
            };
        }
        decoded[at] = byte;
        at += 1;
    }
    let text = std::str::from_utf8(&decoded[..wanted]).ok();
    text.and_then(|text| text.chars().next()).map_or(Step::Plain, |character| Step::Character(character, wanted * 3))
}

/// Longest numeric entity.
const ENTITY: usize = 11;

fn entity(rest: &str, ends: bool) -> Step {
    let bytes = rest.as_bytes();
    for (name, character) in [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&nbsp;", ' ')] {
        if rest.starts_with(name) {
            return Step::Character(character, name.len());
        }
        if name.starts_with(rest) {
            return wait_or_plain(ends);
        }
    }
    if bytes.get(1).is_none() {
        return wait_or_plain(ends);
    }
    if bytes.get(1) != Some(&b'#') {
        return Step::Plain;
    }
    let (radix, from) = if matches!(bytes.get(2), Some(b'x' | b'X')) { (16, 3) } else { (10, 2) };
    let digits = bytes.iter().skip(from).take(ENTITY).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    match bytes.get(from + digits) {
        None if digits < ENTITY => wait_or_plain(ends),
        Some(b';') if digits > 0 => {
            let code = rest.get(from..from + digits).and_then(|text| u32::from_str_radix(text, radix).ok());
            code.and_then(char::from_u32).map_or(Step::Plain, |character| Step::Character(character, from + digits + 1))
        }
        _ => Step::Plain,
    }
}

/// What a character looks like.
enum Look {
    Same,
    Nothing,
    Text(&'static str),
}

const PAGE: usize = 256;
/// Looks of 256 characters; made when the first of them is met.
type Page = Box<[Option<Box<str>>; PAGE]>;
static PAGES: [OnceLock<Page>; 0x1100] = [const { OnceLock::new() }; 0x1100];

fn look(character: char) -> Look {
    let code = character as usize;
    let page = PAGES[code / PAGE].get_or_init(|| {
        Box::new(std::array::from_fn(|index| {
            let code = u32::try_from(code / PAGE * PAGE + index).unwrap_or(0);
            let character = char::from_u32(code)?;
            let look = resolve(character);
            (look.chars().ne([character])).then(|| look.into_boxed_str())
        }))
    });
    match &page[code % PAGE] {
        None => Look::Same,
        Some(text) if text.is_empty() => Look::Nothing,
        Some(text) => Look::Text(text),
    }
}

/// Characters that show nothing (Unicode's Default_Ignorable_Code_Point), but for tags.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The zeros of the scripts whose ten digits follow each other.
const ZEROS: [u32; 37] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x1e950,
];

fn ascii(code: u32, first: u32, to: u8) -> String {
    let offset = u8::try_from(code - first).unwrap_or(0);
    char::from(to + offset).to_string()
}

fn resolve(character: char) -> String {
    let code = u32::from(character);
    if character.is_ascii() {
        return character.to_string();
    }
    match code {
        // Tags: invisible copies of ASCII.
        0xe0020..=0xe007e => return ascii(code, 0xe0020, b' '),
        0x1f130..=0x1f149 => return ascii(code, 0x1f130, b'A'),
        0x1f150..=0x1f169 => return ascii(code, 0x1f150, b'A'),
        0x1f170..=0x1f189 => return ascii(code, 0x1f170, b'A'),
        0x1f1e6..=0x1f1ff => return ascii(code, 0x1f1e6, b'A'),
        0x2010..=0x2015 | 0x2212 | 0x2043 => return "-".to_string(),
        0x2018..=0x201b | 0x2032 => return "'".to_string(),
        0x201c..=0x201f | 0x2033 => return "\"".to_string(),
        0x2028 | 0x2029 | 0x85 | 0x1680 => return " ".to_string(),
        // Syllables of Hangul would fall apart.
        0xac00..=0xd7a3 => return character.to_string(),
        _ => {}
    }
    if is_invisible(character) || is_combining_mark(character) {
        return String::new();
    }
    if let Some(zero) = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code)) {
        return ascii(code, *zero, b'0');
    }
    let mut out = String::new();
    for part in std::iter::once(character).nfkd() {
        if part.is_ascii() {
            out.push(part);
        } else if !is_combining_mark(part) && !is_invisible(part) {
            out.push_str(&prototype(part));
        }
    }
    out
}

/// The ASCII that a character is confused with (Unicode Technical Standard 39), or itself.
fn prototype(character: char) -> String {
    let mut buffer = [0; 4];
    let found: String = skeleton(character.encode_utf8(&mut buffer)).filter(|part| !is_combining_mark(*part)).collect();
    match found.as_str() {
        // There, `I` stands for `l`.
        "l" if character.is_uppercase() => "I".to_string(),
        text if !text.is_empty() && text.is_ascii() => text.to_string(),
        _ => character.to_string(),
    }
}
