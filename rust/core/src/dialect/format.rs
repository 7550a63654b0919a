//! The formats a conversation can be held in.

use std::time::Instant;

use super::hub::{Feature, Treatment, Unsupported};
use super::{anthropic_messages, bedrock_converse, cohere, gemini, openai_chat, openai_responses};
use crate::endpoint::Dialect;

/// One wire format of a conversation: its request, its answer, its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI chat completions.
    Chat,
    /// Anthropic messages.
    Messages,
    /// Google generateContent.
    Gemini,
    /// Cohere chat, version 2.
    Cohere,
    /// Amazon Bedrock Converse.
    Converse,
    /// OpenAI Responses.
    Responses,
    /// OpenAI's old text completions: only callers speak it.
    Completions,
}

impl Format {
    /// Those that providers are asked in.
    pub const ALL: [Format; 6] =
        [Format::Chat, Format::Messages, Format::Responses, Format::Gemini, Format::Cohere, Format::Converse];

    /// What its streams are watched by.
    pub fn dialect(self) -> Dialect {
        match self {
            Format::Chat | Format::Completions => Dialect::OpenAi,
            Format::Messages => Dialect::Anthropic,
            Format::Gemini => Dialect::Gemini,
            Format::Cohere => Dialect::Cohere,
            Format::Converse => Dialect::Bedrock,
            Format::Responses => Dialect::Responses,
        }
    }

    /// As documentation and errors name it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Chat => "OpenAI chat",
            Format::Messages => "Anthropic messages",
            Format::Gemini => "Google generateContent",
            Format::Cohere => "Cohere chat",
            Format::Converse => "Bedrock Converse",
            Format::Responses => "OpenAI Responses",
            Format::Completions => "OpenAI completions",
        }
    }

    /// What becomes of a feature when a request is written in this format.
    pub fn treatment(self, feature: Feature) -> Treatment {
        match self {
            Format::Chat | Format::Completions => openai_chat::treatment(feature),
            Format::Messages => anthropic_messages::treatment(feature),
            Format::Gemini => gemini::treatment(feature),
            Format::Cohere => cohere::treatment(feature),
            Format::Converse => bedrock_converse::treatment(feature),
            Format::Responses => openai_responses::treatment(feature),
        }
    }

    /// A stream may end behind its finish reason without another word: there is no last event, or many servers leave it out.
    pub fn may_end_silently(self) -> bool {
        match self {
            Format::Chat | Format::Completions | Format::Gemini => true,
            Format::Messages | Format::Responses | Format::Cohere | Format::Converse => false,
        }
    }

    /// The content type of a stream.
    pub fn stream_type(self) -> &'static str {
        match self {
            Format::Chat
            | Format::Completions
            | Format::Messages
            | Format::Responses
            | Format::Gemini
            | Format::Cohere => "text/event-stream",
            Format::Converse => bedrock_converse::STREAM_TYPE,
        }
    }
}

/// Why something cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what its format says.
    Invalid {
        /// Where, such as `messages[2].content`.
        path: String,
        reason: String,
    },
    /// The target cannot say it, and leaving it out would change the meaning.
    Unsupported(Unsupported),
}

impl Fault {
    pub fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault::Invalid { path: path.into(), reason: reason.into() }
    }
}

impl From<Unsupported> for Fault {
    fn from(unsupported: Unsupported) -> Self {
        Fault::Unsupported(unsupported)
    }
}

/// For whom a request is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// A stream is asked for; formats whose path says so have no word for it in the body.
    pub stream: bool,
    /// Ask for the usage of a stream, where the format tells it only when asked.
    pub ask_usage: bool,
    /// Most tokens the model can answer with, for formats that want a limit named; `None`: not known.
    pub max_output: Option<u64>,
}

/// What the answer's codec must know of the request.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The gateway's request id, without prefix: for answers whose provider gave none.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// When the request came in, for formats that tell how long it took.
    pub started: Option<Instant>,
    /// The caller asked for the usage of his stream.
    pub include_usage: bool,
    /// The name to write instead of the provider's name of the model.
    pub model: Option<String>,
    /// What of the request the answer repeats, for formats that do.
    pub request: bytes::Bytes,
    /// The answer is kept by the gateway: what it says about that, as the inside of an object.
    pub kept: bytes::Bytes,
}

impl Context {
    /// Milliseconds since the request came in.
    pub fn elapsed_ms(&self) -> u64 {
        self.started.map_or(0, |started| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The provider's id of an answer, or the request's where it gave none.
    pub fn answer_id<'i>(&'i self, given: &'i str) -> &'i str {
        if given.is_empty() { &self.id } else { given }
    }
}
