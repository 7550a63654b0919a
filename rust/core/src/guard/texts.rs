//! What a conversation says, piece by piece, with where each piece stands: what checks look at and may put other words in.

use std::ops::Range;

use serde_json::Value;

use super::walk::{self, Frame, Kind, Visitor};
use crate::wire::json::write::escape;

/// Members of a request that hold what is said to the model, and of an answer what it says.
pub(super) const ASKED: [&[u8]; 15] = [
    b"messages",
    b"input",
    b"contents",
    b"prompt",
    b"query",
    b"message",
    b"system",
    b"instructions",
    b"systemInstruction",
    b"system_instruction",
    b"documents",
    b"texts",
    b"content",
    b"requests",
    b"suffix",
];
const SAID: [&[u8]; 7] = [b"choices", b"content", b"output", b"candidates", b"message", b"text", b"output_text"];
/// Members whose elements are messages or choices of their own.
const LISTS: [&[u8]; 8] =
    [b"messages", b"input", b"contents", b"documents", b"texts", b"requests", b"choices", b"candidates"];
/// Innermost members that are arguments of a tool, not speech.
const ARGUMENTS: [&[u8]; 3] = [b"arguments", b"partial_json", b"args"];
/// Members that hold neither.
const ASIDE: [&[u8]; 12] = [
    b"url",
    b"image_url",
    b"name",
    b"logprobs",
    b"token",
    b"annotations",
    b"cache_control",
    b"format",
    b"detail",
    b"file_id",
    b"filename",
    b"citations",
];
/// Most pieces that are looked at; more cannot be looked at.
const PIECES: usize = 4_096;

/// A text of a document.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub text: String,
    /// Which message, choice or candidate it belongs to.
    pub message: u32,
    pub role: String,
    /// Speech, and not the arguments of a tool.
    pub speech: bool,
    /// Between the quotes; None where nothing can be put in its place.
    pub range: Option<Range<usize>>,
}

impl Piece {
    /// What a stream said, all of it.
    pub fn streamed(text: String) -> Piece {
        Piece { text, role: "assistant".to_string(), speech: true, ..Piece::default() }
    }
}

/// The pieces of a request; None when there are too many.
pub fn asked(body: &[u8]) -> Option<Vec<Piece>> {
    read(body, &ASKED)
}

/// The pieces of a whole answer.
pub fn said(body: &[u8]) -> Option<Vec<Piece>> {
    read(body, &SAID)
}

fn read(body: &[u8], roots: &'static [&'static [u8]]) -> Option<Vec<Piece>> {
    let mut reader = Reader { body, roots, pieces: Vec::new(), whose: Vec::new(), at: None, message: 0, full: false };
    let _ = walk::walk(body, false, &mut reader);
    let Reader { mut pieces, whose, full, .. } = reader;
    if full {
        return None;
    }
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    for (piece, (root, place)) in pieces.iter_mut().zip(whose) {
        piece.role = role(&parsed, (roots == SAID, &root), place);
    }
    Some(pieces)
}

/// `said`: by the model, where nothing else tells.
fn role(body: &Value, (said, root): (bool, &str), place: Option<u32>) -> String {
    let told = place.and_then(|place| body.get(root)?.get(place as usize)?.get("role")?.as_str());
    match (told, root) {
        (Some("model"), _) => "assistant".to_string(),
        (Some(role), _) => role.to_string(),
        (None, "system" | "instructions" | "systemInstruction" | "system_instruction") => "system".to_string(),
        (None, "choices" | "output" | "candidates" | "output_text") => "assistant".to_string(),
        (None, "content") if said => "assistant".to_string(),
        (None, _) => "user".to_string(),
    }
}

struct Reader<'b> {
    body: &'b [u8],
    roots: &'static [&'static [u8]],
    pieces: Vec<Piece>,
    /// Of each piece: its root member, and which element of it.
    whose: Vec<(String, Option<u32>)>,
    at: Option<(usize, u32)>,
    message: u32,
    full: bool,
}

