//! Chat streams, written.

use super::answer::{citation, finish_name};
use super::write_usage;
use crate::dialect::citations::sources;
use crate::dialect::format::Context;
use crate::dialect::hub::{Delta, Finish};
use crate::kernel::cost::Usage;
use crate::wire::json::write::{Writer, escape};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Tool(u32),
}

/// Writes the events of a chat stream, and opens and closes its pieces of content.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    started: bool,
    open: Open,
    /// Pieces of content begun so far, and citations.
    blocks: u64,
    citations: u64,
    /// Characters of text so far, for the places of citations.
    written: u64,
    finish: Option<(Finish, bool)>,
    usage: Option<Usage>,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        Encoder {
            context,
            started: false,
            open: Open::Nothing,
            blocks: 0,
            citations: 0,
            written: 0,
            finish: None,
            usage: None,
        }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { id, .. } => self.start(id, out),
            // An answer is one.
            Delta::Text { choice: 1.., .. }
            | Delta::Refusal { choice: 1.., .. }
            | Delta::Reasoning { choice: 1.., .. }
            | Delta::Citation { choice: 1.., .. }
            | Delta::ToolStart { choice: 1.., .. }
            | Delta::ToolArguments { choice: 1.., .. }
            | Delta::Finish { choice: 1.., .. }
            | Delta::ReasoningSignature { .. }
            | Delta::ReasoningEncrypted { .. }
            | Delta::Logprobs { .. } => {}
            Delta::Text { text, .. } | Delta::Refusal { text, .. } => {
                self.begin(Open::Text, out);
                self.written += text.chars().count() as u64;
                self.piece("text", text, out);
            }
            Delta::Reasoning { text, .. } => {
                self.begin(Open::Thinking, out);
                self.piece("thinking", text, out);
            }
            Delta::Citation { citations, .. } => {
                for source in sources(citations) {
                    let index = self.citations;
                    self.citations += 1;
                    let whole = (0, self.written);
                    self.event("citation-start", Some(index), out, |json| {
                        json.key("citations");
                        citation(json, &source, whole);
                    });
                    self.event("citation-end", Some(index), out, |_| {});
                }
            }
            Delta::ToolStart { index, id, name, .. } => {
                self.close(out);
                self.begun(out);
                self.open = Open::Tool(*index);
                self.event("tool-call-start", Some(u64::from(*index)), out, |json| {
                    json.key("tool_calls").begin_object().member("id", id).member("type", "function");
                    json.key("function").begin_object().member("name", name).member("arguments", "");
                    json.end_object().end_object();
                });
            }
            Delta::ToolArguments { index, json: piece, .. } => {
                self.event("tool-call-delta", Some(u64::from(*index)), out, |json| {
                    json.key("tool_calls").begin_object().key("function").begin_object().member("arguments", piece);
                    json.end_object().end_object();
                });
            }
            Delta::Finish { reason, stopped_by, .. } => self.finish = Some((*reason, stopped_by.is_some())),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error { message, .. } => self.failure(message, out),
            Delta::Ping => out.extend_from_slice(b": keep-alive\n\n"),
            Delta::End => self.end(out),
        }
    }

    fn start(&mut self, id: &str, out: &mut Vec<u8>) {
        self.started = true;
        out.extend_from_slice(b"event: message-start\ndata: {\"type\":\"message-start\",\"id\":");
        escape(out, self.context.answer_id(id));
        out.extend_from_slice(
            b",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n",
        );
    }

    fn begun(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.start("", out);
        }
    }

    /// An event whose delta is a message of these members.
    fn event(&self, name: &str, index: Option<u64>, out: &mut Vec<u8>, members: impl FnOnce(&mut Writer)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object().member("type", name);
        if let Some(index) = index {
            json.key("index").uint(index);
        }
        if !name.ends_with("-end") {
            json.key("delta").begin_object().key("message").begin_object();
            members(&mut json);
            json.end_object().end_object();
        }
        json.end_object();
        *out = json.finish();
        out.extend_from_slice(b"\n\n");
    }

    fn begin(&mut self, open: Open, out: &mut Vec<u8>) {
        if self.open == open {
            return;
        }
        self.close(out);
        self.begun(out);
        self.open = open;
        self.blocks += 1;
        let kind = if open == Open::Text { "text" } else { "thinking" };
        self.event("content-start", Some(self.blocks - 1), out, |json| {
            json.key("content").begin_object().member("type", kind).member(kind, "").end_object();
        });
    }

    fn piece(&self, kind: &str, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.blocks.saturating_sub(1)).as_bytes());
        out.extend_from_slice(b",\"delta\":{\"message\":{\"content\":{");
        escape(out, kind);
        out.push(b':');
        escape(out, text);
        out.extend_from_slice(b"}}}}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Text | Open::Thinking => self.event("content-end", Some(self.blocks.saturating_sub(1)), out, |_| {}),
            Open::Tool(index) => self.event("tool-call-end", Some(u64::from(index)), out, |_| {}),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begun(out);
        self.close(out);
        let (finish, stopped_by) = self.finish.unwrap_or((Finish::Stop, false));
        out.extend_from_slice(b"event: message-end\ndata: ");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object().member("type", "message-end").key("delta").begin_object();
        json.member("finish_reason", finish_name(finish, stopped_by));
        if let Some(usage) = &self.usage {
            json.key("usage");
            write_usage(&mut json, usage);
        }
        json.end_object().end_object();
        *out = json.finish();
        out.extend_from_slice(b"\n\n");
    }

    fn failure(&mut self, message: &str, out: &mut Vec<u8>) {
        self.begun(out);
        out.extend_from_slice(&super::failure_event(message));
    }
}
