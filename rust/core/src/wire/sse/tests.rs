//! Every split of every stream, against two slow twins: one for where events end, one for what they mean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

/// The rule of the module's text on a whole stream: offsets behind each event.
fn twin_ends(stream: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    let mut behind_lone_cr = false;
    while at < stream.len() {
        let length = stream[at..].iter().take_while(|byte| !b"\r\n".contains(byte)).count();
        let blank = length == 0;
        at += length;
        match stream[at..] {
            [] => break,
            [b'\n', ..] => {
                at += 1;
                behind_lone_cr = false;
            }
            [b'\r', b'\n', ..] if blank && behind_lone_cr => {
                ends.push(at + 1);
                at += 2;
                behind_lone_cr = false;
                continue;
            }
            [b'\r', b'\n', ..] => {
                at += 2;
                behind_lone_cr = false;
            }
            // It could still become a CRLF.
            [b'\r'] if blank && !behind_lone_cr => break,
            _ => {
                at += 1;
                behind_lone_cr = true;
            }
        }
        if blank {
            ends.push(at);
        }
    }
    ends
}

/// The specification's algorithm on a whole stream: type and data of every event dispatched.
fn twin_meaning(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut events = Vec::new();
    let (mut kind, mut data) = (Vec::new(), Vec::new());
    let mut line = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let byte = stream[at];
        at += 1;
        if byte != b'\r' && byte != b'\n' {
            line.push(byte);
            continue;
        }
        if byte == b'\r' && stream.get(at) == Some(&b'\n') {
            at += 1;
        }
        if line.is_empty() {
            if data.pop().is_some() {
                events.push((std::mem::take(&mut kind), std::mem::take(&mut data)));
            }
            kind.clear();
        } else {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (field, rest) = line.split_at(colon);
            let value = rest.strip_prefix(b":").unwrap_or(rest);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"event" => kind = value.to_vec(),
                b"data" => {
                    data.extend_from_slice(value);
                    data.push(b'\n');
                }
                _ => {}
            }
            line.clear();
        }
    }
    events
}

fn run<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut framer = Framer::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        let batch = framer.push(Bytes::copy_from_slice(chunk)).unwrap();
        assert_eq!(batch.ends.last().map_or(0, |end| *end as usize), batch.bytes.len());
        assert_eq!(batch.is_empty(), batch.bytes.is_empty());
        events.extend(batch.events().map(<[u8]>::to_vec));
    }
    let pending = framer.pending();
    let rest = framer.take_rest();
    assert_eq!(pending, rest.len());
    (events, rest.to_vec())
}

/// Checks one stream cut into these chunks.
fn check<'a>(stream: &[u8], chunks: impl Iterator<Item = &'a [u8]>) {
    let (events, rest) = run(chunks);
    let mut start = 0;
    let expected: Vec<&[u8]> =
        twin_ends(stream).iter().map(|&end| &stream[std::mem::replace(&mut start, end)..end]).collect();
    assert_eq!(events, expected, "{:?}", String::from_utf8_lossy(stream));
    assert_eq!(rest, &stream[start..]);
    let meaning: Vec<(Vec<u8>, Vec<u8>)> = events
        .iter()
        .filter(|event| has_data(event))
        .map(|event| (name(event).unwrap_or_default().to_vec(), data(event).into_owned()))
        .collect();
    assert_eq!(meaning, twin_meaning(&stream[..start]), "{:?}", String::from_utf8_lossy(stream));
    // Nothing is held back but, for a CR at the very end, the event that a LF could still belong to.
    let held = twin_meaning(stream).len() - meaning.len();
    assert!(held <= usize::from(stream.ends_with(b"\r")), "{:?}", String::from_utf8_lossy(stream));
}

fn check_every_split(stream: &[u8]) {
    check(stream, std::iter::once(stream));
    check(stream, stream.chunks(1));
    for middle in 0..=stream.len() {
        check(stream, [&stream[..middle], &stream[middle..]].into_iter());
    }
}

