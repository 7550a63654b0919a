//! Streams as providers send them: one of every format that says all there is to say, those of the promises, and one that
//! fails in its middle.

use super::*;
use crate::wire::eventstream;

/// What a stream tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub text: String,
    pub thought: String,
    /// Signatures and encrypted reasoning, of calls as well.
    pub proofs: Vec<String>,
    /// Id, name and arguments.
    pub calls: Vec<[String; 3]>,
    pub sources: Vec<String>,
    pub finish: Option<Finish>,
    /// Tokens of the prompt, of the answer, from the cache.
    pub usage: Option<(u64, u64, u64)>,
    pub error: Option<String>,
    pub ended: bool,
}

pub struct Recording {
    pub from: Format,
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// None where nothing is known but that every client must be told the same.
    pub told: Option<Told>,
}

/// The format's events until it fails, and the failure.
fn failing(from: Format) -> Vec<u8> {
    let failure = match from {
        Format::Chat | Format::Completions => {
            r#"data: {"error":{"message":"too much","type":"server_error","param":null,"code":null}}"#.to_string()
        }
        Format::Messages => {
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"too much\"}}".to_string()
        }
        Format::Responses => "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":9,\"response\":{\"id\":\"resp_9\",\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"too much\"},\"output\":[]}}".to_string(),
        Format::Gemini => r#"data: {"error": {"code": 503, "message": "too much", "status": "UNAVAILABLE"}}"#.to_string(),
        Format::Cohere => "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"too much\"}}".to_string(),
        Format::Converse => {
            let mut frame = Vec::new();
            let headers = [(":exception-type", "throttlingException"), (":message-type", "exception")];
            eventstream::write(&mut frame, &headers, |out| out.extend_from_slice(br#"{"message":"too much"}"#));
            return [frames("messageStart {\"role\":\"assistant\"}\ncontentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"so\"}}\n"), frame].concat();
        }
    };
    format!("{failure}\n\n").into_bytes()
}

/// Frames of lines of kind and payload.
fn frames(lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, payload) in lines.lines().filter_map(|line| line.split_once(' ')) {
        let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
        eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload.as_bytes()));
    }
    out
}

pub fn recordings() -> Vec<Recording> {
    let said = |proofs: &[&str]| Told {
        text: "Zürich \"😀\"".to_string(),
        thought: "Let me see\n".to_string(),
        proofs: proofs.iter().map(ToString::to_string).collect(),
        calls: [["call_1", "f", r#"{"a":1}"#], ["call_2", "g", r#"{"b":"é"}"#]]
            .map(|call| call.map(str::to_string))
            .to_vec(),
        sources: vec!["https://a.example/1".to_string()],
        finish: Some(Finish::ToolCalls),
        usage: Some((310, 20, 300)),
        error: None,
        ended: true,
    };
    let all = [
        (Format::Chat, include_bytes!("recorded/chat.sse").to_vec(), said(&[])),
        (Format::Responses, include_bytes!("recorded/responses.sse").to_vec(), said(&["gAAAAA_-x"])),
        (Format::Messages, include_bytes!("recorded/messages.sse").to_vec(), said(&["EqQB+/8=", "EmwKAhg="])),
        (Format::Gemini, include_bytes!("recorded/gemini.sse").to_vec(), said(&["EqQB+/8="])),
        (Format::Cohere, include_bytes!("recorded/cohere.sse").to_vec(), said(&[])),
        (Format::Converse, frames(include_str!("recorded/converse.frames")), said(&["EqQB+/8=", "EmwKAhg="])),
    ];
    let failed = Format::ALL.map(|from| Recording { from, name: "failing", bytes: failing(from), told: None });
    let promised: [(Format, &str, &[u8]); 6] = [
        (Format::Messages, "text", include_bytes!("../../../../../../tests/promises/streams/anthropic_text.sse")),
        (Format::Messages, "tools", include_bytes!("../../../../../../tests/promises/streams/anthropic_tools.sse")),
        (Format::Chat, "azure", include_bytes!("../../../../../../tests/promises/streams/azure_chat.sse")),
        (Format::Chat, "openai", include_bytes!("../../../../../../tests/promises/streams/openai_chat.sse")),
        (Format::Chat, "tools", include_bytes!("../../../../../../tests/promises/streams/openai_tools.sse")),
        (Format::Chat, "openrouter", include_bytes!("../../../../../../tests/promises/streams/openrouter_chat.sse")),
    ];
    let mut found: Vec<Recording> =
        all.into_iter().map(|(from, bytes, told)| Recording { from, name: "all", bytes, told: Some(told) }).collect();
    found.extend(failed);
    found.extend(promised.map(|(from, name, bytes)| Recording { from, name, bytes: bytes.to_vec(), told: None }));
    found
}
