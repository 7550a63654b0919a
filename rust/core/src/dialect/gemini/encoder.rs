//! Google's streams, written.

use super::answer::{finish_name, function_call, placed, tail, thought, write_grounding};
use super::error::status_of_kind;
use super::usage::write_usage;
use super::wire::Proof;
use crate::dialect::citations::sources;
use crate::dialect::format::Context;
use crate::dialect::hub::{Delta, Finish, sealed};
use crate::kernel::cost::Usage;
use crate::wire::json::write::{Writer, escape};

/// Longest arguments of a call that are held together.
const ARGUMENTS_MAX: usize = 8 * 1024 * 1024;

/// A call whose arguments are still coming: Google sends calls whole.
#[derive(Debug)]
struct Call {
    choice: u32,
    index: u32,
    id: String,
    name: String,
    arguments: String,
    signature: Option<String>,
}

/// Writes `GenerateContentResponse` chunks.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    /// What every chunk ends with, from behind its candidate.
    tail: Vec<u8>,
    calls: Vec<Call>,
    /// Reasons why choices ended: told with the usage, in the last chunk.
    finished: Vec<(u32, Finish)>,
    usage: Option<Usage>,
    /// Bytes of content so far, for the places of sources.
    written: u64,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        Encoder { context, tail: Vec::new(), calls: Vec::new(), finished: Vec::new(), usage: None, written: 0 }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { id, model, .. } => self.start(id, model),
            Delta::Text { choice, text } | Delta::Refusal { choice, text } => {
                self.complete(Some(*choice), out);
                self.written += text.len() as u64;
                self.open(out);
                out.extend_from_slice(b"{\"text\":");
                escape(out, text);
                out.push(b'}');
                self.close(*choice, out);
            }
            Delta::Reasoning { choice, text } => self.thought(*choice, text, None, out),
            Delta::ReasoningSignature { choice, signature } => {
                self.thought(*choice, "", Some(&Proof::Signature(signature.clone())), out);
            }
            Delta::ReasoningEncrypted { choice, data, id } => {
                let proof = Proof::Encrypted(sealed(data, id.as_deref()).into_owned().into());
                self.thought(*choice, "", Some(&proof), out);
            }
            Delta::ToolStart { choice, index, id, name, signature } => {
                self.complete(Some(*choice), out);
                self.calls.push(Call {
                    choice: *choice,
                    index: *index,
                    id: id.to_string(),
                    name: name.to_string(),
                    arguments: String::new(),
                    signature: signature.as_ref().map(|signature| signature.to_string()),
                });
            }
            Delta::ToolArguments { choice, index, json } => {
                let call = self.calls.iter_mut().find(|call| (call.choice, call.index) == (*choice, *index));
                if let Some(call) = call.filter(|call| call.arguments.len() + json.len() <= ARGUMENTS_MAX) {
                    call.arguments.push_str(json);
                }
            }
            Delta::Citation { choice, citations } => {
                let end = self.written;
                let found: Vec<_> = sources(citations).into_iter().map(|source| placed(source, (0, end), "")).collect();
                if !found.is_empty() {
                    self.chunk(out, |json| {
                        json.key("content").begin_object().key("parts").begin_array().end_array();
                        json.member("role", "model").end_object();
                        write_grounding(json, &found);
                        json.key("index").uint(u64::from(*choice));
                    });
                }
            }
            Delta::Logprobs { choice, raw } => {
                if let Some(logprobs) = super::logprobs::from_chat(raw) {
                    self.chunk(out, |json| {
                        json.key("logprobsResult").raw(&logprobs).key("index").uint(u64::from(*choice));
                    });
                }
            }
            Delta::Finish { choice, reason, .. } => {
                let broken = self.complete(Some(*choice), out);
                self.finished.push((*choice, if broken { Finish::MalformedCall } else { *reason }));
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error { kind, message } => failure(kind, message, out),
            // Google's own clients take every line for data.
            Delta::Ping => {}
            Delta::End => self.end(out),
        }
    }

    fn start(&mut self, id: &str, model: &str) {
        let mut json = Writer::default();
        json.begin_object();
        tail(&mut json, id, model, &self.context);
        json.end_object();
        // Of a whole object the members, behind a comma.
        let mut object = json.finish();
        if let Some(brace) = object.first_mut() {
            *brace = b',';
        }
        self.tail = object;
        self.tail.extend_from_slice(b"\n\n");
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        if self.tail.is_empty() {
            self.start("", "");
        }
        out.extend_from_slice(&self.tail);
    }

    /// Everything of a chunk before its only part.
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: {\"candidates\":[{\"content\":{\"parts\":[");
    }

    fn close(&mut self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"],\"role\":\"model\"},\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(choice).as_bytes());
        out.extend_from_slice(b"}]");
        self.tail(out);
    }

    /// A chunk with one candidate of these members.
    fn chunk(&mut self, out: &mut Vec<u8>, members: impl FnOnce(&mut Writer)) {
        out.extend_from_slice(b"data: {\"candidates\":[");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object();
        members(&mut json);
        json.end_object();
        *out = json.finish();
        out.push(b']');
        self.tail(out);
    }

    fn thought(&mut self, choice: u32, text: &str, proof: Option<&Proof<'_>>, out: &mut Vec<u8>) {
        self.complete(Some(choice), out);
        self.open(out);
        let mut json = Writer::onto(std::mem::take(out));
        thought(&mut json, text, proof);
        *out = json.finish();
        self.close(choice, out);
    }

    /// Writes the calls of a choice (or all) that are complete now; true when one cannot be written.
    fn complete(&mut self, choice: Option<u32>, out: &mut Vec<u8>) -> bool {
        let mut broken = false;
        while let Some(at) = self.calls.iter().position(|call| choice.is_none_or(|choice| choice == call.choice)) {
            let call = self.calls.remove(at);
            let mut json = Writer::default();
            if function_call(&mut json, &call.id, &call.name, &call.arguments, call.signature.as_deref()) {
                self.open(out);
                out.extend_from_slice(&json.finish());
                self.close(call.choice, out);
            } else {
                broken = true;
            }
        }
        broken
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.complete(None, out);
        if self.finished.is_empty() {
            self.finished.push((0, Finish::Stop));
        }
        out.extend_from_slice(b"data: {\"candidates\":");
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_array();
        for (choice, reason) in &self.finished {
            json.begin_object().key("content").begin_object().key("parts").begin_array();
            json.begin_object().member("text", "").end_object().end_array().member("role", "model").end_object();
            json.member("finishReason", finish_name(*reason)).key("index").uint(u64::from(*choice)).end_object();
        }
        json.end_array();
        if let Some(usage) = &self.usage {
            json.key("usageMetadata");
            write_usage(&mut json, usage);
        }
        *out = json.finish();
        self.tail(out);
    }
}

fn failure(kind: &str, message: &str, out: &mut Vec<u8>) {
    let (code, status) = status_of_kind(kind);
    out.extend_from_slice(b"data: ");
    let mut json = Writer::onto(std::mem::take(out));
    json.begin_object().key("error").begin_object().key("code").uint(u64::from(code));
    json.member("message", message).member("status", status).end_object().end_object();
    *out = json.finish();
    out.extend_from_slice(b"\n\n");
}
