//! A whole answer.

use serde_json::value::RawValue;

use super::{Part, Text};
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
    pub logprobs: Option<&'a RawValue>,
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
