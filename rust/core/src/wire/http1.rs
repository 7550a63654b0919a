//! HTTP/1.1 responses of providers: bytes ↔ head and body frames (RFC 9112), without I/O.
//!
//! Ours rather than hyper's client because it is half of the cost of a proxied request: here a response needs no task,
//! no channel and no wake-up of its own, body frames are slices of the read buffer, and the caller knows exactly whether
//! a byte was written or seen, which decides whether a retry may bill twice.
//! What is ambiguous in the RFC is refused: conflicting lengths, length with chunked, codings other than chunked.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

/// Longest response head accepted, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// Room for what the gateway adds to the headers it passes on.
const ADDED_HEADERS: usize = 12;
/// Longest chunk-size line (extensions included) and longest trailer section, in bytes.
const MAX_CHUNK_LINE: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("response head is not valid HTTP/1.1")]
    BadHead,
    #[error("response head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("response has conflicting or unsupported framing")]
    BadFraming,
    #[error("chunked body is malformed")]
    BadChunk,
    #[error("body ended before its announced length")]
    Truncated,
}

/// A response head; the headers are slices of the bytes read.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    /// Without those that are between the server and us: framing, the connection's own, the date it left.
    pub headers: HeaderMap,
    pub body: BodyDecoder,
    /// The connection may carry another request once the body has ended.
    pub keep_alive: bool,
}

/// Takes one response head off the front of `buffer`; `None` when more bytes are needed.
/// Interim 1xx heads are skipped; 101 is refused unless the request asked for an upgrade.
pub fn parse_head(buffer: &mut BytesMut, upgrades: bool) -> Result<Option<Head>, WireError> {
    loop {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, &mut slots);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buffer.len() > MAX_HEAD => return Err(WireError::HeadTooLarge),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(WireError::HeadTooLarge),
            Err(_) => return Err(WireError::BadHead),
        };
        let code = response.code.ok_or(WireError::BadHead)?;
        if code == 101 && !upgrades {
            return Err(WireError::BadFraming);
        }
        if code < 200 && code != 101 {
            buffer.advance(length);
            continue;
        }
        let version = response.version.ok_or(WireError::BadHead)?;
        let base = buffer.as_ptr() as usize;
        let spans: SmallVec<[Span; 24]> = response.headers.iter().map(|header| span(base, header)).collect();
        let status = StatusCode::from_u16(code).map_err(|_| WireError::BadHead)?;
        let bytes = buffer.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(spans.len() + ADDED_HEADERS);
        let mut framing = Framing { keep_alive: version >= 1, ..Framing::default() };
        for (name, value) in spans {
            let name = HeaderName::from_bytes(&bytes[name]).map_err(|_| WireError::BadHead)?;
            if framing.takes(&name, &bytes[value.clone()])? {
                continue;
            }
            let value = HeaderValue::from_maybe_shared(bytes.slice(value)).map_err(|_| WireError::BadHead)?;
            headers.append(name, value);
        }
        if code != 101 {
            framing.named.iter().for_each(|name| _ = headers.remove(name));
        }
        let body = framing.body(status)?;
        let keep_alive = framing.keep_alive && !framing.close && !matches!(body.state, State::UntilClose);
        return Ok(Some(Head { status, headers, body, keep_alive }));
    }
}

type Span = (Range<usize>, Range<usize>);

/// Where name and value of a header stand in the buffer that begins at `base`.
fn span(base: usize, header: &httparse::Header<'_>) -> Span {
    let name = header.name.as_ptr() as usize - base;
    let value = header.value.as_ptr() as usize - base;
    (name..name + header.name.len(), value..value + header.value.len())
}

/// What the headers between a server and us say.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    /// Times that a transfer coding was given.
    codings: u8,
    chunked: bool,
    keep_alive: bool,
    close: bool,
    /// Headers that `Connection` names: they go no further (RFC 9110 section 7.6.1).
    named: SmallVec<[HeaderName; 2]>,
}

