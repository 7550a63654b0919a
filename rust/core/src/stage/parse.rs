//! What is asked for: the body, read once within bounds, and where in it the fields stand that the gateway needs.

mod bedrock;
mod gemini;
mod planned;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{Flow, identify};
use crate::account::Admission;
use crate::endpoint::{Dialect, Operation, Payload};
use crate::error::{Code, Error, Result};
use crate::exchange::{Call, Exchange};
use crate::invoke;
use crate::kernel::reserved::is_reserved;
use crate::kernel::sound;
use crate::patience::promptly;
use crate::realtime::handshake;
use crate::wire::json::{self, Kind, Scan, Value, scan_object, scan_object_noting, scan_value_object};
use crate::wire::multipart;
pub use planned::planned;

pub async fn run(exchange: &mut Exchange) -> Result<Flow> {
    let body = read_body(exchange).await?;
    if exchange.signed.is_some() {
        identify::verify(exchange, &body)?;
    }
    let body = if exchange.endpoint.operation.is_envelope() { invoke::open(exchange, body)? } else { body };
    understand(exchange, body)?;
    permitted(&exchange.call)?;
    Ok(Flow::Next)
}

/// Takes a body that has come by another way than as a request's.
///
/// # Errors
/// 413 or 503 when it is more than may be held, 400 for what is no request.
pub fn given(exchange: &mut Exchange, body: Bytes) -> Result<()> {
    let limit = exchange.shard.shared.options.limits.body_bytes;
    if body.len() as u64 > limit {
        return Err(too_large(limit));
    }
    let admission = exchange.admission.get_or_insert_with(|| Admission::new(exchange.shard.clone()));
    if !admission.hold_body(body.len() as u64) {
        return Err(full());
    }
    understand(exchange, body)?;
    permitted(&exchange.call)
}

/// Refuses what a client may not say. What policies made of a request is the operator's, and is not asked here.
fn permitted(call: &Call) -> Result<()> {
    call.reserved.as_deref().map_or(Ok(()), |name| Err(reserved(name)))
}

/// The same for the body of a request that comes without one of its own.
///
/// # Errors
/// It is no JSON object, or has a field that is the operator's to set.
pub fn unreserved(body: &Bytes) -> Result<()> {
    let (_, reserved) = scanned(body, &[])?;
    permitted(&Call { reserved, ..Call::default() })
}

/// What a field is refused with that is the operator's to set.
fn reserved(name: &str) -> Error {
    let text = format!(
        "'{name}' is set by the gateway's operator, not by requests: whom to ask with which credential, prices and what is \
         logged. Leave it out; `model` chooses whom to ask."
    );
    Error::new(Code::ParameterUnsupported, text).param(name.to_string())
}

/// The wanted members of a body, and which of the others is the operator's to set.
fn scanned<const N: usize>(body: &Bytes, wanted: &[&str; N]) -> Result<(Scan<N>, Option<Box<str>>)> {
    let (scan, key) = scan_object_noting(body, wanted, is_reserved).map_err(|error| invalid_json(&error))?;
    Ok((scan, key.and_then(|key| json::string(body, key)).map(|name| name.into_owned().into_boxed_str())))
}

/// Finds in a body what is asked for; again when it was rewritten.
pub fn understand(exchange: &mut Exchange, body: Bytes) -> Result<()> {
    let mut call = match exchange.endpoint.payload {
        Payload::None if exchange.endpoint.operation.is_session() => {
            let model = handshake::model(exchange.query.as_deref())?;
            handshake::check(&exchange.headers, exchange.upgrade.is_some())?;
            Call { model, choices: 1, ..Call::default() }
        }
        Payload::None => Call::default(),
        Payload::Json if exchange.endpoint.dialect == Dialect::Gemini => {
            gemini::call(exchange.endpoint.operation, &body)?
        }
        Payload::Json if exchange.endpoint.dialect == Dialect::Bedrock => {
            bedrock::call(exchange.endpoint.operation, &body)?
        }
        Payload::Json => json_call(exchange.endpoint.operation, &body)?,
        Payload::Multipart => multipart_call(exchange, &body)?,
    };
    if call.body.is_empty() {
        call.body = body;
    }
    call.content_type = exchange.headers.get(CONTENT_TYPE).cloned();
    if let Some(model) = &exchange.path_model {
        call.model.clone_from(model);
    }
    if call.model.is_empty() {
        return Err(missing("model"));
    }
    exchange.call = call;
    Ok(())
}

