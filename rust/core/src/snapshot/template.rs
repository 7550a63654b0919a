//! The fixed part of requests to a deployment: request line, host, headers that never change.

use http::{HeaderName, HeaderValue};

use super::RequestTemplate;
use crate::upstream::origin::BaseUrl;

/// Headers of the caller that reach the provider; a row's header of the same name is only the default.
pub const FORWARDED: [HeaderName; 8] = [
    http::header::ACCEPT,
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-client-request-id"),
];

pub type Defaults = Vec<(HeaderName, HeaderValue)>;

pub fn static_headers(headers: &std::collections::BTreeMap<String, String>) -> Result<(Vec<u8>, Defaults), String> {
    let mut fixed = Vec::new();
    let mut defaults = Vec::new();
    for (name, value) in headers {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("header name {name:?} is not valid"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of header {name:?} is not valid"))?;
        if FORWARDED.contains(&parsed) {
            defaults.push((parsed, value));
        } else {
            fixed.extend_from_slice(parsed.as_str().as_bytes());
            fixed.extend_from_slice(b": ");
            fixed.extend_from_slice(value.as_bytes());
            fixed.extend_from_slice(b"\r\n");
        }
    }
    Ok((fixed, defaults))
}

pub fn template(base: &BaseUrl, method: &str, suffix: &str, fixed: &[u8]) -> Result<RequestTemplate, String> {
    // `../` steps out of the base URL's path, for APIs that stand beside one another.
    let (mut prefix, mut suffix) = (base.prefix.as_str(), suffix);
    while suffix.starts_with("/../") {
        suffix = &suffix["/..".len()..];
        prefix = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    let mut target = format!("{prefix}{suffix}");
    if let Some(query) = &base.query {
        target.push(if suffix.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    if !target.starts_with('/') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(format!("path {target:?} is not valid"));
    }
    let mut block = format!(
        " HTTP/1.1\r\nhost: {}\r\nuser-agent: ailink/{}\r\naccept-encoding: identity\r\n",
        base.authority,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    block.extend_from_slice(fixed);
    let line = format!("{method} {target}").into_bytes().into();
    Ok(RequestTemplate { line, block: block.into(), rules: None, worded: None })
}