impl Framing {
    /// Whether it is one of those headers.
    fn takes(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, WireError> {
        const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
        if name == CONTENT_LENGTH {
            value.split(|byte| *byte == b',').try_for_each(|part| self.announced(part.trim_ascii()))?;
        } else if name == TRANSFER_ENCODING {
            self.codings = self.codings.saturating_add(1);
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name == CONNECTION {
            value.split(|byte| *byte == b',').for_each(|token| self.connection(token.trim_ascii()));
        } else {
            return Ok(name == DATE || name == KEEP_ALIVE);
        }
        Ok(true)
    }

    fn announced(&mut self, digits: &[u8]) -> Result<(), WireError> {
        let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = number.and_then(|text| text.parse().ok()).ok_or(WireError::BadFraming)?;
        match self.length.replace(number) {
            Some(known) if known != number => Err(WireError::BadFraming),
            _ => Ok(()),
        }
    }

    fn connection(&mut self, token: &[u8]) {
        if token.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else {
            self.named.extend(HeaderName::from_bytes(token).ok());
        }
    }

    fn body(&self, status: StatusCode) -> Result<BodyDecoder, WireError> {
        let state = match (self.codings, self.length) {
            _ if matches!(status.as_u16(), 101 | 204 | 304) => State::End,
            (0, Some(0)) => State::End,
            (0, Some(length)) => State::Length(length),
            (0, None) => State::UntilClose,
            (1, None) if self.chunked => CHUNK_START,
            _ => return Err(WireError::BadFraming),
        };
        Ok(BodyDecoder { state })
    }
}

/// Cuts a message body out of the read buffer, frame by frame.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize { size: u64, digits: u8, line: u16 },
    ChunkExtension { size: u64, line: u16 },
    ChunkSizeLf { size: u64 },
    ChunkData(u64),
    ChunkDataCr,
    ChunkDataLf,
    Trailer { line: u16, total: u16 },
    TrailerLf { empty: bool, total: u16 },
    End,
}

/// What [`BodyDecoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data(Bytes),
    /// The buffer holds no complete frame: read more.
    More,
    End,
}

const CHUNK_START: State = State::ChunkSize { size: 0, digits: 0, line: 0 };

impl BodyDecoder {
    /// A body of exactly `length` bytes.
    pub fn length(length: u64) -> Self {
        BodyDecoder { state: if length == 0 { State::End } else { State::Length(length) } }
    }

    /// The exact length of what is still to come, where the framing announced it.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// The peer closed the connection: fine only where that is how the body ends.
    pub fn at_close(&mut self) -> Result<(), WireError> {
        match self.state {
            State::UntilClose | State::End => {
                self.state = State::End;
                Ok(())
            }
            _ => Err(WireError::Truncated),
        }
    }

    /// Takes the next frame off the front of `buffer`. Data frames share its memory.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Frame, WireError> {
        loop {
            match self.state {
                State::End => return Ok(Frame::End),
                _ if buffer.is_empty() => return Ok(Frame::More),
                State::UntilClose => return Ok(Frame::Data(buffer.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::End } else { State::Length(left) };
                    return Ok(Frame::Data(data));
                }
                State::ChunkData(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::ChunkDataCr } else { State::ChunkData(left) };
                    return Ok(Frame::Data(data));
                }
                state => {
                    let byte = buffer.get_u8();
                    self.state = framing_byte(state, byte)?;
                }
            }
        }
    }
}

/// Up to `wanted` bytes off the front, and how many are still wanted.
fn take(buffer: &mut BytesMut, wanted: u64) -> (Bytes, u64) {
    let available = usize::try_from(wanted).unwrap_or(usize::MAX).min(buffer.len());
    (buffer.split_to(available).freeze(), wanted - available as u64)
}

/// One step of the chunked framing automaton, for every byte that is not chunk data.
fn framing_byte(state: State, byte: u8) -> Result<State, WireError> {
    let step = |line: u16| -> Result<u16, WireError> {
        if usize::from(line) >= MAX_CHUNK_LINE { Err(WireError::BadChunk) } else { Ok(line + 1) }
    };
    Ok(match (state, byte) {
        (State::ChunkSize { size, digits, line }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
            if digits >= 15 {
                return Err(WireError::BadChunk);
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                _ => (byte | 0x20) - b'a' + 10,
            };
            State::ChunkSize { size: size << 4 | u64::from(digit), digits: digits + 1, line: step(line)? }
        }
        (State::ChunkSize { digits: 0, .. }, _) => return Err(WireError::BadChunk),
        (State::ChunkSize { size, .. } | State::ChunkExtension { size, .. }, b'\r') => State::ChunkSizeLf { size },
        (State::ChunkSize { size, line, .. }, b';' | b' ' | b'\t') => State::ChunkExtension { size, line: step(line)? },
        (State::ChunkExtension { size, line }, byte) if byte != b'\n' => {
            State::ChunkExtension { size, line: step(line)? }
        }
        (State::ChunkSizeLf { size: 0 }, b'\n') => State::Trailer { line: 0, total: 0 },
        (State::ChunkSizeLf { size }, b'\n') => State::ChunkData(size),
        (State::ChunkDataCr, b'\r') => State::ChunkDataLf,
        (State::ChunkDataLf, b'\n') => CHUNK_START,
        (State::Trailer { line, total }, b'\r') => State::TrailerLf { empty: line == 0, total },
        (State::Trailer { line, total }, byte) if byte != b'\n' => {
            State::Trailer { line: line.saturating_add(1), total: step(total)? }
        }
        (State::TrailerLf { empty: true, .. }, b'\n') => State::End,
        (State::TrailerLf { empty: false, total }, b'\n') => State::Trailer { line: 0, total },
        _ => return Err(WireError::BadChunk),
    })
}

