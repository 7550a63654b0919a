//! What one event of a stream says.

use serde_json::value::RawValue;

use super::{Citations, Finish, Text};
use crate::kernel::cost::Usage;

/// A stream, step by step. Decoders give them in this order per choice: `Start`, any number of content steps, `Finish`;
/// then `Usage` (once, with everything known; not every provider tells it) and `End`.
///
/// Content steps of one part follow each other; a step of another kind, or of a tool call with another `index`, begins the
/// next part. Encoders that must open and close parts (Anthropic, Responses) do so by themselves.
#[derive(Clone, Debug)]
pub enum Delta<'a> {
    Start {
        id: Text<'a>,
        model: Text<'a>,
        created: Option<i64>,
        /// What some providers tell of the input beforehand (Anthropic).
        usage: Option<Usage>,
    },
    Text {
        choice: u32,
        text: Text<'a>,
    },
    Citation {
        choice: u32,
        citations: Citations<'a>,
    },
    Reasoning {
        choice: u32,
        text: Text<'a>,
    },
    /// Belongs to the reasoning before it.
    ReasoningSignature {
        choice: u32,
        signature: Text<'a>,
    },
    /// A whole piece of reasoning that only the provider can read.
    ReasoningEncrypted {
        choice: u32,
        data: Text<'a>,
        id: Option<Text<'a>>,
    },
    Refusal {
        choice: u32,
        text: Text<'a>,
    },
    ToolStart {
        choice: u32,
        /// Counts the calls of the choice from 0.
        index: u32,
        id: Text<'a>,
        name: Text<'a>,
        signature: Option<Text<'a>>,
    },
    /// A piece of the JSON text of the call's arguments.
    ToolArguments {
        choice: u32,
        index: u32,
        json: Text<'a>,
    },
    /// Of the text that follows.
    Logprobs {
        choice: u32,
        raw: &'a RawValue,
    },
    Finish {
        choice: u32,
        reason: Finish,
        stopped_by: Option<Text<'a>>,
    },
    Usage(Usage),
    /// The provider reports a failure inside the stream; nothing follows.
    Error {
        kind: Text<'a>,
        message: Text<'a>,
    },
    /// A sign of life.
    Ping,
    /// The stream is complete.
    End,
}
