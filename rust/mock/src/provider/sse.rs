//! Writing server-sent events: the line ends, comments and stamps a script asks for.

use std::io::Write;

use super::answer::Event;
use super::frames;
use super::script::{Newline, Script};

/// The form of a stream's events.
#[derive(Clone, Copy, Debug, Default)]
pub struct SseForm {
    newline: Newline,
    bom: bool,
    comments: bool,
    stamp: bool,
    frames: bool,
    /// Events written so far.
    count: u64,
}

impl SseForm {
    /// The form a script asks for.
    pub fn new(script: &Script) -> Self {
        let Script { newline, bom, comments, stamp, .. } = *script;
        Self { newline, bom, comments, stamp, frames: false, count: 0 }
    }

    /// Frames of Amazon's instead; of the script's wishes only the stamps make sense there.
    #[must_use]
    pub const fn in_frames(self, frames: bool) -> Self {
        Self { frames, ..self }
    }

    /// Appends one event whose data is `parts` joined. With stamps, a JSON object gets `mock_sent_ns` (what the clock
    /// says now) and `mock_event` (its number from 0) as its first fields.
    pub fn write(&mut self, out: &mut Vec<u8>, name: Option<&str>, parts: [&str; 3], now: impl Fn() -> u64) {
        if self.frames {
            frames::write(out, name.unwrap_or_default(), &parts);
            self.count += 1;
            return;
        }
        let line_end = self.line_end();
        if self.bom && self.count == 0 {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        if self.comments {
            out.extend_from_slice(b": a comment, to be ignored");
            out.extend_from_slice(line_end);
            out.extend_from_slice(line_end);
        }
        if let Some(name) = name {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(line_end);
        }
        out.extend_from_slice(b"data: ");
        let [first, rest @ ..] = parts;
        let stamped = self.stamp.then(|| first.strip_prefix('{')).flatten();
        if let Some(fields) = stamped {
            // Writing to a vector cannot fail.
            let _ = write!(out, r#"{{"mock_sent_ns":{},"mock_event":{},"#, now(), self.count);
            out.extend_from_slice(fields.as_bytes());
        } else {
            out.extend_from_slice(first.as_bytes());
        }
        for part in rest {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(line_end);
        out.extend_from_slice(line_end);
        self.count += 1;
    }

    /// Appends a prepared event.
    pub fn write_event(&mut self, out: &mut Vec<u8>, event: &Event, now: impl Fn() -> u64) {
        self.write(out, event.name, [&event.data, "", ""], now);
    }

    fn line_end(self) -> &'static [u8] {
        match self.newline {
            Newline::Lf => b"\n",
            Newline::CrLf => b"\r\n",
            Newline::Cr => b"\r",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(script: &str, events: &[(Option<&str>, &str)]) -> String {
        let mut form = SseForm::new(&Script::parse(script).unwrap());
        let mut out = Vec::new();
        for (name, data) in events {
            form.write(&mut out, *name, [data, "", ""], || 42);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_and_named() {
        assert_eq!(written("", &[(None, "{}"), (None, "[DONE]")]), "data: {}\n\ndata: [DONE]\n\n");
        assert_eq!(written("newline=crlf", &[(Some("ping"), "{}")]), "event: ping\r\ndata: {}\r\n\r\n");
        assert_eq!(written("newline=cr", &[(None, "x")]), "data: x\r\r");
    }

    #[test]
    fn stamps_objects_only() {
        let text = written("stamp=1", &[(None, r#"{"a":1}"#), (None, "[DONE]"), (None, r#"{"b":2}"#)]);
        let expected = "data: {\"mock_sent_ns\":42,\"mock_event\":0,\"a\":1}\n\ndata: [DONE]\n\n\
                        data: {\"mock_sent_ns\":42,\"mock_event\":2,\"b\":2}\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn bom_once_and_comments_each_time() {
        let text = written("bom=1;comments=1", &[(None, "1"), (None, "2")]);
        assert_eq!(text.matches('\u{feff}').count(), 1);
        assert!(text.starts_with("\u{feff}: a comment"));
        assert_eq!(text.matches(": a comment").count(), 2);
    }
}
