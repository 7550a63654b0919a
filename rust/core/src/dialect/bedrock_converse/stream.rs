//! Converse streams, frame by frame.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
