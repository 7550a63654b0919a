//! Values put back into a stream. A token may be cut into events anywhere; the events of what may become one wait, at most
//! [`WAITING`] of them, and leave byte for byte unless a value stands in them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::find::Finder;
use super::{Tokens, whole};
use crate::body::{Broken, Source};
use crate::endpoint::{Dialect, Operation};
use crate::exchange::Exchange;
use crate::guard::apply::{Edit, spliced};
use crate::guard::output::unlookable;
use crate::guard::stream::{Data, Found, Text, data_of, ended, one_line, sealed, texts};
use crate::guard::walk;
use crate::stream::Frames;

/// Events that wait: a token has fewer characters than this.
const WAITING: usize = 128;
/// Growing texts in one stream.
const FIELDS: usize = 1024;

/// A text that grows over events.
struct Field {
    key: u64,
    choice: u64,
    finder: Finder,
    /// The text is JSON, once it can be told.
    json: Option<bool>,
    /// Tokens that have not left, and what they stand for.
    values: Vec<(Range<usize>, Arc<str>)>,
}

/// A part of a growing text in an event.
struct Piece {
    field: usize,
    range: Range<usize>,
    /// In the event: the string's content.
    raw: Range<usize>,
}

/// An event that waits.
struct Waiting {
    bytes: Bytes,
    pieces: SmallVec<[Piece; 2]>,
    edits: Vec<Edit>,
}

/// Puts values back into the events of a stream.
pub struct Restorer {
    frames: Frames,
    amazon: bool,
    tokens: Arc<Tokens>,
    fields: Vec<Field>,
    waiting: VecDeque<Waiting>,
}

impl Restorer {
    pub fn new(tokens: Arc<Tokens>, amazon: bool) -> Self {
        let frames = Frames::new(amazon);
        Restorer { frames, amazon, tokens, fields: Vec::new(), waiting: VecDeque::new() }
    }

    /// What a read of the stream lets out.
    ///
    /// # Errors
    /// An event that is too long.
    pub fn push(&mut self, data: Bytes) -> Result<Bytes, String> {
        let batch = self.frames.push(data)?;
        let mut out = BytesMut::new();
        let mut start = 0;
        for end in &batch.ends {
            let end = *end as usize;
            self.event(batch.bytes.slice(start..end));
            self.release(false, &mut out);
            start = end;
        }
        Ok(out.freeze())
    }

    /// The stream is over: what it leaves.
    pub fn end(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let rest = self.frames.take_rest();
        // Some readers take an event that no blank line ends.
        if !self.amazon && !rest.is_empty() {
            self.event([&rest[..], b"\n\n"].concat().into());
        }
        self.finish(None);
        self.release(true, &mut out);
        out.freeze()
    }

    fn event(&mut self, event: Bytes) {
        let event = if self.amazon { event } else { one_line(event) };
        let mut waiting = Waiting { bytes: event.clone(), pieces: SmallVec::new(), edits: Vec::new() };
        let found = data_of(&event, self.amazon).ok().filter(|found| !found.range.is_empty());
        if let Some(Data { range: place, kind }) = found {
            let data = event.get(place.clone()).unwrap_or_default();
            match texts(data, kind.as_deref().map(str::as_bytes)) {
                Some(found) => self.texts(data, place.start, &found, &mut waiting),
                // `[DONE]`
                None => self.finish(None),
            }
        }
        self.waiting.push_back(waiting);
    }

    fn texts(&mut self, data: &[u8], at: usize, found: &Found, waiting: &mut Waiting) {
        for text in &found.texts {
            match text.grows.and_then(|key| self.field(key, text)) {
                Some(field) => self.piece(field, data, at, text, waiting),
                None => whole::edits(&self.tokens, data, text.nested, text.raw.clone(), &mut waiting.edits),
            }
        }
        for (range, _) in &mut waiting.edits {
            *range = range.start + at..range.end + at;
        }
        if let Some(choice) = found.ends {
            self.finish(choice);
        }
        for (choice, _) in found.choices.iter().filter(|(_, finish)| finish.is_some()) {
            self.finish(Some(*choice));
        }
    }

