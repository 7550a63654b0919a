//! Requests in Bedrock's Converse format, or in a model's own: the path names the model and whether a stream is wanted.

use bytes::Bytes;

use super::{invalid_json, present, scanned, wrong};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Call;
use crate::wire::json::{Kind, as_u64, scan_object, scan_value_object};

pub fn call(operation: Operation, body: &Bytes) -> Result<Call> {
    if body.is_empty() {
        return Err(Error::new(Code::InvalidJson, "The request body is empty; a JSON object is expected."));
    }
    if operation.is_envelope() {
        return own(operation, body);
    }
    let (scan, reserved) = scanned(body, &["messages", "inferenceConfig", "system"])?;
    let [messages, inference, system] = scan.fields.map(present);
    let stream = operation == Operation::ConverseStream;
    let mut call = Call { stream, choices: 1, reserved, ..Call::default() };
    if messages.is_some_and(|messages| messages.kind != Kind::Array) {
        return Err(wrong("messages", "an array"));
    }
    let said: u32 = [messages, system].into_iter().flatten().map(|value| value.end - value.start).sum();
    call.est_input = said.div_ceil(4);
    if let Some(inference) = inference {
        if inference.kind != Kind::Object {
            return Err(wrong("inferenceConfig", "an object"));
        }
        let inner = scan_value_object(body, inference, &["maxTokens"]).map_err(|error| invalid_json(&error))?;
        if let Some(limit) = present(inner.fields[0]) {
            let limit = as_u64(body, limit).ok_or_else(|| wrong("inferenceConfig.maxTokens", "a whole number"))?;
            call.max_output = Some(limit);
        }
    }
    Ok(call)
}

/// A body in a format that only its model knows: Llama's, Titan's, Stability's. Its fields are all the model's.
fn own(operation: Operation, body: &Bytes) -> Result<Call> {
    const LIMITS: [&str; 4] = ["max_tokens", "max_gen_len", "max_tokens_to_sample", "textGenerationConfig"];
    let scan = scan_object(body, &LIMITS).map_err(|error| invalid_json(&error))?;
    let [most, llama, old, titan] = scan.fields.map(present);
    let titan = titan.and_then(|set| scan_value_object(body, set, &["maxTokenCount"]).ok()?.fields[0]);
    let limits = [most, llama, old, titan].into_iter().flatten();
    Ok(Call {
        stream: operation == Operation::InvokeStream,
        choices: 1,
        est_input: u32::try_from(body.len()).unwrap_or(u32::MAX).div_ceil(4),
        max_output: limits.filter_map(|limit| as_u64(body, limit)).next(),
        ..Call::default()
    })
}
