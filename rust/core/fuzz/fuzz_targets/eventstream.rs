#![no_main]
//! The frames found do not depend on how the stream was split, and a frame that was found can be read or is refused.

use ailink_core::wire::eventstream::{Frame, Framer};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], usize)| {
    let (bytes, split) = input;
    let split = split.checked_rem(bytes.len() + 1).unwrap_or(0);
    let frames = |chunks: &[&[u8]]| {
        let mut framer = Framer::new(1 << 20);
        let mut frames = Vec::new();
        for chunk in chunks {
            let Ok(batch) = framer.push(Bytes::copy_from_slice(chunk)) else { break };
            frames.extend(batch.events().map(<[u8]>::to_vec));
        }
        frames
    };
    let whole = frames(&[bytes]);
    assert_eq!(whole, frames(&[&bytes[..split], &bytes[split..]]));
    for frame in &whole {
        if let Ok(frame) = Frame::parse(frame) {
            let _ = frame.text(":event-type");
        }
    }
});
