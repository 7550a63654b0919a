//! `/health/*`: answered here, without a key, so that an orchestrator's probe depends on nothing else.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::exchange::RequestId;
use crate::shard::{Phase, Shard};

/// Liveness says the process answers; readiness says it should be sent requests. The LiteLLM names answer in its shapes.
pub fn answer(shard: &Shard, pattern: &str, id: &RequestId) -> Response<Body> {
    let ready = shard.shared.is_ready();
    let phase = shard.shared.phase();
    let (status, body) = match pattern {
        "/health/live" => (StatusCode::OK, r#"{"status":"alive"}"#.to_string()),
        "/health/liveliness" | "/health/liveness" => (StatusCode::OK, "\"I'm alive!\"".to_string()),
        "/health/readiness" if ready => (StatusCode::OK, r#"{"status":"healthy","db":"connected"}"#.to_string()),
        _ => {
            let word = match (ready, phase) {
                (true, _) => "ready",
                (false, Phase::Serving) => "starting",
                (false, _) => "shutting down",
            };
            let details = shard.shared.status.lock().details.clone();
            let details = String::from_utf8(details).ok().filter(|text| !text.is_empty());
            let details = details.map_or(String::new(), |text| format!(r#","details":{text}"#));
            let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (code, format!(r#"{{"status":"{word}"{details}}}"#))
        }
    };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-request-id", id.header());
    response
}
