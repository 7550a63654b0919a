//! What all targets of dialects do: whatever comes in a format is understood or refused, what is written of it is whole, and
//! a stream says the same however it was cut.

use ailink_core::dialect::translate::{self, Stream};
use ailink_core::dialect::{Context, Format, Target};
use ailink_core::stream::Frames;
use ailink_core::wire::eventstream;

/// The bytes as a request, as an answer and as a stream of this format, for every other.
pub fn run(format: Format, input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let target = Target { model: "claude-sonnet-4-5", stream: false, ask_usage: false, max_output: Some(4096) };
    for other in Format::ALL {
        if let Ok(request) = translate::request(format, other, input, &target) {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok(), "a request for {other:?}");
        }
        if let Ok((body, _)) = translate::answer(format, other, input, &Context::default()) {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(), "an answer for {other:?}");
            // Through the hub and back.
            let _ = translate::answer(other, format, &body, &Context::default());
        }
        let _ = translate::replay(format, other, input, Context::default());
        let stream = events(format, input);
        let whole = streamed(format, other, stream.chunks(stream.len().max(1)));
        assert_eq!(streamed(format, other, stream.chunks(usize::from(cut) + 1)), whole, "a stream for {other:?}");
        // What is written is a stream of its format.
        if let Some((text, false)) = &whole {
            let back = streamed(other, format, [&text[..]].into_iter());
            assert!(back.is_some(), "framing of {other:?}");
        }
    }
}

/// The input as events: its lines are the data, or the payloads of frames behind their kind.
fn events(format: Format, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        if format == Format::Converse {
            let at = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
            let (kind, payload) = line.split_at(at);
            let Ok(kind) = std::str::from_utf8(kind) else { continue };
            let headers = [(":event-type", kind), (":message-type", "event")];
            eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload));
        } else {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n\n");
        }
    }
    out
}

/// What a stream becomes, and whether it failed; None when its frames are damaged.
fn streamed<'p>(from: Format, to: Format, pieces: impl Iterator<Item = &'p [u8]>) -> Option<(Vec<u8>, bool)> {
    let mut framer = Frames::new(from == Format::Converse);
    // Google's calls get ids of their own where nothing names them: the same ones each time.
    fastrand::seed(7);
    let context = Context { id: "1".to_string(), ..Context::default() };
    let mut stream = Stream::new(from, to, context);
    let mut out = Vec::new();
    for piece in pieces {
        let batch = framer.push(piece.to_vec().into()).ok()?;
        for event in batch.events() {
            if stream.progress().over() {
                return Some((out, stream.progress().failed));
            }
            if stream.event(event, &mut out).is_err() {
                return Some((out, true));
            }
        }
    }
    stream.end(&mut out);
    Some((out, false))
}
