//! Counting tokens: asked of the provider in its own words where it can count, estimated where it cannot.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::reading::{document, told};
use super::{Fault, Pair, Recall, Request};
use crate::dialect::{Format, Target, translate};
use crate::endpoint::Operation as Op;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// Bytes of text that make a token, about, in most languages and tokenizers.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that a message costs beside its text.
const PER_MESSAGE: usize = 3;

/// What Anthropic's and OpenAI's endpoints take of a request.
const ANTHROPIC: [&str; 7] = ["messages", "model", "system", "tools", "tool_choice", "thinking", "output_config"];
const RESPONSES: [&str; 8] =
    ["input", "instructions", "model", "parallel_tool_calls", "reasoning", "text", "tool_choice", "tools"];

pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    if (pair.asked, pair.by) == (Op::GeminiCountTokens, Op::VertexCountTokens) {
        let body = inner(body)?.map_or_else(|| body.to_vec(), |inner| inner.to_string().into_bytes());
        return Ok(Request { body, dropped: Vec::new() });
    }
    let (from, to) = (format(pair.asked), format(pair.by));
    let inner = if from == Format::Gemini { inner(body)? } else { None };
    let inner = inner.map(|inner| inner.to_string().into_bytes());
    let target = Target { model: pair.model, stream: false, ask_usage: false, max_output: None };
    let translated = translate::request(from, to, inner.as_deref().unwrap_or(body), &target).map_err(fault)?;
    let dropped = translated.losses.names().map(Box::from).collect();
    let mut members: Map<String, Value> = match document(&translated.body)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    match pair.by {
        Op::CountTokens => members.retain(|name, _| ANTHROPIC.contains(&name.as_str())),
        Op::ResponsesInputTokens => members.retain(|name, _| RESPONSES.contains(&name.as_str())),
        Op::VertexCountTokens => members.retain(|name, _| name != "generationConfig" && name != "safetySettings"),
        _ => {
            let name = pair.model.strip_prefix("models/").unwrap_or(pair.model);
            members.insert("model".to_string(), format!("models/{name}").into());
            members = Map::from_iter([("generateContentRequest".to_string(), members.into())]);
        }
    }
    Ok(Request { body: Value::Object(members).to_string().into_bytes(), dropped })
}

fn format(operation: Op) -> Format {
    match operation {
        Op::CountTokens => Format::Messages,
        Op::ResponsesInputTokens => Format::Responses,
        _ => Format::Gemini,
    }
}

/// The request that Google's clients may put inside another, without its model.
fn inner(body: &[u8]) -> Result<Option<Value>, Fault> {
    let mut body = document(body)?;
    let mut inner = body.get_mut("generateContentRequest").map(Value::take);
    if let Some(Value::Object(members)) = &mut inner {
        members.remove("model");
    }
    Ok(inner)
}

fn fault(fault: crate::dialect::Fault) -> Fault {
    match fault {
        crate::dialect::Fault::Invalid { path, reason } => Fault::Invalid { path, reason },
        crate::dialect::Fault::Unsupported(unsupported) => Fault::Unsupported {
            parameter: unsupported.feature.name(),
            what: unsupported.feature.what(),
            instead: unsupported.alternative,
        },
    }
}

pub fn answer(recall: &Recall, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "totalTokens")]
        input_tokens: u64,
    }
    let body: Body = told(body)?;
    Ok((written(recall.asked, body.input_tokens), Some(Usage::default())))
}

fn written(asked: Op, count: u64) -> Vec<u8> {
    let mut out = Writer::with_capacity(64);
    out.begin_object();
    match asked {
        Op::GeminiCountTokens => out.key("totalTokens"),
        Op::ResponsesInputTokens => out.member("object", "response.input_tokens").key("input_tokens"),
        _ => out.key("input_tokens"),
    };
    out.uint(count).end_object();
    out.finish()
}

/// An answer for a model whose provider does not count: so many bytes of text to a token. Images and files count for
/// nothing.
pub fn estimate(asked: Op, body: &Bytes) -> Vec<u8> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let tokens = text(&document).div_ceil(BYTES_PER_TOKEN) + messages(&document) * PER_MESSAGE;
    written(asked, tokens as u64)
}

/// Bytes of everything that is said: the strings, but for names of things and data.
fn text(value: &Value) -> usize {
    const SILENT: [&str; 10] =
        ["model", "role", "type", "id", "data", "url", "image_url", "mimeType", "media_type", "cache_control"];
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text).sum(),
        Value::Object(members) => {
            let said = members.iter().filter(|(name, _)| !SILENT.contains(&name.as_str()));
            said.map(|(_, value)| text(value)).sum()
        }
        _ => 0,
    }
}

fn messages(document: &Value) -> usize {
    let inner = document.get("generateContentRequest").unwrap_or(document);
    let list = ["messages", "contents", "input"].iter().find_map(|name| inner.get(name)?.as_array());
    list.map_or(1, Vec::len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(asked: Op, by: Op, body: &Value) -> Value {
        let pair = Pair { asked, by, model: "m" };
        let request = request(pair, body.to_string().as_bytes()).expect("a request");
        serde_json::from_slice(&request.body).expect("JSON")
    }

    #[test]
    fn every_counter_is_asked_in_its_own_words() {
        let messages = json!({"model": "x", "system": "s", "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "t", "input_schema": {"type": "object"}}]});
        let google = asked(Op::CountTokens, Op::GeminiCountTokens, &messages);
        let inner = &google["generateContentRequest"];
        assert_eq!((&inner["model"], &inner["contents"][0]["parts"][0]["text"]), (&json!("models/m"), &json!("hi")));
        assert!(inner["tools"].is_array() && inner["systemInstruction"].is_object());
        let vertex = asked(Op::CountTokens, Op::VertexCountTokens, &messages);
        assert!(vertex["contents"].is_array() && vertex.get("model").is_none());
        let openai = asked(Op::CountTokens, Op::ResponsesInputTokens, &messages);
        assert_eq!((&openai["model"], &openai["input"][0]["role"]), (&json!("m"), &json!("system")));
        assert!(openai.get("store").is_none() && openai.get("stream").is_none());
        let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let claude = asked(Op::GeminiCountTokens, Op::CountTokens, &contents);
        assert_eq!(claude["messages"][0]["role"], "user");
        assert!(claude.get("max_tokens").is_none());
        let nested = json!({"generateContentRequest": {"model": "models/x", "contents": contents["contents"]}});
        assert_eq!(asked(Op::GeminiCountTokens, Op::CountTokens, &nested), claude);
        assert_eq!(asked(Op::GeminiCountTokens, Op::VertexCountTokens, &nested), contents);
    }

    #[test]
    fn an_estimate_counts_what_is_said() {
        let body = Bytes::from(
            json!({"model": "long-name-of-a-model", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "12345678"},
                {"type": "image", "source": {"type": "base64", "data": "AAAAAAAAAAAA"}}]}]})
            .to_string(),
        );
        assert_eq!(estimate(Op::CountTokens, &body), br#"{"input_tokens":5}"#);
        assert_eq!(estimate(Op::GeminiCountTokens, &body), br#"{"totalTokens":5}"#);
        let told = br#"{"object":"response.input_tokens","input_tokens":5}"#;
        assert_eq!(estimate(Op::ResponsesInputTokens, &body), told);
    }
}
