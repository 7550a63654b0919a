//! The JSON grammar over a byte slice: every method takes an offset and returns the offset behind what it read.

use super::block;
use super::names::Names;
use super::{JsonError, JsonErrorKind, Kind, MAX_DEPTH, Scan, Value};

/// A cursorless reader of one document; offsets are into `body`, which ends where reading must end.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    pub(super) body: &'a [u8],
    /// A byte above 0x7f was seen in a string (or close behind it), so UTF-8 has to be verified.
    pub(super) high: bool,
}

#[cold]
pub(super) fn fail<T>(offset: usize, kind: JsonErrorKind) -> Result<T, JsonError> {
    Err(JsonError { offset, kind })
}

/// Offsets fit 32 bits because the public functions refuse documents above `MAX_LEN`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn span(kind: Kind, start: usize, end: usize) -> Value {
    Value { kind, start: start as u32, end: end as u32 }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, high: false }
    }

    /// The byte at `at`, or NUL behind the end: NUL is legal nowhere outside a string, so every match refuses it.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    #[cold]
    fn unexpected<T>(&self, at: usize, wanted: &'static str) -> Result<T, JsonError> {
        if at >= self.body.len() {
            return fail(self.body.len(), JsonErrorKind::UnexpectedEnd);
        }
        fail(at, JsonErrorKind::Expected(wanted))
    }

    /// Reads the object at `start`, noting the wanted members and refusing a key given twice.
    pub(super) fn members<const N: usize>(&mut self, start: usize, wanted: &[&str; N]) -> Result<Scan<N>, JsonError> {
        self.noting(start, wanted, |_, _| false).map(|(scan, _)| scan)
    }

    /// The same, and the first other key that `note` says yes to, which is given its bytes and whether they have escapes.
    pub(super) fn noting<const N: usize>(
        &mut self,
        start: usize,
        wanted: &[&str; N],
        note: impl Fn(&[u8], bool) -> bool,
    ) -> Result<(Scan<N>, Option<Value>), JsonError> {
        if self.byte(start) != b'{' {
            let end = start >= self.body.len();
            return fail(start, if end { JsonErrorKind::UnexpectedEnd } else { JsonErrorKind::NotAnObject });
        }
        let mut names = Names::new(self.body, wanted);
        let mut fields = [None; N];
        let mut noted = None;
        let mut at = self.space(start + 1);
        if self.byte(at) != b'}' {
            loop {
                if self.byte(at) != b'"' {
                    return self.unexpected(at, if names.count() == 0 { "a key or '}'" } else { "a key" });
                }
                let key = at + 1;
                let (end, escaped) = self.string(key)?;
                let field = names.add(key..end - 1, escaped)?;
                let value = self.value(self.colon(end)?)?;
                if let Some(slot) = field.and_then(|index| fields.get_mut(index)) {
                    *slot = Some(value);
                } else if noted.is_none() && note(&self.body[key..end - 1], escaped) {
                    noted = Some(span(Kind::String, key - 1, end));
                }
                at = self.space(value.end as usize);
                match self.byte(at) {
                    b',' => at = self.space(at + 1),
                    b'}' => break,
                    _ => return self.unexpected(at, "',' or '}'"),
                }
            }
        }
        let keys = names.count();
        names.finish()?;
        Ok((Scan { root: span(Kind::Object, start, at + 1), fields, keys }, noted))
    }

    /// Reads the colon behind a key and the white space around it.
    #[inline(always)]
    fn colon(&self, at: usize) -> Result<usize, JsonError> {
        let at = self.space(at);
        if self.byte(at) == b':' { Ok(self.space(at + 1)) } else { self.unexpected(at, "':'") }
    }

    /// Reads the key at `at` (its quote) and the colon behind it.
    #[inline(always)]
    fn key(&mut self, at: usize, wanted: &'static str) -> Result<usize, JsonError> {
        if self.byte(at) != b'"' {
            return self.unexpected(at, wanted);
        }
        let (end, _) = self.string(at + 1)?;
        self.colon(end)
    }

    /// Reads the member whose key's quote is at `start`.
    pub(super) fn member(&mut self, start: usize) -> Option<super::Member> {
        let (end, _) = self.string(start + 1).ok()?;
        let value = self.colon(end).and_then(|at| self.value(at)).ok()?;
        Some(super::Member { key: span(Kind::String, start, end), value })
    }

    /// Reads the value at `start`, which is not white space.
    #[inline]
    pub(super) fn value(&mut self, start: usize) -> Result<Value, JsonError> {
        let (kind, end) = match self.byte(start) {
            b'"' => (Kind::String, self.string(start + 1)?.0),
            b'{' => (Kind::Object, self.container(start)?),
            b'[' => (Kind::Array, self.container(start)?),
            b'-' | b'0'..=b'9' => (Kind::Number, self.number(start)?),
            b't' => (Kind::Bool, self.literal(start, b"true")?),
            b'f' => (Kind::Bool, self.literal(start, b"false")?),
            b'n' => (Kind::Null, self.literal(start, b"null")?),
            _ => return self.unexpected(start, "a value"),
        };
        Ok(span(kind, start, end))
    }

    /// Reads the array or object at `start`, with all it holds. The open containers are bits (1 for an object) above a
    /// sentinel, so depth costs no machine stack and its limit is the width; the caller's container is the sentinel.
    fn container(&mut self, start: usize) -> Result<usize, JsonError> {
        const { assert!(MAX_DEPTH == u128::BITS) };
        let mut open = 1_u128;
        let mut at = start;
        'value: loop {
            match self.byte(at) {
                b'"' => at = self.string(at + 1)?.0,
                bracket @ (b'{' | b'[') => {
                    if open >> (MAX_DEPTH - 1) != 0 {
                        return fail(at, JsonErrorKind::TooDeep);
                    }
                    let object = bracket == b'{';
                    open = open << 1 | u128::from(object);
                    at = self.space(at + 1);
                    // '}' is two above '{', and ']' above '['; it is read below.
                    if self.byte(at) != bracket + 2 {
                        if object {
                            at = self.key(at, "a key or '}'")?;
                        }
                        continue 'value;
                    }
                }
                b'-' | b'0'..=b'9' => at = if open & 1 == 0 { self.numbers(at)? } else { self.number(at)? },
                b't' => at = self.literal(at, b"true")?,
                b'f' => at = self.literal(at, b"false")?,
                b'n' => at = self.literal(at, b"null")?,
                _ => return self.unexpected(at, "a value"),
            }
            loop {
                let object = open & 1 == 1;
                at = self.space(at);
                let byte = self.byte(at);
                if byte == b',' {
                    at = self.space(at + 1);
                    if object {
                        at = self.key(at, "a key")?;
                    }
                    continue 'value;
                }
                if byte != if object { b'}' } else { b']' } {
                    return self.unexpected(at, if object { "',' or '}'" } else { "',' or ']'" });
                }
                at += 1;
                open >>= 1;
                if open == 1 {
                    return Ok(at);
                }
            }
        }
    }

    /// Reads the number at `at` and those that follow it in an array (token numbers, embeddings).
    fn numbers(&self, mut at: usize) -> Result<usize, JsonError> {
        loop {
            let end = self.number(at)?;
            let comma = self.space(end);
            at = self.space(comma + 1);
            if self.byte(comma) != b',' || !matches!(self.byte(at), b'-' | b'0'..=b'9') {
                return Ok(end);
            }
        }
    }

    #[inline(always)]
    fn literal(&self, at: usize, text: &'static [u8]) -> Result<usize, JsonError> {
        let end = at + text.len();
        if self.body.get(at..end) == Some(text) { Ok(end) } else { self.unexpected(at, "a value") }
    }

    /// Skips digits one by one. Every step is a branch, so the processor guesses the end of the number and goes on instead
    /// of waiting for it.
    #[inline(always)]
    fn digits(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    }

    /// The same where many are to be expected: whole words while they last.
    #[inline(always)]
    fn many_digits(&self, mut at: usize) -> usize {
        while self.body.get(at..).and_then(<[u8]>::first_chunk).is_some_and(|word| are_digits(*word)) {
            at += 8;
        }
        self.digits(at)
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    #[inline(always)]
    fn number(&self, start: usize) -> Result<usize, JsonError> {
        let first = start + usize::from(self.byte(start) == b'-');
        let zero = self.byte(first) == b'0';
        let mut at = if zero { first + 1 } else { self.digits(first) };
        if at == first || (zero && self.byte(at).is_ascii_digit()) {
            return self.bad_number(at);
        }
        if self.byte(at) == b'.' {
            let fraction = at + 1;
            at = self.many_digits(fraction);
            if at == fraction {
                return self.bad_number(at);
            }
        }
        if matches!(self.byte(at), b'e' | b'E') {
            let exponent = at + 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = self.digits(exponent);
            if at == exponent {
                return self.bad_number(at);
            }
        }
        Ok(at)
    }

    #[cold]
    fn bad_number<T>(&self, at: usize) -> Result<T, JsonError> {
        let end = at >= self.body.len();
        fail(at, if end { JsonErrorKind::UnexpectedEnd } else { JsonErrorKind::InvalidNumber })
    }

    /// Reads a string's content from `at`; returns the offset behind the closing quote and whether there was an escape.
    #[inline(always)]
    fn string(&mut self, at: usize) -> Result<(usize, bool), JsonError> {
        // Keys and most values end within the first block.
        let Some(block) = self.body.get(at..).and_then(<[u8]>::first_chunk) else {
            return self.string_end(at, false);
        };
        let (stops, high) = block::short(block);
        self.high |= high;
        if stops == 0 {
            return self.long_string(at + block::SHORT);
        }
        let stop = at + block::place(stops);
        if self.body[stop] == b'"' { Ok((stop + 1, false)) } else { self.long_string(stop) }
    }

    /// The same for the rest of a longer string. All stops of a block are taken from one mask: going back to the body after
    /// every escape would make each wait for the one before.
    fn long_string(&mut self, mut at: usize) -> Result<(usize, bool), JsonError> {
        let mut escaped = false;
        'block: while let Some(block) = self.body.get(at..).and_then(<[u8]>::first_chunk) {
            let (mut stops, high) = block::long(block);
            self.high |= high;
            while stops != 0 {
                let stop = at + block::place(stops);
                match self.body[stop] {
                    b'"' => return Ok((stop + 1, escaped)),
                    b'\\' => escaped = true,
                    _ => return fail(stop, JsonErrorKind::ControlCharacter),
                }
                let next = self.escape(stop)?;
                if next - at >= block::LONG {
                    at = next;
                    continue 'block;
                }
                stops = block::from(stops, next - at);
            }
            at += block::LONG;
        }
        self.string_end(at, escaped)
    }

    /// The same byte by byte, where no block is left.
    #[cold]
    fn string_end(&mut self, mut at: usize, mut escaped: bool) -> Result<(usize, bool), JsonError> {
        loop {
            match self.body.get(at) {
                Some(b'"') => return Ok((at + 1, escaped)),
                Some(b'\\') => {
                    at = self.escape(at)?;
                    escaped = true;
                }
                Some(0..=0x1f) => return fail(at, JsonErrorKind::ControlCharacter),
                Some(byte) => {
                    self.high |= *byte > 0x7f;
                    at += 1;
                }
                None => return fail(at, JsonErrorKind::UnexpectedEnd),
            }
        }
    }

    /// Reads the escape at `at` (its backslash).
    #[inline(always)]
    fn escape(&self, at: usize) -> Result<usize, JsonError> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' if self.body.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {
                Ok(at + 6)
            }
            _ => fail(at, JsonErrorKind::InvalidEscape),
        }
    }
}

/// Whether all eight bytes are digits (`0`..`9` are 0x30..0x39).
#[inline(always)]
fn are_digits(bytes: [u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(bytes) ^ (ONES * 0x30);
    (((word & (ONES * 0x7f)) + ONES * 0x76) | word) & (ONES * 0x80) == 0
}
