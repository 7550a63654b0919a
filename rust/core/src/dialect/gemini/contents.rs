//! Writes contents: turns of `user` and `model`.

use serde_json::value::RawValue;

use super::family::Family;
use super::wire::standard_mime;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Feature, Losses, Media, Message, Part, Request, Role, Text, lose};
use crate::dialect::read::{Shape, shape};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Gemini;

/// In place of the signature of a call that another provider made, or a client lost: Google documents it for this.
const UNSIGNED: &str = "skip_thought_signature_validator";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    User,
    Results,
    Model,
}

pub struct Contents<'l, 'p, 'a> {
    out: Writer,
    losses: &'l mut Losses,
    request: &'p Request<'a>,
    family: Family,
    open: Turn,
    /// Media that came as results of tools: they follow the results.
    waiting: Vec<&'p Part<'a>>,
    /// The proof of a thought, for the call behind it.
    proof: Option<&'p str>,
    /// A call of this turn has a signature: the first of parallel calls carries the one of all.
    signed: bool,
}

impl<'l, 'p, 'a> Contents<'l, 'p, 'a> {
    pub fn new(mut out: Writer, losses: &'l mut Losses, request: &'p Request<'a>, family: Family) -> Self {
        out.key("contents").begin_array();
        let (open, waiting) = (Turn::None, Vec::new());
        Contents { out, losses, request, family, open, waiting, proof: None, signed: false }
    }

    pub fn finish(self) -> Writer {
        let mut out = self.out;
        out.end_array();
        out
    }

    /// All messages; `instructions`: there are no others, so they are what the user says.
    pub fn write(&mut self, instructions: bool) -> Result<(), Fault> {
        for message in &self.request.messages {
            match message.role {
                Role::System if !instructions => {}
                Role::System | Role::User => self.message(Turn::User, message)?,
                Role::Tool => self.message(Turn::Results, message)?,
                Role::Assistant => self.message(Turn::Model, message)?,
            }
        }
        self.close()
    }

