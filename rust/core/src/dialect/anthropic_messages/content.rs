//! Writes messages of content blocks.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::encode::cache_control;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{CacheMark, Citations, Feature, Losses, Media, Part, Text, Unsupported, lose};
use crate::dialect::read::{Shape, shape};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Messages;

/// Writes messages; those of one role that follow each other become one, as roles must take turns.
pub struct Content<'l> {
    out: Writer,
    losses: &'l mut Losses,
    open: Option<&'static str>,
}

impl<'l> Content<'l> {
    pub fn new(out: Writer, losses: &'l mut Losses) -> Self {
        Content { out, losses, open: None }
    }

    pub fn finish(mut self) -> Writer {
        self.close();
        self.out
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.end_array().end_object();
        }
    }

    /// The place for a block of this role.
    fn place(&mut self, role: &'static str) -> &mut Writer {
        if self.open != Some(role) {
            self.close();
            self.open = Some(role);
            self.out.begin_object().member("role", role).key("content").begin_array();
        }
        &mut self.out
    }

    fn begin(&mut self, role: &'static str) -> &mut Writer {
        self.place(role).begin_object()
    }

    /// The parts of one message; `prefill`: the model is to go on where it ends.
    pub fn parts(&mut self, role: &'static str, parts: &[Part<'_>], prefill: bool) -> Result<(), Fault> {
        let count = parts.len();
        for (index, part) in parts.iter().enumerate() {
            self.part(role, part, prefill && index + 1 == count)?;
        }
        Ok(())
    }

    fn part(&mut self, role: &'static str, part: &Part<'_>, prefill: bool) -> Result<(), Fault> {
        match part {
            Part::Text { text, citations, cache, .. } => {
                // Anthropic refuses white space at the end of what it is to continue.
                let text = if prefill { text.trim_end() } else { text };
                self.text(role, text, *citations, *cache);
            }
            Part::Refusal { text } => self.text(role, text, None, None),
            Part::Image { media, detail, cache } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    lose(self.losses, Feature::ImageDetail, HERE)?;
                }
                self.begin(role);
                image(&mut self.out, media, self.losses)?;
                cache_control(&mut self.out, *cache);
                self.out.end_object();
            }
            Part::Document { .. } => {
                self.begin(role);
                document(&mut self.out, part, self.losses)?;
                self.out.end_object();
            }
            Part::ToolCall { id, name, arguments, cache, .. } => {
                let input = object(name, arguments)?;
                let out = self.begin(role).member("type", "tool_use").member("id", &allowed(id)).member("name", name);
                out.key("input").json(input);
                cache_control(out, *cache);
                out.end_object();
            }
            Part::ToolResult { .. } => {
                self.begin(role);
                result(&mut self.out, part, self.losses)?;
                self.out.end_object();
            }
            Part::Reasoning { text, signature, encrypted, id } => match (signature, encrypted) {
                (Some(signature), _) if id.is_none() => {
                    let out = self.begin(role).member("type", "thinking").member("thinking", text);
                    out.member("signature", signature).end_object();
                }
                (None, Some(data)) if id.is_none() => {
                    self.begin(role).member("type", "redacted_thinking").member("data", data).end_object();
                }
                // Without Anthropic's own proof it would be refused.
                _ => self.losses.add(Feature::ReasoningHistory),
            },
            Part::Foreign { format: HERE, raw, .. } => _ = self.place(role).raw(raw),
            Part::Audio { .. } => _ = lose(self.losses, Feature::Audio, HERE)?,
            Part::Video { .. } => _ = lose(self.losses, Feature::Video, HERE)?,
            Part::Foreign { .. } => _ = lose(self.losses, Feature::Foreign, HERE)?,
        }
        Ok(())
    }

    fn text(&mut self, role: &'static str, text: &str, citations: Option<Citations<'_>>, cache: Option<CacheMark>) {
        // Anthropic refuses empty text; nothing is lost with it.
        if text.is_empty() {
            return;
        }
        let out = self.begin(role).member("type", "text").member("text", text);
        if let Some(citations) = citations.filter(|citations| citations.format == HERE) {
            out.key("citations").raw(citations.raw);
        }
        cache_control(out, cache);
        out.end_object();
    }
}

/// Anthropic takes letters, digits, `_` and `-` in ids; the same replacement in call and result keeps them together.
fn allowed(id: &str) -> Cow<'_, str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(fine) {
        return Cow::Borrowed(id);
    }
    let replaced: String = id.chars().map(|c| if fine(c) { c } else { '_' }).collect();
    Cow::Owned(if replaced.is_empty() { "_".to_string() } else { replaced })
}

