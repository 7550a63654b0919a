//! Chat streams, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::finish;
use super::parse_usage;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Delta, Text};
use crate::dialect::read;
use crate::wire::sse;

#[derive(Deserialize)]
struct EventWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default, borrow)]
    delta: Option<DeltaWire<'a>>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(default, borrow)]
    message: Option<MessageWire<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_plan: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct PieceWire<'a> {
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    thinking: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct CallWire<'a> {
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: FunctionWire<'a>,
}

#[derive(Deserialize)]
struct FunctionWire<'a> {
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    arguments: Option<Text<'a>>,
}

/// Reads the events of a chat stream.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    calls: u32,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`] with the path of what is not an event of a stream.
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
        let wire: EventWire<'_> = read::document(data)?;
        if !self.started {
            self.started = true;
            let id = wire.id.unwrap_or_default();
            step(Delta::Start { id, model: Text::default(), created: None, usage: None });
        }
        let Some(delta) = wire.delta else { return Ok(()) };
        match &*wire.kind {
            "message-end" => end(delta, step),
            "content-start" | "content-delta" | "tool-plan-delta" | "tool-call-start" | "tool-call-delta"
            | "citation-start" => {
                if let Some(message) = delta.message {
                    self.message(&wire.kind, message, step)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, kind: &str, message: MessageWire<'_>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let choice = 0;
        match kind {
            "content-start" | "content-delta" => {
                let Some(raw) = message.content else { return Ok(()) };
                let piece: PieceWire<'_> = read::value("delta.message.content", raw)?;
                if let Some(text) = piece.thinking.filter(|text| !text.is_empty()) {
                    step(Delta::Reasoning { choice, text });
                }
                if let Some(text) = piece.text.filter(|text| !text.is_empty()) {
                    step(Delta::Text { choice, text });
                }
            }
            "tool-plan-delta" => {
                if let Some(text) = message.tool_plan.filter(|text| !text.is_empty()) {
                    step(Delta::Text { choice, text });
                }
            }
            "citation-start" => {
                if let Some(raw) = message.citations {
                    step(Delta::Citation { choice, citations: Citations { format: Format::Cohere, raw } });
                }
            }
            _ => {
                let path = "delta.message.tool_calls";
                let raw = message.tool_calls.ok_or_else(|| Fault::invalid(path, "missing"))?;
                let call: CallWire<'_> = read::value(path, raw)?;
                self.call(kind == "tool-call-start", call, step)?;
            }
        }
        Ok(())
    }

    fn call(&mut self, start: bool, call: CallWire<'_>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let path = "delta.message.tool_calls";
        if start {
            let name = call.function.name.ok_or_else(|| Fault::invalid(path, "a call has no name"))?;
            let id = call.id.unwrap_or_else(|| format!("call_{}", self.calls).into());
            step(Delta::ToolStart { choice: 0, index: self.calls, id, name, signature: None });
            self.calls = self.calls.saturating_add(1);
        }
        let Some(index) = self.calls.checked_sub(1) else {
            return Err(Fault::invalid(path, "a piece belongs to no call"));
        };
        if let Some(json) = call.function.arguments.filter(|json| !json.is_empty()) {
            step(Delta::ToolArguments { choice: 0, index, json });
        }
        Ok(())
    }
}

fn end(delta: DeltaWire<'_>, step: &mut dyn FnMut(Delta<'_>)) {
    let reason = delta.finish_reason.unwrap_or_default();
    if matches!(&*reason, "ERROR" | "TIMEOUT") {
        let message = delta.error.unwrap_or_else(|| "The provider reported a failure.".into());
        let kind = if &*reason == "TIMEOUT" { "timeout_error" } else { "api_error" };
        step(Delta::Error { kind: kind.into(), message });
        return;
    }
    step(Delta::Finish { choice: 0, reason: finish(&reason), stopped_by: None });
    if let Some(usage) = delta.usage.and_then(|raw| parse_usage(raw.get().as_bytes())) {
        step(Delta::Usage(usage));
    }
    step(Delta::End);
}
