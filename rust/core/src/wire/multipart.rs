//! Finding the fields of a `multipart/form-data` body (RFC 7578, RFC 2046 section 5.1) without decoding it.
//!
//! The gateway reads one small field (`model`) of bodies that carry audio and images, and splices another value in. The
//! provider parses the same bytes with a parser we do not know, so every construct that parsers are known to read
//! differently is refused instead of guessed: text before the first or behind the last delimiter, delimiter lines behind a
//! bare LF or CR or with something behind the boundary, folded or malformed header lines, repeated parameters, `name*`,
//! backslashes in names, and content transfer encodings. No HTTP client sends any of these.
//!
//! Linear in the length of the body: one search for the delimiter, whose length is at most 72 bytes.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memmem;

/// Most parts a body may have.
pub const MAX_PARTS: usize = 100;
/// Longest header block of a part in bytes.
pub const MAX_HEADER: usize = 8 << 10;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name as the client gave it (`filename*` undecoded), never to be used as a path; invalid UTF-8 is replaced.
    pub filename: Option<String>,
    /// The value of the part's `Content-Type`.
    pub content_type: Option<String>,
    /// Byte span of the content in the body.
    pub content: Range<usize>,
}

/// Why a body was refused, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultipartError {
    pub offset: usize,
    pub kind: MultipartErrorKind,
}

/// The reason of a [`MultipartError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipartErrorKind {
    /// The boundary does not obey RFC 2046.
    Boundary,
    /// The body does not begin with the boundary.
    Start,
    /// The closing delimiter is missing.
    End,
    /// Something behind the closing delimiter.
    Trailing,
    /// A delimiter line that some parsers would accept and others not.
    Delimiter,
    /// More than [`MAX_PARTS`].
    TooManyParts,
    /// A header block longer than [`MAX_HEADER`], or malformed.
    Header,
    /// `Content-Disposition` missing, repeated, malformed, not `form-data`, or without an unambiguous name.
    Disposition,
    /// A `Content-Transfer-Encoding` that changes the content.
    Encoding,
    /// A field that must be unique was given again (see [`field`]).
    Repeated,
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.kind {
            MultipartErrorKind::Boundary => "invalid multipart boundary",
            MultipartErrorKind::Start => "multipart body does not begin with its boundary",
            MultipartErrorKind::End => "multipart body ends without its closing boundary",
            MultipartErrorKind::Trailing => "unexpected data behind the closing boundary",
            MultipartErrorKind::Delimiter => "malformed multipart boundary line",
            MultipartErrorKind::TooManyParts => "too many parts",
            MultipartErrorKind::Header => "malformed or too long part header",
            MultipartErrorKind::Disposition => "missing or malformed Content-Disposition",
            MultipartErrorKind::Encoding => "unsupported Content-Transfer-Encoding",
            MultipartErrorKind::Repeated => "form field given more than once",
        };
        write!(f, "{text} at byte {}", self.offset)
    }
}

impl std::error::Error for MultipartError {}

fn fail<T>(offset: usize, kind: MultipartErrorKind) -> Result<T, MultipartError> {
    Err(MultipartError { offset, kind })
}

/// The boundary of a `multipart/form-data` content type.
///
/// `None` for any other type, and if the parameter is missing, repeated or against RFC 2046 (1 to 70 characters of its
/// set, the last not a space).
#[must_use]
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim_matches([' ', '\t']).eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for (name, value) in parse_parameters(parameters.as_bytes(), Quoting::Escapes)? {
        // `boundary*0=` is a continuation (RFC 2231) to some parsers and an unknown parameter to others.
        let repeated = name.eq_ignore_ascii_case(b"boundary") && found.replace(value).is_some();
        if repeated || name.contains(&b'*') {
            return None;
        }
    }
    let value = found.filter(|value| is_boundary(value))?;
    String::from_utf8(value.into_owned()).ok()
}

fn is_boundary(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    (1..=70).contains(&value.len()) && value.last() != Some(&b' ') && value.iter().all(allowed)
}

