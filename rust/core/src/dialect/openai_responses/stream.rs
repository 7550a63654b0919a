//! Streams of responses, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{OutputWire, ResponseWire, chat_logprobs};
use super::{ENCRYPTED, SIGNATURE};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Delta, Text};
use crate::dialect::read;
use crate::wire::sse;

#[derive(Deserialize)]
struct EventWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    response: Option<ResponseWire<'a>>,
    #[serde(default, borrow)]
    item: Option<OutputWire<'a>>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(default, borrow)]
    annotation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    code: Option<Text<'a>>,
    #[serde(default, borrow)]
    message: Option<Text<'a>>,
    #[serde(default, borrow)]
    error: Option<super::answer::ErrorWire<'a>>,
}

/// Reads the events of a response's stream.
#[derive(Debug, Default)]
pub struct Decoder {
    calls: u32,
    /// The output index of the call that is open.
    calling: Option<u64>,
    thought: bool,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`]: the event is not one of a response's stream.
    pub fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let data = sse::data(event);
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            step(Delta::Ping);
            return Ok(());
        }
        let wire: EventWire<'_> = read::document(data)?;
        let choice = 0;
        match &*wire.kind {
            "response.created" => {
                let response = wire.response.ok_or_else(|| Fault::invalid("response", "missing"))?;
                let (id, model) = (response.id.unwrap_or_default(), response.model.unwrap_or_default());
                let created = response.created_at.map(|created| created as i64);
                step(Delta::Start { id, model, created, usage: None });
            }
            "response.output_item.added" => self.item(wire, step)?,
            "response.output_item.done" => self.done(wire, step),
            "response.output_text.delta" => {
                if let Some(raw) = wire.logprobs.and_then(chat_logprobs) {
                    step(Delta::Logprobs { choice, raw: &raw });
                }
                if let Some(text) = text(wire.delta)? {
                    step(Delta::Text { choice, text });
                }
            }
            "response.refusal.delta" => {
                if let Some(text) = text(wire.delta)? {
                    step(Delta::Refusal { choice, text });
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(text) = text(wire.delta)? {
                    self.thought = true;
                    step(Delta::Reasoning { choice, text });
                }
            }
            "response.reasoning_summary_part.added" if self.thought => {
                step(Delta::Reasoning { choice, text: "\n\n".into() });
            }
            "response.function_call_arguments.delta" => {
                if self.calling != wire.output_index {
                    return Err(Fault::invalid(
                        "output_index",
                        "a piece belongs to no call, or to one that was complete",
                    ));
                }
                if let Some(json) = text(wire.delta)? {
                    step(Delta::ToolArguments { choice, index: self.calls.saturating_sub(1), json });
                }
            }
            "response.output_text.annotation.added" => {
                if let Some(raw) = wire.annotation {
                    step(Delta::Citation { choice, citations: Citations { format: Format::Responses, raw } });
                }
            }
            "response.completed" | "response.incomplete" => {
                let response = wire.response.ok_or_else(|| Fault::invalid("response", "missing"))?;
                step(Delta::Finish { choice, reason: response.finish(self.calls > 0), stopped_by: None });
                if let Some(usage) = response.usage() {
                    step(Delta::Usage(usage));
                }
                step(Delta::End);
            }
            "response.failed" | "error" => {
                let inner = wire.response.and_then(|response| response.error).or(wire.error);
                let (code, message) = inner.map_or((None, None), |error| (error.code, error.message));
                let message = message.or(wire.message).unwrap_or_else(|| "The provider reported a failure.".into());
                step(Delta::Error { kind: code.or(wire.code).unwrap_or_default(), message });
            }
            _ => {}
        }
        Ok(())
    }

    fn item(&mut self, wire: EventWire<'_>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let item = wire.item.ok_or_else(|| Fault::invalid("item", "missing"))?;
        self.thought = false;
        self.calling = None;
        if &*item.kind == "function_call" {
            let id = item.call_id.ok_or_else(|| Fault::invalid("item.call_id", "missing"))?;
            let name = item.name.ok_or_else(|| Fault::invalid("item.name", "missing"))?;
            let index = self.calls;
            self.calls = index.saturating_add(1);
            self.calling = wire.output_index;
            step(Delta::ToolStart { choice: 0, index, id, name, signature: None });
            if let Some(json) = item.arguments.filter(|json| !json.is_empty()) {
                step(Delta::ToolArguments { choice: 0, index, json });
            }
        }
        Ok(())
    }

    /// What only a complete item tells: encrypted reasoning.
    fn done(&mut self, wire: EventWire<'_>, step: &mut dyn FnMut(Delta<'_>)) {
        let choice = 0;
        let Some(item) = wire.item.filter(|item| &*item.kind == "reasoning") else { return };
        let Some(data) = item.encrypted_content else { return };
        if let Some(signature) = data.strip_prefix(SIGNATURE) {
            step(Delta::ReasoningSignature { choice, signature: signature.to_string().into() });
        } else if let Some(data) = data.strip_prefix(ENCRYPTED) {
            step(Delta::ReasoningEncrypted { choice, data: data.to_string().into(), id: None });
        } else {
            step(Delta::ReasoningEncrypted { choice, data, id: item.id });
        }
    }
}

fn text(delta: Option<&RawValue>) -> Result<Option<Text<'_>>, Fault> {
    let Some(raw) = delta else { return Ok(None) };
    let text: Text<'_> = read::value("delta", raw)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