    fn message(&mut self, turn: Turn, message: &'p Message<'a>) -> Result<(), Fault> {
        self.turn(turn)?;
        (self.proof, self.signed) = (None, false);
        for part in &message.parts {
            self.part(part)?;
        }
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> Result<(), Fault> {
        if self.open != turn {
            self.close()?;
            self.open = turn;
            let role = if turn == Turn::Model { "model" } else { "user" };
            self.out.begin_object().member("role", role).key("parts").begin_array();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        for part in std::mem::take(&mut self.waiting) {
            self.part(part)?;
        }
        if std::mem::replace(&mut self.open, Turn::None) != Turn::None {
            self.out.end_array().end_object();
        }
        Ok(())
    }

    fn part(&mut self, part: &'p Part<'a>) -> Result<(), Fault> {
        match part {
            Part::Text { text, cache, signature, .. } => {
                self.marked(cache.is_some())?;
                self.text(text, signature.as_deref());
            }
            Part::Refusal { text } => self.text(text, None),
            Part::Image { media, detail, cache } => {
                self.marked(cache.is_some())?;
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    lose(self.losses, Feature::ImageDetail, HERE)?;
                }
                self.media(media, "image/jpeg")?;
            }
            Part::Audio { media } => self.media(media, "audio/wav")?,
            Part::Video { media } => self.media(media, "video/mp4")?,
            Part::Document { media, citations, cache, .. } => {
                self.marked(cache.is_some())?;
                if *citations {
                    lose(self.losses, Feature::Citations, HERE)?;
                }
                self.media(media, "application/pdf")?;
            }
            Part::ToolCall { id, name, arguments, signature, cache } => {
                self.marked(cache.is_some())?;
                self.call(id, name, arguments, signature.as_deref())?;
            }
            Part::ToolResult { .. } => self.result(part)?,
            Part::Reasoning { signature: Some(signature), .. } => self.proof = Some(signature),
            // Google asks for proofs of thoughts, not for thoughts.
            Part::Reasoning { encrypted, .. } => {
                if encrypted.is_some() {
                    self.losses.add(Feature::ReasoningHistory);
                }
            }
            Part::Foreign { format: HERE, raw, .. } => _ = self.out.raw(raw),
            Part::Foreign { .. } => _ = lose(self.losses, Feature::Foreign, HERE)?,
        }
        Ok(())
    }

    fn marked(&mut self, marked: bool) -> Result<(), Fault> {
        if marked {
            lose(self.losses, Feature::CacheMarks, HERE)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str, signature: Option<&str>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        self.out.begin_object().member("text", text);
        if let Some(signature) = signature {
            self.out.member("thoughtSignature", signature);
        }
        self.out.end_object();
    }

    fn media(&mut self, media: &Media<'_>, default: &str) -> Result<(), Fault> {
        match media {
            Media::Base64 { mime, data } => {
                let mime = if mime.is_empty() { default } else { standard_mime(mime) };
                self.out.begin_object().key("inlineData").begin_object();
                self.out.member("mimeType", mime).member("data", data).end_object().end_object();
            }
            Media::Text { text } => self.text(text, None),
            Media::Url { url, mime } => {
                let mime = mime.as_deref().or_else(|| by_name(url));
                self.file(url, mime.unwrap_or(default));
            }
            Media::File { id } if id.starts_with("gs://") || id.starts_with("https://") => {
                self.file(id, by_name(id).unwrap_or(default));
            }
            Media::File { .. } => _ = lose(self.losses, Feature::Files, HERE)?,
        }
        Ok(())
    }

    fn file(&mut self, uri: &str, mime: &str) {
        self.out.begin_object().key("fileData").begin_object();
        self.out.member("mimeType", mime).member("fileUri", uri).end_object().end_object();
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str, signature: Option<&'p str>) -> Result<(), Fault> {
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        if !serde_json::from_str::<&RawValue>(arguments).is_ok_and(|raw| shape(raw) == Shape::Object) {
            let path = "messages[].tool_calls[].function.arguments";
            return Err(Fault::invalid(path, format!("the arguments of '{name}' are not a JSON object")));
        }
        let stand_in = (!self.signed && self.family.wants_signatures()).then_some(UNSIGNED);
        let signature = signature.or(self.proof.take()).or(stand_in);
        self.signed = true;
        self.out.begin_object().key("functionCall").begin_object();
        if !id.is_empty() {
            self.out.member("id", id);
        }
        self.out.member("name", name).key("args").json(arguments.trim()).end_object();
        if let Some(signature) = signature {
            self.out.member("thoughtSignature", signature);
        }
        self.out.end_object();
        Ok(())
    }

    fn result(&mut self, part: &'p Part<'a>) -> Result<(), Fault> {
        let Part::ToolResult { id, name, parts, error, cache } = part else { return Ok(()) };
        self.marked(cache.is_some())?;
        self.out.begin_object().key("functionResponse").begin_object();
        if !id.is_empty() {
            self.out.member("id", id);
        }
        let name = name.as_ref().or_else(|| self.called(id)).map_or("tool", |name| &**name);
        self.out.member("name", name).key("response");
        let mut texts = parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text),
            _ => None,
        });
        let (first, more) = (texts.next().map_or("", |text| &**text), texts.next().is_some());
        let object = serde_json::from_str::<&RawValue>(first).is_ok_and(|raw| shape(raw) == Shape::Object);
        if object && !more && !*error {
            self.out.json(first.trim());
        } else {
            let whole: String = match more {
                true => parts.iter().filter_map(text_of).collect::<Vec<_>>().join("\n"),
                false => first.to_string(),
            };
            self.out.begin_object().member(if *error { "error" } else { "result" }, &whole).end_object();
        }
        self.out.end_object().end_object();
        self.waiting.extend(parts.iter().filter(|part| !matches!(part, Part::Text { .. })));
        Ok(())
    }

    /// The name of the call that has this id.
    fn called(&self, wanted: &str) -> Option<&'p Text<'a>> {
        let parts = self.request.messages.iter().rev().flat_map(|message| &message.parts);
        let mut names = parts.filter_map(|part| match part {
            Part::ToolCall { id, name, .. } if **id == *wanted => Some(name),
            _ => None,
        });
        names.next()
    }
}

fn text_of<'t>(part: &'t Part<'_>) -> Option<&'t str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// The type that the end of an address tells.
fn by_name(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let end = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match end.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "html" => "text/html",
        "csv" => "text/csv",
        "mp4" => "video/mp4",
        "mov" => "video/mov",
        "webm" => "video/webm",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        _ => return None,
    })
}