/// Reads the whole body under the size, idle and in-flight bounds.
pub async fn read_body(exchange: &mut Exchange) -> Result<Bytes> {
    let limits = &exchange.shard.shared.options.limits;
    let admission = exchange.admission.get_or_insert_with(|| Admission::new(exchange.shard.clone()));
    let Some(mut incoming) = exchange.inbound.take() else { return Ok(Bytes::new()) };
    if exchange.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Error::new(
            Code::UnsupportedEncoding,
            "Compressed request bodies are not supported; send identity.",
        )
        .closing());
    }
    let limit = limits.body_bytes;
    let announced = exchange
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if !admission.hold_body(announced.unwrap_or(0)) {
        return Err(full());
    }
    let idle = Duration::from_millis(limits.body_idle_ms);
    let mut whole = Bytes::new();
    let mut grown = BytesMut::new();
    let mut total = 0u64;
    while let Some(data) = next_data(&mut incoming, idle).await? {
        total += data.len() as u64;
        if total > limit {
            return Err(too_large(limit));
        }
        if announced.is_none() && !admission.hold_body(data.len() as u64) {
            return Err(full());
        }
        if whole.is_empty() && grown.is_empty() {
            // Nearly always the only frame: kept as it is.
            whole = data;
        } else {
            if grown.is_empty() {
                let wanted = announced.unwrap_or(0).min(limit).max(total);
                grown.reserve(usize::try_from(wanted).unwrap_or(0));
                grown.extend_from_slice(&std::mem::take(&mut whole));
            }
            grown.extend_from_slice(&data);
        }
    }
    Ok(if grown.is_empty() { whole } else { grown.freeze() })
}

/// The next piece of a request body; `None` at its end.
///
/// # Errors
/// 408 when nothing comes for `idle`, 400 when the body is broken.
pub async fn next_data(incoming: &mut Incoming, idle: Duration) -> Result<Option<Bytes>> {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx));
        let frame = promptly(idle, frame).await.ok_or_else(|| {
            let text = format!("The request body stopped arriving for {} s.", idle.as_secs_f32());
            Error::new(Code::BodyTimeout, text).closing()
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                return Err(Error::new(Code::InvalidRequest, format!("The request body is broken: {error}.")).closing());
            }
        }
    }
}

fn too_large(limit: u64) -> Error {
    Error::new(Code::BodyTooLarge, format!("The request body is larger than {limit} bytes.")).closing()
}

fn full() -> Error {
    Error::new(Code::Overloaded, "The gateway holds as many request bytes as it may. Retry shortly.")
        .retry_after(Duration::from_secs(1))
        .closing()
}

fn missing(param: &'static str) -> Error {
    Error::new(Code::PayloadMissing, format!("Missing required parameter: '{param}'.")).param(param)
}

fn wrong(param: &'static str, expected: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("Invalid type for '{param}': expected {expected}.")).param(param)
}

fn invalid_json(error: &json::JsonError) -> Error {
    Error::new(Code::InvalidJson, format!("The request body is not valid JSON: {error}."))
}

const FIELDS: [&str; 15] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "messages",
    "prompt",
    "input",
    "query",
    "documents",
    "user",
    "metadata",
    "cache",
];

