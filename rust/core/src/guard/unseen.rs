//! What guardrails cannot look at: images, sounds, files, lists of token numbers, sessions.
//!
//! A rule says what happens to it. Most let pass what stands beside text and refuse a request of which nothing could be
//! looked at, so that no route is a way around them.

use std::ops::Range;

use super::Plan;
use super::documents;
use super::texts::ASKED;
use super::walk::{self, Frame, Kind, Visitor};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::wire::multipart;

/// What happens to what cannot be looked at. Ordered by strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unscannable {
    Allow,
    /// Refused where there is nothing else.
    Whole,
    /// Refused.
    Block,
}

impl Unscannable {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "allow" => Some(Unscannable::Allow),
            "whole" => Some(Unscannable::Whole),
            "block" => Some(Unscannable::Block),
            _ => None,
        }
    }
}

/// What of an operation can be looked at. Every operation says so here, and the page of guardrails has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub request: Seen,
    pub answer: Seen,
}

/// How much of one side is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Text, and maybe parts that are none.
    Text,
    /// Text or something else: numbers, images, a file.
    Either,
    /// Numbers that tell nothing: vectors, scores, counts.
    Numbers,
    /// Images or sound.
    Media,
    /// Messages both ways that nothing looks into.
    Session,
}

impl Seen {
    pub fn name(self) -> &'static str {
        match self {
            Seen::Text => "text",
            Seen::Either => "text, if there is any",
            Seen::Numbers => "numbers only",
            Seen::Media => "media",
            Seen::Session => "session",
        }
    }
}

impl Reach {
    pub fn of(operation: Operation) -> Reach {
        use Operation as Op;
        let (request, answer) = match operation {
            Op::None => (Seen::Numbers, Seen::Numbers),
            Op::Chat
            | Op::Messages
            | Op::MessagesStream
            | Op::Responses
            | Op::StoredResponse
            | Op::GenerateContent
            | Op::StreamGenerateContent
            | Op::CohereChat
            | Op::Converse
            | Op::ConverseStream
            | Op::Invoke
            | Op::InvokeStream
            | Op::Predict
            | Op::Rerank
            | Op::VoyageRerank
            | Op::TeiRerank
            | Op::NimRanking => (Seen::Text, Seen::Text),
            Op::Completions | Op::Fim => (Seen::Either, Seen::Text),
            Op::CountTokens | Op::GeminiCountTokens | Op::ResponsesInputTokens | Op::VertexCountTokens => {
                (Seen::Text, Seen::Numbers)
            }
            Op::Embeddings | Op::EmbedContent | Op::BatchEmbedContents | Op::CohereEmbed | Op::Moderations => {
                (Seen::Either, Seen::Numbers)
            }
            Op::ImagesGenerations | Op::ImagesEdits | Op::ImagesVariations => (Seen::Either, Seen::Media),
            Op::AudioSpeech => (Seen::Text, Seen::Media),
            Op::AudioTranscriptions | Op::AudioTranslations => (Seen::Either, Seen::Text),
            Op::PassThrough => (Seen::Either, Seen::Either),
            Op::Realtime | Op::BidiGenerateContent => (Seen::Session, Seen::Session),
        };
        Reach { request, answer }
    }
}

/// Refuses what a plan's rules cannot look at and do not let pass.
///
/// # Errors
/// The refusal.
pub fn check(exchange: &Exchange, plan: &Plan) -> Result<()> {
    let [asks, says] = plan.unscannable;
    let operation = exchange.endpoint.operation;
    let reach = Reach::of(operation);
    if says > Unscannable::Allow && reach.answer == Seen::Media {
        return Err(refusal("an answer of images or sound", None));
    }
    let wanted = asks == Unscannable::Block
        || says == Unscannable::Block
        || asks == Unscannable::Whole && reach.request == Seen::Either;
    if !wanted {
        return Ok(());
    }
    let body = &exchange.call.body;
    let found = match &exchange.call.boundary {
        // Patterns look into documents, once they are read.
        None => look(body, &ASKED, plan.input.is_some()),
        Some(boundary) => form(body, boundary),
    };
    if says == Unscannable::Block && found.media {
        return Err(refusal("an answer with images or sound", None));
    }
    match found.part {
        Some(place) if asks == Unscannable::Block || asks == Unscannable::Whole && !found.text => {
            Err(refusal("what is no text", Some(place)))
        }
        _ => Ok(()),
    }
}

