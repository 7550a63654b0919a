//! Judging a whole document: every text is searched, and what must not pass is cut out of the bytes.

use std::ops::Range;
use std::sync::Arc;

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
    let mut judge =
        Judge { side, body, judged: Judged::default(), edits: Vec::new(), hits: Vec::new(), buffer: String::new() };
    walk::walk(body, unique, &mut judge)?;
    let Judge { mut judged, edits, .. } = judge;
    if !edits.is_empty() && judged.block().is_none() {
        judged.rewritten = Some(spliced(body, edits));
    }
    Ok(judged)
}

fn spliced(body: &[u8], mut edits: Vec<(Range<usize>, Vec<u8>)>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(&text);
        at = range.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

struct Judge<'j> {
    side: &'j Side,
    body: &'j [u8],
    judged: Judged,
    edits: Vec<(Range<usize>, Vec<u8>)>,
    hits: Vec<Hit>,
    buffer: String,
}

impl Visitor for Judge<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        let Some(content) = self.body.get(raw.clone()) else { return };
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
        self.hits.clear();
        let mut hits = std::mem::take(&mut self.hits);
        if self.side.set.scan(text, &mut hits) == Err(Failed) {
            self.judged.failed = true;
        }
        if !hits.is_empty() {
            self.found(&hits, text, path);
            for (range, replacement) in replacements(self.side, &hits, text) {
                let inner = if escaped {
                    walk::raw_offset(content, range.start)..walk::raw_offset(content, range.end)
                } else {
                    range
                };
                self.edit(kind, raw.clone(), inner, &replacement);
            }
        }
        self.hits = hits;
        self.buffer = buffer;
    }
}

impl Judge<'_> {
    fn found(&mut self, hits: &[Hit], text: &str, path: &[Frame]) {
        let _ = text;
        for hit in hits {
            let Some((rule, label)) = self.side.owner(hit.pattern) else { continue };
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

/// Disjoint ranges of `text` with what stands in their place, in order.
fn replacements(side: &Side, hits: &[Hit], text: &str) -> Vec<(Range<usize>, String)> {
    let mut spans: Vec<(Range<usize>, Action, Arc<str>)> = Vec::new();
    let mut altering: Vec<(&Hit, Action, &Arc<str>)> = hits
        .iter()
        .filter_map(|hit| side.owner(hit.pattern).map(|(rule, label)| (hit, rule.effect(), label)))
        .filter(|(_, action, _)| matches!(action, Action::Mask | Action::Redact))
        .collect();
    altering.sort_by_key(|(hit, _, _)| (hit.start, usize::MAX - hit.end));
    for (hit, action, label) in altering {
        match spans.last_mut() {
            Some((range, strongest, _)) if hit.start < range.end => {
                range.end = range.end.max(hit.end);
                *strongest = action.max(*strongest);
            }
            _ => spans.push((hit.start..hit.end, action, label.clone())),
        }
    }
    spans
        .into_iter()
        .map(|(range, action, label)| {
            let replacement = if action == Action::Mask {
                masked(text.get(range.clone()).unwrap_or_default(), range.len())
            } else {
                placeholder(&label)
            };
            (range, replacement)
        })
        .collect()
}

/// What stands for a match.
pub(super) fn placeholder(label: &str) -> String {
    format!("[{label}]")
}

/// Letters and digits as `*`, but for the last four bytes of a match of which `left` bytes are still to come (this piece
/// included).
pub(super) fn masked(piece: &str, left: usize) -> String {
    let shown = left.saturating_sub(4);
    piece
        .char_indices()
        .map(|(at, character)| if at < shown && character.is_alphanumeric() { '*' } else { character })
        .collect()
}
