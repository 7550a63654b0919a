//! The parts of chat messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Media, Part, Text};
use crate::dialect::read::{self, CacheControl, Shape, shape};

/// A message's content: a string, or parts.
pub(in crate::dialect) fn content<'a>(at: &str, raw: &'a RawValue, into: &mut Vec<Part<'a>>) -> Result<(), Fault> {
    match shape(raw) {
        Shape::Null => Ok(()),
        Shape::Text => {
            into.push(Part::text(read::value::<Text<'_>>(at, raw)?));
            Ok(())
        }
        Shape::Array => {
            for (index, raw) in read::array(at, raw)?.into_iter().enumerate() {
                into.push(part(format_args!("{at}[{index}]"), raw)?);
            }
            Ok(())
        }
        Shape::Object | Shape::Other => Err(Fault::invalid(at, "a string or an array of parts is expected")),
    }
}

#[derive(Deserialize)]
struct PartWire<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(default, borrow)]
    video_url: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input_audio: Option<AudioWire<'a>>,
    #[serde(default, borrow)]
    file: Option<FileWire<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(default, borrow)]
    signature: Option<Text<'a>>,
    #[serde(default, borrow)]
    data: Option<Text<'a>>,
    #[serde(default)]
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct AudioWire<'a> {
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(borrow)]
    format: Text<'a>,
}

#[derive(Deserialize)]
struct FileWire<'a> {
    #[serde(default, borrow)]
    file_data: Option<Text<'a>>,
    #[serde(default, borrow)]
    file_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    filename: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct UrlWire<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(default, borrow)]
    detail: Option<Text<'a>>,
}

fn part<'a>(at: std::fmt::Arguments<'_>, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    let wire: PartWire<'a> = read::value(at, raw)?;
    let cache = wire.cache_control.map(CacheControl::mark);
    let missing = |member: &str| Fault::invalid(format!("{at}.{member}"), "missing");
    Ok(match &*wire.kind {
        "text" => {
            let text = wire.text.ok_or_else(|| missing("text"))?;
            Part::Text { text, citations: None, cache, signature: None }
        }
        "image_url" => {
            let url = url(at, wire.image_url.ok_or_else(|| missing("image_url"))?)?;
            Part::Image { media: read::media(at, url.url)?, detail: url.detail, cache }
        }
        "video_url" => {
            let url = url(at, wire.video_url.ok_or_else(|| missing("video_url"))?)?;
            Part::Video { media: read::media(at, url.url)? }
        }
        "input_audio" => {
            let audio = wire.input_audio.ok_or_else(|| missing("input_audio"))?;
            Part::Audio { media: Media::Base64 { mime: format!("audio/{}", &*audio.format).into(), data: audio.data } }
        }
        "file" => {
            let file = wire.file.ok_or_else(|| missing("file"))?;
            let media = match (file.file_data, file.file_id) {
                (Some(data), _) if data.starts_with("data:") => read::media(at, data)?,
                (Some(data), _) => Media::Base64 { mime: "application/pdf".into(), data },
                (None, Some(id)) => Media::File { id },
                (None, None) => return Err(missing("file.file_data")),
            };
            Part::Document { media, name: file.filename, citations: false, cache }
        }
        "refusal" => Part::Refusal { text: wire.refusal.ok_or_else(|| missing("refusal"))? },
        "thinking" | "redacted_thinking" => Part::Reasoning {
            text: wire.thinking.map(|raw| thought(at, raw)).transpose()?.unwrap_or_default(),
            signature: wire.signature,
            encrypted: wire.data,
            id: None,
        },
        _ => Part::Foreign { format: Format::Chat, kind: wire.kind, raw },
    })
}

/// An address, by itself or in an object.
fn url<'a>(at: std::fmt::Arguments<'_>, raw: &'a RawValue) -> Result<UrlWire<'a>, Fault> {
    if shape(raw) == Shape::Text {
        return Ok(UrlWire { url: read::value(at, raw)?, detail: None });
    }
    read::value(at, raw)
}

/// A thought: a string, or Mistral's list of text parts.
fn thought<'a>(at: std::fmt::Arguments<'_>, raw: &'a RawValue) -> Result<Text<'a>, Fault> {
    if shape(raw) != Shape::Array {
        return read::value(at, raw);
    }
    #[derive(Deserialize)]
    struct Piece<'a> {
        #[serde(default, borrow)]
        text: Text<'a>,
    }
    let mut pieces: Vec<Piece<'a>> = read::value(at, raw)?;
    if pieces.len() == 1 {
        return Ok(pieces.pop().map(|piece| piece.text).unwrap_or_default());
    }
    Ok(pieces.iter().map(|piece| &*piece.text).collect::<String>().into())
}

#[derive(Deserialize)]
pub(in crate::dialect) struct ToolCallWire<'a> {
    #[serde(default, borrow)]
    pub id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub function: Option<FunctionCallWire<'a>>,
    #[serde(default, borrow)]
    pub extra_content: Option<ExtraWire<'a>>,
}

#[derive(Deserialize)]
pub(in crate::dialect) struct FunctionCallWire<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(default, borrow)]
    pub arguments: Option<&'a RawValue>,
}

impl<'a> FunctionCallWire<'a> {
    /// The JSON text of the arguments; some providers send the object itself.
    pub fn arguments(&self) -> Result<Text<'a>, Fault> {
        match self.arguments {
            None => Ok(Text::default()),
            Some(raw) if shape(raw) == Shape::Text => read::value("arguments", raw),
            Some(raw) if shape(raw) == Shape::Null => Ok(Text::default()),
            Some(raw) => Ok(raw.get().into()),
        }
    }
}

#[derive(Deserialize)]
pub(in crate::dialect) struct ExtraWire<'a> {
    #[serde(default, borrow)]
    google: Option<GoogleWire<'a>>,
}

#[derive(Deserialize)]
struct GoogleWire<'a> {
    #[serde(default, borrow)]
    thought_signature: Option<Text<'a>>,
}

impl<'a> ExtraWire<'a> {
    pub fn signature(self) -> Option<Text<'a>> {
        self.google?.thought_signature
    }
}

/// LiteLLM's name for reasoning with its proof.
#[derive(Deserialize)]
pub(in crate::dialect) struct ThinkingWire<'a> {
    #[serde(default, borrow)]
    thinking: Option<Text<'a>>,
    #[serde(default, borrow)]
    signature: Option<Text<'a>>,
    #[serde(default, borrow)]
    data: Option<Text<'a>>,
    /// OpenAI's id of encrypted reasoning.
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
}

impl<'a> ThinkingWire<'a> {
    pub fn part(self) -> Part<'a> {
        let signature = self.signature.filter(|signature| !signature.is_empty());
        Part::Reasoning { text: self.thinking.unwrap_or_default(), signature, encrypted: self.data, id: self.id }
    }
}