/// The refusal of an answer of which a part cannot be looked at, where a rule insists.
///
/// # Errors
/// The refusal.
pub fn answered(plan: &Plan, body: &[u8]) -> Result<()> {
    if plan.unscannable[1] != Unscannable::Block {
        return Ok(());
    }
    match look(body, &ASKED, false).part {
        Some(place) => Err(refusal("what is no text", Some(place))),
        None => Ok(()),
    }
}

/// The refusal of an event of a session, of which nothing or not everything can be looked at.
///
/// # Errors
/// The refusal.
pub fn event(level: Unscannable, body: &[u8]) -> Result<()> {
    let found = look(body, &EVENT, false);
    match found.part {
        Some(place) if level == Unscannable::Block || level == Unscannable::Whole && !found.text => {
            Err(refusal("what is no text", Some(place)))
        }
        _ => Ok(()),
    }
}

/// Whether there is nothing to look at in a request but what it brings along.
pub fn is_alone(exchange: &Exchange) -> bool {
    let reach = Reach::of(exchange.endpoint.operation);
    reach.request == Seen::Either && !look(&exchange.call.body, &ASKED, true).text
}

/// The refusal of a document that cannot be read.
pub fn document(why: &str, place: &str) -> Error {
    refusal(&format!("a document ({why})"), Some(place.to_string()))
}

fn refusal(what: &str, place: Option<String>) -> Error {
    let text = format!("A guardrail must look at this and cannot look into {what}");
    let error = match &place {
        Some(place) => Error::new(Code::GuardrailBlocked, format!("{text}, which stands in {place}.")),
        None => Error::new(Code::GuardrailBlocked, format!("{text}.")),
    };
    match place {
        Some(place) => error.param(place),
        None => error,
    }
}

/// What there is besides text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Something was looked at.
    text: bool,
    /// Where the first part stands that cannot be.
    part: Option<String>,
    /// Images or sound are asked for.
    media: bool,
}

/// Members that name a file or an address of one, wherever they stand.
const NAMED: [&[u8]; 9] = [
    b"image_url",
    b"video_url",
    b"audio_url",
    b"file_id",
    b"file_url",
    b"file_uri",
    b"fileUri",
    b"file_data",
    b"audio",
];
/// Members that hold data, or an address of it, below one of [`AROUND`].
const HELD: [&[u8]; 5] = [b"data", b"bytes", b"url", b"uri", b"b64_json"];
const AROUND: [&[u8]; 16] = [
    b"image_url",
    b"video_url",
    b"audio_url",
    b"source",
    b"inlineData",
    b"inline_data",
    b"input_audio",
    b"audio",
    b"image",
    b"images",
    b"video",
    b"document",
    b"file",
    b"s3Location",
    b"output_audio",
    b"inputAudio",
];
/// Members that say what kind of thing it is that stands beside them.
const KINDS: [&[u8]; 5] = [b"format", b"media_type", b"mimeType", b"mime_type", b"detail"];
/// Lists of numbers that stand for text.
const NUMBERED: [&[u8]; 3] = [b"input", b"prompt", b"tokens"];
/// Members that say in which forms the answer may come.
const FORMS: [&[u8]; 3] = [b"modalities", b"responseModalities", b"response_modalities"];

/// Members of a session's events that hold what is said to the model.
const EVENT: [&[u8]; 3] = [b"item", b"response", b"session"];

/// `said`: members that hold what is said. `reads`: documents are none of what cannot be looked at.
fn look(body: &[u8], said: &[&[u8]], reads: bool) -> Found {
    let mut eye = Eye { body, said, reads, found: Found::default() };
    // A key that stands twice is refused elsewhere.
    let _ = walk::walk(body, false, &mut eye);
    eye.found
}

struct Eye<'b> {
    body: &'b [u8],
    said: &'b [&'b [u8]],
    reads: bool,
    found: Found,
}

impl<'b> Eye<'b> {
    fn name(&self, frame: &Frame) -> &'b [u8] {
        self.body.get(frame.key.clone()).unwrap_or_default()
    }

    fn part(&mut self, path: &[Frame], value: &[u8]) {
        if self.found.part.is_none() && !(self.reads && documents::is_pdf(value)) {
            self.found.part = Some(walk::place(self.body, path));
        }
    }

    /// The string whose content begins at `start`.
    fn whole(&self, start: usize) -> &'b [u8] {
        let end = walk::value_end(self.body, start.saturating_sub(1)).saturating_sub(1);
        self.body.get(start..end).unwrap_or_default()
    }

    fn is_part(&self, path: &[Frame]) -> bool {
        let mut names = path.iter().rev().filter(|frame| !frame.array).map(|frame| self.name(frame));
        let Some(last) = names.next() else { return false };
        NAMED.contains(&last) || HELD.contains(&last) && names.any(|name| AROUND.contains(&name)) || last == b"b64_json"
    }

    fn is_kind(&self, path: &[Frame]) -> bool {
        let mut names = path.iter().rev().filter(|frame| !frame.array).map(|frame| self.name(frame));
        names.next().is_some_and(|last| KINDS.contains(&last)) && names.any(|name| AROUND.contains(&name))
    }
}

