//! A whole answer, put together of the steps of a stream.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Answer, Choice, Citations, Delta, Finish, Part, Text};
use crate::dialect::Format;
use crate::kernel::cost::Usage;

/// What has been said so far.
#[derive(Debug, Default)]
pub struct Gathered {
    id: String,
    model: String,
    created: Option<i64>,
    choices: Vec<Voice>,
    usage: Option<Usage>,
    ended: bool,
    failed: bool,
}

#[derive(Debug, Default)]
struct Voice {
    pieces: Vec<Piece>,
    logprobs: Vec<Box<RawValue>>,
    finish: Option<Finish>,
    stopped_by: Option<String>,
}

#[derive(Debug)]
enum Piece {
    Text { text: String, citations: Option<(Format, Box<RawValue>)> },
    Refusal(String),
    Reasoning { text: String, signature: Option<String>, encrypted: Option<String>, id: Option<String> },
    Call { index: u32, id: String, name: String, arguments: String, signature: Option<String> },
}

impl Gathered {
    pub fn take(&mut self, delta: &Delta<'_>) {
        match delta {
            Delta::Start { id, model, created, .. } => {
                (self.id, self.model, self.created) = (id.to_string(), model.to_string(), *created);
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error { .. } => self.failed = true,
            Delta::End => self.ended = true,
            Delta::Ping => {}
            Delta::Text { choice, .. }
            | Delta::Citation { choice, .. }
            | Delta::Reasoning { choice, .. }
            | Delta::ReasoningSignature { choice, .. }
            | Delta::ReasoningEncrypted { choice, .. }
            | Delta::Refusal { choice, .. }
            | Delta::ToolStart { choice, .. }
            | Delta::ToolArguments { choice, .. }
            | Delta::Logprobs { choice, .. }
            | Delta::Finish { choice, .. } => self.voice(*choice).take(delta),
        }
    }

    fn voice(&mut self, choice: u32) -> &mut Voice {
        let index = choice as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Voice::default);
        }
        &mut self.choices[index]
    }

    /// Every choice was finished and no failure reported.
    pub fn is_complete(&self) -> bool {
        !self.failed && !self.choices.is_empty() && self.choices.iter().all(|voice| voice.finish.is_some())
    }

    pub fn answer(&self) -> Answer<'_> {
        Answer {
            id: Text::from(self.id.as_str()),
            model: Text::from(self.model.as_str()),
            created: self.created,
            choices: self.choices.iter().map(Voice::choice).collect(),
            usage: self.usage,
            ..Answer::default()
        }
    }
}

impl Voice {
    fn take(&mut self, delta: &Delta<'_>) {
        match delta {
            Delta::Text { text, .. } => match self.pieces.last_mut() {
                Some(Piece::Text { text: said, citations: None }) => said.push_str(text),
                _ => self.pieces.push(Piece::Text { text: text.to_string(), citations: None }),
            },
            Delta::Citation { citations, .. } => {
                if let Some(Piece::Text { citations: cited, .. }) = self.pieces.last_mut() {
                    *cited = Some((citations.format, joined(cited.take(), citations.raw)));
                }
            }
            Delta::Refusal { text, .. } => match self.pieces.last_mut() {
                Some(Piece::Refusal(said)) => said.push_str(text),
                _ => self.pieces.push(Piece::Refusal(text.to_string())),
            },
            Delta::Reasoning { text, .. } => match self.pieces.last_mut() {
                Some(Piece::Reasoning { text: said, signature: None, encrypted: None, .. }) => said.push_str(text),
                _ => self.pieces.push(reasoning(text, None, None, None)),
            },
            Delta::ReasoningSignature { signature, .. } => match self.pieces.last_mut() {
                Some(Piece::Reasoning { signature: given @ None, .. }) => *given = Some(signature.to_string()),
                _ => self.pieces.push(reasoning("", Some(signature), None, None)),
            },
            Delta::ReasoningEncrypted { data, id, .. } => {
                self.pieces.push(reasoning("", None, Some(data), id.as_deref()));
            }
            Delta::ToolStart { index, id, name, signature, .. } => self.pieces.push(Piece::Call {
                index: *index,
                id: id.to_string(),
                name: name.to_string(),
                arguments: String::new(),
                signature: signature.as_deref().map(str::to_string),
            }),
            Delta::ToolArguments { index: wanted, json, .. } => {
                for piece in &mut self.pieces {
                    if let Piece::Call { index, arguments, .. } = piece
                        && index == wanted
                    {
                        arguments.push_str(json);
                    }
                }
            }
            Delta::Logprobs { raw, .. } => self.logprobs.push((*raw).to_owned()),
            Delta::Finish { reason, stopped_by, .. } => {
                (self.finish, self.stopped_by) = (Some(*reason), stopped_by.as_deref().map(str::to_string));
            }
            Delta::Start { .. } | Delta::Usage(_) | Delta::Error { .. } | Delta::Ping | Delta::End => {}
        }
    }