/// All parts of the body, in order.
///
/// # Errors
/// [`MultipartError`] for a body that is malformed, cut off, or could be read in more than one way.
pub fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, MultipartError> {
    if !is_boundary(boundary.as_bytes()) {
        return fail(0, MultipartErrorKind::Boundary);
    }
    let dashed = format!("--{boundary}");
    let start = usize::from(body.starts_with(b"\r\n")) * 2;
    if !body[start..].starts_with(dashed.as_bytes()) {
        return fail(0, MultipartErrorKind::Start);
    }
    let mut parts = Vec::new();
    let mut part: Option<Part> = None;
    let mut from = 0;
    for at in memmem::find_iter(body, dashed.as_bytes()) {
        if !begins_line(body, at, start, from)? {
            continue;
        }
        if let Some(mut part) = part.take() {
            part.content.end = at - 2;
            parts.push(part);
        }
        let (end, last) = delimiter_end(body, at + dashed.len())?;
        if last {
            let clean = body[end..].iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            return if clean { Ok(parts) } else { fail(end, MultipartErrorKind::Trailing) };
        }
        if parts.len() == MAX_PARTS {
            return fail(at, MultipartErrorKind::TooManyParts);
        }
        let next = header(body, end)?;
        from = next.content.start;
        part = Some(next);
    }
    fail(body.len(), MultipartErrorKind::End)
}

/// The one part of that name.
///
/// # Errors
/// [`MultipartErrorKind::Repeated`] if there are more: parsers disagree on which counts.
pub fn field<'a>(parts: &'a [Part], name: &str) -> Result<Option<&'a Part>, MultipartError> {
    let mut named = parts.iter().filter(|part| part.name == name);
    let first = named.next();
    named.next().map_or(Ok(first), |second| fail(second.content.start, MultipartErrorKind::Repeated))
}

/// Whether the boundary at `at` is a delimiter: at `start`, or behind a CRLF in the content that begins at `from`. At the
/// start of any other line (behind a bare LF, or in a header) some parsers would take it for one, so it is refused.
fn begins_line(body: &[u8], at: usize, start: usize, from: usize) -> Result<bool, MultipartError> {
    if at == start {
        return Ok(true);
    }
    match body[..at] {
        [.., b'\r', b'\n'] if at >= from + 2 => Ok(true),
        [.., b'\n' | b'\r'] => fail(at, MultipartErrorKind::Delimiter),
        _ => Ok(false),
    }
}

/// Reads what follows the boundary in a delimiter line; returns the offset behind the line and whether it was the last.
fn delimiter_end(body: &[u8], at: usize) -> Result<(usize, bool), MultipartError> {
    let last = body[at..].starts_with(b"--");
    let at = at + usize::from(last) * 2;
    let padding = body[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let at = at + padding;
    match body[at..] {
        [b'\r', b'\n', ..] => Ok((at + 2, last)),
        [] if last => Ok((at, true)),
        [] | [b'\r'] => fail(body.len(), MultipartErrorKind::End),
        _ => fail(at, MultipartErrorKind::Delimiter),
    }
}

/// Reads the header block at `start`; the part's content begins behind it and has no end yet.
fn header(body: &[u8], start: usize) -> Result<Part, MultipartError> {
    let block = &body[start..body.len().min(start + MAX_HEADER)];
    let mut disposition = None;
    let mut content_type = None;
    let mut encoding = None;
    let mut at = 0;
    loop {
        let Some(length) = memchr::memchr2(b'\n', b'\r', &block[at..]) else {
            let cut = start + block.len() == body.len();
            let kind = if cut { MultipartErrorKind::End } else { MultipartErrorKind::Header };
            return fail(start + block.len(), kind);
        };
        let line = &block[at..at + length];
        let offset = start + at;
        match block[at + length..] {
            [b'\r', b'\n', ..] => at += length + 2,
            [b'\r'] if start + block.len() == body.len() => {
                return fail(body.len(), MultipartErrorKind::End);
            }
            _ => return fail(offset + length, MultipartErrorKind::Header),
        }
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = header_line(line) else {
            return fail(offset, MultipartErrorKind::Header);
        };
        let known = if name.eq_ignore_ascii_case(b"content-disposition") {
            &mut disposition
        } else if name.eq_ignore_ascii_case(b"content-type") {
            &mut content_type
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            &mut encoding
        } else {
            continue;
        };
        if known.replace(value).is_some() {
            return fail(offset, MultipartErrorKind::Header);
        }
    }
    let plain = |value: &[u8]| [&b"7bit"[..], b"8bit", b"binary"].iter().any(|name| value.eq_ignore_ascii_case(name));
    if encoding.is_some_and(|value| !plain(value)) {
        return fail(start, MultipartErrorKind::Encoding);
    }
    let Some((name, filename)) = disposition.and_then(parse_disposition) else {
        return fail(start, MultipartErrorKind::Disposition);
    };
    let content_type = content_type.map(|value| String::from_utf8_lossy(value).into_owned());
    Ok(Part { name, filename, content_type, content: start + at..start + at })
}

/// Splits `Name: value`; `None` if it is no header line (a folded one neither).
fn header_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let valid = !name.is_empty() && name.iter().all(is_token) && !value.contains(&0);
    valid.then_some((name, value))
}