impl Visitor for Eye<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        if kind != Kind::Text {
            return;
        }
        let start = raw.start;
        let value = self.body.get(raw).unwrap_or_default();
        let root = path.first().map_or(b"".as_slice(), |frame| self.name(frame));
        if FORMS.contains(&root) || path.iter().any(|frame| FORMS.contains(&self.name(frame))) {
            self.found.media |= !value.eq_ignore_ascii_case(b"text");
            return;
        }
        // Words are text, whatever member they stand in.
        let words = value.iter().any(u8::is_ascii_whitespace);
        if !words && (value.starts_with(b"data:") || self.is_part(path)) {
            // Of an address of data, the walk tells the beginning.
            self.part(path, self.whole(start));
        } else if self.said.contains(&root) && (words || !self.is_kind(path)) {
            self.found.text = true;
        }
    }

    fn identifier(&mut self, path: &[Frame], name: &[u8], raw: Range<usize>) {
        if matches!(name, b"data" | b"b64_json" | b"audio") || self.is_part(path) {
            self.part(path, self.body.get(raw).unwrap_or_default());
        }
    }

    fn number(&mut self, path: &[Frame], _: &[u8], _: Range<usize>) {
        let listed = path.last().is_some_and(|frame| frame.array);
        if listed && path.first().is_some_and(|frame| NUMBERED.contains(&self.name(frame))) {
            self.part(path, b"");
        }
    }
}

/// A form: files are what cannot be looked at, its prompt is text.
fn form(body: &[u8], boundary: &str) -> Found {
    let mut found = Found::default();
    for part in multipart::parts(body, boundary).unwrap_or_default() {
        if part.filename.is_some() {
            found.part.get_or_insert(part.name);
        } else if part.name == "prompt" {
            found.text |= !part.content.is_empty();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(body: &str) -> (bool, Option<String>) {
        let found = look(body.as_bytes(), &ASKED, false);
        (found.text, found.part)
    }

    #[test]
    fn parts_of_every_dialect_are_found() {
        let data = "iVBORw0KGgo".repeat(40);
        for body in [
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}"#.to_string(),
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}]}]}"#
                .to_string(),
            r#"{"input":[{"content":[{"type":"input_image","image_url":"https://x/y.png"}]}]}"#.to_string(),
            r#"{"input":[{"content":[{"type":"input_file","file_id":"file-1"}]}]}"#.to_string(),
            format!(
                r#"{{"messages":[{{"content":[{{"type":"image","source":{{"type":"base64","data":"{data}"}}}}]}}]}}"#
            ),
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"QUJD"}}]}]}"#.to_string(),
            format!(r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}]}}]}}"#),
            r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://b/o"}}]}]}"#.to_string(),
            r#"{"messages":[{"content":[{"image":{"format":"png","source":{"bytes":"QUJD"}}}]}]}"#.to_string(),
            r#"{"input":[[1,2,3]]}"#.to_string(),
            r#"{"prompt":[1,2,3]}"#.to_string(),
        ] {
            let (text, part) = seen(&body);
            assert!(!text && part.is_some(), "{body}: {part:?}");
        }
        assert_eq!(seen(r#"{"messages":[{"content":"hello"}],"seed":1234567}"#), (true, None));
        assert_eq!(
            seen(r#"{"messages":[{"content":[{"type":"document","source":{"type":"text","data":"plain words"}}]}]}"#),
            (true, None)
        );
        assert_eq!(seen(r#"{"input":"x","dimensions":2}"#), (true, None));
        let both =
            r#"{"messages":[{"content":[{"type":"text","text":"look"},{"type":"file","file":{"file_id":"f"}}]}]}"#;
        assert_eq!(seen(both), (true, Some("messages[0].content[1].file.file_id".into())));
    }

    #[test]
    fn media_that_is_asked_for_is_found() {
        let media = |body: &str| look(body.as_bytes(), &ASKED, false).media;
        assert!(media(r#"{"modalities":["text","audio"]}"#));
        assert!(media(r#"{"generationConfig":{"responseModalities":["IMAGE"]}}"#));
        assert!(!media(r#"{"modalities":["text"]}"#));
    }
}
