//! Requests in Google's format: the path names model and verb, the body only what is to be said.

use bytes::Bytes;

use super::{invalid_json, missing, present, scanned, wrong};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Call;
use crate::wire::json::{Kind, Value, as_u64, elements, scan_value_object};

const FIELDS: [&str; 6] =
    ["contents", "generationConfig", "generation_config", "content", "requests", "generateContentRequest"];

pub fn call(operation: Operation, body: &Bytes) -> Result<Call> {
    if body.is_empty() {
        return Err(Error::new(Code::InvalidJson, "The request body is empty; a JSON object is expected."));
    }
    let (scan, reserved) = scanned(body, &FIELDS)?;
    let [contents, camel, snake, content, requests, inner] = scan.fields.map(present);
    let stream = operation == Operation::StreamGenerateContent;
    let mut call = Call { stream, choices: 1, reserved, ..Call::default() };
    let said = match operation {
        Operation::GeminiCountTokens if inner.is_some() => inner_request(body, inner, &mut call)?,
        Operation::EmbedContent => of_kind(content, "content", Kind::Object, "an object")?,
        Operation::BatchEmbedContents => {
            let requests = of_kind(requests, "requests", Kind::Array, "an array")?;
            for request in elements(body, requests) {
                inner_request(body, Some(request), &mut call)?;
            }
            requests
        }
        _ => of_kind(contents, "contents", Kind::Array, "an array")?,
    };
    call.est_input = (said.end - said.start).div_ceil(4);
    if let Some(config) = camel.or(snake) {
        generation_config(body, config, &mut call)?;
    }
    Ok(call)
}

fn of_kind(value: Option<Value>, name: &'static str, kind: Kind, expected: &str) -> Result<Value> {
    match value {
        None => Err(missing(name)),
        Some(value) if value.kind == kind => Ok(value),
        Some(_) => Err(wrong(name, expected)),
    }
}

/// A request inside the body: it names the model once more.
fn inner_request(body: &Bytes, request: Option<Value>, call: &mut Call) -> Result<Value> {
    let request = of_kind(request, "requests", Kind::Object, "an array of objects")?;
    let scan = scan_value_object(body, request, &["model"]).map_err(|error| invalid_json(&error))?;
    if let Some(model) = present(scan.fields[0]) {
        if model.kind != Kind::String {
            return Err(wrong("model", "a string"));
        }
        call.inner_models.push((model.start, model.end));
    }
    Ok(request)
}

fn generation_config(body: &Bytes, config: Value, call: &mut Call) -> Result<()> {
    if config.kind != Kind::Object {
        return Err(wrong("generationConfig", "an object"));
    }
    let names = ["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"];
    let inner = scan_value_object(body, config, &names).map_err(|error| invalid_json(&error))?;
    let [most, most_snake, choices, choices_snake] = inner.fields.map(present);
    let number = |value: Option<Value>, name: &'static str| {
        value.map(|value| as_u64(body, value).ok_or_else(|| wrong(name, "a whole number"))).transpose()
    };
    call.max_output = number(most.or(most_snake), "generationConfig.maxOutputTokens")?;
    call.choices = number(choices.or(choices_snake), "generationConfig.candidateCount")?.unwrap_or(1).max(1);
    Ok(())
}
