//! Judging a whole document: every text is searched, and what must not pass is cut out of the bytes.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::documents;
use super::nested::{Nested, Part};
use super::vault::Tokens;
use super::walk::{self, Duplicate, Frame, Kind, Visitor};
use super::{Action, Rule, Side};
use crate::kernel::patterns::{Failed, Hit};
use crate::wire::json::write::escape;

/// Longest list of findings; a text with more is as bad as one with these.
const FINDINGS: usize = 256;

/// What a rule found in a document, all its matches together.
#[derive(Clone, Debug)]
pub struct Finding {
    pub rule: Arc<Rule>,
    pub label: Arc<str>,
    /// The first match: where, and which bytes of the decoded text.
    pub place: String,
    pub range: Range<usize>,
    pub matches: u32,
}

/// The judgement over a document.
#[derive(Debug, Default)]
pub struct Judged {
    pub findings: Vec<Finding>,
    /// The document without what must not pass, when that differs.
    pub rewritten: Option<Vec<u8>>,
    /// A search was given up.
    pub failed: bool,
    /// Documents in it, whose texts are nowhere in the document itself: the content of a string, and its place.
    pub documents: Vec<(Range<usize>, String)>,
}

impl Judged {
    /// The finding that stops the document.
    pub fn block(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.rule.effect() == Action::Block)
    }
}

/// Judges a validated JSON document.
///
/// # Errors
/// A key that stands twice in one object (with `unique`).
pub fn judge(side: &Side, body: &[u8], unique: bool) -> Result<Judged, Duplicate> {
    judged(Look::new(side), body, unique)
}

/// Judges one whose values may become tokens.
///
/// # Errors
/// Those of [`judge`].
pub fn tokenized(side: &Side, body: &[u8], tokens: &mut Tokens) -> Result<Judged, Duplicate> {
    judged(Look { tokens: Some(tokens), ..Look::new(side) }, body, true)
}

fn judged(look: Look<'_>, body: &[u8], unique: bool) -> Result<Judged, Duplicate> {
    let mut judge = Judge { body, judged: Judged::default(), look };
    walk::walk(body, unique, &mut judge)?;
    let Judge { mut judged, look, .. } = judge;
    judged.failed = look.failed;
    let mut edits = look.edits;
    if !edits.is_empty() && judged.block().is_none() {
        edits.extend(probabilities(body));
        judged.rewritten = Some(spliced(body, edits));
    }
    Ok(judged)
}

/// Bytes of a document and what stands in their place.
pub(super) type Edit = (Range<usize>, Vec<u8>);

/// A document with its edits; where two overlap, nothing stands in place of the second.
pub(super) fn spliced(body: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (range, text) in edits {
        if range.start < at {
            at = at.max(range.end);
            continue;
        }
        out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(&text);
        at = range.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

struct Judge<'j> {
    body: &'j [u8],
    judged: Judged,
    look: Look<'j>,
}

impl Judge<'_> {
    /// Notes a string that is a document; of an address of data, what is looked at is only its beginning.
    fn document(&mut self, path: &[Frame], raw: &Range<usize>) {
        let Some(quote) = raw.start.checked_sub(1) else { return };
        let content = self.body.get(raw.clone()).unwrap_or_default();
        if content.len() < documents::SHORTEST && !content.starts_with(b"data:") {
            return;
        }
        let whole = raw.start..walk::value_end(self.body, quote).saturating_sub(1);
        if documents::is_pdf(self.body.get(whole.clone()).unwrap_or_default()) {
            self.judged.documents.push((whole, walk::place(self.body, path)));
        }
    }
}

impl Visitor for Judge<'_> {
    fn identifier(&mut self, path: &[Frame], _: &[u8], raw: Range<usize>) {
        self.document(path, &raw);
    }

    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        if kind == Kind::Text {
            self.document(path, &raw);
        }
        let nested = || {
            let key = path.last().and_then(|frame| self.body.get(frame.key.clone()));
            key == Some(b"arguments")
        };
        let nested = kind == Kind::Text && nested();
        self.look.at(self.body, kind, nested, raw);
        for hit in &self.look.hits {
            let Some((rule, label)) = self.look.side.owner(hit.pattern) else { continue };
            let known = self
                .judged
                .findings
                .iter_mut()
                .find(|finding| Arc::ptr_eq(&finding.rule, rule) && finding.label == *label);
            if let Some(known) = known {
                known.matches = known.matches.saturating_add(1);
            } else if self.judged.findings.len() < FINDINGS || rule.effect() == Action::Block {
                self.judged.findings.push(Finding {
                    rule: rule.clone(),
                    label: label.clone(),
                    place: walk::place(self.body, path),
                    range: hit.start..hit.end,
                    matches: 1,
                });
            }
        }
    }
}