impl Visitor for Reader<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        let Some(root) = path.first() else { return };
        let name = |frame: &Frame| self.body.get(frame.key.clone()).unwrap_or_default();
        let root_name = name(root);
        if kind != Kind::Text || !self.roots.contains(&root_name) {
            return;
        }
        let inner = path.iter().rev().find(|frame| !frame.array).map_or(b"".as_slice(), name);
        let aside = path.iter().skip(1).any(|frame| !frame.array && ASIDE.contains(&name(frame)));
        let content = self.body.get(raw.clone()).unwrap_or_default();
        if aside || content.starts_with(b"data:") {
            return;
        }
        if self.pieces.len() >= PIECES {
            self.full = true;
            return;
        }
        let listed = LISTS.contains(&root_name);
        let place = path.get(1).filter(|frame| frame.array && listed).map(|frame| frame.place);
        let at = (root.key.start, place.unwrap_or(0));
        if self.at.is_some_and(|last| last != at) {
            self.message += 1;
        }
        self.at = Some(at);
        let tool = |frame: &Frame| {
            let name = name(frame);
            !frame.array && (ARGUMENTS.contains(&name) || name == b"input" && root_name != b"input")
        };
        let speech = !path.iter().any(tool) && !ARGUMENTS.contains(&inner);
        let mut text = String::with_capacity(content.len());
        walk::decode(content, &mut text);
        self.whose.push((String::from_utf8_lossy(root_name).into_owned(), place));
        self.pieces.push(Piece { text, message: self.message, role: String::new(), speech, range: Some(raw) });
    }
}

/// The document with other texts in the places of pieces; None when one of them has no place.
pub fn replaced(body: &[u8], pieces: &[Piece], changes: &[(usize, String)]) -> Option<Vec<u8>> {
    let mut edits: Vec<(Range<usize>, &str)> = Vec::with_capacity(changes.len());
    for (index, text) in changes {
        edits.push((pieces.get(*index)?.range.clone()?, text));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(body.get(at..range.start)?);
        let mut quoted = Vec::with_capacity(text.len() + 2);
        escape(&mut quoted, text);
        out.extend_from_slice(quoted.get(1..quoted.len().saturating_sub(1))?);
        at = range.end;
    }
    out.extend_from_slice(body.get(at..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[Piece]) -> Vec<(&str, &str, u32, bool)> {
        pieces.iter().map(|piece| (piece.role.as_str(), piece.text.as_str(), piece.message, piece.speech)).collect()
    }

    #[test]
    fn requests_of_every_dialect_are_read() {
        let chat = br#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"text","text":"a\nb"},
            {"type":"image_url","image_url":{"url":"https://x/y"}}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function",
            "function":{"name":"f","arguments":"{\"q\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"found"}]}"#;
        let pieces = asked(chat).expect("few");
        let expected = [
            ("system", "be kind", 0, true),
            ("user", "a\nb", 1, true),
            ("assistant", "{\"q\":1}", 2, false),
            ("tool", "found", 3, true),
        ];
        assert_eq!(told(&pieces), expected);
        for body in [
            r#"{"system":"s","messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"instructions":"s","input":"hi"}"#,
            r#"{"instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}]}"#,
            r#"{"system":"s","texts":["hi"]}"#,
            r#"{"system":"s","content":{"parts":[{"text":"hi"}]}}"#,
            r#"{"system":"s","requests":[{"content":{"parts":[{"text":"hi"}]}}]}"#,
            r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"hi"}]}]}"#,
        ] {
            let pieces = asked(body.as_bytes()).expect("few");
            assert_eq!(told(&pieces), [("system", "s", 0, true), ("user", "hi", 1, true)], "{body}");
        }
    }

    #[test]
    fn answers_of_every_dialect_are_read() {
        for body in [
            r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}"#,
            r#"{"content":[{"type":"text","text":"hi"}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}"#,
            r#"{"output":{"message":{"content":[{"text":"hi"}]}}}"#,
            r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#,
        ] {
            assert_eq!(told(&said(body.as_bytes()).expect("few")), [("assistant", "hi", 0, true)], "{body}");
        }
    }

    #[test]
    fn texts_are_put_back_escaped() {
        let body = br#"{"messages":[{"role":"user","content":"call \"me\""},{"content":"b"}]}"#;
        let pieces = asked(body).expect("few");
        let changed = replaced(body, &pieces, &[(1, "x".into()), (0, "say \"it\"\n".into())]).expect("places");
        assert_eq!(changed, br#"{"messages":[{"role":"user","content":"say \"it\"\n"},{"content":"x"}]}"#);
    }
}
