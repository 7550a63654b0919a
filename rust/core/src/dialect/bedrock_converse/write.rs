//! Writes content blocks.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::media::{self, AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{CacheMark, Feature, Losses, Media, Part, Unsupported, lose};
use crate::dialect::read::{Shape, shape};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Converse;
/// Longest id of a tool call.
const ID_MAX: usize = 64;
const DOCUMENT_NAME_MAX: usize = 200;

/// Writes messages; those of one role that follow each other become one, as roles must take turns.
pub struct Content<'l> {
    out: Writer,
    losses: &'l mut Losses,
    open: Option<&'static str>,
    documents: usize,
}

impl<'l> Content<'l> {
    pub fn new(out: Writer, losses: &'l mut Losses) -> Self {
        Content { out, losses, open: None, documents: 0 }
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
    fn begin(&mut self, role: &'static str) -> &mut Writer {
        if self.open != Some(role) {
            self.close();
            self.open = Some(role);
            self.out.begin_object().member("role", role).key("content").begin_array();
        }
        self.out.begin_object()
    }

    /// `prefill`: the model is to go on where the part ends.
    pub fn part(&mut self, role: &'static str, part: &Part<'_>, prefill: bool) -> Result<(), Fault> {
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => {
                let text: &str = if prefill { text.trim_end() } else { text };
                // Bedrock refuses blank text; nothing is lost with it.
                if text.trim().is_empty() {
                    return Ok(());
                }
                self.begin(role).member("text", text).end_object();
            }
            Part::Image { .. } | Part::Document { .. } | Part::Video { .. } | Part::Audio { .. } => {
                self.begin(role);
                self.medium(part)?;
                self.out.end_object();
            }
            Part::ToolCall { id, name, arguments, .. } => {
                let input = object(name, arguments)?;
                let out = self.begin(role).key("toolUse").begin_object();
                out.member("toolUseId", &allowed(id)).member("name", name).key("input").json(input);
                out.end_object().end_object();
            }
            Part::ToolResult { id, parts, error, .. } => {
                let out = self.begin(role).key("toolResult").begin_object().member("toolUseId", &allowed(id));
                out.key("content").begin_array();
                for part in parts {
                    self.result(part)?;
                }
                self.out.end_array();
                if *error {
                    self.out.member("status", "error");
                }
                self.out.end_object().end_object();
            }
            Part::Reasoning { text, signature, encrypted, id } => match (signature, encrypted) {
                (Some(signature), _) if id.is_none() => {
                    let out = self.begin(role).key("reasoningContent").begin_object().key("reasoningText");
                    out.begin_object().member("text", text).member("signature", signature);
                    out.end_object().end_object().end_object();
                }
                (None, Some(data)) if id.is_none() => {
                    let out = self.begin(role).key("reasoningContent").begin_object();
                    out.member("redactedContent", data).end_object().end_object();
                }
                // Without the provider's own proof it would be refused.
                _ => {
                    self.losses.add(Feature::ReasoningHistory);
                    return Ok(());
                }
            },
            Part::Foreign { .. } => _ = lose(self.losses, Feature::Foreign, HERE)?,
        }
        if let Some(mark) = cache_of(part) {
            self.begin(role);
            cache_point(&mut self.out, mark);
            self.out.end_object();
        }
        Ok(())
    }

    /// One block inside a tool's result.
    fn result(&mut self, part: &Part<'_>) -> Result<(), Fault> {
        match part {
            Part::Text { text, .. } => _ = self.out.begin_object().member("text", text).end_object(),
            Part::Image { .. } | Part::Document { .. } | Part::Video { .. } => {
                self.out.begin_object();
                self.medium(part)?;
                self.out.end_object();
            }
            Part::Audio { .. } => {
                return Err(Unsupported { feature: Feature::Audio, alternative: "send it in a user message" }.into());
            }
            _ => _ = lose(self.losses, Feature::Foreign, HERE)?,
        }
        Ok(())
    }

