//! Content blocks: those of requests and those of answers.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Media, Part, Text, unsealed};
use crate::dialect::read::{self, CacheControl, Shape, shape};

/// Whether parts are results of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Results,
    Others,
}

/// A message's content in runs of one kind.
pub fn group<'a>(at: &str, raw: &'a RawValue) -> Result<Vec<(Group, Vec<Part<'a>>)>, Fault> {
    let mut groups: Vec<(Group, Vec<Part<'a>>)> = Vec::with_capacity(1);
    for part in content(at, raw)? {
        let kind = if matches!(part, Part::ToolResult { .. }) { Group::Results } else { Group::Others };
        match groups.last_mut() {
            Some((last, parts)) if *last == kind => parts.push(part),
            _ => groups.push((kind, vec![part])),
        }
    }
    Ok(groups)
}

/// A string, or blocks.
pub fn content<'a>(at: &str, raw: &'a RawValue) -> Result<Vec<Part<'a>>, Fault> {
    match shape(raw) {
        Shape::Null => Ok(Vec::new()),
        Shape::Text => Ok(vec![Part::text(read::value::<Text<'_>>(at, raw)?)]),
        Shape::Array => {
            let raws = read::array(at, raw)?;
            raws.into_iter().enumerate().map(|(index, raw)| block(&format!("{at}[{index}]"), raw)).collect()
        }
        Shape::Object | Shape::Other => Err(Fault::invalid(at, "a string or an array of blocks is expected")),
    }
}

#[derive(Deserialize)]
struct BlockWire<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    citations: Option<&'a RawValue>,
    #[serde(default, borrow)]
    source: Option<&'a RawValue>,
    #[serde(default, borrow)]
    title: Option<Text<'a>>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_use_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default, borrow)]
    thinking: Option<Text<'a>>,
    #[serde(default, borrow)]
    signature: Option<Text<'a>>,
    #[serde(default, borrow)]
    data: Option<Text<'a>>,
    #[serde(default)]
    cache_control: Option<CacheControl>,
}

/// One block.
pub fn block<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    let wire: BlockWire<'a> = read::value(at, raw)?;
    let cache = wire.cache_control.map(CacheControl::mark);
    let missing = |member: &str| Fault::invalid(format!("{at}.{member}"), "missing");
    Ok(match &*wire.kind {
        "text" => {
            let citations = wire.citations.filter(|raw| shape(raw) == Shape::Array && raw.get().len() > 2);
            Part::Text {
                text: wire.text.ok_or_else(|| missing("text"))?,
                citations: citations.map(|raw| Citations { format: Format::Messages, raw }),
                cache,
                signature: None,
            }
        }
        "image" => {
            let source = wire.source.ok_or_else(|| missing("source"))?;
            match media(at, source)? {
                Some(media) => Part::Image { media, detail: None, cache },
                None => Part::Foreign { format: Format::Messages, kind: wire.kind, raw },
            }
        }
        "document" => {
            let source = wire.source.ok_or_else(|| missing("source"))?;
            let citations = wire.citations.is_some_and(|raw| raw.get().contains("true"));
            match media(at, source)? {
                Some(media) => Part::Document { media, name: wire.title, citations, cache },
                None => Part::Foreign { format: Format::Messages, kind: wire.kind, raw },
            }
        }
        "tool_use" => Part::ToolCall {
            id: wire.id.ok_or_else(|| missing("id"))?,
            name: wire.name.ok_or_else(|| missing("name"))?,
            arguments: wire.input.map_or("{}", RawValue::get).into(),
            signature: None,
            cache,
        },
        "tool_result" => Part::ToolResult {
            id: wire.tool_use_id.ok_or_else(|| missing("tool_use_id"))?,
            name: None,
            parts: wire.content.map(|raw| content(&format!("{at}.content"), raw)).transpose()?.unwrap_or_default(),
            error: wire.is_error.unwrap_or(false),
            cache,
        },
        "thinking" => Part::Reasoning {
            text: wire.thinking.unwrap_or_default(),
            signature: wire.signature.filter(|signature| !signature.is_empty()),
            encrypted: None,
            id: None,
        },
        "redacted_thinking" => {
            let data = wire.data.ok_or_else(|| missing("data"))?;
            let (data, id) = unsealed(data);
            Part::Reasoning { text: Text::default(), signature: None, encrypted: Some(data), id }
        }
        _ => Part::Foreign { format: Format::Messages, kind: wire.kind, raw },
    })
}

/// Where an image or a document is; `None` for a source that only Anthropic knows.
fn media<'a>(at: &str, raw: &'a RawValue) -> Result<Option<Media<'a>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        media_type: Option<Text<'a>>,
        #[serde(default, borrow)]
        data: Option<Text<'a>>,
        #[serde(default, borrow)]
        url: Option<Text<'a>>,
        #[serde(default, borrow)]
        file_id: Option<Text<'a>>,
    }
    let wire: Wire<'a> = read::value(format_args!("{at}.source"), raw)?;
    let missing = |member: &str| Fault::invalid(format!("{at}.source.{member}"), "missing");
    Ok(Some(match &*wire.kind {
        "base64" => Media::Base64 {
            mime: wire.media_type.ok_or_else(|| missing("media_type"))?,
            data: wire.data.ok_or_else(|| missing("data"))?,
        },
        "url" => Media::Url { url: wire.url.ok_or_else(|| missing("url"))?, mime: None },
        "text" => Media::Text { text: wire.data.ok_or_else(|| missing("data"))? },
        "file" => Media::File { id: wire.file_id.ok_or_else(|| missing("file_id"))? },
        _ => return Ok(None),
    }))
}
