//! Contents and parts as Google writes them. Its own clients mix `camelCase` and `snake_case`, and the API takes both.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Media, Part, Text, unsealed};
use crate::dialect::read;

#[derive(Default, Deserialize)]
pub struct ContentWire<'a> {
    #[serde(default, borrow)]
    pub role: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
pub struct PartWire<'a> {
    #[serde(default, borrow)]
    pub text: Option<Text<'a>>,
    #[serde(default)]
    pub thought: Option<bool>,
    #[serde(default, alias = "thought_signature", rename = "thoughtSignature", borrow)]
    pub signature: Option<Text<'a>>,
    #[serde(default, alias = "inline_data", rename = "inlineData", borrow)]
    inline: Option<BlobWire<'a>>,
    #[serde(default, alias = "file_data", rename = "fileData", borrow)]
    file: Option<FileWire<'a>>,
    #[serde(default, alias = "function_call", rename = "functionCall", borrow)]
    pub call: Option<CallWire<'a>>,
    #[serde(default, alias = "function_response", rename = "functionResponse", borrow)]
    pub response: Option<ResponseWire<'a>>,
}

#[derive(Deserialize)]
pub struct BlobWire<'a> {
    #[serde(default, alias = "mime_type", rename = "mimeType", borrow)]
    mime: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(default, alias = "display_name", rename = "displayName", borrow)]
    name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub struct FileWire<'a> {
    #[serde(default, alias = "mime_type", rename = "mimeType", borrow)]
    mime: Option<Text<'a>>,
    #[serde(alias = "file_uri", rename = "fileUri", borrow)]
    uri: Text<'a>,
}

#[derive(Deserialize)]
pub struct CallWire<'a> {
    #[serde(default, borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(default, borrow)]
    pub args: Option<&'a RawValue>,
}

impl<'a> CallWire<'a> {
    pub fn arguments(&self) -> Text<'a> {
        self.args.filter(|raw| raw.get() != "null").map_or("{}", RawValue::get).into()
    }
}

#[derive(Deserialize)]
pub struct ResponseWire<'a> {
    #[serde(default, borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(default, borrow)]
    pub response: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub parts: Option<Vec<&'a RawValue>>,
}

impl<'a> ResponseWire<'a> {
    /// The result as the text that other formats have, and whether it is an error.
    fn result(&self) -> (Text<'a>, bool) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Only<'a> {
            #[serde(default, alias = "output", borrow)]
            result: Option<&'a RawValue>,
            #[serde(default, borrow)]
            error: Option<&'a RawValue>,
        }
        let Some(raw) = self.response else { return (Text::default(), false) };
        let (value, error) = match serde_json::from_str::<Only<'a>>(raw.get()) {
            Ok(Only { result: Some(result), error: None }) => (result, false),
            Ok(Only { result: None, error: Some(error) }) => (error, true),
            _ => (raw, false),
        };
        (serde_json::from_str::<Text<'a>>(value.get()).unwrap_or_else(|_| value.get().into()), error)
    }
}

/// Reads one part. Ids of calls and results are those of the wire, empty where it gives none.
pub fn part<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    let wire: PartWire<'a> = read::value(at, raw)?;
    let signature = wire.signature.filter(|signature| !signature.is_empty());
    Ok(match wire {
        PartWire { call: Some(call), .. } => {
            let arguments = call.arguments();
            Part::ToolCall { id: call.id.unwrap_or_default(), name: call.name, arguments, signature, cache: None }
        }
        PartWire { response: Some(response), .. } => {
            let (text, error) = response.result();
            let mut parts = vec![Part::text(text)];
            for raw in response.parts.iter().flatten() {
                parts.push(part(&format!("{at}.functionResponse.parts"), raw)?);
            }
            let id = response.id.unwrap_or_default();
            Part::ToolResult { id, name: Some(response.name), parts, error, cache: None }
        }
        PartWire { inline: Some(blob), .. } => {
            let media = Media::Base64 { mime: blob.mime, data: standard(blob.data) };
            of_kind(media, blob.name)
        }
        PartWire { file: Some(FileWire { mime, uri }), .. } => {
            let fetched = uri.starts_with("http") && !uri.starts_with(FILES);
            of_kind(if fetched { Media::Url { url: uri, mime } } else { Media::File { id: uri } }, None)
        }
        PartWire { text: Some(text), thought: Some(true), .. } => match signature.map(unwrapped) {
            Some(Proof::Encrypted(data)) => {
                let (data, id) = unsealed(data);
                Part::Reasoning { text, signature: None, encrypted: Some(data), id }
            }
            Some(Proof::Signature(proof)) => {
                Part::Reasoning { text, signature: Some(proof), encrypted: None, id: None }
            }
            None => Part::Reasoning { text, signature: None, encrypted: None, id: None },
        },
        PartWire { text: Some(text), .. } => Part::Text { text, citations: None, cache: None, signature },
        _ => Part::Foreign { format: Format::Gemini, kind: Text::default(), raw },
    })
}

