//! Tools in requests and answers, in any dialect.

use serde_json::{Map, Value};

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// Names of the tools a request offers.
pub fn offered(body: &Value) -> Vec<&str> {
    let lists =
        [body.get("tools"), body.get("functions"), body.get("toolConfig").and_then(|config| config.get("tools"))];
    let mut names = Vec::new();
    for tool in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
        let declared = tool.get("functionDeclarations").or_else(|| tool.get("function_declarations"));
        match declared.and_then(Value::as_array) {
            Some(declared) => names.extend(declared.iter().filter_map(|one| one.get("name")?.as_str())),
            None => {
                let inner = tool.get("function").or_else(|| tool.get("toolSpec")).unwrap_or(tool);
                names.extend(inner.get("name").and_then(Value::as_str));
            }
        }
    }
    names
}

/// The calls in an answer, or in any part of one.
pub fn calls(value: &Value) -> Vec<Call> {
    let mut found = Vec::new();
    collect(value, &mut found, 0);
    found
}

/// How deep calls are looked for.
const DEEPEST: usize = 64;

/// The calls that the last message with calls of a request's conversation has.
pub fn last_calls(body: &Value) -> Vec<Call> {
    let lists = ["messages", "contents", "input"];
    let conversation = lists.into_iter().find_map(|name| body.get(name)?.as_array());
    let messages = conversation.map_or(&[][..], Vec::as_slice);
    messages.iter().rev().map(calls).find(|calls| !calls.is_empty()).unwrap_or_default()
}

fn collect(value: &Value, found: &mut Vec<Call>, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found, depth + 1)),
        Value::Object(members) => match call(members) {
            Some(call) => found.push(call),
            None => members.values().for_each(|value| collect(value, found, depth + 1)),
        },
        _ => {}
    }
}

fn call(members: &Map<String, Value>) -> Option<Call> {
    let made = |name: &Value, arguments: Option<&Value>| {
        let arguments = match arguments {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        Some(Call { name: name.as_str()?.to_string(), arguments })
    };
    let kind = members.get("type").and_then(Value::as_str);
    let forms =
        [("function", "arguments"), ("function_call", "arguments"), ("functionCall", "args"), ("toolUse", "input")];
    for (outer, arguments) in forms {
        if let Some(Value::Object(inner)) = members.get(outer)
            && let Some(name) = inner.get("name")
            // A definition has a description or a schema instead.
            && (inner.contains_key(arguments) || !outer.starts_with("function") || outer == "functionCall")
        {
            return made(name, inner.get(arguments));
        }
    }
    match kind {
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => made(members.get("name")?, members.get("input")),
        Some("function_call" | "custom_tool_call" | "mcp_call") => {
            made(members.get("name")?, members.get("arguments").or_else(|| members.get("input")))
        }
        _ => None,
    }
}

/// What an answer says: its texts, one after the other.
pub fn said(answer: &Value) -> String {
    let mut out = String::new();
    let mut add = |text: Option<&str>| {
        if let Some(text) = text {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(text);
        }
    };
    let list = |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    for choice in list(answer.get("choices")) {
        let content = choice.get("message").and_then(|message| message.get("content"));
        add(content.and_then(Value::as_str).or_else(|| choice.get("text")?.as_str()));
        for part in list(content) {
            add(part.get("text").and_then(Value::as_str));
        }
    }
    let message = answer.get("message").or_else(|| answer.get("output").and_then(|output| output.get("message")));
    for part in list(message.unwrap_or(answer).get("content")) {
        add(part.get("text").and_then(Value::as_str));
    }
    for candidate in list(answer.get("candidates")) {
        for part in list(candidate.get("content").and_then(|content| content.get("parts"))) {
            add(part.get("text").and_then(Value::as_str));
        }
    }
    for item in list(answer.get("output")) {
        for part in list(item.get("content")) {
            add(part.get("text").and_then(Value::as_str));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tools_of_every_dialect_are_found() {
        for body in [
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
            json!({"tools": [{"name": "f", "input_schema": {}}]}),
            json!({"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
            json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}}),
            json!({"functions": [{"name": "f"}]}),
        ] {
            assert_eq!(offered(&body), ["f"], "{body}");
            assert_eq!(calls(&body), [], "{body}");
        }
        for answer in [
            json!({"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{\"a\":1}"}}]}}]}),
            json!({"choices": [{"message": {"function_call": {"name": "f", "arguments": "{\"a\":1}"}}}]}),
            json!({"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]}),
            json!({"content": [{"type": "mcp_tool_use", "name": "f", "input": {"a": 1}}]}),
            json!({"output": [{"type": "mcp_call", "name": "f", "arguments": "{\"a\":1}"}]}),
            json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}}]}),
            json!({"output": {"message": {"content": [{"toolUse": {"name": "f", "input": {"a": 1}}}]}}}),
            json!({"output": [{"type": "function_call", "name": "f", "arguments": "{\"a\":1}"}]}),
        ] {
            assert_eq!(calls(&answer), [Call { name: "f".into(), arguments: json!({"a": 1}) }], "{answer}");
        }
    }

    #[test]
    fn texts_of_every_dialect_are_found() {
        for answer in [
            json!({"choices": [{"message": {"content": "hi"}}]}),
            json!({"content": [{"type": "text", "text": "hi"}]}),
            json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}),
            json!({"output": {"message": {"content": [{"text": "hi"}]}}}),
            json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}),
            json!({"message": {"content": [{"type": "text", "text": "hi"}]}}),
        ] {
            assert_eq!(said(&answer), "hi", "{answer}");
        }
    }
}
