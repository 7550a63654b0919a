//! Reads content blocks: each is an object with one member that says what it is.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::unblobbed;
use super::media::{self, AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{CacheMark, Citations, Media, Members, Part, Text};
use crate::dialect::read;

/// The blocks of a message, of instructions or of a tool's result.
pub fn blocks<'a>(at: &str, raw: &'a RawValue) -> Result<Vec<Part<'a>>, Fault> {
    let raws = read::array(at, raw)?;
    let mut parts = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        block(&format!("{at}[{index}]"), raw, &mut parts)?;
    }
    Ok(parts)
}

fn block<'a>(at: &str, raw: &'a RawValue, parts: &mut Vec<Part<'a>>) -> Result<(), Fault> {
    let members: Members<'a> = read::members(at, raw)?;
    let Some((kind, value)) = members.0.into_iter().next() else {
        return Err(Fault::invalid(at, "the block is empty"));
    };
    let at = format!("{at}.{}", &*kind);
    let part = match &*kind {
        "text" => Part::text(read::value::<Text<'a>>(&at, value)?),
        "image" => image(&at, value)?,
        "document" => document(&at, value)?,
        "video" => Part::Video { media: file(&at, value, VIDEO)? },
        "audio" => Part::Audio { media: file(&at, value, AUDIO)? },
        "toolUse" => match tool_use(&at, value)? {
            Some(part) => part,
            None => Part::Foreign { format: Format::Converse, kind, raw },
        },
        "toolResult" => tool_result(&at, value)?,
        "json" => Part::text(value.get()),
        "reasoningContent" => reasoning(&at, value)?,
        "citationsContent" => cited(&at, value)?,
        "searchResult" => search_result(&at, value)?,
        "guardContent" => return block(&at, value, parts),
        "cachePoint" => {
            if let Some(last) = parts.last_mut() {
                mark(last, cache_mark(&at, value)?);
            }
            return Ok(());
        }
        _ => Part::Foreign { format: Format::Converse, kind, raw },
    };
    parts.push(part);
    Ok(())
}

/// How long a cache point asks to be kept.
pub fn cache_mark(at: &str, raw: &RawValue) -> Result<CacheMark, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        ttl: Option<Text<'a>>,
    }
    let wire: Wire<'_> = read::value(at, raw)?;
    Ok(if wire.ttl.as_deref() == Some("1h") { CacheMark::Hour } else { CacheMark::Default })
}

/// A cache point stands behind what it marks.
fn mark(part: &mut Part<'_>, mark: CacheMark) {
    match part {
        Part::Text { cache, .. }
        | Part::Image { cache, .. }
        | Part::Document { cache, .. }
        | Part::ToolCall { cache, .. }
        | Part::ToolResult { cache, .. } => *cache = Some(mark),
        Part::Audio { .. }
        | Part::Video { .. }
        | Part::Reasoning { .. }
        | Part::Refusal { .. }
        | Part::Foreign { .. } => {}
    }
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(default, borrow)]
    format: Option<Text<'a>>,
    #[serde(borrow)]
    source: Source<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(default, borrow)]
    bytes: Option<Text<'a>>,
    #[serde(default, borrow)]
    s3_location: Option<S3<'a>>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    content: Vec<Piece<'a>>,
}

#[derive(Deserialize)]
struct S3<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
}

fn file<'a>(at: &str, raw: &'a RawValue, table: &'static [(&'static str, &'static str)]) -> Result<Media<'a>, Fault> {
    let File { format, source } = read::value(at, raw)?;
    located(at, format, source, table)
}

fn located<'a>(
    at: &str,
    format: Option<Text<'a>>,
    source: Source<'a>,
    table: &'static [(&'static str, &'static str)],
) -> Result<Media<'a>, Fault> {
    let mime = match &format {
        None => None,
        Some(format) => Some(
            media::mime(table, format)
                .ok_or_else(|| Fault::invalid(format!("{at}.format"), format!("unknown format '{}'", &**format)))?,
        ),
    };
    match (source.bytes, source.s3_location, source.text) {
        (Some(data), ..) => {
            let mime = mime.ok_or_else(|| Fault::invalid(format!("{at}.format"), "missing"))?.into();
            Ok(Media::Base64 { mime, data })
        }
        (_, Some(place), _) => Ok(Media::Url { url: place.uri, mime: mime.map(Text::from) }),
        (.., Some(text)) => Ok(Media::Text { text }),
        _ if !source.content.is_empty() => {
            let texts: Vec<&str> = source.content.iter().filter_map(|piece| piece.text.as_deref()).collect();
            Ok(Media::Text { text: texts.join("\n").into() })
        }
        _ => Err(Fault::invalid(format!("{at}.source"), "one of bytes, s3Location, text or content is expected")),
    }
}

