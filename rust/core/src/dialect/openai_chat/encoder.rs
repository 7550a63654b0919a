//! Chat streams, written.

use super::answer::finish_name;
use super::write::{annotations, encrypted_block, extra, thinking_block, write_usage};
use crate::dialect::format::{Context, Format};
use crate::dialect::hub::Delta;
use crate::wire::json::write::{Writer, escape};

/// Longest reasoning that is kept to be given with its signature.
const THOUGHT_MAX: usize = 1024 * 1024;

/// Writes `chat.completion.chunk` events.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    /// What every chunk begins with, up to the index of its choice.
    head: Vec<u8>,
    tail: &'static [u8],
    /// Reasoning that waits for its signature.
    thought: String,
    /// A call that has no arguments yet: choice and index.
    bare: Option<(u32, u32)>,
    /// Characters of content so far, for the places of annotations.
    written: u64,
    /// Choices that have begun, as a set of bits.
    begun: u128,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        let tail: &[u8] = if context.include_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" };
        Encoder { context, head: Vec::new(), tail, thought: String::new(), bare: None, written: 0, begun: 0 }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        if let Some((choice, index)) = self.bare
            && !matches!(delta, Delta::Ping | Delta::Start { .. } | Delta::Error { .. })
        {
            self.bare = None;
            if !matches!(delta, Delta::ToolArguments { choice: of, index: at, .. } if (*of, *at) == (choice, index)) {
                // Clients parse the arguments: none at all is an empty object.
                self.arguments(choice, index, "{}", out);
            }
        }
        match delta {
            Delta::Start { id, model, created, .. } => self.start(id, model, *created),
            Delta::Text { choice, text } => {
                self.written += text.chars().count() as u64;
                self.text(*choice, b"{\"content\":", text, out);
            }
            Delta::Refusal { choice, text } => self.text(*choice, b"{\"refusal\":", text, out),
            Delta::Reasoning { choice, text } => {
                if self.thought.len() + text.len() <= THOUGHT_MAX {
                    self.thought.push_str(text);
                }
                self.text(*choice, b"{\"reasoning_content\":", text, out);
            }
            Delta::ReasoningSignature { choice, signature } => {
                let thought = std::mem::take(&mut self.thought);
                self.thinking(*choice, |json| thinking_block(json, Some(signature), &thought), out);
            }
            Delta::ReasoningEncrypted { choice, data, id } => {
                self.thinking(*choice, |json| encrypted_block(json, data, id.as_deref()), out);
            }
            Delta::Citation { choice, citations } => {
                let end = self.written;
                self.with_delta(*choice, out, |json| {
                    json.key("annotations").begin_array();
                    annotations(json, citations, 0, end);
                    json.end_array();
                    if citations.format != Format::Chat {
                        json.key("provider_specific_fields").begin_object().key("citation").raw(citations.raw);
                        json.end_object();
                    }
                });
            }
            Delta::ToolStart { choice, index, id, name, signature } => {
                self.bare = Some((*choice, *index));
                self.with_delta(*choice, out, |json| {
                    json.key("tool_calls").begin_array().begin_object().key("index").uint(u64::from(*index));
                    json.member("id", id).member("type", "function").key("function").begin_object();
                    json.member("name", name).member("arguments", "").end_object();
                    if let Some(signature) = signature {
                        extra(json, signature);
                    }
                    json.end_object().end_array();
                });
            }
            Delta::ToolArguments { choice, index, json } => self.arguments(*choice, *index, json, out),
            Delta::Logprobs { choice, raw } => {
                self.open(*choice, out);
                out.extend_from_slice(b"{},\"logprobs\":");
                out.extend_from_slice(raw.get().as_bytes());
                out.extend_from_slice(b",\"finish_reason\":null}]");
                out.extend_from_slice(self.tail);
            }
            Delta::Finish { choice, reason, .. } => {
                self.open(*choice, out);
                out.extend_from_slice(b"{},\"logprobs\":null,\"finish_reason\":\"");
                out.extend_from_slice(finish_name(*reason).as_bytes());
                out.extend_from_slice(b"\"}]");
                out.extend_from_slice(self.tail);
            }
            Delta::Usage(usage) if self.context.include_usage => {
                self.head();
                // Without the index of a choice: there is none.
                out.extend_from_slice(self.head.strip_suffix(b"{\"index\":").unwrap_or(&self.head));
                out.extend_from_slice(b"],\"usage\":");
                let mut json = Writer::onto(std::mem::take(out));
                write_usage(&mut json, usage);
                *out = json.finish();
                out.extend_from_slice(b"}\n\n");
            }
            Delta::Usage(_) => {}
            Delta::Error { kind, message } => failure(kind, message, out),
            Delta::Ping => out.extend_from_slice(b": keep-alive\n\n"),
            Delta::End => out.extend_from_slice(b"data: [DONE]\n\n"),
        }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<i64>) {
        let mut json = Writer::onto(b"data: ".to_vec());
        json.begin_object().member("id", self.context.answer_id(id)).member("object", "chat.completion.chunk");
        json.key("created").int(created.unwrap_or(self.context.created));
        json.member("model", self.context.model.as_deref().unwrap_or(model)).key("choices").begin_array();
        json.begin_object().key("index");
        self.head = json.finish();
    }

    fn head(&mut self) {
        if self.head.is_empty() {
            self.start("", "", None);
        }
    }

    /// Everything of a chunk before its delta; a choice's first chunk names the role and is sent ahead.
    fn open(&mut self, choice: u32, out: &mut Vec<u8>) {
        self.head();
        let bit = 1u128.checked_shl(choice).unwrap_or(0);
        if self.begun & bit == 0 && bit != 0 {
            self.begun |= bit;
            self.chunk(choice, out);
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
            self.close(out);
        }
        self.chunk(choice, out);
    }

    fn chunk(&self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(itoa::Buffer::new().format(choice).as_bytes());
        out.extend_from_slice(b",\"delta\":");
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]");
        out.extend_from_slice(self.tail);
    }

    fn text(&mut self, choice: u32, opening: &[u8], text: &str, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(opening);
        escape(out, text);
        out.push(b'}');
        self.close(out);
    }

    fn arguments(&mut self, choice: u32, index: u32, json: &str, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
        out.extend_from_slice(b",\"function\":{\"arguments\":");
        escape(out, json);
        out.extend_from_slice(b"}}]}");
        self.close(out);
    }

    fn thinking(&mut self, choice: u32, block: impl FnOnce(&mut Writer), out: &mut Vec<u8>) {
        self.with_delta(choice, out, |json| {
            json.key("thinking_blocks").begin_array();
            block(json);
            json.end_array();
        });
    }

    fn with_delta(&mut self, choice: u32, out: &mut Vec<u8>, members: impl FnOnce(&mut Writer)) {
        self.open(choice, out);
        let mut json = Writer::onto(std::mem::take(out));
        json.begin_object();
        members(&mut json);
        json.end_object();
        *out = json.finish();
        self.close(out);
    }
}

fn failure(kind: &str, message: &str, out: &mut Vec<u8>) {
    let kind = if kind.is_empty() { "upstream_error" } else { kind };
    out.extend_from_slice(b"data: {\"error\":{\"message\":");
    escape(out, message);
    out.extend_from_slice(b",\"type\":");
    escape(out, kind);
    out.extend_from_slice(b",\"param\":null,\"code\":\"upstream_error\"}}\n\ndata: [DONE]\n\n");
}
