//! Byte-exact, incremental framing of server-sent events (WHATWG HTML, section 9.2).
//!
//! The gateway forwards a provider's bytes untouched and only needs to know where events end, so that it can look into
//! one, hold one back, or put something between two. [`Framer`] cuts a stream of chunks at the blank lines: the batches it
//! returns and the rest it keeps always concatenate to exactly what was pushed, and the cuts do not depend on how the
//! stream was split into chunks.
//!
//! Lines end with LF, CR or CRLF in any mix. A CR could be half of a CRLF whose LF is still on its way; whether to wait
//! for it is decided by the line before, so that no client waits and every split gives the same events:
//! * behind a line ended by LF or CRLF, a blank line's CR waits for the next byte and takes a LF along;
//! * behind a line ended by a lone CR, the blank line's CR ends the event at once. Should a LF follow after all, it is
//!   taken for the second half of that line end and leads the next event, where [`data`] and [`name`] skip it.
//!
//! A blank line with nothing before it is an event of its own (providers send such as a sign of life).
//! A byte order mark is kept in the bytes and ignored at the start of any event, not only of the first.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use smallvec::SmallVec;

/// The events that a chunk completed, contiguous and byte-exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub bytes: Bytes,
    /// Offset in `bytes` behind each event, its blank line included; the last one equals `bytes.len()`.
    pub ends: SmallVec<[u32; 8]>,
}

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The events one by one, each with its blank line.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let event = self.bytes.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            event
        })
    }
}

/// An event is longer than the framer was told to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

impl fmt::Display for EventTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server-sent event longer than {} bytes", self.limit)
    }
}

impl std::error::Error for EventTooLong {}

/// Where in the grammar of lines the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// At the start of a line; the line before ended with LF or CRLF, or there was none.
    Start,
    /// Inside a line.
    Inside,
    /// Behind a CR that ended a line, or an event at once: a LF still belongs to it, anything else starts a line.
    AfterCr,
    /// Behind the CR of a blank line that followed a LF: a LF still belongs to the event, which ends either way.
    BlankCr,
}

/// Whether the framer still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Sound,
    /// An event was too long, but events before it had to be handed out first; the next push reports it.
    Owing,
    Failed,
}

/// What is kept of the chunks before.
#[derive(Debug)]
enum Carry {
    /// A slice of the last chunk, not copied.
    Shared(Bytes),
    /// Copied together from several chunks.
    Joined(BytesMut),
}

impl Carry {
    fn len(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    fn append(self, more: &[u8]) -> BytesMut {
        let mut joined = match self {
            Self::Shared(bytes) => BytesMut::from(&*bytes),
            Self::Joined(bytes) => bytes,
        };
        joined.extend_from_slice(more);
        joined
    }
}

/// Cuts a stream of chunks into events; see the module's text.
#[derive(Debug)]
pub struct Framer {
    max_event: usize,
    carry: Carry,
    line: Line,
    health: Health,
}

impl Framer {
    /// `max_event` is the longest event in bytes, its blank line included, and so bounds what is kept between pushes.
    #[must_use]
    pub fn new(max_event: usize) -> Self {
        // Offsets in a batch are 32 bits wide.
        let max_event = max_event.min(1 << 30);
        Self { max_event, carry: Carry::Shared(Bytes::new()), line: Line::Start, health: Health::Sound }
    }

    /// Bytes of the incomplete event that are kept.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.carry.len()
    }

    /// Takes what is kept, at the end of the stream or to give up framing; the framer starts anew.
    pub fn take_rest(&mut self) -> Bytes {
        self.line = Line::Start;
        self.health = Health::Sound;
        match std::mem::replace(&mut self.carry, Carry::Shared(Bytes::new())) {
            Carry::Shared(bytes) => bytes,
            Carry::Joined(bytes) => bytes.freeze(),
        }
    }

    /// Adds a chunk and returns the events it completed; no byte is copied if nothing was kept from before.
    ///
    /// # Errors
    /// [`EventTooLong`] if an event exceeds the limit. Events before it are returned first, the error then comes with the
    /// next push. [`Framer::take_rest`] still gives every byte not handed out, up to and including the chunk of the first
    /// error; later chunks are dropped.
    pub fn push(&mut self, chunk: Bytes) -> Result<Batch, EventTooLong> {
        if self.health != Health::Sound {
            if self.health == Health::Owing {
                self.keep(&chunk);
            }
            return self.fail();
        }
        let kept = self.carry.len();
        // The offset 0 of a batch is the first kept byte; `ends` and `limit` count from there.
        if kept + chunk.len() > u32::MAX as usize {
            self.keep(&chunk);
            return self.fail();
        }
        let (ends, overlong) = self.cut(&chunk, kept);
        let Some(&last) = ends.last() else {
            self.keep_chunk(chunk);
            return if overlong { self.fail() } else { Ok(Batch::default()) };
        };
        if overlong {
            self.health = Health::Owing;
        }
        Ok(Batch { bytes: self.split(chunk, last as usize - kept), ends })
    }

