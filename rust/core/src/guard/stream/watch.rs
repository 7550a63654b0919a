//! The texts of a stream, and the events that wait for them.
//!
//! What leaves depends on the texts alone: after each event, and not after each packet, everything leaves that can; when a
//! rule blocks, the text leaves up to where the match begins, wherever events were cut.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::edit::cover;
use super::ending::{Caller, Mark, Passed};
use super::field::{Field, Piece, Waiting};
use super::fields::{Found, Text, name_of, texts};
use super::frame::{self, one_line};
use super::leaving::Out;
use crate::endpoint::Dialect;
use crate::error::Error;
use crate::guard::apply::{Look, Span};
use crate::guard::nested::Nested;
use crate::guard::output::unlookable;
use crate::guard::{Finding, Mode, Side, walk};
use crate::kernel::patterns::{Hit, Scanner};
use crate::stream::Frames;

/// Most bytes of events that wait.
const WAITING_MAX: usize = 32 * 1024 * 1024;
/// Growing texts in one stream.
const FIELDS: usize = 1024;
/// Names of members that are known to be clean.
const KEYS: usize = 256;

/// Takes what was found; an error ends the stream.
pub type Report<'r> = &'r mut dyn FnMut(&Finding) -> Result<(), Error>;

/// The texts and the waiting events of a stream.
pub struct Watch {
    frames: Frames,
    pub(super) amazon: bool,
    /// The dialect's finish reason of an answer that is stopped.
    pub(super) reason: &'static [u8],
    pub(super) fields: Vec<Field>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    pub(super) passed: Passed,
    /// Hashes of the names of members that are clean.
    keys: SmallVec<[u64; 16]>,
    hits: Vec<Hit>,
    buffer: String,
}