    /// The member of a block that holds a file.
    fn medium(&mut self, part: &Part<'_>) -> Result<(), Fault> {
        let (kind, media, table, feature) = match part {
            Part::Image { media, detail, .. } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    lose(self.losses, Feature::ImageDetail, HERE)?;
                }
                ("image", media, IMAGE, Feature::ImageUrl)
            }
            Part::Document { media, .. } => ("document", media, DOCUMENT, Feature::Documents),
            Part::Video { media } => ("video", media, VIDEO, Feature::Video),
            Part::Audio { media } => ("audio", media, AUDIO, Feature::Audio),
            _ => return Ok(()),
        };
        let format = format_of(media, table)?;
        let out = self.out.key(kind).begin_object();
        if let Some(format) = format {
            out.member("format", format);
        }
        if let Part::Document { name, citations, .. } = part {
            self.documents += 1;
            out.member("name", &document_name(name.as_deref(), self.documents));
            if *citations {
                out.key("citations").begin_object().key("enabled").bool(true).end_object();
            }
        }
        out.key("source").begin_object();
        match media {
            Media::Base64 { data, .. } => _ = out.member("bytes", data),
            Media::Url { url, .. } if url.starts_with("s3://") => {
                out.key("s3Location").begin_object().member("uri", url).end_object();
            }
            Media::Url { .. } => {
                return Err(Unsupported {
                    feature: if feature == Feature::Documents { feature } else { Feature::ImageUrl },
                    alternative: "send the content itself, as base64 or as an s3:// address",
                }
                .into());
            }
            Media::Text { text } => _ = out.member("text", text),
            Media::File { .. } => _ = lose(self.losses, Feature::Files, HERE)?,
        }
        out.end_object().end_object();
        Ok(())
    }
}

/// Bedrock's name of a file's format; none for what needs none.
fn format_of(media: &Media<'_>, table: &'static [(&'static str, &'static str)]) -> Result<Option<&'static str>, Fault> {
    let mime = match media {
        Media::Base64 { mime, .. } | Media::Url { mime: Some(mime), .. } => mime,
        Media::Text { .. } => return Ok(Some("txt")),
        Media::Url { url, mime: None } => {
            let extension = url.rsplit_once('.').map_or("", |(_, extension)| extension);
            return Ok(table.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(extension)));
        }
        Media::File { .. } => return Ok(None),
    };
    // Any text can be read as such.
    let plain = (table == DOCUMENT && mime.starts_with("text/")).then_some("txt");
    media::format(table, mime).or(plain).map(Some).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(_, mime)| *mime).collect();
        Fault::invalid("messages", format!("Bedrock takes no '{}'; it takes {}", &**mime, known.join(", ")))
    })
}

/// Bedrock takes letters, digits, single blanks, hyphens and brackets in names, and wants each to be its own.
fn document_name(name: Option<&str>, number: usize) -> String {
    let name = name.unwrap_or_default();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-()[]".contains(c);
    let words: String = name.chars().map(|c| if fine(c) { c } else { ' ' }).take(DOCUMENT_NAME_MAX - 8).collect();
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    match (words.join(" "), number) {
        (name, _) if name.is_empty() => format!("document {number}"),
        (name, 1) => name,
        (name, number) => format!("{name} {number}"),
    }
}

fn cache_of(part: &Part<'_>) -> Option<CacheMark> {
    match part {
        Part::Text { cache, .. }
        | Part::Image { cache, .. }
        | Part::Document { cache, .. }
        | Part::ToolCall { cache, .. }
        | Part::ToolResult { cache, .. } => *cache,
        _ => None,
    }
}

/// The member that marks where a prefix to be cached ends.
pub fn cache_point(out: &mut Writer, mark: CacheMark) {
    out.key("cachePoint").begin_object().member("type", "default");
    if mark == CacheMark::Hour {
        out.member("ttl", "1h");
    }
    out.end_object();
}

/// An id that Bedrock takes; the same replacement in call and result keeps them together.
pub fn allowed(id: &str) -> Cow<'_, str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if !id.is_empty() && id.len() <= ID_MAX && id.chars().all(fine) {
        return Cow::Borrowed(id);
    }
    let digest = Sha256::digest(id.as_bytes());
    let mark: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let start: String = id.chars().filter(|c| fine(*c)).take(ID_MAX - 17).collect();
    Cow::Owned(format!("{start}-{mark}"))
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
