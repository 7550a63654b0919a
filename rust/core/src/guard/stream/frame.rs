//! The JSON inside an event, whichever way the stream is framed.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::wire::{eventstream, sse};

/// What an event carries.
pub(in crate::guard) struct Data {
    /// Where its JSON stands in the event; empty: it has none.
    pub range: Range<usize>,
    /// What the frame says it is.
    pub kind: Option<String>,
}

/// The data of an event.
///
/// # Errors
/// What is wrong with the frame.
pub(in crate::guard) fn data(event: &Bytes, amazon: bool) -> Result<Data, String> {
    if amazon {
        let frame = eventstream::Frame::parse(event).map_err(|error| error.to_string())?;
        let kind = frame.text(":event-type").or_else(|| frame.text(":exception-type"));
        return Ok(Data { range: place(event, frame.payload), kind: kind.map(str::to_string) });
    }
    let range = match sse::data(event) {
        Cow::Borrowed(data) => place(event, data),
        Cow::Owned(_) => 0..0,
    };
    Ok(Data { range, kind: None })
}

fn place(event: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - event.as_ptr() as usize;
    start..start + part.len()
}

/// An event whose data stands on several lines, on one: a line break between JSON tokens is only white space.
pub(in crate::guard) fn one_line(event: Bytes) -> Bytes {
    if !matches!(sse::data(&event), Cow::Owned(_)) {
        return event;
    }
    let mut out = BytesMut::with_capacity(event.len());
    for (name, value) in sse::fields(&event).filter(|(name, _)| *name != b"data") {
        for part in [name, b": ", value, b"\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"data: ");
    out.extend(sse::data(&event).iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    out.extend_from_slice(b"\n\n");
    out.freeze()
}

/// An event that was rewritten: a frame gets its lengths and checksums anew.
pub(in crate::guard) fn sealed(mut event: Vec<u8>, amazon: bool) -> Bytes {
    if amazon {
        eventstream::seal(&mut event);
    }
    event.into()
}