/// Appends one chunk-size line, for request bodies whose length is not known beforehand.
pub fn write_chunk_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut shift = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1) * 4;
    while shift > 0 {
        shift -= 4;
        out.extend_from_slice(&[DIGITS[size >> shift & 15]]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in two pieces split at `cut` and collects status and body.
    fn receive(wire: &[u8], cut: usize) -> Result<(u16, Vec<u8>, bool), WireError> {
        let mut buffer = BytesMut::new();
        let mut pieces = [&wire[..cut], &wire[cut..]].into_iter();
        let mut head = loop {
            if let Some(head) = parse_head(&mut buffer, false)? {
                break head;
            }
            match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return Err(WireError::Truncated),
            }
        };
        let mut body = Vec::new();
        loop {
            match head.body.decode(&mut buffer)? {
                Frame::Data(data) => body.extend_from_slice(&data),
                Frame::End => return Ok((head.status.as_u16(), body, head.keep_alive)),
                Frame::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => {
                        head.body.at_close()?;
                    }
                },
            }
        }
    }

    fn every_split(wire: &[u8]) -> (u16, Vec<u8>, bool) {
        let whole = receive(wire, 0).expect("valid");
        for cut in 0..=wire.len() {
            assert_eq!(receive(wire, cut).as_ref(), Ok(&whole), "split at {cut}");
        }
        whole
    }

    #[test]
    fn bodies_by_length_chunks_and_close() {
        let by_length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(every_split(by_length), (200, b"hello".to_vec(), true));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nt: v\r\n\r\n";
        assert_eq!(every_split(chunked), (200, b"abc0123456789".to_vec(), true));
        let until_close = b"HTTP/1.1 200 OK\r\n\r\nall of it";
        assert_eq!(every_split(until_close), (200, b"all of it".to_vec(), false));
        let none = b"HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n";
        assert_eq!(every_split(none), (204, Vec::new(), true));
        let interim =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        assert_eq!(every_split(interim), (200, b"ok".to_vec(), false));
    }

    #[test]
    fn what_is_between_a_server_and_us_goes_no_further() {
        let wire = b"HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
            X-Hop: 1\r\nContent-Length: 0\r\nx-end: 2\r\n\r\n";
        let head = parse_head(&mut BytesMut::from(&wire[..]), false).expect("valid").expect("whole");
        assert_eq!(head.headers.keys().collect::<Vec<_>>(), ["x-end"]);
        assert!(head.keep_alive && head.body.is_end());
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for head in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: +5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            let wire = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nhello");
            assert_eq!(receive(wire.as_bytes(), 0), Err(WireError::BadFraming), "{head}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused_and_cut_bodies_noticed() {
        for body in ["\r\n", "x\r\n", "3\r\nabcX\r\n", "3\nabc\r\n", "1234567890123456\r\n"] {
            let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(receive(wire.as_bytes(), 0), Err(WireError::BadChunk), "{body:?}");
        }
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
        assert_eq!(receive(cut, 0), Err(WireError::Truncated));
        let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert_eq!(receive(cut, 0), Err(WireError::Truncated));
    }

    #[test]
    fn chunk_sizes_are_written_in_hex() {
        for (size, text) in [(0, "0\r\n"), (9, "9\r\n"), (255, "ff\r\n"), (65536, "10000\r\n")] {
            let mut out = BytesMut::new();
            write_chunk_size(&mut out, size);
            assert_eq!(&out[..], text.as_bytes());
        }
    }
}
