//! Streams of events: each text that grows over events is searched as one, and events wait until nothing in them can be
//! the start of a match.
//!
//! Events leave byte for byte as they came unless something in them is cut out; then only their strings change. What a
//! caller gets does not depend on how the provider cut its text into events or its events into packets.

mod edit;
mod fields;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::output::{refusal, unlookable};
use super::record::Verdict;
use super::walk;
use super::{Action, Finding, Mode, Plan, Side};
use crate::body::{Broken, Source};
use crate::dialect;
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::exchange::{Exchange, RequestId};
use crate::kernel::patterns::{Hit, Scanner};
use crate::shard::{Shard, SnapshotRef};
use crate::wire::json::write::escape;
use crate::wire::sse::{self, Framer};
use edit::{cover, one_line, spliced};
use fields::{Text, texts};

/// Longest event, and most bytes of events that wait.
const EVENT_MAX: usize = 16 * 1024 * 1024;
const WAITING_MAX: usize = 32 * 1024 * 1024;
/// Growing texts in one stream.
const FIELDS: usize = 1024;

/// A text that grows over events.
struct Field {
    key: u64,
    choice: u64,
    name: String,
    scanner: Scanner,
    /// What must not pass, disjoint, in order.
    spans: Vec<(Range<usize>, Action, Arc<str>)>,
}

/// A part of a growing text in an event.
struct Piece {
    field: usize,
    /// In the field's text.
    range: Range<usize>,
    /// In the event: the string's content.
    raw: Range<usize>,
}

/// An event that waits.
struct Waiting {
    bytes: Bytes,
    pieces: SmallVec<[Piece; 2]>,
}

/// What stands in place of the rest of a stream that is stopped.
pub fn ended(dialect: Dialect, operation: Operation, error: &Error, id: &str) -> Bytes {
    let event = dialect::error_event(dialect, error, id);
    [fields::ending(dialect, operation), &event].concat().into()
}

/// A stream under guard.
pub struct Guarded {
    inner: Option<Box<dyn Source>>,
    framer: Framer,
    snapshot: SnapshotRef,
    plan: usize,
    shard: Arc<Shard>,
    dialect: Dialect,
    operation: Operation,
    request_id: RequestId,
    template: Verdict,
    fields: Vec<Field>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    told: Vec<(Arc<str>, Arc<str>)>,
    hits: Vec<Hit>,
    buffer: String,
}

impl Guarded {
    pub fn new(exchange: &Exchange, snapshot: SnapshotRef, plan: u32, inner: Box<dyn Source>) -> Option<Self> {
        let plan = plan as usize;
        let side = snapshot.plans.get(plan)?.output.as_ref()?;
        let (rule, label) = side.owner(0)?;
        let none = Finding { rule: rule.clone(), label: label.clone(), place: String::new(), range: 0..0, matches: 1 };
        Some(Guarded {
            inner: Some(inner),
            framer: Framer::new(EVENT_MAX),
            snapshot,
            plan,
            shard: exchange.shard.clone(),
            dialect: exchange.endpoint.dialect,
            operation: exchange.endpoint.operation,
            request_id: exchange.request_id,
            template: exchange.verdict(&none, "output"),
            fields: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            told: Vec::new(),
            hits: Vec::new(),
            buffer: String::new(),
        })
    }

