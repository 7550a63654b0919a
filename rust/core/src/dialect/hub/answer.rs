//! A whole answer.

use super::{Delta, Json, Part, Text};
use crate::kernel::cost::Usage;

#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    pub id: Text<'a>,
    /// The model as the provider names it.
    pub model: Text<'a>,
    /// Seconds since 1970; the codec that needs one and got none takes the time of the request.
    pub created: Option<i64>,
    pub choices: Vec<Choice<'a>>,
    pub usage: Option<Usage>,
    pub service_tier: Option<Text<'a>>,
    pub fingerprint: Option<Text<'a>>,
}

#[derive(Clone, Debug, Default)]
pub struct Choice<'a> {
    /// Text, reasoning, tool calls, refusals in the order they were generated.
    pub parts: Vec<Part<'a>>,
    pub finish: Option<Finish>,
    /// The stop sequence that ended it.
    pub stopped_by: Option<Text<'a>>,
    /// OpenAI's `logprobs` object.
    pub logprobs: Option<Json<'a>>,
}

impl Answer<'_> {
    /// The answer as the steps of a stream.
    pub fn replay(&self, step: &mut dyn FnMut(Delta<'_>)) {
        let (id, model) = (self.id.clone(), self.model.clone());
        step(Delta::Start { id, model, created: self.created, usage: self.usage });
        for (number, choice) in (0..).zip(&self.choices) {
            choice.replay(number, step);
        }
        if let Some(usage) = self.usage {
            step(Delta::Usage(usage));
        }
        step(Delta::End);
    }
}

impl Choice<'_> {
    fn replay(&self, choice: u32, step: &mut dyn FnMut(Delta<'_>)) {
        if let Some(raw) = self.logprobs.as_deref() {
            step(Delta::Logprobs { choice, raw });
        }
        let mut index = 0;
        for part in &self.parts {
            match part.clone() {
                Part::Text { text, citations, .. } => {
                    step(Delta::Text { choice, text });
                    if let Some(citations) = citations {
                        step(Delta::Citation { choice, citations });
                    }
                }
                Part::Refusal { text } => step(Delta::Refusal { choice, text }),
                Part::Reasoning { text, signature, encrypted, id } => {
                    if !text.is_empty() {
                        step(Delta::Reasoning { choice, text });
                    }
                    if let Some(signature) = signature {
                        step(Delta::ReasoningSignature { choice, signature });
                    }
                    if let Some(data) = encrypted {
                        step(Delta::ReasoningEncrypted { choice, data, id });
                    }
                }
                Part::ToolCall { id, name, arguments, signature, .. } => {
                    step(Delta::ToolStart { choice, index, id, name, signature });
                    if !arguments.is_empty() {
                        step(Delta::ToolArguments { choice, index, json: arguments });
                    }
                    index += 1;
                }
                // Streams have no steps for them.
                Part::Image { .. }
                | Part::Audio { .. }
                | Part::Video { .. }
                | Part::Document { .. }
                | Part::ToolResult { .. }
                | Part::Foreign { .. } => {}
            }
        }
        let reason = self.finish.unwrap_or(Finish::Stop);
        step(Delta::Finish { choice, reason, stopped_by: self.stopped_by.clone() });
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done, or met a stop sequence (then `stopped_by` may tell).
    Stop,
    /// The output limit.
    Length,
    /// The context window.
    ContextWindow,
    ToolCalls,
    /// The provider's filter cut or blocked it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// A long turn is to be continued by sending it back (Anthropic `pause_turn`).
    Pause,
    /// The model made a call that cannot be read (Gemini `MALFORMED_FUNCTION_CALL`).
    MalformedCall,
    /// Something that this gateway does not know.
    Other,
}