    #[cold]
    fn fail(&mut self) -> Result<Batch, EventTooLong> {
        self.health = Health::Failed;
        Err(EventTooLong { limit: self.max_event })
    }

    /// Finds the ends of events in `chunk`, counted from `kept` bytes before it, and whether one was too long.
    fn cut(&mut self, chunk: &[u8], kept: usize) -> (SmallVec<[u32; 8]>, bool) {
        let mut ends = SmallVec::new();
        let mut start = 0;
        let mut at = 0;
        let mut line = self.line;
        let mut overlong = false;
        while at < chunk.len() {
            let byte = chunk[at];
            let ended = match (line, byte) {
                (Line::Start | Line::BlankCr, b'\n') => {
                    at += 1;
                    line = Line::Start;
                    true
                }
                (Line::BlankCr, _) => {
                    line = Line::AfterCr;
                    true
                }
                (Line::AfterCr, b'\n') => {
                    at += 1;
                    line = Line::Start;
                    false
                }
                (Line::Start, b'\r') => {
                    at += 1;
                    line = Line::BlankCr;
                    false
                }
                (Line::AfterCr, b'\r') => {
                    at += 1;
                    true
                }
                _ => {
                    line = Line::Inside;
                    match memchr2(b'\n', b'\r', &chunk[at..]) {
                        Some(length) => {
                            line = if chunk[at + length] == b'\n' { Line::Start } else { Line::AfterCr };
                            at += length + 1;
                        }
                        None => at = chunk.len(),
                    }
                    false
                }
            };
            if ended {
                let end = kept + at;
                overlong = end - start > self.max_event;
                if overlong {
                    break;
                }
                #[allow(clippy::cast_possible_truncation)]
                ends.push(end as u32);
                start = end;
            }
        }
        self.line = line;
        (ends, overlong || kept + chunk.len() - start > self.max_event)
    }

    /// Hands out what is kept and the first `taken` bytes of `chunk`, and keeps the others.
    fn split(&mut self, mut chunk: Bytes, taken: usize) -> Bytes {
        let head = chunk.split_to(taken);
        match std::mem::replace(&mut self.carry, Carry::Shared(chunk)) {
            Carry::Shared(bytes) if bytes.is_empty() => head,
            carry => carry.append(&head).freeze(),
        }
    }

    fn keep_chunk(&mut self, chunk: Bytes) {
        if self.carry.len() == 0 {
            self.carry = Carry::Shared(chunk);
        } else {
            self.keep(&chunk);
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        let carry = std::mem::replace(&mut self.carry, Carry::Shared(Bytes::new()));
        self.carry = Carry::Joined(carry.append(chunk));
    }
}

/// The event's data: the values of its `data` lines joined with LF; borrowed if there is at most one line.
#[must_use]
pub fn data(event: &[u8]) -> Cow<'_, [u8]> {
    let mut values = fields(event).filter(|field| field.0 == b"data").map(|field| field.1);
    let first = values.next().unwrap_or_default();
    let Some(second) = values.next() else {
        return Cow::Borrowed(first);
    };
    let mut joined = Vec::with_capacity(event.len());
    joined.extend_from_slice(first);
    for value in std::iter::once(second).chain(values) {
        joined.push(b'\n');
        joined.extend_from_slice(value);
    }
    Cow::Owned(joined)
}

/// Whether the event has a `data` line, without which clients ignore it.
#[must_use]
pub fn has_data(event: &[u8]) -> bool {
    fields(event).any(|field| field.0 == b"data")
}

/// The event's type: the value of its last `event` line. `None` if there is none or it is empty (then it is `message`).
#[must_use]
pub fn name(event: &[u8]) -> Option<&[u8]> {
    fields(event).filter(|field| field.0 == b"event").last().map(|field| field.1).filter(|name| !name.is_empty())
}

/// Whether the event consists of comments and blank lines only (a keep-alive).
#[must_use]
pub fn is_comment_only(event: &[u8]) -> bool {
    fields(event).next().is_none()
}

/// The fields of an event, name and value, without comments and blank lines.
pub fn fields(event: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            // A CRLF leaves an empty line behind, which is skipped like a blank one.
            rest = rest.get(end + 1..).unwrap_or_default();
            match memchr::memchr(b':', line) {
                Some(0) => {}
                Some(colon) => {
                    let value = &line[colon + 1..];
                    return Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)));
                }
                None if line.is_empty() => {}
                None => return Some((line, &[][..])),
            }
        }
        None
    })
}