fn json_call(operation: Operation, body: &Bytes) -> Result<Call> {
    if body.is_empty() {
        return Err(Error::new(Code::InvalidJson, "The request body is empty; a JSON object is expected."));
    }
    let (scan, reserved) = scanned(body, &FIELDS)?;
    if let Some(found) = scan.fields[FIELDS.len() - 1].filter(|found| found.kind == Kind::Object) {
        return without_cache(operation, body, found);
    }
    let [model, stream, stream_options, max_tokens, max_completion, max_output, n, content @ ..] = scan.fields;
    let [messages, prompt, input, query, documents, user, metadata, _] = content;
    let mut call = Call { root: Some(scan.root), choices: 1, user, metadata, reserved, ..Call::default() };
    if let Some(model) = present(model) {
        let text = json::string(body, model).ok_or_else(|| wrong("model", "a string"))?;
        call.model = text.into_owned();
        call.model_span = Some((model.start, model.end));
    }
    if let Some(stream) = present(stream) {
        call.stream = json::as_bool(body, stream).ok_or_else(|| wrong("stream", "a boolean"))?;
    }
    call.stream_value = stream;
    if let Some(options) = present(stream_options) {
        if options.kind != Kind::Object {
            return Err(wrong("stream_options", "an object"));
        }
        let inner = scan_value_object(body, options, &["include_usage"]).map_err(|error| invalid_json(&error))?;
        call.include_usage_value = inner.fields[0];
        if let Some(include) = present(inner.fields[0]) {
            call.include_usage =
                Some(json::as_bool(body, include).ok_or_else(|| wrong("stream_options.include_usage", "a boolean"))?);
        }
    }
    call.stream_options = stream_options;
    let limits =
        [(max_tokens, "max_tokens"), (max_completion, "max_completion_tokens"), (max_output, "max_output_tokens")];
    for (value, name) in limits {
        if let Some(value) = present(value) {
            call.max_output = Some(json::as_u64(body, value).ok_or_else(|| wrong(name, "a whole number"))?);
        }
    }
    if let Some(n) = present(n) {
        call.choices = json::as_u64(body, n).ok_or_else(|| wrong("n", "a whole number"))?.max(1);
    }
    if operation == Operation::Responses {
        call.background = background(body)?;
    }
    let content = required(operation, [messages, prompt, input, query, documents])?;
    call.content_bytes = content.map_or(0, |content| content.end - content.start);
    call.est_input = call.content_bytes.div_ceil(4);
    if operation == Operation::AudioSpeech {
        let text = content.and_then(|content| json::string(body, content)).unwrap_or_default();
        call.characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    }
    Ok(call)
}

/// The same without LiteLLM's `cache`, which is meant for the gateway and no provider knows.
fn without_cache(operation: Operation, body: &Bytes, found: Value) -> Result<Call> {
    let bad = || wrong("cache", "an object");
    let controls: serde_json::Value = serde_json::from_slice(found.raw(body)).map_err(|_| bad())?;
    let (before, after) = body.split_at_checked(found.start as usize).ok_or_else(bad)?;
    // The key's quotes and its colon stand before it, with white space anywhere between.
    let key = before.iter().rposition(|byte| *byte == b'"').ok_or_else(bad)?;
    let key = before.get(..key).and_then(|rest| rest.iter().rposition(|byte| *byte == b'"')).ok_or_else(bad)?;
    let mut kept = before.get(..key).ok_or_else(bad)?.trim_ascii_end().to_vec();
    let after = after.get((found.end - found.start) as usize..).ok_or_else(bad)?.trim_ascii_start();
    // One of the commas around it goes, too.
    let after = match after.strip_prefix(b",") {
        Some(rest) => rest,
        None => {
            kept.truncate(kept.strip_suffix(b",").map_or(kept.len(), <[u8]>::len));
            after
        }
    };
    kept.extend_from_slice(after);
    let kept = Bytes::from(kept);
    let mut call = json_call(operation, &kept)?;
    call.body = kept;
    call.cache = Some(Box::new(controls));
    Ok(call)
}

