//! Amazon Bedrock's Converse format, whose streams are frames instead of server-sent events.

mod answer;
mod blocks;
mod encode;
mod error;
mod features;
mod media;
mod request;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod write;

/// The content type of its streams.
pub const STREAM_TYPE: &str = "application/vnd.amazon.eventstream";

pub use answer::{decode_answer, encode_answer, parse_usage};
pub use encode::encode_request;
pub use error::{error_body, error_type, error_type_of, exception_frame, failure_event, failure_frame};
pub use features::treatment;
pub use request::decode_request;
pub use stream::{Decoder, Encoder};
pub use tap::Tap;