/// The arguments of a call, which must be an object here.
fn object<'a>(name: &str, arguments: &'a str) -> Result<&'a str, Fault> {
    if arguments.trim().is_empty() {
        return Ok("{}");
    }
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(raw) if shape(raw) == Shape::Object => Ok(raw.get()),
        _ => {
            let path = "messages[].tool_calls[].function.arguments";
            Err(Fault::invalid(path, format!("the arguments of '{name}' are not a JSON object")))
        }
    }
}

/// Members of an image block.
fn image(out: &mut Writer, media: &Media<'_>, losses: &mut Losses) -> Result<(), Fault> {
    out.member("type", "image").key("source").begin_object();
    match media {
        Media::Url { url, .. } => _ = out.member("type", "url").member("url", url),
        Media::Base64 { mime, data } => {
            // A frequent mistake of clients.
            let mime = if &**mime == "image/jpg" { "image/jpeg" } else { mime };
            out.member("type", "base64").member("media_type", mime).member("data", data);
        }
        Media::File { id } => {
            lose(losses, Feature::Files, HERE)?;
            out.member("type", "file").member("file_id", id);
        }
        Media::Text { .. } => return Err(Fault::invalid("messages", "an image cannot be text")),
    }
    out.end_object();
    Ok(())
}

/// Members of a document block.
fn document(out: &mut Writer, part: &Part<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let Part::Document { media, name, citations, cache } = part else { return Ok(()) };
    out.member("type", "document").key("source").begin_object();
    match media {
        Media::Url { url, .. } => _ = out.member("type", "url").member("url", url),
        Media::Base64 { mime, data } if &**mime == "application/pdf" => {
            out.member("type", "base64").member("media_type", mime).member("data", data);
        }
        Media::Base64 { mime, data } => plain(out, &decoded(mime, data)?),
        Media::Text { text } => plain(out, text),
        Media::File { id } => {
            lose(losses, Feature::Files, HERE)?;
            out.member("type", "file").member("file_id", id);
        }
    }
    out.end_object();
    if let Some(name) = name {
        out.member("title", name);
    }
    if *citations {
        out.key("citations").begin_object().key("enabled").bool(true).end_object();
    }
    cache_control(out, *cache);
    Ok(())
}

fn plain(out: &mut Writer, text: &str) {
    out.member("type", "text").member("media_type", "text/plain").member("data", text);
}

/// Text that came as a file; Anthropic takes no other files than these and PDF.
fn decoded(mime: &str, data: &Text<'_>) -> Result<String, Fault> {
    let textual = mime.starts_with("text/") || mime == "application/json" || mime == "application/xml";
    let unsupported =
        Unsupported { feature: Feature::Documents, alternative: "send the document as PDF or as plain text" };
    if !textual {
        return Err(unsupported.into());
    }
    let bytes =
        STANDARD.decode(data.as_bytes()).map_err(|_| Fault::invalid("messages", "a file is not valid base64"))?;
    String::from_utf8(bytes).map_err(|_| unsupported.into())
}

/// Members of a tool result block.
fn result(out: &mut Writer, part: &Part<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let Part::ToolResult { id, parts, error, cache, .. } = part else { return Ok(()) };
    out.member("type", "tool_result").member("tool_use_id", &allowed(id));
    if !parts.is_empty() {
        out.key("content").begin_array();
    }
    for part in parts {
        match part {
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => _ = out.begin_object().member("type", "text").member("text", text).end_object(),
            Part::Image { media, .. } => {
                out.begin_object();
                image(out, media, losses)?;
                out.end_object();
            }
            Part::Document { .. } => {
                out.begin_object();
                document(out, part, losses)?;
                out.end_object();
            }
            Part::Foreign { format: HERE, raw, .. } => _ = out.raw(raw),
            Part::Audio { .. } => _ = lose(losses, Feature::Audio, HERE)?,
            Part::Video { .. } => _ = lose(losses, Feature::Video, HERE)?,
            _ => _ = lose(losses, Feature::Foreign, HERE)?,
        }
    }
    if !parts.is_empty() {
        out.end_array();
    }
    if *error {
        out.key("is_error").bool(true);
    }
    cache_control(out, *cache);
    Ok(())
}

/// For answers: whether a piece of JSON text is an object.
pub fn is_object(json: &str) -> bool {
    serde_json::from_str::<&RawValue>(json).is_ok_and(|raw| shape(raw) == Shape::Object)
}
