//! What is sent: a document in which `<name>` stands for something of the request. A text that is nothing but a name becomes
//! its value; within a text it becomes its text. What callers wrote is put in once and not looked at again.

use serde_json::{Map, Value, json};

use crate::guard::check::View;
use crate::guard::texts::{self, Piece};

const NAMES: [&str; 17] = [
    "text",
    "texts",
    "roles",
    "messages",
    "prompt",
    "answer",
    "model",
    "request_id",
    "key",
    "key_alias",
    "user",
    "team",
    "side",
    "request",
    "response",
    "tools",
    "portkey",
];

/// Fills a template.
pub fn filled(template: &Value, view: &View, pieces: &[usize]) -> Value {
    match template {
        Value::String(text) => string(text, view, pieces),
        Value::Array(items) => Value::Array(items.iter().map(|item| filled(item, view, pieces)).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), filled(value, view, pieces))).collect())
        }
        other => other.clone(),
    }
}

fn string(text: &str, view: &View, pieces: &[usize]) -> Value {
    let whole = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    if let Some(name) = whole.filter(|name| NAMES.contains(name)) {
        return named(name, view, pieces);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let found = NAMES.iter().find(|name| {
            from.get(1..).is_some_and(|inner| inner.strip_prefix(**name).is_some_and(|left| left.starts_with('>')))
        });
        match found {
            Some(name) => {
                match named(name, view, pieces) {
                    Value::String(text) => out.push_str(&text),
                    value => out.push_str(&value.to_string()),
                }
                rest = from.get(name.len() + 2..).unwrap_or_default();
            }
            None => {
                out.push('<');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    Value::String(out)
}

fn named(name: &str, view: &View, pieces: &[usize]) -> Value {
    let chosen = || pieces.iter().filter_map(|at| view.pieces.get(*at));
    let joined = |pieces: &mut dyn Iterator<Item = &Piece>| {
        pieces.map(|piece| piece.text.as_str()).collect::<Vec<_>>().join("\n").into()
    };
    let earlier = || texts::asked(&view.body).unwrap_or_default();
    match name {
        "text" => joined(&mut chosen()),
        "texts" => chosen().map(|piece| piece.text.clone()).collect(),
        "roles" => chosen().map(|piece| piece.role.to_string()).collect(),
        "messages" => {
            let mut all = if view.output { messages(earlier().iter()) } else { Vec::new() };
            all.extend(messages(chosen()));
            Value::Array(all)
        }
        "prompt" => {
            let asked = if view.output { earlier() } else { view.pieces.clone() };
            joined(&mut asked.iter().filter(|piece| piece.role != "assistant"))
        }
        "answer" if view.output => joined(&mut chosen()),
        "answer" => Value::String(String::new()),
        "model" => view.model.clone().into(),
        "request_id" => view.request_id.clone().into(),
        "key" => view.key.clone().into(),
        "key_alias" => view.key_alias.clone().into(),
        "user" => view.user.clone().into(),
        "team" => view.team.clone().into(),
        "side" => if view.output { "output" } else { "input" }.into(),
        "request" => view.request().clone(),
        "response" => view.response().clone(),
        "tools" => view.request().get("tools").cloned().unwrap_or(Value::Array(Vec::new())),
        "portkey" => portkey(view),
        _ => Value::Null,
    }
}

fn messages<'p>(pieces: impl Iterator<Item = &'p Piece>) -> Vec<Value> {
    let mut out: Vec<(u32, &str, String)> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some((message, role, text)) if *message == piece.message && *role == piece.role => {
                text.push('\n');
                text.push_str(&piece.text);
            }
            _ => out.push((piece.message, &piece.role, piece.text.clone())),
        }
    }
    out.into_iter().map(|(_, role, text)| json!({"role": role, "content": text})).collect()
}

/// The context that Portkey's webhooks get: <https://portkey.ai/docs/integrations/guardrails/bring-your-own-guardrails>.
pub fn portkey(view: &View) -> Value {
    let spoken = |pieces: &[Piece]| {
        let last = pieces.last().map(|piece| piece.message);
        let last = pieces.iter().filter(|piece| Some(piece.message) == last && piece.speech);
        last.map(|piece| piece.text.as_str()).collect::<Vec<_>>().join("\n")
    };
    let asked = if view.output { texts::asked(&view.body).unwrap_or_default() } else { view.pieces.clone() };
    let mut response = json!({"json": {}, "text": "", "statusCode": null, "isTransformed": false});
    if view.output {
        let text = view.pieces.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join("\n");
        let body = if view.answer.is_empty() { Value::Object(Map::new()) } else { view.response().clone() };
        response = json!({"json": body, "text": text, "statusCode": view.status, "isTransformed": false});
    }
    json!({
        "request": {
            "json": view.request(), "text": spoken(&asked), "isStreamingRequest": view.stream, "isTransformed": false,
        },
        "response": response,
        "provider": view.provider,
        "requestType": view.kind,
        "metadata": view.metadata,
        "eventType": if view.output { "afterRequestHook" } else { "beforeRequestHook" },
    })
}
