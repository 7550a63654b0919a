//! Writes the frames of a Converse stream.

use super::super::answer::{blob, citation, stop_reason, write_usage};
use super::super::error::failure_frame;
use super::super::write::allowed;
use crate::dialect::citations::sources;
use crate::dialect::format::{Context, Format};
use crate::dialect::hub::{Delta, Finish};
use crate::kernel::cost::Usage;
use crate::wire::eventstream;
use crate::wire::json::write::Writer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Reasoning,
    Tool(u32),
}

#[derive(Debug)]
pub struct Encoder {
    context: Context,
    started: bool,
    open: Option<Block>,
    /// Number of the open block, or of the next one.
    index: u64,
    stopped: bool,
    usage: Usage,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        Encoder { context, started: false, open: None, index: 0, stopped: false, usage: Usage::default() }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        self.start(out);
        match delta {
            Delta::Text { choice: 0, text } | Delta::Refusal { choice: 0, text } if !text.is_empty() => {
                self.piece(Block::Text, out, |json| _ = json.member("text", text));
            }
            Delta::Reasoning { choice: 0, text } if !text.is_empty() => {
                self.reasoning(out, "text", text);
            }
            Delta::ReasoningSignature { choice: 0, signature } => self.reasoning(out, "signature", signature),
            Delta::ReasoningEncrypted { choice: 0, data, id } => {
                self.close(out);
                self.reasoning(out, "redactedContent", &blob(data, id.as_deref()));
                self.close(out);
            }
            Delta::ToolStart { choice: 0, index, id, name, signature } => {
                if let Some(signature) = signature {
                    // A call has no place for its proof here: a thought that clients give back carries it.
                    self.reasoning(out, "signature", signature);
                }
                self.close(out);
                self.open = Some(Block::Tool(*index));
                let number = self.index;
                event(out, "contentBlockStart", |json| {
                    json.key("start").begin_object().key("toolUse").begin_object();
                    json.member("toolUseId", &allowed(id)).member("name", name).end_object().end_object();
                    json.key("contentBlockIndex").uint(number);
                });
            }
            Delta::ToolArguments { choice: 0, index, json: text } if self.open == Some(Block::Tool(*index)) => {
                self.piece(Block::Tool(*index), out, |json| {
                    json.key("toolUse").begin_object().member("input", text).end_object();
                });
            }
            Delta::Citation { choice: 0, citations } if citations.format == Format::Converse => {
                self.piece(Block::Text, out, |json| _ = json.key("citation").raw(citations.raw));
            }
            Delta::Citation { choice: 0, citations } => {
                for source in sources(citations) {
                    self.piece(Block::Text, out, |json| {
                        json.key("citation");
                        citation(json, &source);
                    });
                }
            }
            Delta::Finish { choice: 0, reason, stopped_by } => self.stop(out, Some(*reason), stopped_by.is_some()),
            Delta::Usage(usage) => self.usage = *usage,
            Delta::Error { kind, message } => failure_frame(exception(kind), message, out),
            Delta::End => {
                self.stop(out, None, false);
                let (usage, elapsed) = (self.usage, self.context.elapsed_ms());
                event(out, "metadata", |json| {
                    json.key("usage").begin_object();
                    write_usage(json, &usage);
                    json.end_object();
                    json.key("metrics").begin_object().key("latencyMs").uint(elapsed).end_object();
                });
            }
            _ => {}
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            event(out, "messageStart", |json| _ = json.member("role", "assistant"));
        }
    }

    fn reasoning(&mut self, out: &mut Vec<u8>, name: &str, text: &str) {
        self.piece(Block::Reasoning, out, |json| {
            json.key("reasoningContent").begin_object().member(name, text).end_object();
        });
    }

    /// A piece of a block, which is opened where it is not open yet.
    fn piece(&mut self, block: Block, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer)) {
        if self.open != Some(block) {
            self.close(out);
            self.open = Some(block);
        }
        let number = self.index;
        event(out, "contentBlockDelta", |json| {
            json.key("delta").begin_object();
            write(json);
            json.end_object().key("contentBlockIndex").uint(number);
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let number = self.index;
            event(out, "contentBlockStop", |json| _ = json.key("contentBlockIndex").uint(number));
            self.index += 1;
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>, reason: Option<Finish>, stopped_by: bool) {
        self.close(out);
        if !self.stopped {
            self.stopped = true;
            event(out, "messageStop", |json| _ = json.member("stopReason", stop_reason(reason, stopped_by)));
        }
    }
}

/// Appends one event of a stream.
fn event(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Writer)) {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    eventstream::write(out, &headers, |out| {
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object();
        write(&mut json);
        json.end_object();
        *out = json.finish();
    });
}

/// The exception that says what another provider's error says.
fn exception(kind: &str) -> &'static str {
    let kind = kind.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    match () {
        () if has(&["rate_limit", "throttl", "resource_exhausted", "quota"]) => "throttlingException",
        () if has(&["overloaded", "unavailable"]) => "serviceUnavailableException",
        () if has(&["invalid", "validation"]) => "validationException",
        () if has(&["internal"]) => "internalServerException",
        () => "modelStreamErrorException",
    }
}