impl Watch {
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let amazon = dialect == Dialect::Bedrock;
        Watch {
            frames: Frames::new(amazon),
            amazon,
            reason: if dialect == Dialect::Gemini { b"SAFETY" } else { b"content_filter" },
            fields: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            passed: Passed::default(),
            keys: SmallVec::new(),
            hits: Vec::new(),
            buffer: String::new(),
        }
    }

    /// What a read of the stream lets out, and why it has to end here.
    pub fn push(&mut self, side: &Side, data: Bytes, report: Report<'_>) -> (Bytes, Option<Error>) {
        let mut out = Out::default();
        let batch = match self.frames.push(data) {
            Ok(batch) => batch,
            Err(error) => return (Bytes::new(), Some(unlookable(&error))),
        };
        let mut start = 0;
        for end in &batch.ends {
            let end = *end as usize;
            if let Some(error) = self.event(side, batch.bytes.slice(start..end), report, &mut out) {
                return (out.bytes(), Some(error));
            }
            start = end;
        }
        (out.bytes(), None)
    }

    /// The stream is over: what it leaves.
    pub fn end(&mut self, side: &Side, report: Report<'_>) -> (Bytes, Option<Error>) {
        let mut out = Out::default();
        let rest = self.frames.take_rest();
        // Some readers take an event that no blank line ends.
        if !self.amazon && !rest.is_empty() {
            let event = [&rest[..], b"\n\n"].concat().into();
            if let Some(error) = self.event(side, event, report, &mut out) {
                return (out.bytes(), Some(error));
            }
        }
        let error = self.finish(side, None, report).err();
        if error.is_some() {
            self.cut(side.mode, &mut out);
        } else {
            self.release(side.mode, true, &mut out);
        }
        (out.bytes(), error)
    }

    /// What stands in place of the rest of a stream that is stopped.
    #[must_use]
    pub fn ending(&self, caller: &Caller, error: &Error) -> Bytes {
        self.passed.ending(caller, error)
    }

    fn event(&mut self, side: &Side, event: Bytes, report: Report<'_>, out: &mut Out) -> Option<Error> {
        let taken = self.take(side, event, report);
        match taken {
            Ok(()) => self.release(side.mode, false, out),
            Err(_) => self.cut(side.mode, out),
        }
        taken.err()
    }

    /// Takes an event in. An error ends the stream.
    fn take(&mut self, side: &Side, event: Bytes, report: Report<'_>) -> Result<(), Error> {
        let event = if self.amazon { event } else { one_line(event) };
        let found = frame::data(&event, self.amazon).map_err(|error| unlookable(&error))?;
        let place = found.range;
        let data = event.get(place.clone()).unwrap_or_default();
        let mut waiting = Waiting {
            bytes: event.clone(),
            data: place.clone(),
            pieces: SmallVec::new(),
            edits: Vec::new(),
            mark: Mark::default(),
            finishes: SmallVec::new(),
        };
        let mut done = Ok(());
        let mut ends = None;
        if data.trim_ascii() == b"[DONE]" {
            ends = Some(None);
            waiting.mark = Mark::end();
        } else if !data.is_empty() {
            match texts(data, found.kind.as_deref().map(str::as_bytes)) {
                Some(found) => {
                    waiting.mark = Mark::of(&found);
                    done = self.texts(side, data, &found, &mut waiting, report);
                    ends = found.ends;
                    let finishes = found.choices.iter().filter_map(|(_, finish)| finish.clone());
                    waiting.finishes = finishes.map(|raw| raw.start + place.start..raw.end + place.start).collect();
                    for (choice, _) in found.choices.iter().filter(|(_, finish)| finish.is_some()) {
                        done = done.and(self.finish(side, Some(*choice), report));
                    }
                }
                None if side.fails_closed => return Err(unlookable("an event is not JSON")),
                None => {}
            }
        }
        self.waiting_bytes += waiting.bytes.len();
        self.waiting.push_back(waiting);
        if let Some(choice) = ends {
            done = done.and(self.finish(side, choice, report));
        }
        if self.waiting_bytes > WAITING_MAX && side.fails_closed {
            return Err(unlookable("more than 32 MiB of the answer wait for its end"));
        }
        done
    }

    /// Looks at all texts of an event. The first error counts; when a text that stands there as a whole must not pass, nothing
    /// of the event may.
    fn texts(
        &mut self,
        side: &Side,
        data: &[u8],
        found: &Found,
        waiting: &mut Waiting,
        report: Report<'_>,
    ) -> Result<(), Error> {
        let mut done = Ok(());
        let mut look = Look::new(side);
        for text in &found.texts {
            if text.grows.is_some() {
                done = done.and(self.piece(side, data, text, waiting, report));
                continue;
            }
            let key = if text.kind == walk::Kind::Key { self.known(data.get(text.raw.clone())) } else { Some(0) };
            let Some(key) = key else { continue };
            look.at(data, text.kind, text.nested, text.raw.clone());
            if look.hits.is_empty() {
                if text.kind == walk::Kind::Key && self.keys.len() < KEYS {
                    self.keys.push(key);
                }
                continue;
            }
            let name = name_of(data, &text.raw);
            for hit in &look.hits {
                let told = told(side, hit, &name, report);
                if told.is_err() {
                    waiting.bytes = Bytes::new();
                    waiting.pieces.clear();
                }
                done = done.and(told);
            }
        }
        if look.failed && side.fails_closed {
            done = done.and(Err(unlookable("the search was given up")));
        }
        let start = waiting.data.start;
        let moved = look.edits.into_iter().map(|(range, text)| (range.start + start..range.end + start, text));
        waiting.edits = moved.collect();
        done
    }

    /// The hash of a member's name; `None`: it is known to be clean.
    fn known(&self, name: Option<&[u8]>) -> Option<u64> {
        use std::hash::{BuildHasher, RandomState};
        thread_local!(static HASHER: RandomState = RandomState::new());
        let hash = HASHER.with(|hasher| hasher.hash_one(name.unwrap_or_default()));
        (!self.keys.contains(&hash)).then_some(hash)
    }

    /// A part of a growing text.
    fn piece(
        &mut self,
        side: &Side,
        data: &[u8],
        text: &Text,
        waiting: &mut Waiting,
        report: Report<'_>,
    ) -> Result<(), Error> {
        let content = data.get(text.raw.clone()).unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let plain = std::str::from_utf8(content).ok().filter(|_| memchr::memchr(b'\\', content).is_none());
        let decoded = plain.unwrap_or_else(|| {
            walk::decode(content, &mut buffer);
            &buffer
        });
        let at = self.field(data, text);
        let done = match self.fields.get_mut(at) {
            Some(field) => {
                let start = field.scanner.len();
                let raw = text.raw.start + waiting.data.start..text.raw.end + waiting.data.start;
                waiting.pieces.push(Piece { field: at, range: start..start + decoded.len(), raw });
                if let Some(nested) = &mut field.nested {
                    nested.push(decoded);
                }
                self.grow(side, at, Some(decoded), report)
            }
            None => Ok(()),
        };
        self.buffer = buffer;
        done
    }

    fn field(&mut self, data: &[u8], text: &Text) -> usize {
        let key = text.grows.unwrap_or(0);
        if let Some(known) = self.fields.iter().position(|field| field.key == key) {
            return known;
        }
        if self.fields.len() < FIELDS {
            self.fields.push(Field {
                key,
                choice: text.choice,
                name: name_of(data, &text.raw),
                scanner: Scanner::new(),
                nested: text.nested.then(Nested::default),
                spans: Vec::new(),
                stop: usize::MAX,
            });
        }
        self.fields.len() - 1
    }

    /// Adds to a growing text, or judges it as ended.
    fn grow(&mut self, side: &Side, index: usize, text: Option<&str>, report: Report<'_>) -> Result<(), Error> {
        let Some(field) = self.fields.get_mut(index) else { return Ok(()) };
        self.hits.clear();
        let searched = match text {
            Some(text) => field.scanner.push(&side.set, text, &mut self.hits),
            None => field.scanner.finish(&side.set, &mut self.hits),
        };
        let mut done =
            if searched.is_err() && side.fails_closed { Err(unlookable("the search was given up")) } else { Ok(()) };
        if self.hits.len() > 1 {
            // What is complete first is judged first, as it would be had the text arrived byte by byte.
            self.hits.sort_by_key(|hit| (hit.first, hit.start, hit.pattern));
        }
        for hit in &self.hits {
            let Some((rule, label)) = side.owner(hit.pattern) else { continue };
            if rule.effect().replaces() && rule.mode != Mode::Audit {
                cover(&mut field.spans, Span::of(hit, rule, label));
            }
            if let Err(error) = told(side, hit, &field.name, report)
                && field.stop == usize::MAX
            {
                field.stop = hit.start;
                done = done.and(Err(error));
            }
        }
        done
    }

    /// Texts of a choice (`None`: all) are complete.
    fn finish(&mut self, side: &Side, choice: Option<u64>, report: Report<'_>) -> Result<(), Error> {
        let mut done = Ok(());
        for index in 0..self.fields.len() {
            if self.fields.get(index).is_some_and(|field| choice.is_none_or(|choice| choice == field.choice)) {
                done = done.and(self.grow(side, index, None, report));
            }
        }
        done
    }
}

/// Tells a hit.
fn told(side: &Side, hit: &Hit, place: &str, report: Report<'_>) -> Result<(), Error> {
    let Some((rule, label)) = side.owner(hit.pattern) else { return Ok(()) };
    report(&Finding {
        rule: Arc::clone(rule),
        label: Arc::clone(label),
        place: place.to_string(),
        range: hit.start..hit.end,
        matches: 1,
    })
}
