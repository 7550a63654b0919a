//! Errors as AWS's clients read them: a header names the exception, the body its message.

use bytes::Bytes;

use crate::error::{Code, Error};
use crate::wire::eventstream;
use crate::wire::json::write::{Writer, escape};

pub fn error_body(error: &Error) -> Bytes {
    body(&error.message)
}

fn body(message: &str) -> Bytes {
    let mut out = Writer::with_capacity(32 + message.len());
    out.begin_object().member("message", message).end_object();
    out.finish().into()
}

/// The exception, for `x-amzn-errortype`.
pub fn error_type(error: &Error) -> &'static str {
    match error.code {
        Code::MissingKey | Code::InvalidKey => "UnrecognizedClientException",
        Code::UpstreamTimeout => "ModelTimeoutException",
        _ => error_type_of(error.http_status().as_u16()),
    }
}

/// The exception that a status alone stands for.
pub fn error_type_of(status: u16) -> &'static str {
    match status {
        401 | 403 => "AccessDeniedException",
        404 | 405 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// The frame that ends a stream which cannot go on.
pub fn exception_frame(error: &Error) -> Bytes {
    let kind = match error.http_status().as_u16() {
        429 => "throttlingException",
        503 => "serviceUnavailableException",
        400..=499 => "validationException",
        _ => "modelStreamErrorException",
    };
    let mut out = Vec::with_capacity(160 + error.message.len());
    failure_frame(kind, &error.message, &mut out);
    out.into()
}

/// An error body as the last frame of a stream.
pub fn failure_event(body: &[u8]) -> Vec<u8> {
    let headers = [
        (":exception-type", "internalServerException"),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    let mut out = Vec::with_capacity(160 + body.len());
    eventstream::write(&mut out, &headers, |out| out.extend_from_slice(body));
    out
}

/// Appends an exception of a stream.
pub fn failure_frame(kind: &str, message: &str, out: &mut Vec<u8>) {
    let headers = [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    eventstream::write(out, &headers, |out| {
        out.extend_from_slice(b"{\"message\":");
        escape(out, message);
        out.push(b'}');
    });
}
