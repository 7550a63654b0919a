//! Changes of a request or an answer, compiled.

use http::{HeaderName, HeaderValue};
use regex::Regex;
use serde_json::Map;

use super::compile::{Fault, assignments, dotted, steps, wrong};
use super::{Phase, wire};
use crate::snapshot::FORWARDED;

const REGEX_BYTES: usize = 256 * 1024;

/// One change of a request or an answer.
#[derive(Debug)]
pub enum Op {
    SetHeader(HeaderName, HeaderValue),
    RemoveHeader(HeaderName),
    SetField(Vec<String>, Vec<u8>),
    RemoveField(Vec<String>),
    System { text: String, before: bool },
    Replace { pattern: Regex, replacement: String },
    Message { role: String, content: String, first: bool },
}

/// # Errors
/// Where in the changes, and what is wrong.
pub(super) fn ops(told: Vec<wire::Op>, phase: Phase) -> Result<Vec<Op>, Fault> {
    if told.is_empty() {
        return wrong("transform", "changes nothing");
    }
    told.into_iter().enumerate().map(|(at, op)| one(op, phase, &format!("transform.ops[{at}]"))).collect()
}

fn one(op: wire::Op, phase: Phase, place: &str) -> Result<Op, Fault> {
    let header = |name: &str| {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| (place.to_string(), format!("{name:?} is no header")))?;
        let fixed = ["content-length", "content-type", "transfer-encoding", "connection", "set-cookie"];
        if fixed.contains(&parsed.as_str()) || parsed.as_str().starts_with("x-ailink-") {
            return wrong(place, format!("the header `{parsed}` is the gateway's"));
        }
        if phase == Phase::Pre && !FORWARDED.contains(&parsed) {
            let names = FORWARDED;
            let known: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            return wrong(place, format!("providers do not get `{parsed}`; they get {}", known.join(", ")));
        }
        Ok(parsed)
    };
    let only_before = |op: Op| match phase {
        Phase::Pre => Ok(op),
        _ => wrong(place, "an answer has neither a system prompt nor messages to add"),
    };
    match op {
        wire::Op::SetHeader { name, value } => {
            let value = HeaderValue::from_str(&value);
            let value = value.map_err(|_| (place.to_string(), "is no value of a header".to_string()))?;
            Ok(Op::SetHeader(header(&name)?, value))
        }
        wire::Op::RemoveHeader { name } => Ok(Op::RemoveHeader(header(&name)?)),
        wire::Op::SetBodyField { field, value } => {
            let one = Map::from_iter([(field, value)]);
            let set = assignments(&one, place)?;
            set.into_iter()
                .next()
                .map_or_else(|| wrong(place, "sets nothing"), |(path, json)| Ok(Op::SetField(path, json)))
        }
        wire::Op::RemoveBodyField { field } => Ok(Op::RemoveField(steps(&field))),
        wire::Op::AppendSystemPrompt { text } => only_before(Op::System { text, before: false }),
        wire::Op::PrependSystemPrompt { text } => only_before(Op::System { text, before: true }),
        wire::Op::RegexReplace { pattern, replacement } => {
            let built = regex::RegexBuilder::new(&pattern).size_limit(REGEX_BYTES).build();
            let pattern = built.map_err(|error| {
                let text = error.to_string();
                (dotted(place, "pattern"), text.lines().last().unwrap_or_default().trim().to_string())
            })?;
            Ok(Op::Replace { pattern, replacement })
        }
        wire::Op::AddMessage { role, content, position } => {
            only_before(Op::Message { role, content, first: position == "first" })
        }
    }
}
