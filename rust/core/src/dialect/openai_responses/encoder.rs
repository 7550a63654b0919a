//! Streams of responses, written.

use super::elements::{KEPT_MAX, append, append_logprobs, write_array};
use super::{ENCRYPTED, SIGNATURE};
use crate::dialect::format::Context;
use crate::dialect::hub::{Citations, Delta, Finish};
use crate::dialect::openai_chat::flat_annotations;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// The item that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Refusal,
    Thinking,
    Call { number: u32, id: String, name: String },
}

/// Writes the events of a response's stream, and opens and closes its items.
#[derive(Debug)]
pub struct Encoder {
    pub(super) context: Context,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: i64,
    started: bool,
    sequence: u64,
    open: Open,
    /// Text, thought or arguments of the open item.
    text: String,
    sources: Vec<u8>,
    /// Log probabilities of the open item, and of the text that is to come: elements of an array.
    logprobs: Vec<u8>,
    upcoming: Vec<u8>,
    encrypted: Option<String>,
    /// Items that are complete, as the inside of an array.
    pub(super) output: Vec<u8>,
    items: u32,
    pub(super) finish: Finish,
    pub(super) usage: Option<Usage>,
    pub(super) failure: Option<String>,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        Encoder {
            created: context.created,
            context,
            id: String::new(),
            model: String::new(),
            started: false,
            sequence: 0,
            open: Open::Nothing,
            text: String::new(),
            sources: Vec::new(),
            logprobs: Vec::new(),
            upcoming: Vec::new(),
            encrypted: None,
            output: Vec::new(),
            items: 0,
            finish: Finish::Stop,
            usage: None,
            failure: None,
        }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { id, model, created, .. } => self.start(id, model, *created, out),
            // A response is one answer.
            Delta::Text { choice: 1.., .. }
            | Delta::Refusal { choice: 1.., .. }
            | Delta::Reasoning { choice: 1.., .. }
            | Delta::ReasoningSignature { choice: 1.., .. }
            | Delta::ReasoningEncrypted { choice: 1.., .. }
            | Delta::Citation { choice: 1.., .. }
            | Delta::ToolStart { choice: 1.., .. }
            | Delta::ToolArguments { choice: 1.., .. }
            | Delta::Finish { choice: 1.., .. }
            | Delta::Logprobs { choice: 1.., .. } => {}
            Delta::Logprobs { raw, .. } => append_logprobs(&mut self.upcoming, raw),
            Delta::Text { text, .. } => self.piece(Open::Text, "response.output_text.delta", text, out),
            Delta::Refusal { text, .. } => self.piece(Open::Refusal, "response.refusal.delta", text, out),
            Delta::Reasoning { text, .. } => {
                self.piece(Open::Thinking, "response.reasoning_summary_text.delta", text, out);
            }
            Delta::ReasoningSignature { signature, .. } => self.seal(format!("{SIGNATURE}{}", &**signature), out),
            Delta::ReasoningEncrypted { data, id, .. } => {
                // OpenAI's own is given back as it is.
                let own = id.is_some();
                self.seal(if own { data.to_string() } else { format!("{ENCRYPTED}{}", &**data) }, out);
            }
            Delta::Citation { citations, .. } => self.citation(citations, out),
            Delta::ToolStart { index, id, name, signature, .. } => {
                if let Some(signature) = signature {
                    // A call has no place for its proof here: reasoning that clients give back carries it.
                    self.seal(format!("{SIGNATURE}{}", &**signature), out);
                }
                self.begin(Open::Call { number: *index, id: id.to_string(), name: name.to_string() }, out);
            }
            Delta::ToolArguments { index, json, .. } => {
                if matches!(self.open, Open::Call { number, .. } if number == *index) {
                    self.append("response.function_call_arguments.delta", json, out);
                }
            }
            Delta::Finish { reason, .. } => {
                self.close(out);
                self.finish = *reason;
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error { message, .. } => {
                self.start("", "", None, out);
                self.close(out);
                self.failure = Some(message.to_string());
                self.whole("response.failed", out);
            }
            Delta::Ping => out.extend_from_slice(b": keep-alive\n\n"),
            Delta::End => {
                self.start("", "", None, out);
                self.close(out);
                let name = if self.status() == "completed" { "response.completed" } else { "response.incomplete" };
                self.whole(name, out);
            }
        }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<i64>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        // What the gateway keeps has an id that is its own.
        let id = if self.context.kept.is_empty() { self.context.answer_id(id) } else { &self.context.id };
        let id = if self.context.kept.is_empty() { id } else { id.trim_start_matches("req_") };
        self.id = if id.starts_with("resp_") { id.to_string() } else { format!("resp_{id}") };
        self.model = self.context.model.clone().unwrap_or_else(|| model.to_string());
        self.created = created.unwrap_or(self.context.created);
        self.whole("response.created", out);
        self.whole("response.in_progress", out);
    }

    pub(super) fn status(&self) -> &'static str {
        match self.finish {
            _ if self.failure.is_some() => "failed",
            Finish::Length | Finish::ContextWindow | Finish::ContentFilter => "incomplete",
            _ => "completed",
        }
    }

    /// Begins an event; the rest of its members and [`Self::sent`] follow.
    fn event(&mut self, name: &str, out: &mut Vec<u8>) -> Writer {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object().member("type", name).key("sequence_number").uint(self.sequence);
        self.sequence += 1;
        json
    }

    /// An event about the open item.
    fn item_event(&mut self, name: &str, out: &mut Vec<u8>) -> Writer {
        let mut json = self.event(name, out);
        json.member("item_id", &self.item_id()).key("output_index").uint(u64::from(self.items));
        json
    }

    fn item_id(&self) -> String {
        let prefix = match self.open {
            Open::Thinking => "rs",
            Open::Call { .. } => "fc",
            _ => "msg",
        };
        format!("{prefix}_{}_{}", self.id.trim_start_matches("resp_"), self.items)
    }

    fn piece(&mut self, open: Open, name: &str, text: &str, out: &mut Vec<u8>) {
        if self.open != open {
            self.begin(open, out);
        }
        self.append(name, text, out);
    }

    fn append(&mut self, name: &str, text: &str, out: &mut Vec<u8>) {
        if self.text.len() + text.len() <= KEPT_MAX {
            self.text.push_str(text);
        }
        let mut json = self.item_event(name, out);
        self.place(&mut json);
        json.member("delta", text);
        if self.open == Open::Text {
            write_array(&mut json, "logprobs", &self.upcoming);
            append(&mut self.logprobs, &std::mem::take(&mut self.upcoming));
        }
        sent(json, out);
    }

    /// Where in its item a piece stands.
    fn place(&self, json: &mut Writer) {
        match self.open {
            Open::Text | Open::Refusal => _ = json.key("content_index").uint(0),
            Open::Thinking => _ = json.key("summary_index").uint(0),
            Open::Call { .. } | Open::Nothing => {}
        }
    }

    /// Opens an item behind the one before.
    fn begin(&mut self, open: Open, out: &mut Vec<u8>) {
        self.start("", "", None, out);
        self.close(out);
        self.open = open;
        let mut json = self.event("response.output_item.added", out);
        json.key("output_index").uint(u64::from(self.items)).key("item");
        self.item(&mut json, false);
        sent(json, out);
        self.part("added", out);
    }

    fn part(&mut self, what: &str, out: &mut Vec<u8>) {
        let name = match self.open {
            Open::Text | Open::Refusal => format!("response.content_part.{what}"),
            Open::Thinking => format!("response.reasoning_summary_part.{what}"),
            Open::Call { .. } | Open::Nothing => return,
        };
        let mut json = self.item_event(&name, out);
        self.place(&mut json);
        json.key("part");
        self.content(&mut json, what == "done");
        sent(json, out);
    }

    /// The content part of the open item.
    fn content(&self, json: &mut Writer, done: bool) {
        let text = if done { self.text.as_str() } else { "" };
        json.begin_object();
        match self.open {
            Open::Refusal => _ = json.member("type", "refusal").member("refusal", text),
            Open::Thinking => _ = json.member("type", "summary_text").member("text", text),
            _ => {
                json.member("type", "output_text").member("text", text);
                let (sources, logprobs) =
                    if done { (&self.sources[..], &self.logprobs[..]) } else { (&[][..], &[][..]) };
                write_array(json, "annotations", sources);
                write_array(json, "logprobs", logprobs);
            }
        }
        json.end_object();
    }

    /// The open item.
    fn item(&self, json: &mut Writer, done: bool) {
        json.begin_object().member("id", &self.item_id());
        let status = if done { "completed" } else { "in_progress" };
        match &self.open {
            Open::Call { id, name, .. } => {
                json.member("type", "function_call").member("status", status).member("call_id", id);
                json.member("name", name).member("arguments", if done { &self.text } else { "" });
            }
            Open::Thinking => {
                json.member("type", "reasoning").key("summary").begin_array();
                if done && !self.text.is_empty() {
                    self.content(json, true);
                }
                json.end_array();
                if let Some(encrypted) = &self.encrypted {
                    json.member("encrypted_content", encrypted);
                }
            }
            Open::Text | Open::Refusal | Open::Nothing => {
                json.member("type", "message").member("status", status).member("role", "assistant");
                json.key("content").begin_array();
                if done {
                    self.content(json, true);
                }
                json.end_array();
            }
        }
        json.end_object();
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let done = match self.open {
            Open::Nothing => return,
            Open::Text => "response.output_text.done",
            Open::Refusal => "response.refusal.done",
            Open::Thinking => "response.reasoning_summary_text.done",
            Open::Call { .. } => "response.function_call_arguments.done",
        };
        if self.open == Open::Text {
            append(&mut self.logprobs, &std::mem::take(&mut self.upcoming));
        }
        let call = matches!(self.open, Open::Call { .. });
        if call && self.text.trim().is_empty() {
            // Clients parse the arguments: none at all is an empty object.
            self.append("response.function_call_arguments.delta", "{}", out);
        }
        let mut json = self.item_event(done, out);
        self.place(&mut json);
        let member = match self.open {
            Open::Call { .. } => "arguments",
            Open::Refusal => "refusal",
            _ => "text",
        };
        json.member(member, &self.text);
        if self.open == Open::Text {
            write_array(&mut json, "logprobs", &self.logprobs);
        }
        sent(json, out);
        self.part("done", out);
        let mut json = self.event("response.output_item.done", out);
        json.key("output_index").uint(u64::from(self.items)).key("item");
        self.item(&mut json, true);
        sent(json, out);
        self.keep();
    }

    /// Puts the open item to those that are complete.
    fn keep(&mut self) {
        let mut json = Writer::default();
        self.item(&mut json, true);
        let item = json.finish();
        append(&mut self.output, &item);
        self.items += 1;
        self.open = Open::Nothing;
        self.text.clear();
        self.sources.clear();
        self.logprobs.clear();
        self.encrypted = None;
    }

    /// The reasoning is complete, with what proves or hides it.
    fn seal(&mut self, encrypted: String, out: &mut Vec<u8>) {
        if self.open != Open::Thinking {
            self.begin(Open::Thinking, out);
        }
        self.encrypted = Some(encrypted);
        self.close(out);
    }

    fn citation(&mut self, citations: &Citations<'_>, out: &mut Vec<u8>) {
        if self.open != Open::Text {
            self.begin(Open::Text, out);
        }
        let end = self.text.chars().count() as u64;
        let mut written = Writer::default();
        flat_annotations(&mut written, citations, end);
        let written = written.finish();
        let Ok(text) = std::str::from_utf8(&written) else { return };
        if text.is_empty() {
            return;
        }
        let mut json = self.item_event("response.output_text.annotation.added", out);
        self.place(&mut json);
        json.key("annotation_index").uint(0).key("annotation");
        // Of several in one, the first is announced; the item has them all.
        let first = serde_json::Deserializer::from_str(text).into_iter::<&serde_json::value::RawValue>().next();
        match first {
            Some(Ok(raw)) => json.raw(raw),
            _ => json.null(),
        };
        sent(json, out);
        append(&mut self.sources, &written);
    }

    /// An event that carries the whole response.
    fn whole(&mut self, name: &str, out: &mut Vec<u8>) {
        let over = !matches!(name, "response.created" | "response.in_progress");
        let mut json = self.event(name, out);
        json.key("response");
        self.write(&mut json, over);
        sent(json, out);
    }

    /// The whole response by itself.
    pub fn response(&self) -> Vec<u8> {
        let mut json = Writer::with_capacity(self.output.len() + 1024);
        self.write(&mut json, true);
        json.finish()
    }
}

fn sent(mut json: Writer, out: &mut Vec<u8>) {
    json.end_object();
    *out = json.finish();
    out.extend_from_slice(b"\n\n");
}
