//! Message streams, written.

use serde_json::value::RawValue;

use super::answer::{finish_name, write_citations, write_usage};
use crate::dialect::format::Context;
use crate::dialect::hub::{Delta, Finish, sealed};
use crate::kernel::cost::Usage;
use crate::wire::json::write::{Writer, escape};

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    /// The call with this number.
    Tool(u32),
}

/// Writes the events of a message stream, and opens and closes its blocks.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    started: bool,
    open: Open,
    /// Blocks begun so far.
    blocks: u32,
    refused: bool,
    finish: Option<(Finish, Option<String>)>,
    usage: Usage,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        let usage = Usage::default();
        Encoder { context, started: false, open: Open::Nothing, blocks: 0, refused: false, finish: None, usage }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { id, model, usage, .. } => self.start(id, model, usage.unwrap_or_default(), out),
            // A message is one answer.
            Delta::Text { choice: 1.., .. }
            | Delta::Refusal { choice: 1.., .. }
            | Delta::Reasoning { choice: 1.., .. }
            | Delta::ReasoningSignature { choice: 1.., .. }
            | Delta::ReasoningEncrypted { choice: 1.., .. }
            | Delta::Citation { choice: 1.., .. }
            | Delta::ToolStart { choice: 1.., .. }
            | Delta::ToolArguments { choice: 1.., .. }
            | Delta::Finish { choice: 1.., .. }
            | Delta::Logprobs { .. } => {}
            Delta::Text { text, .. } => self.text(text, out),
            Delta::Refusal { text, .. } => {
                self.refused = true;
                self.text(text, out);
            }
            Delta::Reasoning { text, .. } => {
                self.thinking(out);
                self.piece(b"{\"type\":\"thinking_delta\",\"thinking\":", text, out);
            }
            Delta::ReasoningSignature { signature, .. } => {
                self.thinking(out);
                self.piece(b"{\"type\":\"signature_delta\",\"signature\":", signature, out);
                self.close(out);
            }
            Delta::ReasoningEncrypted { data, id, .. } => {
                self.begin(Open::Thinking, out, |json| {
                    _ = json.member("type", "redacted_thinking").member("data", &sealed(data, id.as_deref()));
                });
                self.close(out);
            }
            Delta::Citation { citations, .. } => {
                let mut json = Writer::default();
                json.begin_array();
                write_citations(&mut json, citations);
                json.end_array();
                // One event for each.
                for raw in serde_json::from_slice::<Vec<&RawValue>>(&json.finish()).unwrap_or_default() {
                    self.text_block(out);
                    self.head(out);
                    out.extend_from_slice(b"{\"type\":\"citations_delta\",\"citation\":");
                    out.extend_from_slice(raw.get().as_bytes());
                    out.extend_from_slice(b"}}\n\n");
                }
            }
            Delta::ToolStart { index, id, name, signature, .. } => {
                if let Some(signature) = signature {
                    // A call has no place for its proof here: a thought that clients give back carries it.
                    self.thinking(out);
                    self.piece(b"{\"type\":\"signature_delta\",\"signature\":", signature, out);
                }
                self.begin(Open::Tool(*index), out, |json| {
                    json.member("type", "tool_use").member("id", id).member("name", name);
                    json.key("input").begin_object().end_object();
                });
            }
            Delta::ToolArguments { index, json, .. } => {
                // Pieces of a call that is closed have no place any more; decoders do not send such.
                if self.open == Open::Tool(*index) {
                    self.piece(b"{\"type\":\"input_json_delta\",\"partial_json\":", json, out);
                }
            }
            Delta::Finish { reason, stopped_by, .. } => {
                self.close(out);
                self.finish = Some((*reason, stopped_by.as_ref().map(|stop| stop.to_string())));
            }
            Delta::Usage(usage) => self.usage = *usage,
            Delta::Error { kind, message } => failure(kind, message, out),
            Delta::Ping => out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
            Delta::End => self.end(out),
        }
    }

    fn start(&mut self, id: &str, model: &str, usage: Usage, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.usage = usage;
        out.extend_from_slice(b"event: message_start\ndata: ");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object().member("type", "message_start").key("message").begin_object();
        json.member("id", self.context.answer_id(id)).member("type", "message").member("role", "assistant");
        json.member("model", self.context.model.as_deref().unwrap_or(model)).key("content").begin_array().end_array();
        json.key("stop_reason").null().key("stop_sequence").null().key("usage");
        write_usage(&mut json, &usage);
        json.end_object().end_object();
        *out = json.finish();
        out.extend_from_slice(b"\n\n");
    }

    fn text_block(&mut self, out: &mut Vec<u8>) {
        if self.open != Open::Text {
            self.begin(Open::Text, out, |json| _ = json.member("type", "text").member("text", ""));
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.text_block(out);
        self.piece(b"{\"type\":\"text_delta\",\"text\":", text, out);
    }

    fn thinking(&mut self, out: &mut Vec<u8>) {
        if self.open != Open::Thinking {
            self.begin(Open::Thinking, out, |json| {
                json.member("type", "thinking").member("thinking", "").member("signature", "");
            });
        }
    }

    /// Opens a block behind the one before.
    fn begin(&mut self, open: Open, out: &mut Vec<u8>, members: impl FnOnce(&mut Writer)) {
        if !self.started {
            self.start("", "", Usage::default(), out);
        }
        self.close(out);
        self.open = open;
        out.extend_from_slice(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.blocks).as_bytes());
        self.blocks = self.blocks.saturating_add(1);
        out.extend_from_slice(b",\"content_block\":");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object();
        members(&mut json);
        json.end_object();
        *out = json.finish();
        out.extend_from_slice(b"}\n\n");
    }

    fn index(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.blocks.saturating_sub(1)).as_bytes());
    }

    fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        self.index(out);
        out.extend_from_slice(b",\"delta\":");
    }

    fn piece(&self, opening: &[u8], text: &str, out: &mut Vec<u8>) {
        self.head(out);
        out.extend_from_slice(opening);
        escape(out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open == Open::Nothing {
            return;
        }
        self.open = Open::Nothing;
        out.extend_from_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        self.index(out);
        out.extend_from_slice(b"}\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.start("", "", Usage::default(), out);
        }
        self.close(out);
        let (finish, stopped_by) = self.finish.take().unwrap_or((Finish::Stop, None));
        let finish = if finish == Finish::Stop && self.refused { Finish::Refusal } else { finish };
        out.extend_from_slice(b"event: message_delta\ndata: ");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object().member("type", "message_delta").key("delta").begin_object();
        json.member("stop_reason", finish_name(finish, stopped_by.is_some())).key("stop_sequence");
        match stopped_by {
            Some(stop) => json.string(&stop),
            None => json.null(),
        };
        json.end_object().key("usage");
        write_usage(&mut json, &self.usage);
        json.end_object();
        *out = json.finish();
        out.extend_from_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}

fn failure(kind: &str, message: &str, out: &mut Vec<u8>) {
    // The kinds that Anthropic's clients know; OpenAI's are mapped.
    let kind = match kind {
        "overloaded_error"
        | "rate_limit_error"
        | "invalid_request_error"
        | "authentication_error"
        | "permission_error"
        | "not_found_error"
        | "timeout_error"
        | "billing_error" => kind,
        _ => "api_error",
    };
    out.extend_from_slice(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":");
    escape(out, kind);
    out.extend_from_slice(b",\"message\":");
    escape(out, message);
    out.extend_from_slice(b"}}\n\n");
}
