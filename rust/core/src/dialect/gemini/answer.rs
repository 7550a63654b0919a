//! Whole answers, read and written.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::logprobs::{from_chat, to_chat};
use super::usage::{parse_usage, write_usage};
use super::wire::{ContentWire, Proof, call_id, part, wrapped};
use crate::dialect::citations::{Source, sources};
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Part, Text, sealed};
use crate::dialect::read;
use crate::wire::json::write::Writer;

#[derive(Deserialize)]
pub struct AnswerWire<'a> {
    #[serde(default, borrow)]
    pub candidates: Option<Vec<CandidateWire<'a>>>,
    #[serde(default, rename = "promptFeedback", borrow)]
    pub feedback: Option<FeedbackWire<'a>>,
    #[serde(default, rename = "usageMetadata", borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(default, rename = "modelVersion", borrow)]
    pub model: Option<Text<'a>>,
    #[serde(default, rename = "responseId", borrow)]
    pub id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub struct CandidateWire<'a> {
    #[serde(default)]
    pub index: u32,
    #[serde(default, borrow)]
    pub content: Option<ContentWire<'a>>,
    #[serde(default, rename = "finishReason", borrow)]
    pub finish: Option<Text<'a>>,
    #[serde(default, rename = "groundingMetadata", borrow)]
    pub grounding: Option<&'a RawValue>,
    #[serde(default, rename = "citationMetadata", borrow)]
    pub cited: Option<&'a RawValue>,
    #[serde(default, rename = "logprobsResult", borrow)]
    pub logprobs: Option<&'a RawValue>,
}

impl<'a> CandidateWire<'a> {
    /// What tells the sources of the answer.
    pub fn citations(&self) -> Option<Citations<'a>> {
        let raw = self.grounding.filter(|raw| raw.get().contains("\"groundingChunks\"")).or(self.cited)?;
        Some(Citations { format: Format::Gemini, raw })
    }
}

#[derive(Deserialize)]
pub struct FeedbackWire<'a> {
    #[serde(default, rename = "blockReason", borrow)]
    reason: Option<Text<'a>>,
    #[serde(default, rename = "blockReasonMessage", borrow)]
    message: Option<Text<'a>>,
}

impl FeedbackWire<'_> {
    /// Why the prompt was not answered.
    pub fn refusal(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(match &self.message {
            Some(message) => message.to_string(),
            None => format!("The provider blocked the prompt: {}.", &**reason),
        })
    }
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a generateContent answer.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    let wire: AnswerWire<'_> = read::document(body)?;
    let id = wire.id.unwrap_or_default();
    let blocked = wire.feedback.and_then(|feedback| feedback.refusal());
    let candidates = wire.candidates.unwrap_or_default();
    let mut choices = Vec::with_capacity(1);
    let mut calls = 0;
    for candidate in candidates {
        choices.push(choice(candidate, &id, &mut calls)?);
    }
    match blocked {
        Some(text) if choices.is_empty() => {
            let parts = vec![Part::Refusal { text: text.into() }];
            choices.push(Choice { parts, finish: Some(Finish::ContentFilter), ..Choice::default() });
        }
        None if choices.is_empty() => return Err(Fault::invalid("candidates", "missing")),
        _ => {}
    }
    Ok(Answer {
        id,
        model: wire.model.unwrap_or_default(),
        choices,
        usage: wire.usage.and_then(|raw| parse_usage(raw.get().as_bytes())),
        ..Answer::default()
    })
}

fn choice<'a>(candidate: CandidateWire<'a>, id: &str, calls: &mut usize) -> Result<Choice<'a>, Fault> {
    let cited = candidate.citations();
    let mut parts = Vec::new();
    let mut called = false;
    for raw in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
        let mut part = part("candidates[].content.parts[]", raw)?;
        if let Part::ToolCall { id: call, .. } = &mut part {
            if call.is_empty() {
                *call = call_id(id, *calls).into();
            }
            (*calls, called) = (*calls + 1, true);
        }
        parts.push(part);
    }
    parts.retain(|part| !matches!(part, Part::Text { text, signature: None, .. } if text.is_empty()));
    join(&mut parts);
    if let Some(Part::Text { citations, .. }) = parts.iter_mut().rev().find(|part| matches!(part, Part::Text { .. })) {
        *citations = cited;
    }
    Ok(Choice {
        parts,
        finish: candidate.finish.map(|reason| finish(&reason, called)),
        stopped_by: None,
        logprobs: candidate.logprobs.and_then(to_chat),
    })
}

/// Text that follows text is one text: Google's segments count over all of it.
fn join(parts: &mut Vec<Part<'_>>) {
    let mut joined: Vec<Part<'_>> = Vec::with_capacity(parts.len());
    for part in std::mem::take(parts) {
        match (joined.last_mut(), part) {
            (Some(Part::Text { text, signature, .. }), Part::Text { text: more, signature: proof, .. }) => {
                text.0.to_mut().push_str(&more);
                *signature = proof.or(signature.take());
            }
            (_, part) => joined.push(part),
        }
    }
    *parts = joined;
}

/// `called`: there are function calls, of which the reason says nothing.
pub fn finish(reason: &str, called: bool) -> Finish {
    match reason {
        "STOP" if called => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "LANGUAGE"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Finish::ContentFilter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => Finish::MalformedCall,
        _ => Finish::Other,
    }
}

/// Google's name for a reason.
pub fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls | Finish::Pause => "STOP",
        Finish::Length | Finish::ContextWindow => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
        Finish::MalformedCall => "MALFORMED_FUNCTION_CALL",
        Finish::Other => "OTHER",
    }
}

pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut out = Writer::with_capacity(512);
    out.begin_object().key("candidates").begin_array();
    for (index, choice) in answer.choices.iter().enumerate() {
        out.begin_object().key("content").begin_object().key("parts").begin_array();
        let broken = choice.parts.iter().fold(false, |broken, part| broken | !write_part(&mut out, part));
        out.end_array().member("role", "model").end_object();
        if let Some(reason) = choice.finish {
            out.member("finishReason", finish_name(if broken { Finish::MalformedCall } else { reason }));
        }
        if let Some(logprobs) = choice.logprobs.as_deref().and_then(from_chat) {
            out.key("logprobsResult").raw(&logprobs);
        }
        grounding(&mut out, &choice.parts);
        out.key("index").uint(index as u64).end_object();
    }
    out.end_array();
    if let Some(usage) = &answer.usage {
        out.key("usageMetadata");
        write_usage(&mut out, usage);
    }
    tail(&mut out, &answer.id, &answer.model, context);
    out.end_object();
    out.finish()
}

/// Which model answered, and the answer's id.
pub fn tail(out: &mut Writer, id: &str, model: &str, context: &Context) {
    out.member("modelVersion", context.model.as_deref().unwrap_or(model)).member("responseId", context.answer_id(id));
}

/// One part of an answer; false for a call whose arguments are not an object.
fn write_part(out: &mut Writer, part: &Part<'_>) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => _ = out.begin_object().member("text", text).end_object(),
        Part::Reasoning { text, signature, encrypted, id } => {
            let proof = match (signature, encrypted) {
                (Some(signature), _) => Some(Proof::Signature(signature.clone())),
                (None, Some(data)) => Some(Proof::Encrypted(sealed(data, id.as_deref()).into_owned().into())),
                (None, None) => None,
            };
            thought(out, text, proof.as_ref());
        }
        Part::ToolCall { id, name, arguments, signature, .. } => {
            return function_call(out, id, name, arguments, signature.as_deref());
        }
        Part::Image { media: crate::dialect::hub::Media::Base64 { mime, data }, .. } => {
            out.begin_object().key("inlineData").begin_object().member("mimeType", mime).member("data", data);
            out.end_object().end_object();
        }
        _ => {}
    }
    true
}

pub fn thought(out: &mut Writer, text: &str, proof: Option<&Proof<'_>>) {
    out.begin_object().member("text", text).key("thought").bool(true);
    if let Some(proof) = proof {
        out.member("thoughtSignature", &wrapped(proof));
    }
    out.end_object();
}

/// False when the arguments are no object: Google has no place for them.
pub fn function_call(out: &mut Writer, id: &str, name: &str, arguments: &str, signature: Option<&str>) -> bool {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
    let object = arguments.starts_with('{') && serde_json::from_str::<&RawValue>(arguments).is_ok();
    if !object {
        return false;
    }
    out.begin_object().key("functionCall").begin_object();
    if !id.is_empty() {
        out.member("id", id);
    }
    out.member("name", name).key("args").json(arguments).end_object();
    if let Some(signature) = signature {
        out.member("thoughtSignature", signature);
    }
    out.end_object();
    true
}

/// The sources of all texts, as web pages the answer is grounded in.
fn grounding(out: &mut Writer, parts: &[Part<'_>]) {
    let mut found = Vec::new();
    let mut start = 0;
    for part in parts {
        let Part::Text { text, citations, .. } = part else { continue };
        let end = start + text.len() as u64;
        found.extend(citations.iter().flat_map(sources).map(|source| placed(source, (start, end), text)));
        start = end;
    }
    write_grounding(out, &found);
}

/// A source with the bytes it speaks about.
pub struct Placed<'a> {
    source: Source<'a>,
    bytes: (u64, u64),
}

/// The source's own place within `text`, or all of it. Sources count characters, Google counts bytes.
pub fn placed<'a>(source: Source<'a>, whole: (u64, u64), text: &str) -> Placed<'a> {
    let byte = |character: u64| {
        let at = usize::try_from(character).ok().and_then(|nth| text.char_indices().nth(nth));
        at.map_or(text.len(), |(at, _)| at) as u64
    };
    let bytes = match (source.start, source.end) {
        (Some(start), Some(end)) => (whole.0 + byte(start), whole.0 + byte(end)),
        _ => whole,
    };
    Placed { source, bytes }
}

pub fn write_grounding(out: &mut Writer, found: &[Placed<'_>]) {
    if found.is_empty() {
        return;
    }
    out.key("groundingMetadata").begin_object().key("groundingChunks").begin_array();
    for Placed { source, .. } in found {
        let mut uri = String::new();
        match &source.url {
            Some(url) => uri.push_str(url),
            // A document has no address: a name stands for it.
            None => _ = write!(uri, "urn:document:{}", source.id.as_deref().unwrap_or_default()),
        }
        out.begin_object().key("web").begin_object().member("uri", &uri);
        out.member("title", source.title.as_deref().unwrap_or_default()).end_object().end_object();
    }
    out.end_array().key("groundingSupports").begin_array();
    for (index, Placed { source, bytes }) in found.iter().enumerate() {
        out.begin_object().key("segment").begin_object();
        out.key("startIndex").uint(bytes.0).key("endIndex").uint(bytes.1);
        out.member("text", source.cited.as_deref().unwrap_or_default()).end_object();
        out.key("groundingChunkIndices").begin_array().uint(index as u64).end_array().end_object();
    }
    out.end_array().end_object();
}
