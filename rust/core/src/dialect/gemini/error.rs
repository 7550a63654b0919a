//! Errors as `google.rpc.Status` has them.

use bytes::Bytes;

use crate::error::Error;
use crate::wire::json::write::Writer;

/// The canonical name of an HTTP status (google.rpc.Code).
pub fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        502 | 503 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// The kind of an error, as the other formats name it, of a canonical name.
pub fn kind(status: &str) -> &'static str {
    match status {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => "invalid_request_error",
        "UNAUTHENTICATED" => "authentication_error",
        "PERMISSION_DENIED" => "permission_error",
        "NOT_FOUND" => "not_found_error",
        "RESOURCE_EXHAUSTED" => "rate_limit_error",
        "UNAVAILABLE" => "overloaded_error",
        "DEADLINE_EXCEEDED" => "timeout_error",
        _ => "api_error",
    }
}

/// The status and canonical name that a kind stands for.
pub fn status_of_kind(kind: &str) -> (u16, &'static str) {
    let code = match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "rate_limit_error" | "requests" | "tokens" => 429,
        "overloaded_error" => 503,
        "timeout_error" => 504,
        _ => 500,
    };
    (code, status_name(code))
}

pub fn error_body(error: &Error, request_id: &str) -> Bytes {
    let facts = error.code.facts();
    let status = error.http_status().as_u16();
    let mut out = Writer::with_capacity(320 + error.message.len());
    out.begin_object().key("error").begin_object();
    out.key("code").uint(u64::from(status)).member("message", &error.message);
    out.member("status", status_name(status)).key("details").begin_array();
    out.begin_object().member("@type", "type.googleapis.com/google.rpc.ErrorInfo");
    out.member("reason", &facts.code.to_ascii_uppercase()).member("domain", "ailink");
    out.key("metadata").begin_object().member("requestId", request_id);
    if let Some(param) = error.param.as_ref() {
        out.member("parameter", param);
    }
    out.end_object().end_object();
    if let Some(wait) = error.retry_after {
        out.begin_object().member("@type", "type.googleapis.com/google.rpc.RetryInfo");
        out.member("retryDelay", &format!("{}s", wait.as_secs_f64())).end_object();
    }
    out.end_array().end_object().end_object();
    out.finish().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Code;

    #[test]
    fn errors_have_googles_shape() {
        let error = Error::new(Code::RateLimited, "slow \"down\"").retry_after(Duration::from_millis(1500));
        let body: serde_json::Value = serde_json::from_slice(&error_body(&error, "req_1")).expect("JSON");
        let error = &body["error"];
        assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(429), Some("RESOURCE_EXHAUSTED")));
        assert_eq!(error["message"], "slow \"down\"");
        assert_eq!(error["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
        assert_eq!(error["details"][1]["retryDelay"], "1.5s");
    }
}
