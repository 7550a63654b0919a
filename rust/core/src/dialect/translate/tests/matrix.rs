//! Every recorded stream for every client: the same is told, however the stream is cut.

use super::recorded::{Recording, Told, recordings};
use super::*;
use crate::dialect::citations::sources;
use crate::stream::Frames;

fn context() -> Context {
    Context { id: "req_1".into(), created: 7, include_usage: true, ..Context::default() }
}

/// What a client gets of a stream that comes in these pieces.
fn translated<'p>(from: Format, to: Format, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut framer = Frames::new(from == Format::Converse);
    let mut stream = Stream::new(from, to, context());
    let mut out = Vec::new();
    for piece in pieces {
        let batch = framer.push(piece.to_vec().into()).expect("framed");
        for event in batch.events() {
            if !stream.progress().over() {
                stream.event(event, &mut out).expect("translated");
            }
        }
    }
    if !stream.progress().failed {
        stream.end(&mut out);
    }
    out
}

/// What a stream says in its own format.
fn told(format: Format, bytes: &[u8]) -> Told {
    let mut told = Told::default();
    let mut framer = Frames::new(format == Format::Converse);
    let mut decoder = Decoder::new(format);
    let batch = framer.push(bytes.to_vec().into()).expect("framed");
    for event in batch.events() {
        decoder.event(event, &mut |delta| note(&mut told, &delta)).expect("read");
    }
    assert_eq!(framer.pending(), 0);
    for [_, _, arguments] in &mut told.calls {
        // Google's are an object, not its text.
        *arguments = serde_json::from_str::<Value>(arguments).expect("JSON").to_string();
    }
    // Google's streams have no last event.
    told.ended |= format == Format::Gemini && told.finish.is_some();
    told
}

fn note(told: &mut Told, delta: &Delta<'_>) {
    match delta {
        Delta::Text { text, .. } => told.text.push_str(text),
        Delta::Reasoning { text, .. } => told.thought.push_str(text),
        Delta::ReasoningSignature { signature: proof, .. } | Delta::ReasoningEncrypted { data: proof, .. } => {
            told.proofs.push(proof.to_string());
        }
        Delta::ToolStart { id, name, signature, .. } => {
            told.proofs.extend(signature.iter().map(|proof| proof.to_string()));
            told.calls.push([id.to_string(), name.to_string(), String::new()]);
        }
        Delta::ToolArguments { index, json, .. } => told.calls[*index as usize][2].push_str(json),
        Delta::Citation { citations, .. } => {
            told.sources.extend(sources(citations).iter().filter_map(|source| source.url.as_deref().map(String::from)));
        }
        Delta::Finish { reason, .. } => told.finish = Some(*reason),
        Delta::Usage(usage) => told.usage = Some((usage.prompt(), usage.answer(), usage.cached())),
        Delta::Error { message, .. } => told.error = Some(message.to_string()),
        Delta::End => told.ended = true,
        Delta::Start { .. } | Delta::Refusal { .. } | Delta::Logprobs { .. } | Delta::Ping => {}
    }
}

/// What a client of a format can be told of it.
fn tellable(to: Format, told: &Told) -> Told {
    let mut told = told.clone();
    if to == Format::Cohere {
        // It has no place for proofs.
        told.proofs.clear();
    }
    told
}

fn for_all(check: impl Fn(&Recording, Format, &str)) {
    for recording in recordings() {
        for to in Format::ALL {
            check(&recording, to, &format!("{} {:?} -> {to:?}", recording.name, recording.from));
        }
    }
}

#[test]
fn recordings_say_what_they_are_taken_for() {
    for Recording { from, bytes, told: expected, name } in recordings() {
        let told = told(from, &bytes);
        match expected {
            Some(expected) => assert_eq!(told, expected, "{from:?}"),
            None => assert!(told.error.is_some() == (name == "failing"), "{from:?} {name}"),
        }
    }
}

#[test]
fn every_client_is_told_what_the_provider_said() {
    for_all(|recording, to, case| {
        let out = translated(recording.from, to, [&recording.bytes[..]]);
        let (said, mut heard) = (told(recording.from, &recording.bytes), told(to, &out));
        if said.usage.is_none() {
            // Some formats always tell one.
            heard.usage = None;
        }
        if said.error.is_some() {
            assert_eq!(heard.error, said.error, "{case}");
        } else {
            assert_eq!(heard, tellable(to, &said), "{case}");
        }
    });
}

#[test]
fn a_cut_at_any_byte_changes_nothing() {
    for recording in recordings() {
        let (bytes, from) = (&recording.bytes[..], recording.from);
        let whole = Format::ALL.map(|to| translated(from, to, [bytes]));
        for (to, whole) in Format::ALL.into_iter().zip(&whole) {
            assert!(translated(from, to, bytes.chunks(1)) == *whole, "{from:?} -> {to:?}, byte by byte");
        }
        for at in 1..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            // What is translated are whole events: one client is enough at each byte, and all take turns.
            let turn = at % Format::ALL.len();
            let to = Format::ALL[turn];
            assert!(translated(from, to, [head, tail]) == whole[turn], "{from:?} -> {to:?}, cut at {at}");
        }
    }
}

#[test]
fn whole_answers_replay_as_streams_say_them() {
    for_all(|recording, to, case| {
        // Of the stream a whole answer in the same format, of it a stream again.
        if recording.told.is_none() {
            return;
        }
        let from = recording.from;
        let responses = translated(from, Format::Responses, [&recording.bytes[..]]);
        let text = String::from_utf8(responses).expect("UTF-8");
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().expect("an event");
        let whole: Value = serde_json::from_str(last).expect("JSON");
        let whole = whole["response"].to_string();
        let (out, usage) = replay(Format::Responses, to, whole.as_bytes(), context()).expect("replayed");
        let mut expected = tellable(to, recording.told.as_ref().expect("told"));
        let mut heard = told(to, &out);
        assert_eq!(usage.map(|usage| (usage.prompt(), usage.answer(), usage.cached())), expected.usage, "{case}");
        // The order of a whole answer is that of its items: proofs of calls come before them.
        expected.proofs.sort_unstable();
        heard.proofs.sort_unstable();
        assert_eq!(heard, expected, "{case}");
    });
}
