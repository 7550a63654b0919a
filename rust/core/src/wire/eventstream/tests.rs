//! Every split of every stream, against a slow twin that sees the stream whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

/// The frames of a whole stream, and whether what follows them is an error, by the format's text alone.
fn twin(mut stream: &[u8], limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    loop {
        if stream.len() < 12 {
            return (frames, false);
        }
        let word = |at: usize| u32::from_be_bytes(stream[at..at + 4].try_into().unwrap());
        let (total, headers) = (word(0) as usize, word(4) as usize);
        if word(8) != slow_crc(&stream[..8]) || total < 16 || headers + 16 > total || total > limit {
            return (frames, true);
        }
        if stream.len() < total {
            return (frames, false);
        }
        frames.push(stream[..total].to_vec());
        stream = &stream[total..];
    }
}

/// CRC-32 bit by bit.
fn slow_crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// A frame made by hand.
fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&u32::try_from(16 + headers.len() + payload.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&slow_crc(&out).to_be_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&slow_crc(&out).to_be_bytes());
    out
}

fn events(batches: &[Batch]) -> Vec<Vec<u8>> {
    batches.iter().flat_map(Batch::events).map(<[u8]>::to_vec).collect()
}

fn framed(chunks: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, bool, usize) {
    let mut framer = Framer::new(limit);
    let (mut batches, mut failed) = (Vec::new(), false);
    for chunk in chunks {
        match framer.push(Bytes::copy_from_slice(chunk)) {
            Ok(batch) => batches.push(batch),
            Err(_) => failed = true,
        }
    }
    // An error found behind good frames comes with the next push.
    failed |= framer.push(Bytes::new()).is_err();
    (events(&batches), failed, framer.pending())
}

#[test]
fn published_vectors() {
    // From the test suite of the format: an empty message, and one with a payload and a 32-bit header.
    let empty = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
    assert!(Frame::parse(&empty).expect("sound").payload.is_empty());
    let mut out = Vec::new();
    write(&mut out, &[], |_| {});
    assert_eq!(out, empty);
    let mut headers = vec![12];
    headers.extend_from_slice(b"event-number");
    headers.extend_from_slice(&[4, 0, 0, 0x50, 0x0a]);
    let made = frame(&headers, b"{'foo':'bar'}");
    let parsed = Frame::parse(&made).expect("sound");
    assert_eq!((parsed.payload, parsed.text("event-number")), (&b"{'foo':'bar'}"[..], None));
}

#[test]
fn every_kind_of_header_is_read() {
    let mut headers = Vec::new();
    let kinds: [(u8, &[u8]); 10] = [
        (0, b""),
        (1, b""),
        (2, b"\x01"),
        (3, b"\x01\x02"),
        (4, b"\x01\x02\x03\x04"),
        (5, b"12345678"),
        (6, b"\x00\x03abc"),
        (7, b"\x00\x05hello"),
        (8, b"12345678"),
        (9, b"1234567890123456"),
    ];
    for (kind, value) in kinds {
        headers.extend_from_slice(&[2, b'k', b'0' + kind, kind]);
        headers.extend_from_slice(value);
    }
    let made = frame(&headers, b"{}");
    let parsed = Frame::parse(&made).expect("sound");
    assert_eq!((parsed.text("k7"), parsed.text("k6"), parsed.text("kx")), (Some("hello"), None, None));
    for bad in [&[3, b'a'][..], &[1, b'a', 10], &[1, b'a', 7, 0, 9, b'x'], &[0, 0], &[1, b'a']] {
        assert_eq!(Frame::parse(&frame(bad, b"")).map(|_| ()), Err(FrameError::Header));
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let mut sound = Vec::new();
    write(&mut sound, &[(":event-type", "contentBlockDelta"), (":message-type", "event")], |out| {
        out.extend_from_slice(br#"{"delta":{"text":"x"}}"#);
    });
    for at in 0..sound.len() {
        let mut broken = sound.clone();
        broken[at] ^= 0x40;
        assert!(Frame::parse(&broken).is_err(), "byte {at}");
    }
    for cut in 0..sound.len() {
        assert!(Frame::parse(&sound[..cut]).is_err());
    }
}

#[test]
fn a_frame_longer_than_the_limit_ends_the_stream() {
    let (small, large) = (frame(b"", b"ok"), frame(b"", &[b'x'; 100]));
    let mut framer = Framer::new(64);
    let batch = framer.push([&small[..], &large[..12]].concat().into()).expect("the first frame");
    assert_eq!(batch.events().count(), 1);
    assert_eq!(framer.push(Bytes::new()), Err(FrameError::TooLong { limit: 64 }));
    assert!(framer.pending() <= 12);
}

proptest! {
    #[test]
    fn every_split_gives_the_same_frames(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..5),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        limit in 20_usize..80,
    ) {
        let mut stream: Vec<u8> = parts.iter().flat_map(|(payload, headed)| {
            frame(if *headed { b"\x01a\x07\x00\x01b" } else { b"" }, payload)
        }).collect();
        stream.extend_from_slice(&tail);
        let (frames, fails) = twin(&stream, limit);
        for split in 0..=stream.len() {
            let (found, failed, pending) = framed(&[&stream[..split], &stream[split..]], limit);
            prop_assert_eq!(&found, &frames);
            prop_assert_eq!(failed, fails);
            prop_assert!(failed || pending == stream.len() - frames.concat().len());
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        let (found, failed, _) = framed(&single, limit);
        prop_assert_eq!((found, failed), (frames, fails));
    }

    #[test]
    fn what_is_written_is_read(
        headers in prop::collection::vec(("[a-z:-]{1,20}", ".{0,40}"), 0..4),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut out = b"before".to_vec();
        write(&mut out, &pairs, |out| out.extend_from_slice(&payload));
        let parsed = Frame::parse(&out[6..]).expect("sound");
        prop_assert_eq!(parsed.payload, &payload[..]);
        for (name, value) in &pairs {
            let first = pairs.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
            prop_assert_eq!(parsed.text(name), first);
            let _ = value;
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Frame::parse(&bytes);
        let _ = framed(&[&bytes], 1024);
    }
}
