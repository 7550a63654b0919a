//! How a stream that is stopped ends: what is open is closed, every choice gets the dialect's finish reason, and an error
//! event says why, such that the official clients read it.

use bytes::Bytes;
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::fields::{Class, Found};
use super::frame;
use crate::dialect;
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::wire::eventstream;

/// Items of an answer that are told again at its end.
const ITEMS: usize = 128;

/// What an event is to the end of its stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    class: Class,
    index: Option<u64>,
    tool: bool,
    grows: bool,
    pub choices: SmallVec<[(u64, bool); 2]>,
}

impl Mark {
    pub fn of(found: &Found) -> Self {
        Mark {
            class: found.class,
            index: found.index,
            tool: found.tool,
            grows: found.texts.iter().any(|text| text.grows.is_some()),
            choices: found.choices.iter().map(|(choice, finish)| (*choice, finish.is_some())).collect(),
        }
    }

    /// Of what says that there is no more.
    pub fn end() -> Self {
        Mark { class: Class::Finish, ..Mark::default() }
    }

    pub fn finishes(&self) -> bool {
        self.class == Class::Finish
    }

    pub fn begins(&self) -> bool {
        self.class == Class::Begin
    }
}

/// What the caller has been sent.
#[derive(Debug, Default)]
pub struct Passed {
    first: Option<Bytes>,
    last: Option<Bytes>,
    begun: bool,
    finished: bool,
    /// Blocks, and whether they are tools'.
    open: SmallVec<[(u64, bool); 2]>,
    /// Choices, and whether they are finished.
    choices: SmallVec<[(u64, bool); 2]>,
    items: Vec<Bytes>,
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Caller {
    pub dialect: Dialect,
    pub operation: Operation,
    pub request_id: String,
    pub model: String,
    /// Since 1970.
    pub seconds: i64,
}

impl Passed {
    /// The beginning of an answer.
    #[must_use]
    pub fn begun() -> Self {
        Passed { begun: true, ..Passed::default() }
    }

    pub(super) fn note(&mut self, mark: &Mark, bytes: &Bytes) {
        match mark.class {
            Class::Begin => self.begun = true,
            Class::Finish => self.finished = true,
            Class::Stop => self.open.retain(|(index, _)| Some(*index) != mark.index),
            Class::Item if self.items.len() < ITEMS => self.items.push(bytes.clone()),
            Class::Item | Class::Start | Class::Other => {}
        }
        if let Some(index) = mark.index.filter(|_| mark.grows || mark.class == Class::Start)
            && !self.open.iter().any(|(known, _)| *known == index)
        {
            self.open.push((index, mark.tool));
        }
        for (choice, finished) in &mark.choices {
            match self.choices.iter_mut().find(|(known, _)| known == choice) {
                Some(known) => known.1 |= finished,
                None => self.choices.push((*choice, *finished)),
            }
        }
        if self.first.is_none() {
            self.first = Some(bytes.clone());
        }
        self.last = Some(bytes.clone());
    }

    /// What stands in place of the rest.
    #[must_use]
    pub fn ending(&self, caller: &Caller, error: &Error) -> Bytes {
        let Caller { dialect, operation, request_id, .. } = caller;
        let sequence = self.last.as_ref().and_then(|event| value(event)?.get("sequence_number")?.as_u64());
        let mut out = match (dialect, operation) {
            (Dialect::OpenAi, Operation::Chat) => self.chunk(caller, "chat.completion.chunk", "delta", &json!({})),
            (Dialect::OpenAi, Operation::Completions) => self.chunk(caller, "text_completion", "text", &json!("")),
            (Dialect::Gemini, _) => self.candidates(),
            (Dialect::Anthropic, _) if self.begun => self.message(),
            (Dialect::Responses, _) if self.begun => self.response(sequence.map_or(0, |number| number + 1)),
            (Dialect::Cohere, _) if self.begun => self.cohere(),
            (Dialect::Bedrock, _) if self.begun => self.frames(),
            _ => Vec::new(),
        };
        let event = dialect::error_event(*dialect, error, request_id);
        match (dialect, sequence) {
            (Dialect::Responses, Some(number)) => {
                let number = number + if out.is_empty() { 1 } else { 2 };
                match value(&event) {
                    Some(mut value) => {
                        value["sequence_number"] = number.into();
                        write(&mut out, Some("error"), &value);
                    }
                    None => out.extend_from_slice(&event),
                }
            }
            // Cohere's one finish reason for this is its error event.
            _ => out.extend_from_slice(&event),
        }
        out.into()
    }

