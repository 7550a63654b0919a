//! The endpoints under `/mock/` by which a test steers an instance and looks at what it saw.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::body::MockBody;
use super::state::Shared;
use crate::Error;

/// Answers `/mock/ENDPOINT`.
pub fn answer(
    shared: &Shared,
    method: &Method,
    endpoint: &str,
    query: Option<&str>,
    body: &[u8],
) -> Response<MockBody> {
    let (status, value) = match (method, endpoint) {
        (&Method::GET, "requests") => {
            (StatusCode::OK, json!({"requests": shared.requests().last(parameter(query, "last").unwrap_or(50))}))
        }
        (&Method::GET, "stats") => (StatusCode::OK, shared.stats()),
        (&Method::GET, "journal/stats") => match &shared.journal {
            Some(journal) => (StatusCode::OK, journal.stats()),
            None => (StatusCode::NOT_FOUND, json!({"error": "this instance keeps no journal"})),
        },
        (&Method::GET, "defaults") => (StatusCode::OK, json!({"script": shared.defaults_text()})),
        (&Method::POST, "defaults") => told(script_text(body).and_then(|text| shared.set_defaults(&text)), shared),
        (&Method::POST, "reset") => told(shared.reset(), shared),
        _ => (StatusCode::NOT_FOUND, json!({"error": format!("no such endpoint: {method} /mock/{endpoint}")})),
    };
    let mut response = Response::new(MockBody::Plain(Some(value.to_string().into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn told(outcome: Result<(), Error>, shared: &Shared) -> (StatusCode, Value) {
    match outcome {
        Ok(()) => (StatusCode::OK, json!({"script": shared.defaults_text()})),
        Err(error) => (StatusCode::BAD_REQUEST, json!({"error": error.to_string()})),
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<usize> {
    query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// A script as plain text, or JSON `{"script": "…"}`.
fn script_text(body: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(body).map_err(|error| Error::Script(error.to_string()))?.trim();
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| Error::Script(error.to_string()))?;
    let script = value.get("script").and_then(Value::as_str);
    script.map(str::to_owned).ok_or_else(|| Error::Script("expected {\"script\": \"…\"}".to_owned()))
}
