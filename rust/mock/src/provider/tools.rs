//! Tool calls: which one the mock makes up, and with which arguments.

use serde_json::{Map, Value, json};

/// A user message that contains this gets a tool call.
const MAGIC: &str = "call the tool";

/// A call of one of the request's tools.
pub struct ToolCall {
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

impl ToolCall {
    /// A call of the tool of that name, or of the one whose turn it is.
    pub fn of(tools: &[Value], chosen: Option<&str>, turn: usize) -> Option<Self> {
        let tool = match chosen {
            Some(name) => tools.iter().find(|tool| name_of(tool) == Some(name))?,
            None => tools.get(turn % tools.len().max(1))?,
        };
        let places = [
            "/inputSchema/json",
            "/function/parameters",
            "/input_schema",
            "/parameters",
            "/parametersJsonSchema",
            "/parameters_json_schema",
        ];
        let schema = places.iter().find_map(|place| tool.pointer(place));
        let arguments = schema.map_or_else(|| json!({}), |schema| example(schema, 0));
        Some(Self { name: name_of(tool)?.to_owned(), arguments: arguments.to_string() })
    }
}

/// Does a text ask for a tool call?
pub fn asks_for_tool(text: &str) -> bool {
    text.to_ascii_lowercase().contains(MAGIC)
}

fn name_of(tool: &Value) -> Option<&str> {
    tool.pointer("/function/name").or_else(|| tool.get("name"))?.as_str()
}

/// `required` or one function (OpenAI), `any` or one tool (Anthropic).
pub fn forced(choice: &Value) -> Option<bool> {
    let kind = choice.as_str().or_else(|| choice.get("type")?.as_str()).unwrap_or("auto");
    match kind.to_ascii_lowercase().as_str() {
        "auto" => None,
        "none" => Some(false),
        _ => Some(true),
    }
}

/// The tool that a choice names.
pub fn named(choice: &Value) -> Option<&str> {
    choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str)
}

/// A value that fits a JSON schema's type; of objects the required properties, or all if none is.
pub fn example(schema: &Value, depth: u32) -> Value {
    if let Some(first) = schema.pointer("/enum/0").or_else(|| schema.get("const")) {
        return first.clone();
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("object").to_ascii_lowercase();
    match kind.as_str() {
        "string" => json!("mock"),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "null" => Value::Null,
        "array" => schema.get("items").map_or_else(|| json!([]), |items| json!([example(items, depth + 1)])),
        // No real schema nests this deep; a recursive one would without end.
        _ if depth > 8 => json!({}),
        _ => {
            let required: Option<Vec<&str>> = schema
                .get("required")
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(Value::as_str).collect());
            let properties = schema.get("properties").and_then(Value::as_object);
            let wanted = properties
                .into_iter()
                .flatten()
                .filter(|(name, _)| required.as_ref().is_none_or(|required| required.contains(&name.as_str())));
            let object: Map<String, Value> =
                wanted.map(|(name, schema)| (name.clone(), example(schema, depth + 1))).collect();
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_named_and_neither() {
        let tools: Vec<Value> = ["look", "go"]
            .map(|name| {
                json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "required": ["q"],
                    "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}}})
            })
            .to_vec();
        let call = ToolCall::of(&tools, None, 0).unwrap();
        assert_eq!((call.name.as_str(), call.arguments.as_str()), ("look", r#"{"q":"mock"}"#));
        assert_eq!(ToolCall::of(&tools, None, 3).unwrap().name, "go");
        assert_eq!(ToolCall::of(&tools, Some("go"), 0).unwrap().name, "go");
        assert!(ToolCall::of(&tools, Some("stay"), 0).is_none() && ToolCall::of(&[], None, 1).is_none());
        let choice = json!({"type": "function", "function": {"name": "look"}});
        assert_eq!((forced(&choice), named(&choice)), (Some(true), Some("look")));
        for (choice, wanted) in
            [(json!("required"), Some(true)), (json!("NONE"), Some(false)), (json!({"type": "auto"}), None)]
        {
            assert_eq!(forced(&choice), wanted, "{choice}");
        }
    }
}
