//! Bytes ↔ frames: the formats that everything above is carried in. No I/O, no policy.

pub mod encoding;
pub mod eventstream;
pub mod http1;
pub mod json;
pub mod multipart;
pub mod sse;
