//! Whole responses, read and written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::encoder::Encoder;
use super::input::{SummaryWire, thought};
use crate::dialect::format::{Context, Fault, Format};
use crate::dialect::hub::{Answer, Choice, Citations, Finish, Json, Part, Text};
use crate::dialect::openai_chat::{parse_usage, served};
use crate::dialect::read::{self, Shape, shape};
use crate::kernel::cost::Usage;

#[derive(Deserialize)]
pub(super) struct ResponseWire<'a> {
    #[serde(default, borrow)]
    pub id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub model: Option<Text<'a>>,
    #[serde(default)]
    pub created_at: Option<f64>,
    #[serde(default, borrow)]
    pub status: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub output: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    pub incomplete_details: Option<DetailsWire<'a>>,
    #[serde(default, borrow)]
    pub error: Option<ErrorWire<'a>>,
    #[serde(default, borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub service_tier: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct DetailsWire<'a> {
    #[serde(default, borrow)]
    reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ErrorWire<'a> {
    #[serde(default, borrow)]
    pub code: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub message: Option<Text<'a>>,
}

impl ResponseWire<'_> {
    pub fn usage(&self) -> Option<Usage> {
        let usage = parse_usage(self.usage?.get().as_bytes())?;
        Some(served(usage, self.service_tier.as_deref()))
    }

    pub fn finish(&self, called: bool) -> Finish {
        match self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref()) {
            Some("max_output_tokens") => Finish::Length,
            Some("content_filter") => Finish::ContentFilter,
            Some(_) => Finish::Other,
            None if called => Finish::ToolCalls,
            None => Finish::Stop,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct OutputWire<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Text<'a>,
    #[serde(default, borrow)]
    pub id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub call_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub name: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub arguments: Option<Text<'a>>,
    #[serde(default, borrow)]
    content: Option<Vec<ContentWire<'a>>>,
    #[serde(default, borrow)]
    summary: Option<Vec<SummaryWire<'a>>>,
    #[serde(default, borrow)]
    pub encrypted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ContentWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
}

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a response, or with what the provider says of a failed one.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, Fault> {
    let mut wire: ResponseWire<'_> = read::document(body)?;
    if wire.status.as_deref() == Some("failed") {
        let reason = wire.error.and_then(|error| error.message).unwrap_or_else(|| "the response failed".into());
        return Err(Fault::invalid("error", reason.to_string()));
    }
    let output = wire.output.take().ok_or_else(|| Fault::invalid("output", "missing"))?;
    let mut parts = Vec::with_capacity(output.len());
    let mut logprobs = None;
    for (index, raw) in output.into_iter().enumerate() {
        item(read::value(format_args!("output[{index}]"), raw)?, raw, &mut parts, &mut logprobs);
    }
    let called = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = Some(wire.finish(called));
    Ok(Answer {
        created: wire.created_at.map(|created| created as i64),
        choices: vec![Choice { parts, finish, stopped_by: None, logprobs }],
        usage: wire.usage(),
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        service_tier: wire.service_tier,
        fingerprint: None,
    })
}

/// Log probabilities as chat has them: in an object. None for none.
pub(super) fn chat_logprobs(raw: &RawValue) -> Option<Box<RawValue>> {
    let some = shape(raw) == Shape::Array && raw.get().len() > 2;
    some.then(|| RawValue::from_string(format!("{{\"content\":{}}}", raw.get())).ok())?
}

fn item<'a>(wire: OutputWire<'a>, raw: &'a RawValue, parts: &mut Vec<Part<'a>>, logprobs: &mut Option<Json<'a>>) {
    match &*wire.kind {
        "message" => {
            for content in wire.content.into_iter().flatten() {
                if logprobs.is_none() {
                    *logprobs = content.logprobs.and_then(chat_logprobs).map(Json::Owned);
                }
                match (&*content.kind, content.text, content.refusal) {
                    ("refusal", _, Some(text)) => parts.push(Part::Refusal { text }),
                    (_, Some(text), _) => {
                        let sources =
                            content.annotations.filter(|raw| shape(raw) == Shape::Array && raw.get().len() > 2);
                        let citations = sources.map(|raw| Citations { format: Format::Responses, raw });
                        parts.push(Part::Text { text, citations, cache: None, signature: None });
                    }
                    _ => {}
                }
            }
        }
        "function_call" => parts.push(Part::ToolCall {
            id: wire.call_id.unwrap_or_default(),
            name: wire.name.unwrap_or_default(),
            arguments: wire.arguments.unwrap_or_default(),
            signature: None,
            cache: None,
        }),
        "reasoning" => {
            let summaries = wire.summary.into_iter().flatten().map(|summary| summary.text);
            let open = wire.content.into_iter().flatten().filter_map(|content| content.text);
            let texts: Vec<Text<'a>> = summaries.chain(open).collect();
            if !texts.is_empty() || wire.encrypted_content.is_some() {
                parts.push(thought(texts, wire.encrypted_content, wire.id));
            }
        }
        _ => parts.push(Part::Foreign { format: Format::Responses, kind: wire.kind, raw }),
    }
}

/// Writes the hub's answer as a response: what a stream of it would end with.
pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut encoder = Encoder::new(context.clone());
    let mut events = Vec::new();
    answer.replay(&mut |delta| {
        encoder.delta(&delta, &mut events);
        events.clear();
    });
    encoder.response()
}