/// RFC 9110's token characters.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The name and the file name of a `form-data` disposition.
fn parse_disposition(value: &[u8]) -> Option<(String, Option<String>)> {
    let semicolon = memchr::memchr(b';', value)?;
    if !value[..semicolon].trim_ascii_end().eq_ignore_ascii_case(b"form-data") {
        return None;
    }
    let (mut name, mut filename, mut extended) = (None, None, None);
    for (key, value) in parse_parameters(&value[semicolon + 1..], Quoting::QuotesOnly)? {
        let known = if key.eq_ignore_ascii_case(b"name") {
            &mut name
        } else if key.eq_ignore_ascii_case(b"filename") {
            &mut filename
        } else if key.eq_ignore_ascii_case(b"filename*") {
            &mut extended
        } else if key.contains(&b'*') {
            return None;
        } else {
            continue;
        };
        if known.replace(value).is_some() {
            return None;
        }
    }
    // `\` in a name is an escape to some parsers and a plain character to others; a value without one is borrowed.
    let Cow::Borrowed(name) = name? else {
        return None;
    };
    let name = String::from_utf8(name.to_vec()).ok()?;
    let file = filename.or(extended).map(|value| String::from_utf8_lossy(&value).into_owned());
    Some((name, file))
}

/// How a backslash in a quoted parameter is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// Before any character (RFC 9110): media types.
    Escapes,
    /// Only before a quote: browsers send Windows paths as they are.
    QuotesOnly,
}

type Parameter<'a> = (&'a [u8], Cow<'a, [u8]>);

/// Reads `a=b; c="d"`; `None` if malformed. Empty parameters (`;;`, a trailing `;`) are allowed.
fn parse_parameters(mut rest: &[u8], quoting: Quoting) -> Option<Vec<Parameter<'_>>> {
    let mut parameters = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return Some(parameters),
            Some(b';') => {
                rest = &rest[1..];
                continue;
            }
            Some(_) => {}
        }
        let length = rest.iter().take_while(|byte| is_token(byte)).count();
        let (name, tail) = rest.split_at(length);
        let tail = tail.strip_prefix(b"=").filter(|_| length > 0)?;
        let (value, tail) = if let Some(quoted) = tail.strip_prefix(b"\"") {
            unquote(quoted, quoting)?
        } else {
            // Lenient like every parser: UTF-8 and separators other than white space and `;` may stand unquoted.
            let stop = |byte: &u8| !matches!(byte, b';' | b'"' | b' ' | b'\t');
            let length = tail.iter().take_while(|byte| stop(byte)).count();
            (Cow::Borrowed(&tail[..length]), &tail[length..])
        };
        parameters.push((name, value));
        rest = tail.trim_ascii_start();
        if !matches!(rest.first(), None | Some(b';')) {
            return None;
        }
    }
}

/// Reads a quoted string's content up to its closing quote; returns the value and what follows.
fn unquote(text: &[u8], quoting: Quoting) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut value = Cow::Borrowed(&text[..0]);
    let mut at = 0;
    loop {
        let length = memchr::memchr2(b'"', b'\\', &text[at..])?;
        let (plain, stop) = (&text[at..at + length], text[at + length]);
        at += length + 1;
        if stop == b'"' {
            if value.is_empty() && at == length + 1 {
                return Some((Cow::Borrowed(plain), &text[at..]));
            }
            value.to_mut().extend_from_slice(plain);
            return Some((value, &text[at..]));
        }
        let owned = value.to_mut();
        owned.extend_from_slice(plain);
        let next = *text.get(at)?;
        if quoting == Quoting::QuotesOnly && next != b'"' {
            owned.push(b'\\');
        } else {
            owned.push(next);
            at += 1;
        }
    }
}
