//! What a caller's body is, by its members.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::endpoint::{Dialect, Endpoint, Operation, Owner, Payload};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::wire::json::{self, Kind, scan_object};

const fn row(pattern: &'static str, operation: Operation, dialect: Dialect) -> Endpoint {
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload: Payload::Json }
}

/// What requests without their envelope go through the pipeline as; no path leads here.
static MESSAGES: Endpoint = row("/model/{model}/invoke", Operation::Messages, Dialect::Anthropic);
static CHAT: Endpoint = row("/model/{model}/invoke", Operation::Chat, Dialect::OpenAi);
static CONVERSE: Endpoint = row("/model/{model}/invoke", Operation::Converse, Dialect::Bedrock);
static CONVERSE_STREAM: Endpoint = row("/model/{model}/invoke", Operation::ConverseStream, Dialect::Bedrock);

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Makes a request of a known format one of that format; what is left has no envelope any more.
///
/// # Errors
/// 400 for a body that is not what it says.
pub fn open(exchange: &mut Exchange, body: Bytes) -> Result<Bytes> {
    let fields = ["anthropic_version", "messages", "inferenceConfig", "schemaVersion"];
    // What cannot be scanned is refused where every body is read.
    let Ok(scan) = scan_object(&body, &fields) else { return Ok(body) };
    let [anthropic, messages, inference, schema] = scan.fields;
    if messages.is_none() {
        return Ok(body);
    }
    let stream = exchange.endpoint.operation == Operation::InvokeStream;
    if anthropic.is_some() {
        exchange.endpoint = &MESSAGES;
        betas(exchange, &body)?;
        return Ok(without(&body, scan.root, &["anthropic_version", "anthropic_beta", "model", "stream"], stream));
    }
    if inference.is_some() || schema.is_some() {
        exchange.endpoint = if stream { &CONVERSE_STREAM } else { &CONVERSE };
        return match inference.filter(|value| value.kind == Kind::Object) {
            Some(inference) if memchr::memmem::find(inference.raw(&body), b"\"topK\"").is_some() => nova(&body),
            _ => Ok(without(&body, scan.root, &["schemaVersion"], false)),
        };
    }
    exchange.endpoint = &CHAT;
    Ok(without(&body, scan.root, &["model", "stream"], stream))
}

/// Anthropic's own API wants in a header what Amazon's wants in the body.
fn betas(exchange: &mut Exchange, body: &[u8]) -> Result<()> {
    let Some(value) = scan_object(body, &["anthropic_beta"]).ok().and_then(|scan| scan.fields[0]) else {
        return Ok(());
    };
    let named: Option<Vec<String>> = serde_json::from_slice(value.raw(body)).ok();
    let joined = named.and_then(|named| HeaderValue::from_str(&named.join(",")).ok()).ok_or_else(|| {
        let text = "Invalid type for 'anthropic_beta': expected an array of strings.";
        Error::new(Code::InvalidRequest, text).param("anthropic_beta")
    })?;
    if !joined.is_empty() {
        exchange.headers.insert(BETA, joined);
    }
    Ok(())
}

/// An object without some of its members, asking for a stream if one is wanted.
fn without(body: &[u8], root: json::Value, names: &[&str], stream: bool) -> Bytes {
    let mut out = json::edit::without(body, root, names);
    if stream {
        out.extend_from_slice(if out.len() > 1 { b",\"stream\":true".as_slice() } else { b"\"stream\":true" });
    }
    out.push(b'}');
    out.into()
}

/// Nova's `topK`, which Converse has among the fields of the model's own.
fn nova(body: &[u8]) -> Result<Bytes> {
    let invalid = |error: serde_json::Error| {
        Error::new(Code::InvalidJson, format!("The request body is not valid JSON: {error}."))
    };
    let mut members: Map<String, Value> = serde_json::from_slice(body).map_err(invalid)?;
    members.remove("schemaVersion");
    let top = members.get_mut("inferenceConfig").and_then(Value::as_object_mut).and_then(|set| set.remove("topK"));
    if let Some(top) = top {
        let own = members.entry("additionalModelRequestFields").or_insert_with(|| Value::Object(Map::new()));
        if let Some(own) = own.as_object_mut() {
            own.insert("inferenceConfig".to_string(), serde_json::json!({"topK": top}));
        }
    }
    serde_json::to_vec(&members).map(Bytes::from).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_left_out_wherever_they_stand() {
        for (body, stream, expected) in [
            (r#"{"a":1,"model":"x","stream":true}"#, false, r#"{"a":1}"#),
            (r#"{ "model" : "x", "a" : [1, 2] }"#, true, r#"{"a" : [1, 2],"stream":true}"#),
            (r#"{"model":"x"}"#, true, r#"{"stream":true}"#),
            (r#"{"model":"x"}"#, false, "{}"),
        ] {
            let root = scan_object(body.as_bytes(), &[]).expect("an object").root;
            assert_eq!(without(body.as_bytes(), root, &["model", "stream"], stream), expected, "{body}");
        }
    }

    #[test]
    fn top_k_of_nova_moves() {
        let body = br#"{"schemaVersion":"messages-v1","messages":[],"inferenceConfig":{"maxTokens":5,"topK":20}}"#;
        let moved: Value = serde_json::from_slice(&nova(body).expect("moved")).expect("JSON");
        let expected = serde_json::json!({"messages": [], "inferenceConfig": {"maxTokens": 5},
            "additionalModelRequestFields": {"inferenceConfig": {"topK": 20}}});
        assert_eq!(moved, expected);
    }
}
