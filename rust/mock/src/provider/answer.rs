//! An answer before it is sent: the same for every dialect and for both ways to the wire.

use bytes::Bytes;

use super::script::Script;
use super::text::Pieces;

/// Token counts of one answer, in the terms of its dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens` (includes the cached ones) or Anthropic's `input_tokens` (excludes them).
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub reasoning: u64,
    /// Does the answer tell them?
    pub told: bool,
}

impl Usage {
    /// Scripted numbers, else a quarter of the request's bytes in, `output` out.
    pub fn plan(script: &Script, bytes_in: usize, output: u64) -> Self {
        Self {
            input: script.tokens.input.unwrap_or(input_tokens(bytes_in)),
            output: script.tokens.output.unwrap_or(output),
            cached: script.tokens.cached,
            cache_write: script.tokens.cache_write,
            reasoning: script.tokens.reasoning,
            told: false,
        }
    }
}

/// Input tokens of a request: a quarter of its body's bytes, rounded up.
pub const fn input_tokens(bytes_in: usize) -> u64 {
    (bytes_in as u64).div_ceil(4)
}

/// One server-sent event: its name (Anthropic) and its data.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: Option<&'static str>,
    pub data: String,
}

/// A stream: what comes first, one event per piece of content and choice, what comes last.
#[derive(Clone, Debug)]
pub struct EventStream {
    /// Amazon's frames instead of server-sent events.
    pub frames: bool,
    pub opening: Vec<Event>,
    /// The event name of the content events.
    pub delta_name: Option<&'static str>,
    /// What stands before and after the content in an event's data; one pair per choice.
    pub delta_templates: Vec<(String, String)>,
    pub pieces: Pieces,
    pub closing: Vec<Event>,
    /// `[DONE]` or Anthropic's `message_stop`.
    pub terminator: Option<Event>,
    /// What an error in mid-stream looks like.
    pub error: Event,
}

impl EventStream {
    /// How many content events there are.
    pub fn deltas(&self) -> u64 {
        self.pieces.count() * self.delta_templates.len() as u64
    }
}

/// What the body consists of.
#[derive(Clone, Debug)]
pub enum Content {
    Whole(Bytes),
    Events(Box<EventStream>),
}

/// Status, headers, body and what it counts as.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub content: Content,
    pub usage: Usage,
}

impl Answer {
    /// A whole JSON body with status 200.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::whole("application/json", body)
    }

    /// A whole body of any type with status 200.
    pub fn whole(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content = Content::Whole(body.into());
        Self { status: 200, content_type, content, usage: Usage::default() }
    }

    /// A stream of server-sent events.
    pub fn events(stream: EventStream) -> Self {
        Self {
            status: 200,
            content_type: "text/event-stream; charset=utf-8",
            content: Content::Events(Box::new(stream)),
            usage: Usage::default(),
        }
    }

    /// A stream of Amazon's frames.
    pub fn frames(stream: EventStream) -> Self {
        Self { content_type: "application/vnd.amazon.eventstream", ..Self::events(stream) }
    }

    /// The same with these token counts.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}
