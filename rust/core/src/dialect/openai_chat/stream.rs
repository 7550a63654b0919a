//! Chat streams, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{finish, reasoning, served};
use super::parse_usage;
use super::parts::{ExtraWire, ThinkingWire, content};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Delta, Part, Text};
use crate::dialect::read::{self, Shape, shape};
use crate::wire::sse;

/// Most choices and calls that are followed; no real answer has as many.
const CALLS_MAX: usize = 4096;

#[derive(Deserialize)]
struct ChunkWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(default, borrow)]
    choices: Option<Vec<ChoiceWire<'a>>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceWire<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default, borrow)]
    delta: Option<DeltaWire<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<CallWire<'a>>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking_blocks: Option<Vec<ThinkingWire<'a>>>,
    #[serde(default, borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CallWire<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    function: Option<FunctionWire<'a>>,
    #[serde(default, borrow)]
    extra_content: Option<ExtraWire<'a>>,
}

#[derive(Deserialize)]
struct FunctionWire<'a> {
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

/// A call that has begun.
#[derive(Debug)]
struct Call {
    choice: u32,
    /// As the provider counts, where it does.
    index: Option<u32>,
    id: String,
    /// As the hub counts: per choice, from 0.
    number: u32,
}

/// Reads `chat.completion.chunk` events.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    calls: Vec<Call>,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`]: the event is not a chunk.
    pub fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let data = sse::data(event);
        let data = data.trim_ascii();
        if data.is_empty() {
            step(Delta::Ping);
            return Ok(());
        }
        if data == b"[DONE]" {
            step(Delta::End);
            return Ok(());
        }
        let chunk: ChunkWire<'_> = read::document(data)?;
        if let Some(error) = chunk.error.filter(|raw| shape(raw) != Shape::Null) {
            failure(error, step);
            return Ok(());
        }
        if !self.started {
            self.started = true;
            let (id, model) = (chunk.id.unwrap_or_default(), chunk.model.unwrap_or_default());
            step(Delta::Start { id, model, created: chunk.created.map(|created| created as i64), usage: None });
        }
        for choice in chunk.choices.into_iter().flatten() {
            self.choice(choice, step)?;
        }
        if let Some(usage) = chunk.usage.and_then(|raw| parse_usage(raw.get().as_bytes())) {
            step(Delta::Usage(served(usage, chunk.service_tier.as_deref())));
        }
        Ok(())
    }

    fn choice<'a>(&mut self, wire: ChoiceWire<'a>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let choice = wire.index;
        if let Some(raw) = wire.logprobs.filter(|raw| shape(raw) == Shape::Object) {
            step(Delta::Logprobs { choice, raw });
        }
        if let Some(delta) = wire.delta {
            if let Some(text) = reasoning(delta.reasoning_content, delta.reasoning)? {
                step(Delta::Reasoning { choice, text });
            }
            for block in delta.thinking_blocks.into_iter().flatten() {
                // The text of the block came before, as `reasoning_content`.
                match block.part() {
                    Part::Reasoning { signature: Some(signature), .. } => {
                        step(Delta::ReasoningSignature { choice, signature });
                    }
                    Part::Reasoning { encrypted: Some(data), id, .. } => {
                        step(Delta::ReasoningEncrypted { choice, data, id });
                    }
                    _ => {}
                }
            }
            if let Some(raw) = delta.content {
                text(choice, raw, step)?;
            }
            if let Some(raw) = delta.annotations.filter(|raw| shape(raw) == Shape::Array && raw.get().len() > 2) {
                step(Delta::Citation { choice, citations: Citations { format: Format::Chat, raw } });
            }
            if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
                step(Delta::Refusal { choice, text });
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(choice, call, step)?;
            }
        }
        if let Some(reason) = wire.finish_reason.filter(|reason| !reason.is_empty()) {
            let called = self.calls.iter().any(|call| call.choice == choice);
            step(Delta::Finish { choice, reason: finish(&reason, called), stopped_by: None });
        }
        Ok(())
    }

    /// A piece of a call: of the one that is open, or of a new one.
    fn call<'a>(&mut self, choice: u32, wire: CallWire<'a>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let path = "choices[].delta.tool_calls";
        let id = wire.id.filter(|id| !id.is_empty());
        let (name, arguments) = wire.function.map_or((None, None), |function| (function.name, function.arguments));
        let name = name.filter(|name| !name.is_empty());
        let last = self.calls.iter().rev().find(|call| call.choice == choice);
        // Some servers count every call 0, some do not count at all: another id is another call then.
        let goes_on = last.is_some_and(|last| {
            let same_index = wire.index.is_none() || wire.index == last.index;
            let same_id = id.as_deref().is_none_or(|id| id == last.id);
            same_index && same_id && (wire.index.is_some() || id.is_some() || name.is_none())
        });
        let number = match last {
            Some(last) if goes_on => last.number,
            last => {
                let number = last.map_or(0, |last| last.number + 1);
                let Some(name) = name else {
                    return Err(Fault::invalid(
                        path,
                        "a piece belongs to no call, or to one that was complete already",
                    ));
                };
                if self.calls.len() >= CALLS_MAX {
                    return Err(Fault::invalid(path, "too many calls"));
                }
                let id = id.unwrap_or_else(|| format!("call_{choice}_{number}").into());
                self.calls.push(Call { choice, index: wire.index, id: id.to_string(), number });
                let signature = wire.extra_content.and_then(ExtraWire::signature);
                step(Delta::ToolStart { choice, index: number, id, name, signature });
                number
            }
        };
        let json = match arguments {
            Some(raw) if shape(raw) == Shape::Text => read::value(path, raw)?,
            Some(raw) if shape(raw) != Shape::Null => raw.get().into(),
            _ => Text::default(),
        };
        if !json.is_empty() {
            step(Delta::ToolArguments { choice, index: number, json });
        }
        Ok(())
    }
}

/// Content is a string; Mistral's models that think send parts.
fn text(choice: u32, raw: &RawValue, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
    if shape(raw) == Shape::Text {
        let text: Text<'_> = read::value("choices[].delta.content", raw)?;
        if !text.is_empty() {
            step(Delta::Text { choice, text });
        }
        return Ok(());
    }
    let mut parts = Vec::new();
    content("choices[].delta.content", raw, &mut parts)?;
    for part in parts {
        match part {
            Part::Text { text, .. } if !text.is_empty() => step(Delta::Text { choice, text }),
            Part::Reasoning { text, .. } if !text.is_empty() => step(Delta::Reasoning { choice, text }),
            _ => {}
        }
    }
    Ok(())
}

fn failure(raw: &RawValue, step: &mut dyn FnMut(Delta<'_>)) {
    #[derive(Default, Deserialize)]
    struct Wire<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Option<Text<'a>>,
        #[serde(default, borrow)]
        message: Option<Text<'a>>,
    }
    let wire: Wire<'_> = match shape(raw) {
        Shape::Text => Wire { kind: None, message: serde_json::from_str(raw.get()).ok() },
        _ => serde_json::from_str(raw.get()).unwrap_or_default(),
    };
    let message = wire.message.unwrap_or_else(|| "The provider reported a failure.".into());
    step(Delta::Error { kind: wire.kind.unwrap_or_default(), message });
}
