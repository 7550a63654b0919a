//! Amazon Bedrock's `InvokeModel`: an envelope around the formats of those who make the models.
//!
//! A caller's body in a format that is known (Anthropic's, Nova's, OpenAI's) is a conversation like any other once the
//! envelope is off ([`open`]); its answer gets one again ([`wrap`]). Any other body goes to Amazon as it is. A provider
//! that puts Anthropic's events into such envelopes is read through [`Chunks`].

mod chunks;
mod open;
mod wrap;

pub use chunks::Chunks;
pub use open::open;
pub use wrap::wrap;

/// The event that carries everything.
const CHUNK: &str = "chunk";
/// What Amazon adds to the last event.
pub const METRICS: &str = "amazon-bedrock-invocationMetrics";
