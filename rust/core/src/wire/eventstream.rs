//! Amazon's event stream (`application/vnd.amazon.eventstream`): frames of headers and a payload, each with two checksums.
//!
//! ```text
//! total length u32 │ headers length u32 │ CRC-32 of these eight bytes │ headers │ payload │ CRC-32 of all before
//! ```
//!
//! As with [`super::sse`], the framer cuts a stream of chunks into whole frames byte-exactly: what it hands out and what it
//! keeps always concatenate to what was pushed, and the cuts do not depend on how the stream was split.

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::sse::Batch;

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// A frame without headers and payload.
const SMALLEST: usize = PRELUDE + 4;

/// What is wrong with a stream or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than the framer was told to hold.
    TooLong { limit: usize },
    /// A length that cannot be.
    Length,
    /// The checksum of the lengths does not fit.
    PreludeChecksum,
    /// The checksum of the frame does not fit.
    Checksum,
    /// A header that cannot be read.
    Header,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { limit } => write!(f, "event-stream frame longer than {limit} bytes"),
            FrameError::Length => f.write_str("event-stream frame with an impossible length"),
            FrameError::PreludeChecksum => f.write_str("event-stream frame whose lengths do not fit their checksum"),
            FrameError::Checksum => f.write_str("event-stream frame that does not fit its checksum"),
            FrameError::Header => f.write_str("event-stream frame with a malformed header"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Cuts a stream of chunks into frames; see the module's text.
#[derive(Debug)]
pub struct Framer {
    max_frame: usize,
    carry: BytesMut,
    failed: Option<FrameError>,
}

impl Framer {
    /// `max_frame` is the longest frame in bytes, and so bounds what is kept between pushes.
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        // Offsets in a batch are 32 bits wide.
        Framer { max_frame: max_frame.min(1 << 30), carry: BytesMut::new(), failed: None }
    }

    /// Bytes of the incomplete frame that are kept.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.carry.len()
    }

    /// Adds a chunk and returns the frames it completed; no byte is copied if nothing was kept from before and the chunk
    /// ends with a frame. The checksum of a whole frame is [`Frame::parse`]'s to look at.
    ///
    /// # Errors
    /// [`FrameError`] for lengths that cannot be trusted. Frames before such a one are returned first, the error then comes
    /// with the next push, and with every one after it.
    pub fn push(&mut self, chunk: Bytes) -> Result<Batch, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut bytes = if self.carry.is_empty() {
            chunk
        } else {
            self.carry.extend_from_slice(&chunk);
            std::mem::take(&mut self.carry).freeze()
        };
        let mut ends = SmallVec::new();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match length(rest, self.max_frame) {
                Ok(Some(length)) if length <= rest.len() => at += length,
                Ok(_) => break,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            #[allow(clippy::cast_possible_truncation)]
            ends.push(at as u32);
        }
        let rest = bytes.split_off(at);
        self.carry.extend_from_slice(&rest);
        match self.failed {
            Some(error) if ends.is_empty() => Err(error),
            _ => Ok(Batch { bytes, ends }),
        }
    }
}

/// The length of the frame that begins here, once its prelude is there.
fn length(bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some((lengths, checksum)) = bytes.get(..PRELUDE).and_then(|prelude| prelude.split_at_checked(8)) else {
        return Ok(None);
    };
    if crc32fast::hash(lengths).to_be_bytes() != *checksum {
        return Err(FrameError::PreludeChecksum);
    }
    let (total, headers) = (u32_at(lengths, 0), u32_at(lengths, 4));
    if total < SMALLEST || headers > total - SMALLEST {
        return Err(FrameError::Length);
    }
    if total > limit {
        return Err(FrameError::TooLong { limit });
    }
    Ok(Some(total))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).unwrap_or([0; 4]);
    u32::from_be_bytes(word) as usize
}

/// One frame, checked.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    headers: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a whole frame apart.
    ///
    /// # Errors
    /// [`FrameError`] for anything but one whole, sound frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        if length(bytes, bytes.len())? != Some(bytes.len()) {
            return Err(FrameError::Length);
        }
        let (covered, checksum) = bytes.split_at(bytes.len() - 4);
        if crc32fast::hash(covered).to_be_bytes() != *checksum {
            return Err(FrameError::Checksum);
        }
        let (headers, payload) = covered[PRELUDE..].split_at(u32_at(bytes, 4));
        let mut rest = headers;
        while !rest.is_empty() {
            next_header(&mut rest).ok_or(FrameError::Header)?;
        }
        Ok(Frame { headers, payload })
    }

    /// The value of a text header.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.headers;
        while let Some((found, value)) = next_header(&mut rest) {
            if found == name.as_bytes() {
                return value.and_then(|value| std::str::from_utf8(value).ok());
            }
        }
        None
    }
}

/// Name and value of the next header; the value is only kept for texts.
fn next_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = take(rest, 1)?[0];
    let name = take(rest, usize::from(length)).filter(|name| !name.is_empty())?;
    let kind = take(rest, 1)?[0];
    let width = match kind {
        // true, false, byte, short, integer, long
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        // long, timestamp
        5 | 8 => 8,
        // bytes, text
        6 | 7 => {
            let length = take(rest, 2)?;
            usize::from(u16::from_be_bytes([length[0], length[1]]))
        }
        // UUID
        9 => 16,
        _ => return None,
    };
    let value = take(rest, width)?;
    Some((name, (kind == 7).then_some(value)))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// Appends a frame with text headers; `payload` appends the payload to the same buffer, so that nothing is copied twice.
/// A header whose name or value is longer than the format can say is cut.
pub fn write(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE]);
    for (name, value) in headers {
        let name = &name.as_bytes()[..name.len().min(255)];
        let value = &value.as_bytes()[..value.len().min(32767)];
        #[allow(clippy::cast_possible_truncation)]
        out.extend_from_slice(&[name.len() as u8]);
        out.extend_from_slice(name);
        out.push(7);
        #[allow(clippy::cast_possible_truncation)]
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
    let headers = out.len() - start - PRELUDE;
    payload(out);
    let total = out.len() - start + 4;
    let mut prelude = [0; PRELUDE];
    #[allow(clippy::cast_possible_truncation)]
    {
        prelude[..4].copy_from_slice(&(total as u32).to_be_bytes());
        prelude[4..8].copy_from_slice(&(headers as u32).to_be_bytes());
    }
    let checksum = crc32fast::hash(&prelude[..8]);
    prelude[8..].copy_from_slice(&checksum.to_be_bytes());
    out[start..start + PRELUDE].copy_from_slice(&prelude);
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Writes length and checksums of a whole frame anew, after its payload has changed.
pub fn seal(frame: &mut [u8]) {
    let Some(covered) = frame.len().checked_sub(4).filter(|_| frame.len() >= SMALLEST) else { return };
    let total = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&total.to_be_bytes());
    let checksum = crc32fast::hash(&frame[..8]);
    frame[8..PRELUDE].copy_from_slice(&checksum.to_be_bytes());
    let checksum = crc32fast::hash(&frame[..covered]);
    frame[covered..].copy_from_slice(&checksum.to_be_bytes());
}