    fn field(&mut self, key: u64, text: &Text) -> Option<usize> {
        let known = self.fields.iter().position(|field| field.key == key);
        if known.is_some() || self.fields.len() >= FIELDS {
            return known;
        }
        let json = if text.nested { None } else { Some(false) };
        self.fields.push(Field { key, choice: text.choice, finder: Finder::default(), json, values: Vec::new() });
        Some(self.fields.len() - 1)
    }

    fn piece(&mut self, at: usize, data: &[u8], shift: usize, text: &Text, waiting: &mut Waiting) {
        let Some(field) = self.fields.get_mut(at) else { return };
        let mut decoded = String::new();
        walk::decode(data.get(text.raw.clone()).unwrap_or_default(), &mut decoded);
        field.json = field.json.or_else(|| whole::is_json(&decoded));
        let start = field.finder.len();
        let (tokens, values) = (&self.tokens, &mut field.values);
        field.finder.push(&decoded, |range, name| values.extend(tokens.value(name).map(|value| (range, value))));
        let raw = text.raw.start + shift..text.raw.end + shift;
        waiting.pieces.push(Piece { field: at, range: start..start + decoded.len(), raw });
    }

    /// Texts of a choice (`None`: all) are complete.
    fn finish(&mut self, choice: Option<u64>) {
        for field in self.fields.iter_mut().filter(|field| choice.is_none_or(|choice| choice == field.choice)) {
            field.finder.finish();
        }
    }

    /// Lets the events out that may leave.
    fn release(&mut self, ended: bool, out: &mut BytesMut) {
        while let Some(first) = self.waiting.front() {
            let safe =
                |piece: &Piece| self.fields.get(piece.field).is_none_or(|field| piece.range.end <= field.finder.safe());
            if !ended && self.waiting.len() <= WAITING && !first.pieces.iter().all(safe) {
                break;
            }
            let Some(mut waiting) = self.waiting.pop_front() else { break };
            for piece in &waiting.pieces {
                let Some(field) = self.fields.get_mut(piece.field) else { continue };
                let content = waiting.bytes.get(piece.raw.clone()).unwrap_or_default();
                field.put_back(piece, content, &mut waiting.edits);
            }
            if waiting.edits.is_empty() {
                out.extend_from_slice(&waiting.bytes);
            } else {
                out.extend_from_slice(&sealed(spliced(&waiting.bytes, waiting.edits), self.amazon));
            }
        }
    }
}

impl Field {
    /// What changes in a piece: where a token begins stands its value, the rest of it goes.
    fn put_back(&mut self, piece: &Piece, content: &[u8], edits: &mut Vec<Edit>) {
        let mut offsets = walk::Offsets::new(content);
        for (range, value) in self.values.iter().take_while(|(range, _)| range.start < piece.range.end) {
            let (start, end) = (range.start.max(piece.range.start), range.end.min(piece.range.end));
            if start >= end {
                continue;
            }
            let raw = offsets.of(start - piece.range.start)..offsets.of(end - piece.range.start);
            let begins = start == range.start;
            let text = if begins { whole::written(value, self.json == Some(true)) } else { Vec::new() };
            edits.push((raw.start + piece.raw.start..raw.end + piece.raw.start, text));
        }
        self.values.retain(|(range, _)| range.end > piece.range.end);
    }
}

/// A stream whose tokens become values.
pub struct Restoring {
    inner: Option<Box<dyn Source>>,
    restorer: Restorer,
    dialect: Dialect,
    operation: Operation,
    request_id: String,
}

impl Restoring {
    pub fn new(exchange: &Exchange, tokens: Arc<Tokens>, inner: Box<dyn Source>) -> Self {
        let dialect = exchange.endpoint.dialect;
        Restoring {
            inner: Some(inner),
            restorer: Restorer::new(tokens, dialect == Dialect::Bedrock),
            dialect,
            operation: exchange.endpoint.operation,
            request_id: exchange.request_id.to_string(),
        }
    }
}

impl Source for Restoring {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let out = match ready!(inner.poll_data(cx)) {
                Some(Ok(data)) => self.restorer.push(data),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => {
                    self.inner = None;
                    Ok(self.restorer.end())
                }
            };
            let out = out.unwrap_or_else(|error| {
                self.inner = None;
                ended(self.dialect, self.operation, &unlookable(&error), &self.request_id)
            });
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out)));
            }
        }
    }
}
