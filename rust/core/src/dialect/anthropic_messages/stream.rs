//! Message streams, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::UsageWire;
use super::answer::finish;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Delta, Text, unsealed};
use crate::dialect::read::{self, Shape, shape};
use crate::wire::sse;

#[derive(Deserialize)]
struct EventWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    message: Option<MessageWire<'a>>,
    #[serde(default, borrow)]
    content_block: Option<BlockWire<'a>>,
    #[serde(default, borrow)]
    delta: Option<DeltaWire<'a>>,
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(default, borrow)]
    error: Option<ErrorWire<'a>>,
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
    #[serde(default)]
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct BlockWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    thinking: Option<Text<'a>>,
    #[serde(default, borrow)]
    data: Option<Text<'a>>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(default, borrow)]
    thinking: Option<Text<'a>>,
    #[serde(default, borrow)]
    signature: Option<Text<'a>>,
    #[serde(default, borrow)]
    citation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(default, borrow)]
    stop_sequence: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ErrorWire<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    message: Text<'a>,
}

/// Reads the events of a message stream.
#[derive(Debug, Default)]
pub struct Decoder {
    known: UsageWire,
    /// Calls so far; the open one counts.
    calls: u32,
    /// The open block is a call for the caller.
    calling: bool,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`]: the event is not one of a message stream.
    pub fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let data = sse::data(event);
        if data.trim_ascii().is_empty() {
            step(Delta::Ping);
            return Ok(());
        }
        let wire: EventWire<'_> = read::document(&data)?;
        match &*wire.kind {
            "message_start" => {
                let message = wire.message.ok_or_else(|| Fault::invalid("message", "missing"))?;
                if let Some(usage) = message.usage {
                    self.known.update(usage);
                }
                let (id, model) = (message.id.unwrap_or_default(), message.model.unwrap_or_default());
                let usage = message.usage.map(|_| self.known.usage());
                step(Delta::Start { id, model, created: None, usage });
            }
            "content_block_start" => {
                let block = wire.content_block.ok_or_else(|| Fault::invalid("content_block", "missing"))?;
                self.block(block, step)?;
            }
            "content_block_delta" => {
                let delta = wire.delta.ok_or_else(|| Fault::invalid("delta", "missing"))?;
                self.delta(delta, step);
            }
            "content_block_stop" => self.calling = false,
            "message_delta" => {
                if let Some(usage) = wire.usage {
                    self.known.update(usage);
                }
                let delta = wire.delta.ok_or_else(|| Fault::invalid("delta", "missing"))?;
                if let Some(reason) = delta.stop_reason {
                    step(Delta::Finish { choice: 0, reason: finish(&reason), stopped_by: delta.stop_sequence });
                    step(Delta::Usage(self.known.usage()));
                }
            }
            "message_stop" => step(Delta::End),
            "error" => {
                let error = wire.error.ok_or_else(|| Fault::invalid("error", "missing"))?;
                step(Delta::Error { kind: error.kind, message: error.message });
            }
            "ping" => step(Delta::Ping),
            // Anthropic announces that there may be new kinds of events.
            _ => {}
        }
        Ok(())
    }

    fn block<'a>(&mut self, block: BlockWire<'a>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let choice = 0;
        self.calling = false;
        match &*block.kind {
            "text" => {
                if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                    step(Delta::Text { choice, text });
                }
            }
            "thinking" => {
                if let Some(text) = block.thinking.filter(|text| !text.is_empty()) {
                    step(Delta::Reasoning { choice, text });
                }
            }
            "redacted_thinking" => {
                let (data, id) = unsealed(block.data.unwrap_or_default());
                step(Delta::ReasoningEncrypted { choice, data, id });
            }
            "tool_use" => {
                let id = block.id.ok_or_else(|| Fault::invalid("content_block.id", "missing"))?;
                let name = block.name.ok_or_else(|| Fault::invalid("content_block.name", "missing"))?;
                let index = self.calls;
                self.calls = index.saturating_add(1);
                self.calling = true;
                step(Delta::ToolStart { choice, index, id, name, signature: None });
                // Usually empty here; the input follows in pieces.
                let input = block.input.filter(|raw| shape(raw) == Shape::Object && !is_empty(raw));
                if let Some(raw) = input {
                    step(Delta::ToolArguments { choice, index, json: raw.get().into() });
                }
            }
            // What the provider does by itself (its own searches) is not the caller's to act on.
            _ => {}
        }
        Ok(())
    }

    fn delta<'a>(&self, delta: DeltaWire<'a>, step: &mut dyn FnMut(Delta<'_>)) {
        let choice = 0;
        match delta.kind.as_deref() {
            Some("text_delta") => {
                if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
                    step(Delta::Text { choice, text });
                }
            }
            Some("thinking_delta") => {
                if let Some(text) = delta.thinking.filter(|text| !text.is_empty()) {
                    step(Delta::Reasoning { choice, text });
                }
            }
            Some("signature_delta") => {
                if let Some(signature) = delta.signature {
                    step(Delta::ReasoningSignature { choice, signature });
                }
            }
            Some("input_json_delta") if self.calling => {
                if let Some(json) = delta.partial_json.filter(|json| !json.is_empty()) {
                    step(Delta::ToolArguments { choice, index: self.calls.saturating_sub(1), json });
                }
            }
            Some("citations_delta") => {
                if let Some(raw) = delta.citation {
                    step(Delta::Citation { choice, citations: Citations { format: Format::Messages, raw } });
                }
            }
            _ => {}
        }
    }
}

fn is_empty(object: &RawValue) -> bool {
    object.get().bytes().all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\t' | b'\r' | b'\n'))
}