fn streams() -> Vec<Vec<u8>> {
    let texts = [
        "data: one\n\ndata: two\n\n",
        "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {}\n\ndata: [DONE]\n\n",
        ": keep-alive\n\ndata:x\n\n: a\n: b\n\n",
        "data: a\ndata:b\ndata\ndata:  c\n\nid: 1\nretry: 10\n\nevent:\ndata:\n\n",
        "\n\n\ndata: after blank lines\n\n\n\n",
        "data: without an end",
        "data: without a blank line\n",
        "event: only\n\ndata: é日本😀\n\n",
        "data: \0\n\nda ta: x\n:\n\ndata\n\n",
        "",
        "\n",
    ];
    let mut all = Vec::new();
    for text in texts {
        for line_end in ["\n", "\r", "\r\n"] {
            for start in ["", "\u{feff}"] {
                all.push(format!("{start}{}", text.replace('\n', line_end)).into_bytes());
            }
        }
        // Line ends in turn.
        let ends = ["\n", "\r\n", "\r", "\r", "\n", "\r\n", "\r\n", "\r"];
        for shift in 0..ends.len() {
            let mut mixed = String::new();
            for (index, line) in text.split('\n').enumerate() {
                if index > 0 {
                    mixed.push_str(ends[(index + shift) % ends.len()]);
                }
                mixed.push_str(line);
            }
            all.push(mixed.into_bytes());
        }
    }
    all
}

#[test]
fn cuts_every_stream_alike_however_it_is_split() {
    for stream in streams() {
        check_every_split(&stream);
    }
}