/// Whether the answer is to be made in the background.
fn background(body: &Bytes) -> Result<bool> {
    let scan = scan_object(body, &["background"]).map_err(|error| invalid_json(&error))?;
    let Some(value) = present(scan.fields[0]) else { return Ok(false) };
    json::as_bool(body, value).ok_or_else(|| wrong("background", "a boolean"))
}

/// A member that is there and not null.
fn present(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.kind != Kind::Null)
}

/// The member that carries the content of an operation; its absence or wrong kind is told before any money is spent.
fn required(operation: Operation, fields: [Option<Value>; 5]) -> Result<Option<Value>> {
    let [messages, prompt, input, query, documents] = fields.map(present);
    let of_kind = |value: Option<Value>, name: &'static str, kinds: &[Kind], expected: &str| match value {
        None => Err(missing(name)),
        Some(value) if kinds.contains(&value.kind) => Ok(Some(value)),
        Some(_) => Err(wrong(name, expected)),
    };
    let text = [Kind::String, Kind::Array];
    match operation {
        Operation::Chat | Operation::Messages | Operation::CountTokens | Operation::CohereChat => {
            of_kind(messages, "messages", &[Kind::Array], "an array")
        }
        Operation::Completions => of_kind(prompt, "prompt", &text, "a string or an array"),
        Operation::Fim => of_kind(prompt, "prompt", &[Kind::String], "a string"),
        Operation::ImagesGenerations => of_kind(prompt, "prompt", &[Kind::String], "a string"),
        Operation::Embeddings => of_kind(input, "input", &text, "a string or an array"),
        Operation::Moderations => of_kind(input, "input", &text, "a string or an array"),
        // A stored prompt may take its place.
        Operation::Responses | Operation::ResponsesInputTokens => Ok(input),
        Operation::AudioSpeech => of_kind(input, "input", &[Kind::String], "a string"),
        Operation::Rerank => {
            of_kind(documents, "documents", &[Kind::Array], "an array")?;
            of_kind(query, "query", &[Kind::String, Kind::Object], "a string")
        }
        _ => Ok(None),
    }
}

fn multipart_call(exchange: &Exchange, body: &Bytes) -> Result<Call> {
    let bad = |text: String| Error::new(Code::InvalidRequest, text);
    let content_type = exchange.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multipart::boundary(content_type)
        .ok_or_else(|| bad("Content-Type must be multipart/form-data with a boundary.".to_string()))?;
    let malformed = |error: multipart::MultipartError| bad(format!("The form is not valid: {error}."));
    let parts = multipart::parts(body, &boundary).map_err(malformed)?;
    let reserved = parts.iter().find(|part| is_reserved(part.name.as_bytes()));
    let reserved = reserved.map(|part| part.name.clone().into_boxed_str());
    let mut call = Call { boundary: Some(boundary.clone()), choices: 1, reserved, ..Call::default() };
    if let Some(part) = multipart::field(&parts, "model").map_err(malformed)? {
        let range = part.content.clone();
        let text = std::str::from_utf8(body.get(range.clone()).unwrap_or_default())
            .map_err(|_| bad("The model field is not UTF-8.".to_string()).param("model"))?;
        call.model = text.trim().to_string();
        call.model_span = Some((range.start as u32, range.end as u32));
    }
    if let Some(part) = multipart::field(&parts, "stream").map_err(malformed)? {
        call.stream = body.get(part.content.clone()).is_some_and(|value| value.trim_ascii() == b"true");
    }
    if let Some(part) = multipart::field(&parts, "n").map_err(malformed)? {
        let text = std::str::from_utf8(body.get(part.content.clone()).unwrap_or_default()).unwrap_or_default();
        call.choices = text.trim().parse::<u64>().map_err(|_| wrong("n", "a whole number"))?.max(1);
    }
    if matches!(exchange.endpoint.operation, Operation::AudioTranscriptions | Operation::AudioTranslations)
        && let Some(part) = multipart::field(&parts, "file").map_err(malformed)?
    {
        call.recording = sound::length(body.get(part.content.clone()).unwrap_or_default());
    }
    Ok(call)
}
