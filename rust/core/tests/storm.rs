//! Requests, answers and streams of every format, changed at random: the targets of `fuzz/` without a nightly compiler.
//! A second per format, or as long as `STORM_SECONDS` says; `STORM_SEED` repeats a run.

use std::time::{Duration, Instant};

use ailink_core::dialect::Format;

#[path = "../fuzz/fuzz_targets/dialect/mod.rs"]
mod dialect;

/// What a format looks like: a request, an answer, a stream (one event a line; Converse's with their kind in front).
macro_rules! seeds {
    ($name:literal) => {
        &[
            include_str!(concat!("../fuzz/seeds/", $name, "/request")),
            include_str!(concat!("../fuzz/seeds/", $name, "/answer")),
            include_str!(concat!("../fuzz/seeds/", $name, "/stream")),
        ]
    };
}

const SEEDS: [(Format, &[&str]); 6] = [
    (Format::Chat, seeds!("chat")),
    (Format::Messages, seeds!("messages")),
    (Format::Responses, seeds!("responses")),
    (Format::Gemini, seeds!("gemini")),
    (Format::Cohere, seeds!("cohere")),
    (Format::Converse, seeds!("converse")),
];

/// What is put in somewhere.
const PIECES: [&str; 22] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "1e400",
    "18446744073709551616",
    "0.5",
    "\\u0000",
    "\\ud83d",
    "\u{1f600}",
    "\\n",
    ",",
    ":",
    "\"",
    "}",
    "]",
    "[[[[",
    "\"type\":\"x\",",
    "\"index\":4294967296,",
    "\n",
];

/// A few changes to one of `seeds`.
fn mutant(random: &mut fastrand::Rng, seeds: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.usize(..seeds.len())].as_bytes().to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..24)).min(bytes.len());
        match random.u8(..6) {
            0 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].bytes())),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copied = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            3 => {
                let other = seeds[random.usize(..seeds.len())].as_bytes();
                let from = random.usize(..other.len());
                let to = (from + random.usize(..200)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            4 => value(random, &mut bytes),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = random.u8(..)),
        }
    }
    bytes.insert(0, random.u8(..));
    bytes
}

/// Another value behind one of the colons: the JSON stays whole.
fn value(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    let colons: Vec<usize> =
        bytes.windows(2).enumerate().filter(|(_, two)| *two == b"\":").map(|(at, _)| at + 2).collect();
    let Some(at) = (!colons.is_empty()).then(|| colons[random.usize(..colons.len())]) else { return };
    let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<&serde_json::value::RawValue>();
    let Some(Ok(old)) = values.next() else { return };
    let end = at + old.get().len();
    drop(bytes.splice(at..end, PIECES[random.usize(..9)].bytes()));
}

#[test]
fn nothing_comes_through_that_should_not() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = of("STORM_SECONDS").unwrap_or(1);
    let seed = of("STORM_SEED").unwrap_or(20_261_122);
    for (format, seeds) in SEEDS {
        for whole in seeds {
            dialect::run(format, &[b"\x07", whole.as_bytes()].concat());
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let (begun, mut count) = (Instant::now(), 0u64);
        while begun.elapsed() < Duration::from_secs(seconds) {
            let input = mutant(&mut random, seeds);
            let run = std::panic::catch_unwind(|| dialect::run(format, &input));
            assert!(run.is_ok(), "{format:?}, input {:?}", String::from_utf8_lossy(&input));
            count += 1;
        }
        println!("{format:?}: {count} inputs in {seconds} s");
    }
}
