//! What an answer repeats of its request.

use bytes::Bytes;

use crate::dialect::hub::Members;
use crate::wire::json::write::Writer;

/// Members that are repeated, each with what stands there when the request does not say it.
const REPEATED: [(&str, &str); 15] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
];

/// Those members of a request as the inside of an object, so that the request itself need not be kept.
pub fn remembered(body: &[u8]) -> Bytes {
    let request: Members<'_> = serde_json::from_slice(body).unwrap_or_default();
    let mut out = Writer::with_capacity(512);
    for (name, default) in REPEATED {
        match request.get(name) {
            Some(raw) => out.key(name).raw(raw),
            None => out.key(name).json(default),
        };
    }
    out.finish().into()
}
