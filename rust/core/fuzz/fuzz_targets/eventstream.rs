#![no_main]
//! The frames found do not depend on how the stream was split, and a frame that was found can be read or is refused.

use ailink_core::wire::eventstream::{Frame, FrameError, Framer};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// What is given, around headers and payload, the checksums a sender would have computed: few inputs find those by chance.
fn sealed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    let prelude = crc32fast::hash(&frame).to_be_bytes();
    frame.extend_from_slice(&prelude);
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    let whole = crc32fast::hash(&frame).to_be_bytes();
    frame.extend_from_slice(&whole);
    frame
}

/// All frames of a stream that comes in pieces.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut framer = Framer::new(1 << 20);
    let mut frames = Vec::new();
    for piece in pieces {
        let Ok(batch) = framer.push(Bytes::copy_from_slice(piece)) else { break };
        frames.extend(batch.events().map(<[u8]>::to_vec));
    }
    frames
}

fuzz_target!(|input: &[u8]| {
    let Some((&[split, cut], bytes)) = input.split_first_chunk() else { return };
    let (headers, payload) = bytes.split_at(bytes.len().min(usize::from(cut)));
    let sound = sealed(headers, payload);
    match Frame::parse(&sound) {
        Ok(frame) => {
            assert_eq!(frame.payload, payload);
            for name in [":event-type", ":message-type", ":exception-type"] {
                let _ = frame.text(name);
            }
        }
        Err(error) => assert_eq!(error, FrameError::Header),
    }
    assert_eq!(frames([&sound[..]].into_iter()), [sound.clone()]);

    // The bytes as they are, and sound frames with them behind: what was whole comes out, then the rest is judged.
    for stream in [bytes.to_vec(), [&sound[..], &sound, bytes].concat()] {
        let whole = frames([&stream[..]].into_iter());
        assert_eq!(frames(stream.chunks(usize::from(split) + 1)), whole);
        for frame in &whole {
            let _ = Frame::parse(frame);
        }
    }
});