/// Looks at texts of a document that stand there as a whole, and gathers what has to change.
pub(super) struct Look<'s> {
    pub side: &'s Side,
    /// Of the latest text.
    pub hits: Vec<Hit>,
    pub edits: Vec<Edit>,
    /// A search was given up.
    pub failed: bool,
    /// Of the request; without any, values cannot come back.
    tokens: Option<&'s mut Tokens>,
    buffer: String,
}

impl<'s> Look<'s> {
    pub fn new(side: &'s Side) -> Self {
        Look { side, hits: Vec::new(), edits: Vec::new(), failed: false, tokens: None, buffer: String::new() }
    }

    /// Looks at the text whose content stands at `raw`; `nested`: it is JSON itself.
    pub fn at(&mut self, body: &[u8], kind: Kind, nested: bool, raw: Range<usize>) {
        self.hits.clear();
        let Some(content) = body.get(raw.clone()) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let escaped = memchr::memchr(b'\\', content).is_some();
        let text = match std::str::from_utf8(content) {
            Ok(text) if !escaped => text,
            _ => {
                walk::decode(content, &mut buffer);
                buffer.as_str()
            }
        };
        if self.side.set.scan(text, &mut self.hits) == Err(Failed) {
            self.failed = true;
        }
        if !self.hits.is_empty() {
            let mut offsets = walk::Offsets::new(content);
            let mut spans = spans(self.side, &self.hits);
            if let (Kind::Number, Some(span)) = (kind, spans.first_mut()) {
                // It goes as a whole, so it has to come back as a whole.
                span.range = 0..text.len();
            }
            for (range, replacement) in replacements(&spans, text, nested, self.tokens.as_deref_mut()) {
                let inner = if escaped { offsets.of(range.start)..offsets.of(range.end) } else { range };
                self.edit(kind, raw.clone(), inner, &replacement);
            }
        }
        self.buffer = buffer;
    }

    /// Replaces `inner` of the content at `raw`. A number becomes a string.
    fn edit(&mut self, kind: Kind, raw: Range<usize>, inner: Range<usize>, text: &str) {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        escape(&mut quoted, text);
        if kind == Kind::Number {
            if self.edits.last().is_none_or(|(last, _)| *last != raw) {
                self.edits.push((raw, quoted));
            }
            return;
        }
        let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec();
        self.edits.push((raw.start + inner.start..raw.start + inner.end, inside));
    }
}

/// What must not pass, disjoint and in order.
fn spans(side: &Side, hits: &[Hit]) -> Vec<Span> {
    let altering = hits.iter().filter_map(|hit| {
        let (rule, label) = side.owner(hit.pattern)?;
        rule.effect().replaces().then(|| Span::of(hit, rule, label))
    });
    let mut altering: Vec<Span> = altering.collect();
    altering.sort_by_key(|span| span.range.start);
    let mut spans: Vec<Span> = Vec::new();
    for span in altering {
        match spans.last_mut() {
            Some(last) if span.range.start < last.range.end => last.join(&span),
            _ => spans.push(span),
        }
    }
    spans
}

/// Ranges of `text` with what stands in their place, in order.
fn replacements(
    spans: &[Span],
    text: &str,
    nested: bool,
    mut tokens: Option<&mut Tokens>,
) -> Vec<(Range<usize>, String)> {
    let nested = (nested && !spans.is_empty()).then(|| Nested::of(text));
    let whole = 0..text.len();
    let of = |span: &Span| replaced(span, nested.as_ref(), text, &whole, tokens.as_deref_mut());
    spans.iter().flat_map(of).collect()
}

/// What must not pass: where, what is done, and what it is.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub range: Range<usize>,
    pub action: Action,
    /// How long a token of it is kept, in seconds; 0: for the request.
    keeps_s: u32,
    label: Arc<str>,
    /// The match that gives it its name: the first, of these the longest.
    name: (usize, Reverse<usize>, u32),
}

