//! Reading JSON piece by piece, with the path of what is wrong.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::format::Fault;
use super::hub::{CacheMark, Media, Members, Text};

/// What a piece of JSON is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Null,
    Text,
    Array,
    Object,
    /// A number or a boolean.
    Other,
}

pub fn shape(raw: &RawValue) -> Shape {
    match raw.get().as_bytes().first() {
        Some(b'n') | None => Shape::Null,
        Some(b'"') => Shape::Text,
        Some(b'[') => Shape::Array,
        Some(b'{') => Shape::Object,
        Some(_) => Shape::Other,
    }
}

/// A whole document.
pub fn document<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| wrong("", &error))
}

/// A value; `null` is what the type makes of it.
pub fn value<'a, T: Deserialize<'a>>(path: impl Display, raw: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(raw.get()).map_err(|error| wrong(path, &error))
}

/// The elements of an array.
pub fn array(path: impl Display, raw: &RawValue) -> Result<Vec<&RawValue>, Fault> {
    value(path, raw)
}

/// The members of an object.
pub fn members<'a>(path: impl Display, raw: &'a RawValue) -> Result<Members<'a>, Fault> {
    value(path, raw)
}

#[cold]
pub fn wrong(path: impl Display, error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    // Offsets are those of the piece, which nobody else sees.
    let reason = text.split(" at line ").next().unwrap_or_default();
    Fault::invalid(path.to_string(), reason)
}

/// The address of an image or file: a `data:` URL is taken apart.
pub fn media<'a>(path: impl Display, url: Text<'a>) -> Result<Media<'a>, Fault> {
    const SCHEME: &str = "data:";
    if !url.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME)) {
        return Ok(Media::Url { url, mime: None });
    }
    let head = url.find(',').filter(|comma| url[..*comma].to_ascii_lowercase().ends_with(";base64"));
    let Some(comma) = head else {
        return Err(Fault::invalid(path.to_string(), "a data URL must be base64: data:<type>;base64,<data>"));
    };
    let kind = url[SCHEME.len()..comma - ";base64".len()].split(';').next().unwrap_or_default();
    if kind.is_empty() {
        return Err(Fault::invalid(path.to_string(), "the data URL does not name its type: data:<type>;base64,<data>"));
    }
    let mime = kind.to_ascii_lowercase().into();
    let data = match url.0 {
        std::borrow::Cow::Borrowed(text) => text[comma + 1..].into(),
        std::borrow::Cow::Owned(mut text) => text.split_off(comma + 1).into(),
    };
    Ok(Media::Base64 { mime, data })
}

/// Anthropic's `cache_control`, which chat clients send too.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(from = "CacheControlWire")]
pub struct CacheControl(CacheMark);

#[derive(Deserialize)]
struct CacheControlWire {
    #[serde(default)]
    ttl: Option<String>,
}

impl From<CacheControlWire> for CacheControl {
    fn from(wire: CacheControlWire) -> Self {
        CacheControl(if wire.ttl.as_deref() == Some("1h") { CacheMark::Hour } else { CacheMark::Default })
    }
}

impl CacheControl {
    pub fn mark(self) -> CacheMark {
        self.0
    }
}
