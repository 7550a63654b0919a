//! Events do not depend on how the stream was split, and no byte is lost or changed.
#![no_main]

use ailink_core::wire::sse::{Framer, data, fields, has_data, is_comment_only, name};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// All events and the rest, or the bytes handed out before an event was too long.
fn run<'a>(chunks: impl Iterator<Item = &'a [u8]>, max: usize) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut framer = Framer::new(max);
    let mut events = Vec::new();
    let mut given = 0;
    let mut taken = 0;
    // The last, empty push collects an error that is still owed.
    for chunk in chunks.chain([&b""[..]]) {
        given += chunk.len();
        let Ok(batch) = framer.push(Bytes::copy_from_slice(chunk)) else {
            assert_eq!(taken + framer.pending(), given);
            return (events, None);
        };
        assert_eq!(batch.ends.last().map_or(0, |end| *end as usize), batch.bytes.len());
        taken += batch.bytes.len();
        events.extend(batch.events().map(<[u8]>::to_vec));
        assert!(framer.pending() <= max.max(chunk.len()));
    }
    (events, Some(framer.take_rest().to_vec()))
}

fuzz_target!(|input: &[u8]| {
    let Some((&[max, sizes], stream)) = input.split_first_chunk() else {
        return;
    };
    let max = if max == 0 { 1 << 20 } else { usize::from(max) };
    let whole = run(std::iter::once(stream), max);
    assert_eq!(run(stream.chunks(1), max), whole);
    // Chunks of two sizes in turn.
    let (small, large) = (usize::from(sizes & 15) + 1, usize::from(sizes >> 4) * 4 + 1);
    let mut rest = stream;
    let mut turn = false;
    let chunks = std::iter::from_fn(|| {
        turn = !turn;
        let (chunk, tail) = rest.split_at(rest.len().min(if turn { small } else { large }));
        rest = tail;
        (!chunk.is_empty()).then_some(chunk)
    });
    assert_eq!(run(chunks, max), whole);
    let (events, tail) = whole;
    if let Some(tail) = tail {
        assert_eq!([events.concat(), tail].concat(), stream);
    }
    for event in &events {
        assert!(event.ends_with(b"\n") || event.ends_with(b"\r"));
        assert_eq!(is_comment_only(event), fields(event).count() == 0);
        assert!(has_data(event) || data(event).is_empty());
        assert!(name(event).is_none_or(|name| !name.is_empty()));
    }
});