#[test]
fn cuts_every_short_stream_of_line_ends() {
    for length in 0..=7_u32 {
        for number in 0..4_usize.pow(length) {
            let stream: Vec<u8> = (0..length).map(|digit| b"\r\nd:"[number / 4_usize.pow(digit) % 4]).collect();
            check(&stream, std::iter::once(&stream[..]));
            check(&stream, stream.chunks(1));
            check(&stream, stream.chunks(2));
            check(&stream, stream.chunks(3));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn cuts_random_streams_at_random_places(
        parts in prop::collection::vec(
            prop::sample::select(vec!["data: ", "data", "event: x", ":", "id: 7", "\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "text", " ", "é", "\0"]),
            0..40,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = parts.concat().into_bytes();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        check(&stream, places.windows(2).map(|pair| &stream[pair[0]..pair[1]]));
    }

    #[test]
    fn limits_alike_however_it_is_split(
        lengths in prop::collection::vec(0_usize..60, 1..8),
        max in 1_usize..50,
        size in 1_usize..40,
    ) {
        let stream: Vec<u8> = lengths.iter().flat_map(|length| [vec![b'x'; *length], b"\n\n".to_vec()].concat()).collect();
        let mut framer = Framer::new(max);
        let mut events = 0;
        let mut out = Vec::new();
        let mut failed = false;
        let mut consumed = 0;
        for chunk in stream.chunks(size).chain([&b""[..]]) {
            consumed += chunk.len();
            match framer.push(Bytes::copy_from_slice(chunk)) {
                Ok(batch) => { events += batch.ends.len(); out.extend_from_slice(&batch.bytes); }
                Err(error) => { prop_assert_eq!(error.limit, max); failed = true; break; }
            }
            prop_assert!(framer.pending() <= max + size);
        }
        let mut ends = twin_ends(&stream);
        ends.insert(0, 0);
        let whole = ends.windows(2).take_while(|pair| pair[1] - pair[0] <= max).count();
        prop_assert_eq!(events, whole);
        prop_assert_eq!(failed, whole + 1 < ends.len());
        out.extend_from_slice(&framer.take_rest());
        prop_assert_eq!(&out[..], &stream[..consumed]);
    }
}

#[test]
fn copies_nothing_when_nothing_was_kept() {
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\ndata: 3");
    let mut framer = Framer::new(100);
    let batch = framer.push(chunk.clone()).unwrap();
    assert_eq!(batch.bytes.as_ptr(), chunk.as_ptr());
    assert_eq!(&batch.ends[..], [9, 18]);
    let rest = framer.take_rest();
    assert_eq!(rest.as_ptr(), chunk[18..].as_ptr());
    assert_eq!(framer.pending(), 0);
}

#[test]
fn ends_an_event_as_soon_as_it_is_certain() {
    let ends = |chunk: &'static [u8]| Framer::new(100).push(Bytes::from_static(chunk)).unwrap().ends.to_vec();
    assert_eq!(ends(b"data: x\n\n"), [9]);
    assert_eq!(ends(b"data: x\r\n\r\n"), [11]);
    assert_eq!(ends(b"data: x\r\r"), [9]);
    assert_eq!(ends(b"data: x\r\n\r"), [0_u32; 0]);
}

#[test]
fn refuses_an_event_that_grows_for_ever() {
    let mut framer = Framer::new(1_000);
    let chunk = Bytes::from_static(&[b'x'; 100]);
    for _ in 0..10 {
        assert!(framer.push(chunk.clone()).unwrap().is_empty());
    }
    let error = framer.push(chunk.clone()).unwrap_err();
    assert_eq!(error.to_string(), "server-sent event longer than 1000 bytes");
    for _ in 0..100 {
        assert!(framer.push(chunk.clone()).is_err());
    }
    assert_eq!(framer.pending(), 1_100);
    assert_eq!(framer.take_rest().len(), 1_100);
    assert_eq!(framer.push(Bytes::from_static(b"\n\n")).unwrap().ends.len(), 2);
}

#[test]
fn reads_events_as_the_specification_says() {
    type Case = (&'static [u8], Option<&'static [u8]>, &'static [u8]);
    let cases: &[Case] = &[
        (b"data: x\n\n", None, b"x"),
        (b"data:x\n\n", None, b"x"),
        (b"data:  x\n\n", None, b" x"),
        (b"data\n\n", None, b""),
        (b"data:\ndata:\n\n", None, b"\n"),
        (b"event: a\nevent: b\ndata: x\ndata: y\n\n", Some(b"b"), b"x\ny"),
        (b"event: a\nevent:\ndata: x\n\n", None, b"x"),
        (b"Data: x\nDATA: y\n data: z\n\n", None, b""),
        (b"\xef\xbb\xbfdata: x\n\n", None, b"x"),
        (b"\ndata: behind the second half of a CRLF\n\n", None, b"behind the second half of a CRLF"),
        (b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n", None, b"\0\n 2\n1\n3\n\n4"),
        (b"data: cut off", None, b"cut off"),
        (b"", None, b""),
    ];
    for (event, kind, text) in cases {
        assert_eq!(name(event), *kind, "{:?}", String::from_utf8_lossy(event));
        assert_eq!(&*data(event), *text, "{:?}", String::from_utf8_lossy(event));
    }
    assert!(matches!(data(b"id: 1\ndata: x\n\n"), Cow::Borrowed(_)));
    for (event, comment, dispatched) in [
        (&b": x\n\n"[..], true, false),
        (b":\r\n: data: x\r\n\r\n", true, false),
        (b"\n", true, false),
        (b"\xef\xbb\xbf: x\n\n", true, false),
        (b": x\ndata: y\n\n", false, true),
        (b"id: 1\n\n", false, false),
        (b"data\n\n", false, true),
    ] {
        assert_eq!(is_comment_only(event), comment, "{event:?}");
        assert_eq!(has_data(event), dispatched, "{event:?}");
    }
}

#[test]
fn joins_a_large_event_from_small_chunks() {
    let event = format!("data: {}\n\n", "x".repeat(8 << 20)).into_bytes();
    let mut framer = Framer::new(16 << 20);
    let mut found = Vec::new();
    for chunk in event.chunks(1_000) {
        found.extend(framer.push(Bytes::copy_from_slice(chunk)).unwrap().events().map(<[u8]>::to_vec));
    }
    assert_eq!(found, [event]);
    assert_eq!(framer.pending(), 0);
}
