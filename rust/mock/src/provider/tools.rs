//! Tool calls: which one the mock makes up, and with which arguments.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::script::Script;
use super::text::last_user_text;

/// A user message that contains this gets a tool call.
const MAGIC: &str = "call the tool";

/// A call of one of the request's tools.
pub struct ToolCall {
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

impl ToolCall {
    /// The call to answer with: when the script says so, a tool choice forces one, or the last user message asks to
    /// `call the tool`. None without tools.
    pub fn plan(fields: &Fields<'_>, script: &Script) -> Option<Self> {
        let tools: Vec<Value> = serde_json::from_str(fields.tools?.get()).ok()?;
        let choice: Value = fields.tool_choice.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let wanted = script.tool.unwrap_or_else(|| forced(&choice) || asked(fields));
        if !wanted {
            return None;
        }
        let chosen = choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str);
        Self::of(&tools, chosen)
    }

    /// A call of the tool of that name, or of the first one.
    pub fn of(tools: &[Value], chosen: Option<&str>) -> Option<Self> {
        let tool = match chosen {
            Some(name) => tools.iter().find(|tool| name_of(tool) == Some(name))?,
            None => tools.first()?,
        };
        let places = [
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
fn forced(choice: &Value) -> bool {
    match choice {
        Value::String(choice) => choice.eq_ignore_ascii_case("required"),
        Value::Object(choice) => choice.get("type").is_some_and(|kind| kind != "auto" && kind != "none"),
        _ => false,
    }
}

fn asked(fields: &Fields<'_>) -> bool {
    fields.messages.or(fields.input).and_then(last_user_text).is_some_and(|text| asks_for_tool(&text))
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
    fn forced_asked_and_neither() {
        let body = |choice: &str, text: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"{text}"}}],"tool_choice":{choice},"tools":[{{"type":"function",
                "function":{{"name":"look","parameters":{{"type":"object","required":["q"],"properties":{{
                "q":{{"type":"string"}},"n":{{"type":"integer"}}}}}}}}}}]}}"#
            )
        };
        let plan = |body: &str| ToolCall::plan(&Fields::parse(body.as_bytes()).unwrap(), &Script::default());
        let call = plan(&body("\"required\"", "hi")).unwrap();
        assert_eq!((call.name.as_str(), call.arguments.as_str()), ("look", r#"{"q":"mock"}"#));
        assert!(plan(&body(r#"{"type":"function","function":{"name":"look"}}"#, "hi")).is_some());
        assert!(plan(&body("\"auto\"", "please Call the tool now")).is_some());
        assert!(plan(&body("\"auto\"", "hi")).is_none());
        assert!(plan(&body("\"none\"", "hi")).is_none());
    }
}
