//! Streams of every dialect, their texts cut at every place and their bytes cut at every place.

mod cuts;
mod recorded;
mod values;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Caller, Watch};
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::guard::output::refusal;
use crate::guard::record::Record;
use crate::guard::{Action, Finding, Side, compile};
use crate::snapshot::wire;
use crate::wire::eventstream;

pub(super) const DIALECTS: [(Dialect, Operation); 7] = [
    (Dialect::OpenAi, Operation::Chat),
    (Dialect::OpenAi, Operation::Completions),
    (Dialect::Responses, Operation::Responses),
    (Dialect::Anthropic, Operation::Messages),
    (Dialect::Gemini, Operation::StreamGenerateContent),
    (Dialect::Cohere, Operation::CohereChat),
    (Dialect::Bedrock, Operation::ConverseStream),
];

pub(super) fn side(regex: &str, action: &str, stream: &str) -> Side {
    let pattern = wire::Pattern {
        label: "SECRET".to_string(),
        regex: Some(regex.to_string()),
        words: Vec::new(),
        whole: true,
        ignore_case: false,
        validator: None,
    };
    let rule = wire::Guardrail {
        name: "rule".to_string(),
        input: false,
        output: true,
        action: action.to_string(),
        shadow: false,
        fails_closed: true,
        stream: stream.to_string(),
        normalise: Vec::new(),
        patterns: vec![pattern],
        checks: None,
        keeps_s: 0,
        unscannable: "allow".into(),
        webhook: None,
    };
    compile(&[rule], &[0], &Record::default(), 400).expect("compiles").output.expect("looks at answers")
}

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub out: Vec<u8>,
    pub refusal: Option<String>,
}

/// A stream that arrives in these pieces.
pub(super) fn run<'p>(
    (dialect, operation): (Dialect, Operation),
    side: &Side,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Outcome {
    let mut watch = Watch::new(dialect);
    let mut report = |finding: &Finding| -> Result<(), Error> {
        if finding.rule.effect() == Action::Block { Err(refusal(finding, "stream", 400)) } else { Ok(()) }
    };
    let caller = Caller { dialect, operation, request_id: "req_1".into(), model: "m".into(), seconds: 1 };
    let mut out = Vec::new();
    let pieces = pieces.into_iter().map(|piece| Some(Bytes::copy_from_slice(piece)));
    for piece in pieces.chain([None]) {
        let (bytes, error) = match piece {
            Some(piece) => watch.push(side, piece, &mut report),
            None => watch.end(side, &mut report),
        };
        out.extend_from_slice(&bytes);
        if let Some(error) = error {
            out.extend_from_slice(&watch.ending(&caller, &error));
            return Outcome { out, refusal: Some(error.message.to_string()) };
        }
    }
    Outcome { out, refusal: None }
}

/// The events of a stream: what they are, and their JSON.
pub(super) fn events(dialect: Dialect, stream: &[u8]) -> Vec<(String, Value)> {
    if dialect == Dialect::Bedrock {
        let batch = eventstream::Framer::new(1 << 20).push(Bytes::copy_from_slice(stream)).expect("frames");
        assert_eq!(batch.bytes.len(), stream.len(), "half a frame");
        let frames = batch.events().map(|frame| eventstream::Frame::parse(frame).expect("a sound frame"));
        return frames
            .map(|frame| {
                let kind = frame.text(":event-type").or(frame.text(":exception-type")).expect("a kind");
                (kind.to_string(), serde_json::from_slice(frame.payload).expect("JSON"))
            })
            .collect();
    }
    let text = std::str::from_utf8(stream).expect("UTF-8").replace("\r\n", "\n");
    let events = text.split("\n\n").filter_map(|event| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "))?;
        let data: Value = if data == "[DONE]" { json!(null) } else { serde_json::from_str(data).expect(data) };
        let name = event.lines().find_map(|line| line.strip_prefix("event: "));
        let kind = name.or(data["type"].as_str()).unwrap_or_default().to_string();
        Some((kind, data))
    });
    events.collect()
}

/// The texts of a stream as a client puts them together, by name and number.
pub(super) fn texts(dialect: Dialect, stream: &[u8]) -> BTreeMap<String, String> {
    fn collect(value: &Value, name: &str, place: &str, out: &mut BTreeMap<String, String>) {
        match value {
            Value::String(text)
                if [
                    "content",
                    "text",
                    "thinking",
                    "arguments",
                    "partial_json",
                    "input",
                    "delta",
                    "reasoning_content",
                ]
                .contains(&name) =>
            {
                out.entry(format!("{place}/{name}")).or_default().push_str(text);
            }
            Value::Object(members) => {
                let mut place = place.to_string();
                if let Some(number) = members.get("index") {
                    place += &format!(".{number}");
                }
                if members.get("thought").is_some() {
                    place += "t";
                }
                for (name, value) in members {
                    collect(value, name, &place, out);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| collect(element, name, place, out)),
            _ => {}
        }
    }
    let mut out = BTreeMap::new();
    for (kind, data) in events(dialect, stream) {
        // What Responses say twice is not put together.
        if !kind.ends_with(".done") && !kind.starts_with("response.completed") && kind != "response.incomplete" {
            let number = data["output_index"].as_u64().or(data["contentBlockIndex"].as_u64());
            let place = number.map(|number| number.to_string()).unwrap_or_default();
            collect(&data, "", &place, &mut out);
        }
    }
    out.retain(|_, text| !text.is_empty());
    out
}