    /// Takes an event in. An error ends the stream.
    fn take(&mut self, side: &Side, event: Bytes) -> Result<(), Error> {
        let event = one_line(event);
        let data = sse::data(&event);
        let offset = match &data {
            std::borrow::Cow::Borrowed(data) if !data.is_empty() => data.as_ptr() as usize - event.as_ptr() as usize,
            _ => 0,
        };
        let mut pieces = SmallVec::new();
        let mut edits = Vec::new();
        let mut ended = None;
        if !data.is_empty() {
            if data.trim_ascii() == b"[DONE]" {
                ended = Some(None);
            } else {
                match texts(&data) {
                    Some(found) => {
                        for text in &found.texts {
                            self.text(side, &data, offset, text, &mut pieces, &mut edits)?;
                        }
                        ended = found.ended.then_some(found.choice);
                    }
                    None if side.fails_closed => return Err(unlookable("an event is not JSON")),
                    None => {}
                }
            }
        }
        drop(data);
        let bytes = if edits.is_empty() { event } else { spliced(&event, edits, &mut pieces) };
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Waiting { bytes, pieces });
        if let Some(choice) = ended {
            self.finish(side, choice)?;
        }
        if self.waiting_bytes > WAITING_MAX && side.fails_closed {
            return Err(unlookable("more than 32 MiB of the answer wait for its end"));
        }
        Ok(())
    }

    fn text(
        &mut self,
        side: &Side,
        data: &[u8],
        offset: usize,
        text: &Text,
        pieces: &mut SmallVec<[Piece; 2]>,
        edits: &mut Vec<(Range<usize>, Vec<u8>)>,
    ) -> Result<(), Error> {
        let content = data.get(text.raw.clone()).unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let plain = std::str::from_utf8(content).ok().filter(|_| memchr::memchr(b'\\', content).is_none());
        let decoded = plain.unwrap_or_else(|| {
            walk::decode(content, &mut buffer);
            &buffer
        });
        let raw = text.raw.start + offset..text.raw.end + offset;
        let done = match text.grows {
            None => self.whole(side, data, &raw, text, edits),
            Some(_) => {
                let field = self.field(data, text);
                let start = self.fields.get(field).map_or(0, |field| field.scanner.len());
                pieces.push(Piece { field, range: start..start + decoded.len(), raw });
                self.grow(side, field, Some(decoded))
            }
        };
        self.buffer = buffer;
        done
    }

    /// A text that stands in one event as a whole.
    fn whole(
        &mut self,
        side: &Side,
        data: &[u8],
        raw: &Range<usize>,
        text: &Text,
        edits: &mut Vec<(Range<usize>, Vec<u8>)>,
    ) -> Result<(), Error> {
        let quoted = [b"\"", data.get(text.raw.clone()).unwrap_or_default(), b"\""].concat();
        let Ok(judged) = super::judge(side, &quoted, false) else { return Ok(()) };
        for mut finding in judged.findings {
            finding.place.clone_from(&text.name);
            self.found(&finding)?;
        }
        if let Some(rewritten) = judged.rewritten {
            edits.push((raw.clone(), rewritten.get(1..rewritten.len().saturating_sub(1)).unwrap_or_default().to_vec()));
        }
        Ok(())
    }

    fn field(&mut self, data: &[u8], text: &Text) -> usize {
        let key = text.grows.unwrap_or(0);
        if let Some(known) = self.fields.iter().position(|field| field.key == key) {
            return known;
        }
        let _ = data;
        if self.fields.len() < FIELDS {
            self.fields.push(Field {
                key,
                choice: text.choice,
                name: text.name.clone(),
                scanner: Scanner::new(),
                spans: Vec::new(),
            });
        }
        self.fields.len() - 1
    }

    /// Adds to a growing text, or judges it as ended.
    fn grow(&mut self, side: &Side, index: usize, text: Option<&str>) -> Result<(), Error> {
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        let Some(field) = self.fields.get_mut(index) else { return Ok(()) };
        let searched = match text {
            Some(text) => field.scanner.push(&side.set, text, &mut hits),
            None => field.scanner.finish(&side.set, &mut hits),
        };
        let mut done =
            if searched.is_err() && side.fails_closed { Err(unlookable("the search was given up")) } else { Ok(()) };
        for hit in &hits {
            let Some((rule, label)) = side.owner(hit.pattern) else { continue };
            let Some(field) = self.fields.get_mut(index) else { break };
            if matches!(rule.effect(), Action::Mask | Action::Redact) {
                cover(&mut field.spans, hit, rule.effect(), label);
            }
            let finding = Finding {
                rule: rule.clone(),
                label: label.clone(),
                place: field.name.clone(),
                range: hit.start..hit.end,
                matches: 1,
            };
            if let Err(error) = self.found(&finding) {
                done = Err(error);
                break;
            }
        }
        self.hits = hits;
        done
    }

    /// Records a finding once for the stream; an error when it blocks.
    fn found(&mut self, finding: &Finding) -> Result<(), Error> {
        let known = self.told.iter().any(|(rule, label)| *rule == finding.rule.name && *label == finding.label);
        if !known {
            self.told.push((finding.rule.name.clone(), finding.label.clone()));
            let verdict = Verdict {
                rule: finding.rule.name.to_string(),
                label: finding.label.to_string(),
                action: finding.rule.action.name(),
                shadow: finding.rule.shadow,
                place: finding.place.clone(),
                matches: finding.matches,
                length: u32::try_from(finding.range.len()).unwrap_or(u32::MAX),
                ..self.template.clone()
            };
            self.shard.shared.state.guards.note(&finding.rule.cell, verdict);
        }
        let status = self.plan().map_or(400, |plan| plan.block_status);
        if finding.rule.effect() == Action::Block && finding.rule.mode != Mode::Audit {
            return Err(refusal(finding, "output", status));
        }
        Ok(())
    }

    fn plan(&self) -> Option<&Plan> {
        self.snapshot.plans.get(self.plan)
    }

    /// Texts of a choice (`None`: all) are complete.
    fn finish(&mut self, side: &Side, choice: Option<u64>) -> Result<(), Error> {
        for index in 0..self.fields.len() {
            if self.fields.get(index).is_some_and(|field| choice.is_none_or(|choice| choice == field.choice)) {
                self.grow(side, index, None)?;
            }
        }
        Ok(())
    }

    /// The events that may leave.
    fn release(&mut self, mode: Mode, ended: bool) -> Bytes {
        let mut out: Option<Bytes> = None;
        let mut joined = BytesMut::new();
        while let Some(first) = self.waiting.front() {
            let fields = &self.fields;
            let safe =
                |piece: &Piece| fields.get(piece.field).is_none_or(|field| piece.range.end <= field.scanner.safe());
            let may = match mode {
                Mode::Hold => ended,
                Mode::Window => ended || first.pieces.iter().all(safe),
                Mode::Audit => true,
            };
            if !may {
                break;
            }
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes.len());
            let bytes = if mode == Mode::Audit { waiting.bytes } else { self.cleaned(&waiting) };
            match out.take() {
                None if joined.is_empty() => out = Some(bytes),
                None => joined.extend_from_slice(&bytes),
                Some(before) => {
                    joined.extend_from_slice(&before);
                    joined.extend_from_slice(&bytes);
                }
            }
        }
        out.unwrap_or_else(|| joined.freeze())
    }

    /// An event without what must not pass.
    fn cleaned(&self, waiting: &Waiting) -> Bytes {
        let mut edits = Vec::new();
        for piece in &waiting.pieces {
            let Some(field) = self.fields.get(piece.field) else { continue };
            let content = waiting.bytes.get(piece.raw.clone()).unwrap_or_default();
            for (span, action, label) in &field.spans {
                let (start, end) = (span.start.max(piece.range.start), span.end.min(piece.range.end));
                if start >= end {
                    continue;
                }
                let inner = [start, end].map(|at| piece.raw.start + walk::raw_offset(content, at - piece.range.start));
                let text = if *action == Action::Mask {
                    let mut decoded = String::new();
                    walk::decode(waiting.bytes.get(inner[0]..inner[1]).unwrap_or_default(), &mut decoded);
                    super::apply::masked(&decoded, span.end - start)
                } else if span.start == start {
                    super::apply::placeholder(label)
                } else {
                    String::new()
                };
                let mut quoted = Vec::new();
                escape(&mut quoted, &text);
                edits.push((inner[0]..inner[1], quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec()));
            }
        }
        if edits.is_empty() { waiting.bytes.clone() } else { spliced(&waiting.bytes, edits, &mut SmallVec::new()) }
    }

    /// Ends the stream in place of what waits.
    fn stop(&mut self, error: &Error) -> Bytes {
        self.inner = None;
        self.waiting.clear();
        self.shard.metrics.error(error.code);
        ended(self.dialect, self.operation, error, &self.request_id.to_string())
    }

    /// What a read of the provider's stream lets out; the stream is over when it was its last.
    fn step(&mut self, data: Option<Bytes>) -> Result<Bytes, Error> {
        let snapshot = self.snapshot.clone();
        let Some(side) = snapshot.plans.get(self.plan).and_then(|plan| plan.output.as_ref()) else {
            return Ok(data.unwrap_or_default());
        };
        let Some(data) = data else {
            self.finish(side, None)?;
            let out = self.release(side.mode, true);
            // What is no event is no text that a reader would see.
            return Ok(out);
        };
        let batch = self.framer.push(data).map_err(|error| unlookable(&error.to_string()))?;
        let mut start = 0;
        for end in &batch.ends {
            let end = *end as usize;
            self.take(side, batch.bytes.slice(start..end))?;
            start = end;
        }
        Ok(self.release(side.mode, false))
    }
}

impl Source for Guarded {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let data = match std::task::ready!(inner.poll_data(cx)) {
                Some(Ok(data)) => Some(data),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => None,
            };
            let over = data.is_none();
            match self.step(data) {
                Ok(out) => {
                    if over {
                        self.inner = None;
                    }
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(out)));
                    }
                }
                Err(error) => {
                    let end = self.stop(&error);
                    return Poll::Ready(Some(Ok(end)));
                }
            }
        }
    }
}
