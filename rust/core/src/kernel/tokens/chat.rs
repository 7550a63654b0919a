//! A chat request is more than its texts. The fixed tokens of messages, names and tools are those that OpenAI's cookbook
//! gives ("How to count tokens with tiktoken"); they are OpenAI's own approximation of what it bills.

use serde_json::{Map, Value};

use super::{Encoding, picture};

const PER_MESSAGE: u64 = 3;
const PER_NAME: u64 = 1;
/// Every answer is begun with three tokens.
const PRIMING: u64 = 3;

/// A count, and whether it is the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    pub exact: bool,
}

/// Tokens of a request as JSON; see [`of_request`].
///
/// # Errors
/// Says what is missing or malformed.
pub fn of_bytes(model: &str, request: &[u8]) -> Result<Count, String> {
    let request: Value = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    of_request(model, request.as_object().ok_or("the request must be an object")?)
}

/// Tokens of a request: its `messages` and `tools`, or its `prompt` or `input`.
///
/// # Errors
/// Says what is missing or malformed.
pub fn of_request(model: &str, request: &Map<String, Value>) -> Result<Count, String> {
    let encoding = Encoding::named(model).unwrap_or_else(|| Encoding::of(model));
    let mut counter = Counter { model, encoding, exact: encoding != Encoding::Estimate, tokens: 0 };
    if let Some(messages) = request.get("messages").filter(|value| !value.is_null()) {
        let messages = messages.as_array().ok_or("`messages` must be an array")?;
        for (index, message) in messages.iter().enumerate() {
            let message = message.as_object().ok_or_else(|| format!("`messages[{index}]` must be an object"))?;
            counter.message(message);
        }
        counter.tokens += PRIMING;
        // Anthropic keeps its instructions apart.
        if let Some(system) = request.get("system") {
            counter.content(system);
        }
        for tool in request.get("tools").and_then(Value::as_array).into_iter().flatten() {
            counter.tool(tool);
        }
    } else {
        let text = ["prompt", "input", "text"].iter().find_map(|name| request.get(*name));
        match text.ok_or("give `messages`, `prompt`, `input` or `text`")? {
            Value::String(text) => counter.text(text),
            Value::Array(texts) => texts.iter().for_each(|text| match text {
                Value::String(text) => counter.text(text),
                // Tokens already, one by one or in lists.
                Value::Number(_) => counter.tokens += 1,
                Value::Array(tokens) => counter.tokens += tokens.len() as u64,
                other => counter.content(other),
            }),
            _ => return Err("`prompt`, `input` or `text` must be a string or an array".to_string()),
        }
    }
    Ok(Count { tokens: counter.tokens, exact: counter.exact })
}

struct Counter<'m> {
    model: &'m str,
    encoding: Encoding,
    exact: bool,
    tokens: u64,
}

impl Counter<'_> {
    fn text(&mut self, text: &str) {
        self.tokens += self.encoding.count(text);
    }

    fn message(&mut self, message: &Map<String, Value>) {
        self.tokens += PER_MESSAGE;
        for (name, value) in message {
            match (name.as_str(), value) {
                ("content", content) => self.content(content),
                ("name", Value::String(text)) => {
                    self.text(text);
                    self.tokens += PER_NAME;
                }
                (_, Value::String(text)) => self.text(text),
                (_, Value::Null) => {}
                (_, other) => {
                    // Calls of tools have a form that nobody has published.
                    self.exact = false;
                    self.text(&other.to_string());
                }
            }
        }
    }

    fn content(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.text(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.part(part)),
            Value::Null => {}
            other => self.text(&other.to_string()),
        }
    }

    fn part(&mut self, part: &Value) {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        match text("type") {
            Some("text" | "input_text" | "output_text") => self.text(text("text").unwrap_or_default()),
            Some("image_url" | "input_image" | "image") => {
                let (tokens, known) = picture::tokens(self.model, part);
                self.tokens += tokens;
                self.exact &= known;
            }
            _ => {
                self.exact = false;
                self.text(&part.to_string());
            }
        }
    }

    /// A function's description, as the cookbook counts it.
    fn tool(&mut self, tool: &Value) {
        const END: u64 = 12;
        let function = tool.get("function").unwrap_or(tool);
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
        self.tokens += if self.encoding == Encoding::O200k { 7 } else { 10 };
        let about = text(function, "description");
        self.text(&format!("{}:{}", text(function, "name"), about.strip_suffix('.').unwrap_or(&about)));
        let schema = function.get("parameters").or_else(|| function.get("input_schema"));
        if let Some(properties) = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object)
            && !properties.is_empty()
        {
            self.tokens += 3;
            for (name, property) in properties {
                self.tokens += 3;
                for one in property.get("enum").and_then(Value::as_array).into_iter().flatten() {
                    self.tokens += 3;
                    self.text(one.as_str().unwrap_or_default());
                }
                if property.get("enum").is_some() {
                    self.tokens = self.tokens.saturating_sub(3);
                }
                let about = text(property, "description");
                let about = about.strip_suffix('.').unwrap_or(&about);
                self.text(&format!("{name}:{}:{about}", text(property, "type")));
            }
        }
        self.tokens += END;
        // Nested schemas are not part of the published rule.
        self.exact = false;
    }
}