    /// The choices that have no finish reason yet.
    fn unfinished(&self) -> Vec<u64> {
        if self.choices.is_empty() {
            return vec![0];
        }
        self.choices.iter().filter(|(_, finished)| !finished).map(|(choice, _)| *choice).collect()
    }

    fn chunk(&self, caller: &Caller, object: &str, member: &str, empty: &Value) -> Vec<u8> {
        let choices = self.unfinished();
        if choices.is_empty() {
            return Vec::new();
        }
        let first = self.first.as_ref().and_then(value).unwrap_or_default();
        let said =
            |name: &str, other: Value| first.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(other);
        let choices: Vec<Value> = choices
            .iter()
            .map(|choice| json!({"index": choice, member: empty, "logprobs": null, "finish_reason": "content_filter"}))
            .collect();
        let chunk = json!({
            "id": said("id", caller.request_id.as_str().into()),
            "object": object,
            "created": said("created", caller.seconds.into()),
            "model": said("model", caller.model.as_str().into()),
            "choices": choices,
        });
        let mut out = Vec::new();
        write(&mut out, None, &chunk);
        out
    }

    fn candidates(&self) -> Vec<u8> {
        let candidates: Vec<Value> = self
            .unfinished()
            .iter()
            .map(|choice| json!({"index": choice, "content": {"role": "model", "parts": []}, "finishReason": "SAFETY"}))
            .collect();
        let mut out = Vec::new();
        if !candidates.is_empty() {
            write(&mut out, None, &json!({"candidates": candidates}));
        }
        out
    }

    fn message(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, _) in &self.open {
            write(&mut out, Some("content_block_stop"), &json!({"type": "content_block_stop", "index": index}));
        }
        if !self.finished {
            let delta = json!({"stop_reason": "refusal", "stop_sequence": null});
            let data = json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}});
            write(&mut out, Some("message_delta"), &data);
        }
        out
    }

    fn response(&self, sequence: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let begun = self.first.as_ref().and_then(|event| value(event)?.get("response").cloned());
        let (false, Some(mut response)) = (self.finished, begun) else { return out };
        let items = self.items.iter().filter_map(|event| value(event)?.get("item").cloned());
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({"reason": "content_filter"});
        response["output"] = items.collect();
        let data = json!({"type": "response.incomplete", "sequence_number": sequence, "response": response});
        write(&mut out, Some("response.incomplete"), &data);
        out
    }

    fn cohere(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, tool) in &self.open {
            let name = if *tool { "tool-call-end" } else { "content-end" };
            write(&mut out, Some(name), &json!({"type": name, "index": index}));
        }
        out
    }

    fn frames(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut event = |kind: &str, payload: &Value| {
            let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
            eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload.to_string().as_bytes()));
        };
        for (index, _) in &self.open {
            event("contentBlockStop", &json!({"contentBlockIndex": index}));
        }
        if !self.finished {
            event("messageStop", &json!({"stopReason": "guardrail_intervened"}));
        }
        out
    }
}

/// What an event says.
fn value(event: &Bytes) -> Option<Value> {
    let range = frame::data(event, false).ok()?.range;
    serde_json::from_slice(event.get(range)?).ok()
}

fn write(out: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}