fn image<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    Ok(Part::Image { media: file(at, raw, IMAGE)?, detail: None, cache: None })
}

#[derive(Default, Deserialize)]
struct Enabled {
    enabled: bool,
}

fn document<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        format: Option<Text<'a>>,
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(borrow)]
        source: Source<'a>,
        #[serde(default)]
        citations: Enabled,
    }
    let Wire { format, name, source, citations } = read::value(at, raw)?;
    Ok(Part::Document {
        media: located(at, format, source, DOCUMENT)?,
        name,
        citations: citations.enabled,
        cache: None,
    })
}

/// A piece of search results is a text document with a title.
fn search_result<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        title: Option<Text<'a>>,
        #[serde(default, borrow)]
        content: Vec<Piece<'a>>,
        #[serde(default)]
        citations: Enabled,
    }
    let Wire { title, content, citations } = read::value(at, raw)?;
    let texts: Vec<&str> = content.iter().filter_map(|piece| piece.text.as_deref()).collect();
    let media = Media::Text { text: texts.join("\n").into() };
    Ok(Part::Document { media, name: title, citations: citations.enabled, cache: None })
}

/// `None` for a tool that the provider runs.
fn tool_use<'a>(at: &str, raw: &'a RawValue) -> Result<Option<Part<'a>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "toolUseId", borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        name: Text<'a>,
        #[serde(default, borrow)]
        input: Option<&'a RawValue>,
        #[serde(default, rename = "type", borrow)]
        kind: Option<Text<'a>>,
    }
    let wire: Wire<'a> = read::value(at, raw)?;
    Ok(wire.kind.is_none().then(|| Part::ToolCall {
        id: wire.id,
        name: wire.name,
        arguments: wire.input.map_or("{}", RawValue::get).into(),
        signature: None,
        cache: None,
    }))
}

fn tool_result<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "toolUseId", borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        content: &'a RawValue,
        #[serde(default, borrow)]
        status: Option<Text<'a>>,
    }
    let wire: Wire<'a> = read::value(at, raw)?;
    Ok(Part::ToolResult {
        id: wire.id,
        name: None,
        parts: blocks(&format!("{at}.content"), wire.content)?,
        error: wire.status.as_deref() == Some("error"),
        cache: None,
    })
}

fn reasoning<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(default, borrow)]
        text: Text<'a>,
        #[serde(default, borrow)]
        signature: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        #[serde(default, borrow)]
        reasoning_text: Option<Said<'a>>,
        #[serde(default, borrow)]
        redacted_content: Option<Text<'a>>,
    }
    let wire: Wire<'a> = read::value(at, raw)?;
    match (wire.reasoning_text, wire.redacted_content) {
        (Some(said), _) => Ok(Part::Reasoning {
            text: said.text,
            signature: said.signature.filter(|signature| !signature.is_empty()),
            encrypted: None,
            id: None,
        }),
        (None, Some(data)) => {
            let (data, id) = unblobbed(data);
            Ok(Part::Reasoning { text: Text::default(), signature: None, encrypted: Some(data), id })
        }
        (None, None) => Err(Fault::invalid(at, "reasoningText or redactedContent is expected")),
    }
}

/// Text with its sources.
fn cited<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        content: Vec<Piece<'a>>,
        #[serde(default, borrow)]
        citations: Option<&'a RawValue>,
    }
    let mut wire: Wire<'a> = read::value(at, raw)?;
    let text = match wire.content.as_mut_slice() {
        [one] => one.text.take().unwrap_or_default(),
        pieces => pieces.iter().filter_map(|piece| piece.text.as_deref()).collect::<String>().into(),
    };
    let citations = wire.citations.map(|raw| Citations { format: Format::Converse, raw });
    Ok(Part::Text { text, citations, cache: None, signature: None })
}
