//! Google's generateContent format (Gemini API and Vertex AI).

mod answer;
mod config;
mod contents;
mod encode;
mod encoder;
mod error;
mod family;
mod features;
mod logprobs;
mod request;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod usage;
mod wire;

pub use answer::{decode_answer, encode_answer};
pub use encode::encode_request;
pub use encoder::Encoder;
pub use error::error_body;
pub use features::treatment;
pub use request::decode_request;
pub use stream::Decoder;
pub use usage::{parse_usage, service};

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{Seen, text_length};
use crate::kernel::cost::Usage;
use crate::wire::json::{Kind, scan_object};
use crate::wire::sse;

/// Members of a chunk that hold generated text; Google writes a blank behind the colon.
static GENERATED: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["\"text\": \"", "\"text\":\""].map(Finder::new));
/// Members that say that a stream is whole: why it ended, or that it was not begun.
static FINISH: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| ["\"finishReason\"", "\"blockReason\""].map(Finder::new));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usageMetadata\""));

/// Watches the chunks of a stream. There is no last event: a stream is whole when a finish reason was given.
#[derive(Debug, Default)]
pub struct Tap {
    /// What the latest chunk told; the first one tells the input.
    pub told: Option<Usage>,
    finished: bool,
}

impl Tap {
    pub fn usage(&self) -> Option<Usage> {
        self.told.filter(|_| self.finished)
    }

    pub fn event(&mut self, event: &[u8]) -> Seen {
        if event.starts_with(b"data: {\"error\"") {
            return Seen { error: true, ..Seen::default() };
        }
        self.finished |= FINISH.iter().any(|member| member.find(event).is_some());
        // Every chunk repeats the usage: that of the first tells the input, those from the finish reason on are final.
        if (self.told.is_none() || self.finished) && USAGE.find(event).is_some() {
            let data = sse::data(event);
            let usage = scan_object(&data, &["usageMetadata"]).ok().and_then(|scan| scan.fields[0]);
            let usage = usage.filter(|value| value.kind == Kind::Object);
            self.told = usage.and_then(|value| parse_usage(value.raw(&data))).or(self.told);
        }
        Seen { finished: self.finished, text: text_length(event, &*GENERATED), ..Seen::default() }
    }
}

#[cfg(test)]
mod tap_tests {
    use super::*;

    #[test]
    fn streams_are_watched() {
        let mut tap = Tap::default();
        let first = br#"data: {"candidates": [{"content": {"parts": [{"text": "four"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 7}}"#;
        let seen = tap.event(first);
        assert!(seen.text == 4 && !seen.finished && tap.usage().is_none());
        assert_eq!(tap.told.map(|usage| usage.input), Some(7));
        let last = br#"data: {"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3}}"#;
        assert!(tap.event(last).finished);
        assert_eq!(tap.usage().map(|usage| (usage.input, usage.output)), Some((7, 3)));
        assert!(tap.event(br#"data: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#).error);
        let mut blocked = Tap::default();
        assert!(blocked.event(br#"data: {"promptFeedback":{"blockReason":"SAFETY"}}"#).finished);
    }
}