/// Uploaded files of the Gemini API; nobody else can fetch them.
const FILES: &str = "https://generativelanguage.googleapis.com/";

/// The part for media of this type.
fn of_kind<'a>(media: Media<'a>, name: Option<Text<'a>>) -> Part<'a> {
    let kind = match &media {
        Media::Base64 { mime, .. } | Media::Url { mime: Some(mime), .. } => mime.split('/').next().unwrap_or_default(),
        Media::Url { url, .. } if url.contains("youtu") => "video",
        _ => "",
    };
    match kind {
        "image" => Part::Image { media, detail: None, cache: None },
        "audio" => Part::Audio { media },
        "video" => Part::Video { media },
        _ => Part::Document { media, name, citations: false, cache: None },
    }
}

/// Base64 in the alphabet that everyone reads; Google's clients also write the one for URLs, without padding.
fn standard(data: Text<'_>) -> Text<'_> {
    let whole = data.len().is_multiple_of(4);
    if whole && memchr::memchr2(b'-', b'_', data.as_bytes()).is_none() {
        return data;
    }
    let mut text = data.0.into_owned().replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text.into()
}

/// What proves a thought to the provider that had it.
pub enum Proof<'a> {
    Signature(Text<'a>),
    Encrypted(Text<'a>),
}

/// Before the proof of another provider: Google's clients decode what they take for base64 and may write it in another
/// alphabet, which a foreign proof would not survive.
const SIGNED: &[u8] = b"ailink:s:";
const ENCRYPTED: &[u8] = b"ailink:e:";

/// Wraps a proof so that Google's clients give it back unchanged.
pub fn wrapped(proof: &Proof<'_>) -> String {
    let (mark, text) = match proof {
        Proof::Signature(text) => (SIGNED, text),
        Proof::Encrypted(text) => (ENCRYPTED, text),
    };
    STANDARD.encode([mark, text.as_bytes()].concat())
}

/// A proof as it was before [`wrapped`]; Google's own stays as it is.
pub fn unwrapped(signature: Text<'_>) -> Proof<'_> {
    let decoded = STANDARD.decode(signature.as_bytes()).or_else(|_| URL_SAFE.decode(signature.as_bytes()));
    let text = |rest: &[u8]| String::from_utf8(rest.to_vec()).ok().map(Text::from);
    let found = decoded.ok().and_then(|bytes| {
        let signed = bytes.strip_prefix(SIGNED).and_then(text).map(Proof::Signature);
        signed.or_else(|| bytes.strip_prefix(ENCRYPTED).and_then(text).map(Proof::Encrypted))
    });
    found.unwrap_or(Proof::Signature(signature))
}

/// A name for a call that has none: the same for the same place of the same answer.
pub fn call_id(answer: &str, number: usize) -> String {
    let fine = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    let answer: Cow<'_, str> = answer.chars().filter(fine).take(24).collect();
    format!("call_{answer}_{number}")
}

/// A frequent mistake of clients, put right.
pub fn standard_mime(mime: &str) -> &str {
    if mime == "image/jpg" { "image/jpeg" } else { mime }
}
