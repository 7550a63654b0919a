//! Reads the frames of a Converse stream.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::answer::{Tier, UsageWire, finish, unblobbed};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Citations, Delta, Text};
use crate::dialect::openai_chat::served;
use crate::dialect::read;
use crate::wire::eventstream::Frame;

#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    /// The block of the running tool call, and how many calls there were.
    tool: Option<u32>,
    tools: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    #[serde(borrow)]
    start: Start<'a>,
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(default, borrow)]
    tool_use: Option<ToolStart<'a>>,
}

#[derive(Deserialize)]
struct ToolStart<'a> {
    #[serde(rename = "toolUseId", borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default, rename = "type", borrow)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    #[serde(borrow)]
    delta: Piece<'a>,
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_use: Option<ToolPiece<'a>>,
    #[serde(default, borrow)]
    reasoning_content: Option<ReasoningPiece<'a>>,
    #[serde(default, borrow)]
    citation: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolPiece<'a> {
    #[serde(borrow)]
    input: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningPiece<'a> {
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    signature: Option<Text<'a>>,
    #[serde(default, borrow)]
    redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    #[serde(borrow)]
    stop_reason: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(default, borrow)]
    service_tier: Option<Tier<'a>>,
}

#[derive(Deserialize)]
struct Exception<'a> {
    #[serde(default, alias = "Message", borrow)]
    message: Text<'a>,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`]: the frame is damaged, or not what the format says.
    pub fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let frame = Frame::parse(event).map_err(|error| Fault::invalid("", error.to_string()))?;
        match frame.text(":message-type") {
            Some("event") | None => {}
            Some("exception") => {
                let kind = frame.text(":exception-type").unwrap_or("modelStreamErrorException");
                let message = serde_json::from_slice(frame.payload)
                    .map_or_else(|_| Text::default(), |exception: Exception<'_>| exception.message);
                step(Delta::Error { kind: kind.into(), message });
                return Ok(());
            }
            Some(_) => {
                let kind = frame.text(":error-code").unwrap_or("error");
                let message = frame.text(":error-message").unwrap_or_default();
                step(Delta::Error { kind: kind.into(), message: message.into() });
                return Ok(());
            }
        }
        let Some(kind) = frame.text(":event-type") else { return Ok(()) };
        if !self.started {
            self.started = true;
            step(Delta::Start { id: Text::default(), model: Text::default(), created: None, usage: None });
        }
        match kind {
            "contentBlockDelta" => self.piece(read::document(frame.payload)?, step),
            "contentBlockStart" => self.start(read::document(frame.payload)?, step),
            "contentBlockStop" => self.tool = None,
            "messageStop" => {
                let stop: MessageStop<'_> = read::document(frame.payload)?;
                step(Delta::Finish { choice: 0, reason: finish(&stop.stop_reason), stopped_by: None });
            }
            "metadata" => {
                let metadata: Metadata<'_> = read::document(frame.payload)?;
                if let Some(usage) = metadata.usage {
                    let tier = metadata.service_tier.as_ref().map(|tier| &*tier.kind);
                    step(Delta::Usage(served(usage.into(), tier)));
                }
                step(Delta::End);
            }
            // `messageStart` says nothing more, and what is not known yet says nothing here.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, block: BlockStart<'_>, step: &mut dyn FnMut(Delta<'_>)) {
        self.tool = None;
        if let Some(tool) = block.start.tool_use.filter(|tool| tool.kind.is_none()) {
            self.tool = Some(block.content_block_index);
            let index = self.tools;
            self.tools = self.tools.saturating_add(1);
            step(Delta::ToolStart { choice: 0, index, id: tool.id, name: tool.name, signature: None });
        }
    }

    fn piece(&mut self, block: BlockDelta<'_>, step: &mut dyn FnMut(Delta<'_>)) {
        let Piece { text, tool_use, reasoning_content, citation } = block.delta;
        if let Some(text) = text {
            step(Delta::Text { choice: 0, text });
        }
        if let Some(tool) = tool_use.filter(|_| self.tool == Some(block.content_block_index)) {
            let index = self.tools.saturating_sub(1);
            step(Delta::ToolArguments { choice: 0, index, json: tool.input });
        }
        if let Some(reasoning) = reasoning_content {
            if let Some(text) = reasoning.text {
                step(Delta::Reasoning { choice: 0, text });
            }
            if let Some(signature) = reasoning.signature.filter(|signature| !signature.is_empty()) {
                step(Delta::ReasoningSignature { choice: 0, signature });
            }
            if let Some(data) = reasoning.redacted_content {
                let (data, id) = unblobbed(data);
                step(Delta::ReasoningEncrypted { choice: 0, data, id });
            }
        }
        if let Some(raw) = citation {
            step(Delta::Citation { choice: 0, citations: Citations { format: Format::Converse, raw } });
        }
    }
}
