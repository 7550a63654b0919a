//! The last question of a request, and the rest of it.
//!
//! The question is the text of the last message, if a user said it. The rest is the request with an empty text in its
//! place: pictures, earlier messages, instructions, tools and parameters are part of it, and so is whose request it is.

use std::borrow::Cow;

use crate::cache::key::{self, CacheKey};
use crate::dialect::Format;
use crate::exchange::Exchange;
use crate::wire::json::edit::splice;
use crate::wire::json::{Kind, Value, elements, scan_object, scan_value_object, string};

/// Longer texts are documents: two of them mean the same only if they are the same.
const LONGEST: usize = 8 * 1024;

/// What an answer to a similar question must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within {
    /// Oldest answer that will do.
    pub max_age_us: Option<i64>,
    /// Least similarity; None: the index's.
    pub threshold: Option<f32>,
}

#[derive(Debug)]
pub struct Question {
    /// Of everything but the text.
    pub partition: CacheKey,
    pub text: String,
    /// Oldest answer that will do.
    pub max_age_us: Option<i64>,
    /// Least similarity; None: the index's.
    pub threshold: Option<f32>,
}

impl Question {
    /// `None` for requests that end with anything but a user's words.
    pub fn of(exchange: &Exchange, tenant: &[u8], namespace: &str, within: Within) -> Option<Question> {
        let Within { max_age_us, threshold } = within;
        let body = &exchange.call.body;
        let spans = spans(exchange.endpoint.operation.format()?, body)?;
        let text = joined(body, &spans)?;
        let edits = spans.iter().map(|span| (span.range(), b"\"\"".to_vec())).collect();
        let rest = splice(body, edits);
        Some(Question { partition: key::of_rest(exchange, tenant, namespace, &rest)?, text, max_age_us, threshold })
    }
}

fn joined(body: &[u8], spans: &[Value]) -> Option<String> {
    let texts: Option<Vec<Cow<'_, str>>> = spans.iter().map(|span| string(body, *span)).collect();
    let text = texts?.join("\n");
    let text = text.trim();
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.to_string())
}

/// Where the texts of the last message stand.
fn spans(format: Format, body: &[u8]) -> Option<Vec<Value>> {
    let member = match format {
        Format::Responses => "input",
        Format::Gemini => "contents",
        Format::Completions => "prompt",
        Format::Chat | Format::Messages | Format::Converse | Format::Cohere => "messages",
    };
    let said = scan_object(body, &[member]).ok()?.fields[0]?;
    if said.kind == Kind::String {
        return matches!(format, Format::Responses | Format::Completions).then(|| vec![said]);
    }
    if said.kind != Kind::Array || format == Format::Completions {
        return None;
    }
    let last = elements(body, said).last().filter(|last| last.kind == Kind::Object)?;
    let [role, content, parts, kind] =
        scan_value_object(body, last, &["role", "content", "parts", "type"]).ok()?.fields;
    let is =
        |value: Option<Value>, wanted: &str| value.and_then(|value| string(body, value)).is_some_and(|is| is == wanted);
    let user = is(role, "user") || role.is_none() && format == Format::Gemini;
    if !user || kind.is_some() && !is(kind, "message") {
        return None;
    }
    let content = if format == Format::Gemini { parts? } else { content? };
    match content.kind {
        Kind::String => Some(vec![content]),
        Kind::Array => texts(body, content),
        _ => None,
    }
}

/// The texts of a message's parts. What is no text stays where it is.
fn texts(body: &[u8], parts: Value) -> Option<Vec<Value>> {
    let mut spans = Vec::new();
    for part in elements(body, parts) {
        if part.kind != Kind::Object {
            return None;
        }
        let [text, kind] = scan_value_object(body, part, &["text", "type"]).ok()?.fields;
        let kind = kind.and_then(|kind| string(body, kind));
        let said = matches!(kind.as_deref(), None | Some("text" | "input_text"));
        // Results of tools are part of a question nobody has put into words.
        if matches!(kind.as_deref(), Some("tool_result")) {
            return None;
        }
        spans.extend(text.filter(|text| said && text.kind == Kind::String));
    }
    Some(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format, body: &str) -> Option<String> {
        joined(body.as_bytes(), &spans(format, body.as_bytes())?)
    }

    #[test]
    fn the_last_words_of_a_user_are_the_question() {
        for (format, body) in [
            (Format::Chat, r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":" a \"b\" "}]}"#),
            (
                Format::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"a \"b\""}]}]}"#,
            ),
            (Format::Messages, r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a \"b\""}]}]}"#),
            (Format::Responses, r#"{"input":"a \"b\""}"#),
            (Format::Responses, r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a \"b\""}]}]}"#),
            (Format::Responses, r#"{"input":[{"type":"message","role":"user","content":"a \"b\""}]}"#),
            (Format::Gemini, r#"{"contents":[{"parts":[{"text":"a \"b\""}]}]}"#),
            (Format::Converse, r#"{"messages":[{"role":"user","content":[{"text":"a \"b\""}]}]}"#),
            (Format::Cohere, r#"{"messages":[{"role":"user","content":"a \"b\""}]}"#),
            (Format::Completions, r#"{"prompt":"a \"b\""}"#),
        ] {
            assert_eq!(text(format, body).as_deref(), Some("a \"b\""), "{body}");
        }
        for (format, body) in [
            (
                Format::Chat,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"b","tool_call_id":"c"}]}"#,
            ),
            (Format::Chat, r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#),
            (Format::Chat, r#"{"messages":[{"role":"user","content":""}]}"#),
            (Format::Chat, r#"{"messages":[]}"#),
            (
                Format::Messages,
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"a"},{"type":"text","text":"b"}]}]}"#,
            ),
            (Format::Responses, r#"{"input":[{"type":"function_call_output","output":"a"}]}"#),
            (Format::Gemini, r#"{"contents":[{"role":"model","parts":[{"text":"a"}]}]}"#),
            (Format::Converse, r#"{"messages":[{"role":"user","content":[{"image":{}}]}]}"#),
            (Format::Completions, r#"{"prompt":["a"]}"#),
        ] {
            assert_eq!(text(format, body), None, "{body}");
        }
    }
}
