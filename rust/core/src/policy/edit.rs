//! What transforms and overrides make of a body, in the caller's own format.

use std::ops::Range;

use serde_json::{Value, json};

use super::action::Op;
use crate::endpoint::Dialect;
use crate::guard::walk::{self, Frame, Kind, Visitor};
use crate::wire::json::edit::{locate, remove, replace, set, splice};
use crate::wire::json::elements;

/// What stands for a field that was blanked.
const BLANK: &[u8] = b"\"[REDACTED]\"";

/// The body after changes of it; headers are left to the caller of this.
///
/// # Errors
/// A change that this body does not allow.
pub fn changed(ops: &[Op], dialect: Dialect, body: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut now: Option<Vec<u8>> = None;
    for op in ops {
        let body = now.as_deref().unwrap_or(body);
        let next = match op {
            Op::SetHeader(..) | Op::RemoveHeader(_) => None,
            Op::SetField(path, json) => Some(set(body, path, json)?),
            Op::RemoveField(path) => remove(body, path),
            Op::System { text, before } => Some(system(dialect, body, text, *before)?),
            Op::Replace { pattern, replacement } => replaced(body, pattern, replacement),
            Op::Message { role, content, first } => Some(message(dialect, body, role, content, *first)?),
        };
        now = next.or(now);
    }
    Ok(now)
}

/// # Errors
/// A path that leads nowhere.
pub fn assigned(fields: &[(Vec<String>, Vec<u8>)], body: &[u8]) -> Result<Vec<u8>, String> {
    let mut now = body.to_vec();
    for (path, json) in fields {
        now = set(&now, path, json)?;
    }
    Ok(now)
}

/// The body with fields blanked, if it has any of them.
pub fn blanked(fields: &[Vec<String>], body: &[u8]) -> Option<Vec<u8>> {
    let mut now: Option<Vec<u8>> = None;
    for path in fields {
        let next = replace(now.as_deref().unwrap_or(body), path, BLANK);
        now = next.or(now);
    }
    now
}

/// The request without the tools that `keep` does not want.
pub fn without_tools(body: &[u8], keep: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut now: Option<Vec<u8>> = None;
    for list in [&["tools"][..], &["functions"], &["toolConfig", "tools"]] {
        let path: Vec<String> = list.iter().map(|step| (*step).to_string()).collect();
        let bytes = now.as_deref().unwrap_or(body);
        let Some(value) = locate(bytes, &path).first().copied() else { continue };
        let Ok(Value::Array(tools)) = serde_json::from_slice::<Value>(value.raw(bytes)) else { continue };
        let kept: Vec<Value> = tools.iter().filter_map(|tool| narrowed(tool, &keep)).collect();
        if kept == tools {
            continue;
        }
        let next = if kept.is_empty() {
            remove(bytes, path.get(..1).unwrap_or_default())
        } else {
            serde_json::to_vec(&kept).ok().and_then(|json| set(bytes, &path, &json).ok())
        };
        now = next.or(now);
    }
    now
}

/// A tool, or what is left of a group of them.
fn narrowed(tool: &Value, keep: &impl Fn(&str) -> bool) -> Option<Value> {
    for group in ["functionDeclarations", "function_declarations"] {
        if let Some(Value::Array(declared)) = tool.get(group) {
            let named = |one: &&Value| one.get("name").and_then(Value::as_str).is_none_or(keep);
            let kept: Vec<Value> = declared.iter().filter(named).cloned().collect();
            let mut tool = tool.clone();
            *tool.get_mut(group)? = Value::Array(kept.clone());
            return (!kept.is_empty()).then_some(tool);
        }
    }
    let inner = tool.get("function").or_else(|| tool.get("toolSpec")).unwrap_or(tool);
    let name = inner.get("name").and_then(Value::as_str);
    name.is_none_or(keep).then(|| tool.clone())
}

/// Joins what a system prompt says with a text.
fn joined(old: &str, text: &str, before: bool) -> String {
    match (old.is_empty(), before) {
        (true, _) => text.to_string(),
        (false, true) => format!("{text}\n\n{old}"),
        (false, false) => format!("{old}\n\n{text}"),
    }
}

/// A prompt that may be text or a list of parts, with one more; `part` makes a part of the dialect.
fn prompted(old: Option<&Value>, text: &str, before: bool, part: Value) -> Value {
    match old {
        Some(Value::Array(parts)) => {
            let mut parts = parts.clone();
            if before {
                parts.insert(0, part)
            } else {
                parts.push(part)
            }
            Value::Array(parts)
        }
        Some(Value::String(old)) => Value::String(joined(old, text, before)),
        _ => Value::String(text.to_string()),
    }
}

fn read(body: &[u8], path: &[String]) -> Option<Value> {
    let value = *locate(body, path).first()?;
    serde_json::from_slice(value.raw(body)).ok().filter(|value| *value != Value::Null)
}

fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_string()).collect()
}

fn system(dialect: Dialect, body: &[u8], text: &str, before: bool) -> Result<Vec<u8>, String> {
    let put = |steps: &[&str], value: Value| set(body, &path(steps), value.to_string().as_bytes());
    match dialect {
        Dialect::OpenAi | Dialect::Cohere => {
            let Some(Value::Array(messages)) = read(body, &path(&["messages"])) else {
                return Err("the request has no messages".to_string());
            };
            let is =
                |message: &Value| matches!(message.get("role").and_then(Value::as_str), Some("system" | "developer"));
            match messages.iter().position(is) {
                Some(at) => {
                    let old = messages.get(at).and_then(|message| message.get("content"));
                    let content = prompted(old, text, before, json!({"type": "text", "text": text}));
                    put(&["messages", &at.to_string(), "content"], content)
                }
                None => message(dialect, body, "system", text, true),
            }
        }
        Dialect::Anthropic => {
            let old = read(body, &path(&["system"]));
            put(&["system"], prompted(old.as_ref(), text, before, json!({"type": "text", "text": text})))
        }
        Dialect::Responses => {
            let old = read(body, &path(&["instructions"]));
            put(&["instructions"], prompted(old.as_ref(), text, before, Value::Null))
        }
        Dialect::Gemini | Dialect::Bedrock => {
            let gemini = dialect == Dialect::Gemini;
            let known =
                [path(&["systemInstruction", "parts"]), path(&["system_instruction", "parts"]), path(&["system"])];
            let places = if gemini { known.get(..2) } else { known.get(2..) }.unwrap_or_default();
            let (place, old) = places
                .iter()
                .find_map(|place| Some((place, read(body, place)?)))
                .or_else(|| Some((places.first()?, json!([]))))
                .ok_or("the request has no system prompt")?;
            let parts = prompted(Some(&old), text, before, json!({"text": text}));
            set(body, place, parts.to_string().as_bytes())
        }
    }
}

fn message(dialect: Dialect, body: &[u8], role: &str, content: &str, first: bool) -> Result<Vec<u8>, String> {
    let role = if dialect == Dialect::Gemini && role == "assistant" { "model" } else { role };
    let (list, message) = match dialect {
        Dialect::OpenAi | Dialect::Cohere | Dialect::Anthropic => {
            ("messages", json!({"role": role, "content": content}))
        }
        Dialect::Responses => ("input", json!({"role": role, "content": content})),
        Dialect::Gemini => ("contents", json!({"role": role, "parts": [{"text": content}]})),
        Dialect::Bedrock => ("messages", json!({"role": role, "content": [{"text": content}]})),
    };
    let at = path(&[list]);
    let Some(value) = locate(body, &at).first().copied() else {
        return Err(format!("the request has no `{list}`"));
    };
    let text = message.to_string();
    if value.kind == crate::wire::json::Kind::String {
        // A text by itself is the user's message.
        let own: Value = serde_json::from_slice(value.raw(body)).unwrap_or_default();
        let own = json!({"role": "user", "content": own});
        let list = if first { json!([message, own]) } else { json!([own, message]) };
        return set(body, &at, list.to_string().as_bytes());
    }
    let empty = elements(body, value).next().is_none();
    let (place, text) = match (first, empty) {
        (_, true) => (value.start as usize + 1, text),
        (true, false) => (value.start as usize + 1, format!("{text},")),
        (false, false) => (value.end as usize - 1, format!(",{text}")),
    };
    Ok(splice(body, vec![(place..place, text.into_bytes())]))
}

/// Every text with what a pattern finds in it replaced.
fn replaced(body: &[u8], pattern: &regex::Regex, replacement: &str) -> Option<Vec<u8>> {
    struct Replace<'r> {
        body: &'r [u8],
        pattern: &'r regex::Regex,
        replacement: &'r str,
        edits: Vec<(Range<usize>, Vec<u8>)>,
    }
    impl Visitor for Replace<'_> {
        fn text(&mut self, kind: Kind, _: &[Frame], raw: Range<usize>) {
            if kind != Kind::Text {
                return;
            }
            let mut text = String::new();
            walk::decode(self.body.get(raw.clone()).unwrap_or_default(), &mut text);
            if let std::borrow::Cow::Owned(new) = self.pattern.replace_all(&text, self.replacement) {
                let quoted = serde_json::to_vec(&new).unwrap_or_default();
                let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
                self.edits.push((raw, inside.to_vec()));
            }
        }
    }
    let mut visitor = Replace { body, pattern, replacement, edits: Vec::new() };
    walk::walk(body, false, &mut visitor).ok()?;
    let edits = visitor.edits;
    (!edits.is_empty()).then(|| splice(body, edits))
}