impl Span {
    pub fn of(hit: &Hit, rule: &Rule, label: &Arc<str>) -> Self {
        let name = (hit.start, Reverse(hit.end), hit.pattern);
        let (action, keeps_s) = (rule.effect(), rule.keeps_s);
        Span { range: hit.start..hit.end, action, keeps_s, label: label.clone(), name }
    }

    /// One span of two that overlap.
    pub fn join(&mut self, other: &Span) {
        self.range = self.range.start.min(other.range.start)..self.range.end.max(other.range.end);
        self.action = self.action.max(other.action);
        self.keeps_s = self.keeps_s.max(other.keeps_s);
        if other.name < self.name {
            (self.name, self.label) = (other.name, other.label.clone());
        }
    }
}

/// What becomes of a span in the piece of its text that stands at `at`; the span may go on in other pieces.
pub(super) fn replaced(
    span: &Span,
    nested: Option<&Nested>,
    piece: &str,
    at: &Range<usize>,
    mut tokens: Option<&mut Tokens>,
) -> SmallVec<[(Range<usize>, String); 2]> {
    let Span { range, action, keeps_s, label, .. } = span;
    let parts = match nested {
        Some(nested) => nested.parts(range),
        None => SmallVec::from_iter([Part { range: range.clone(), bare: false }]),
    };
    let mut out = SmallVec::new();
    for (number, part) in parts.into_iter().enumerate() {
        let (start, end) = (part.range.start.max(at.start), part.range.end.min(at.end));
        if start >= end {
            continue;
        }
        let begins = start == part.range.start;
        let mut text = String::new();
        if part.bare && begins {
            text.push('"');
        }
        let shown = piece.get(start - at.start..end - at.start).unwrap_or_default();
        let json = nested.is_some_and(Nested::is_json);
        if *action == Action::Mask {
            text.push_str(&masked(shown, part.range.end - start, json));
        } else if let (Action::Tokenize, Some(tokens)) = (*action, tokens.as_deref_mut()) {
            // Every part comes back where it was.
            text.push_str(&tokens.token(label, &plain(shown, json), *keeps_s));
        } else if begins && number == 0 {
            text.push_str(&placeholder(label));
        }
        if part.bare && end == part.range.end {
            text.push('"');
        }
        out.push((start..end, text));
    }
    out
}

/// A text as it is meant; `json`: it stands in a string of JSON.
fn plain(shown: &str, json: bool) -> Cow<'_, str> {
    if !json || !shown.contains('\\') {
        return shown.into();
    }
    let mut plain = String::new();
    walk::decode(shown.as_bytes(), &mut plain);
    plain.into()
}

/// What stands for a match.
fn placeholder(label: &str) -> String {
    format!("[{label}]")
}

/// Letters and digits as `*`, but for the last four bytes of a match of which `left` bytes are still to come (this piece
/// included). In nested JSON all else that has a meaning there as well.
fn masked(piece: &str, left: usize, nested: bool) -> String {
    let shown = left.saturating_sub(4);
    let hidden = |at: usize, character: char| {
        (at < shown && character.is_alphanumeric()) || (nested && matches!(character, '"' | '\\' | '\0'..='\x1f'))
    };
    piece.char_indices().map(|(at, character)| if hidden(at, character) { '*' } else { character }).collect()
}

/// Members with probabilities of tokens, which tell the text once more: their values, and what stands in their place.
pub(super) fn probabilities(data: &[u8]) -> Vec<Edit> {
    struct Find<'d>(&'d [u8], Vec<Edit>);
    impl Visitor for Find<'_> {
        fn text(&mut self, _: Kind, _: &[Frame], _: Range<usize>) {}

        fn opened(&mut self, path: &[Frame], at: usize, array: bool) {
            let name = path.last().filter(|frame| !frame.array).and_then(|frame| self.0.get(frame.key.clone()));
            if matches!(name, Some(b"logprobs" | b"logprobsResult")) {
                let end = walk::value_end(self.0, at);
                self.1.push((at..end, if array { b"[]".to_vec() } else { b"null".to_vec() }));
            }
        }
    }
    let mut find = Find(data, Vec::new());
    let _ = walk::walk(data, false, &mut find);
    find.1
}