    fn choice(&self) -> Choice<'_> {
        Choice {
            parts: self.pieces.iter().map(Piece::part).collect(),
            finish: self.finish,
            stopped_by: self.stopped_by.as_deref().map(Text::from),
            logprobs: logprobs(&self.logprobs).map(Cow::Owned),
        }
    }
}

fn reasoning(text: &str, signature: Option<&str>, encrypted: Option<&str>, id: Option<&str>) -> Piece {
    let owned = |text: Option<&str>| text.map(str::to_string);
    Piece::Reasoning { text: text.to_string(), signature: owned(signature), encrypted: owned(encrypted), id: owned(id) }
}

impl Piece {
    fn part(&self) -> Part<'_> {
        match self {
            Piece::Text { text, citations } => Part::Text {
                text: Text::from(text.as_str()),
                citations: citations.as_ref().map(|(format, raw)| Citations { format: *format, raw }),
                cache: None,
                signature: None,
            },
            Piece::Refusal(text) => Part::Refusal { text: Text::from(text.as_str()) },
            Piece::Reasoning { text, signature, encrypted, id } => Part::Reasoning {
                text: Text::from(text.as_str()),
                signature: signature.as_deref().map(Text::from),
                encrypted: encrypted.as_deref().map(Text::from),
                id: id.as_deref().map(Text::from),
            },
            Piece::Call { id, name, arguments, signature, .. } => Part::ToolCall {
                id: Text::from(id.as_str()),
                name: Text::from(name.as_str()),
                arguments: Text::from(arguments.as_str()),
                signature: signature.as_deref().map(Text::from),
                cache: None,
            },
        }
    }
}

/// Sources told one after the other, as one list.
fn joined(before: Option<(Format, Box<RawValue>)>, next: &RawValue) -> Box<RawValue> {
    let items = |raw: &RawValue| match serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()) {
        Ok(items) => items,
        Err(_) => vec![raw.to_owned()],
    };
    let mut all = before.map(|(_, raw)| items(&raw)).unwrap_or_default();
    all.extend(items(next));
    serde_json::value::to_raw_value(&all).unwrap_or_else(|_| next.to_owned())
}

/// OpenAI's object of log probabilities: the lists of all events, joined by member.
fn logprobs(events: &[Box<RawValue>]) -> Option<Box<RawValue>> {
    type Lists = serde_json::Map<String, serde_json::Value>;
    let mut all = Lists::new();
    for lists in events.iter().filter_map(|raw| serde_json::from_str::<Lists>(raw.get()).ok()) {
        for (name, value) in lists {
            match (all.get_mut(&name), value) {
                (Some(serde_json::Value::Array(known)), serde_json::Value::Array(more)) => known.extend(more),
                (Some(known), value) if known.is_null() => *known = value,
                (Some(_), _) => {}
                (None, value) => _ = all.insert(name, value),
            }
        }
    }
    if all.is_empty() { None } else { serde_json::value::to_raw_value(&all).ok() }
}
