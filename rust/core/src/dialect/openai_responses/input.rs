//! The items of a Responses request: messages, calls, their results, reasoning.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ENCRYPTED, SIGNATURE};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Feature, Media, Message, Part, Role, Text, Unsupported};
use crate::dialect::read::{self, Shape, shape};

#[derive(Deserialize)]
struct ItemWire<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    role: Option<Text<'a>>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    call_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    arguments: Option<Text<'a>>,
    #[serde(default, borrow)]
    output: Option<&'a RawValue>,
    #[serde(default, borrow)]
    summary: Option<Vec<SummaryWire<'a>>>,
    #[serde(default, borrow)]
    encrypted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct SummaryWire<'a> {
    #[serde(default, borrow)]
    pub text: Text<'a>,
}

/// A string, or items. What the assistant said in a row becomes one message.
pub fn input(raw: &RawValue) -> Result<Vec<Message<'_>>, Fault> {
    if shape(raw) == Shape::Text {
        let text: Text<'_> = read::value("input", raw)?;
        return Ok(vec![Message { role: Role::User, parts: vec![Part::text(text)], name: None }]);
    }
    let mut messages: Vec<Message<'_>> = Vec::new();
    for (index, raw) in read::array("input", raw)?.into_iter().enumerate() {
        let (role, parts) = item(&format!("input[{index}]"), raw)?;
        match messages.last_mut() {
            Some(last) if last.role == role && matches!(role, Role::Assistant | Role::Tool) => last.parts.extend(parts),
            _ => messages.push(Message { role, parts, name: None }),
        }
    }
    Ok(messages)
}

fn item<'a>(at: &str, raw: &'a RawValue) -> Result<(Role, Vec<Part<'a>>), Fault> {
    let wire: ItemWire<'a> = read::value(at, raw)?;
    let missing = |member: &str| Fault::invalid(format!("{at}.{member}"), "missing");
    let kind = wire.kind.unwrap_or_else(|| "message".into());
    match &*kind {
        "message" => {
            let role = match wire.role.as_deref() {
                Some("system" | "developer") => Role::System,
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                Some(other) => return Err(Fault::invalid(format!("{at}.role"), format!("unknown role '{other}'"))),
                None => return Err(missing("role")),
            };
            let content = wire.content.ok_or_else(|| missing("content"))?;
            Ok((role, parts(&format!("{at}.content"), content)?))
        }
        "function_call" => {
            let part = Part::ToolCall {
                id: wire.call_id.ok_or_else(|| missing("call_id"))?,
                name: wire.name.ok_or_else(|| missing("name"))?,
                arguments: wire.arguments.unwrap_or_default(),
                signature: None,
                cache: None,
            };
            Ok((Role::Assistant, vec![part]))
        }
        "function_call_output" => {
            let output = wire.output.ok_or_else(|| missing("output"))?;
            let parts = parts(&format!("{at}.output"), output)?;
            let id = wire.call_id.ok_or_else(|| missing("call_id"))?;
            Ok((Role::Tool, vec![Part::ToolResult { id, name: None, parts, error: false, cache: None }]))
        }
        "reasoning" => {
            let texts: Vec<Text<'a>> = wire.summary.into_iter().flatten().map(|summary| summary.text).collect();
            Ok((Role::Assistant, vec![thought(texts, wire.encrypted_content, wire.id)]))
        }
        "item_reference" => {
            let alternative = "send the item itself";
            Err(Unsupported { feature: Feature::StoredState, alternative }.into())
        }
        _ => Ok((Role::Assistant, vec![Part::Foreign { format: Format::Responses, kind, raw }])),
    }
}

/// Reasoning given back: another provider's by the gateway's marks, OpenAI's own otherwise.
pub(super) fn thought<'a>(mut texts: Vec<Text<'a>>, encrypted: Option<Text<'a>>, id: Option<Text<'a>>) -> Part<'a> {
    let text = match texts.len() {
        0 => Text::default(),
        1 => texts.pop().unwrap_or_default(),
        _ => texts.iter().map(|text| &**text).collect::<Vec<_>>().join("\n\n").into(),
    };
    let marked = |mark: &str| encrypted.as_deref()?.strip_prefix(mark).map(|rest| Text::from(rest.to_string()));
    if let Some(signature) = marked(SIGNATURE) {
        return Part::Reasoning { text, signature: Some(signature), encrypted: None, id: None };
    }
    if let Some(data) = marked(ENCRYPTED) {
        return Part::Reasoning { text, signature: None, encrypted: Some(data), id: None };
    }
    Part::Reasoning { text, signature: None, encrypted, id }
}

#[derive(Deserialize)]
struct PartWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    image_url: Option<Text<'a>>,
    #[serde(default, borrow)]
    detail: Option<Text<'a>>,
    #[serde(default, borrow)]
    file_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    file_url: Option<Text<'a>>,
    #[serde(default, borrow)]
    file_data: Option<Text<'a>>,
    #[serde(default, borrow)]
    filename: Option<Text<'a>>,
}

fn parts<'a>(at: &str, raw: &'a RawValue) -> Result<Vec<Part<'a>>, Fault> {
    if shape(raw) == Shape::Text {
        return Ok(vec![Part::text(read::value::<Text<'_>>(at, raw)?)]);
    }
    let raws = read::array(at, raw)?;
    raws.into_iter().enumerate().map(|(index, raw)| part(&format!("{at}[{index}]"), raw)).collect()
}

fn part<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    let wire: PartWire<'a> = read::value(at, raw)?;
    let missing = |member: &str| Fault::invalid(format!("{at}.{member}"), "missing");
    Ok(match &*wire.kind {
        "input_text" | "output_text" | "text" => Part::text(wire.text.ok_or_else(|| missing("text"))?),
        "refusal" => Part::Refusal { text: wire.refusal.ok_or_else(|| missing("refusal"))? },
        "input_image" => {
            let media = match (wire.image_url, wire.file_id) {
                (Some(url), _) => read::media(at, url)?,
                (None, Some(id)) => Media::File { id },
                (None, None) => return Err(missing("image_url")),
            };
            Part::Image { media, detail: wire.detail, cache: None }
        }
        "input_file" => {
            let media = match (wire.file_data, wire.file_url, wire.file_id) {
                (Some(data), ..) if data.starts_with("data:") => read::media(at, data)?,
                (Some(data), ..) => Media::Base64 { mime: "application/pdf".into(), data },
                (None, Some(url), _) => Media::Url { url, mime: None },
                (None, None, Some(id)) => Media::File { id },
                (None, None, None) => return Err(missing("file_data")),
            };
            Part::Document { media, name: wire.filename, citations: false, cache: None }
        }
        _ => Part::Foreign { format: Format::Responses, kind: wire.kind, raw },
    })
}
