//! How many tokens a text or a chat request is: exact for OpenAI's encodings, labelled estimates for all others.
//!
//! The vocabularies take some 30 to 80 MB and a tenth of a second each: they are loaded when first asked for, on the
//! asking thread, which must therefore not be one that serves requests.
//!
//! A chat request is more than its texts. The fixed tokens of messages, names and tools are those that OpenAI's cookbook
//! gives ("How to count tokens with tiktoken"), those of pictures those of its guide to vision; they are OpenAI's own
//! approximation of what it bills.

use serde_json::{Map, Value};

/// Bytes of text per token where no vocabulary is at hand; English and code have 3.5 to 4.5.
const ESTIMATE_BYTES: usize = 4;
const PER_MESSAGE: u64 = 3;
const PER_NAME: u64 = 1;
/// Every answer is begun with three tokens.
const PRIMING: u64 = 3;

/// What texts are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    O200k,
    Cl100k,
    /// None that is known here.
    Estimate,
}

impl Encoding {
    /// The encoding of a model, by the families that OpenAI names. A provider's name may stand in front.
    #[must_use]
    pub fn of(model: &str) -> Encoding {
        let name = ["openai/", "azure/"].iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let begins = |families: &[&str]| families.iter().any(|family| name.starts_with(family));
        if begins(&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4-"]) {
            Encoding::O200k
        } else if begins(&["gpt-4", "gpt-3.5", "gpt-35", "text-embedding-3-", "text-embedding-ada-002"]) {
            Encoding::Cl100k
        } else {
            Encoding::Estimate
        }
    }

    /// An encoding by its own name.
    #[must_use]
    pub fn named(name: &str) -> Option<Encoding> {
        match name {
            "o200k_base" => Some(Encoding::O200k),
            "cl100k_base" => Some(Encoding::Cl100k),
            _ => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Encoding::O200k => "o200k_base",
            Encoding::Cl100k => "cl100k_base",
            Encoding::Estimate => "estimate",
        }
    }

    /// Tokens of a text. Linear in its length, whatever it holds.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        let tokens = match self {
            Encoding::O200k => bpe_openai::o200k_base().count(text),
            Encoding::Cl100k => bpe_openai::cl100k_base().count(text),
            Encoding::Estimate => text.len().div_ceil(ESTIMATE_BYTES),
        };
        tokens as u64
    }
}

/// A count, and whether it is the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    pub exact: bool,
}

/// Tokens of a request: its `messages` and `tools`, or its `prompt` or `input`.
///
/// # Errors
/// Says what is missing or malformed.
pub fn of_request(encoding: Encoding, request: &Map<String, Value>) -> Result<Count, String> {
    let mut counter = Counter { encoding, exact: encoding != Encoding::Estimate, tokens: 0 };
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

struct Counter {
    encoding: Encoding,
    exact: bool,
    tokens: u64,
}

impl Counter {
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
                // Which tokens a picture is depends on its size, which a link does not tell; the guide's 1024 x 1024 at
                // high detail stands for it.
                let low = part.get("image_url").and_then(|url| url.get("detail")).or_else(|| part.get("detail"));
                self.tokens += if low.and_then(Value::as_str) == Some("low") { 85 } else { 765 };
                self.exact = false;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn count(model: &str, request: &str) -> Count {
        of_request(Encoding::of(model), serde_json::from_str::<Value>(request).unwrap().as_object().unwrap()).unwrap()
    }

    #[test]
    fn families_have_their_encodings() {
        for (model, encoding) in [
            ("gpt-4o-mini", Encoding::O200k),
            ("openai/gpt-4.1", Encoding::O200k),
            ("o3-mini", Encoding::O200k),
            ("ft:gpt-4o:acme", Encoding::O200k),
            ("gpt-4-turbo", Encoding::Cl100k),
            ("text-embedding-3-small", Encoding::Cl100k),
            ("claude-sonnet-4", Encoding::Estimate),
            ("llama-3", Encoding::Estimate),
        ] {
            assert_eq!(Encoding::of(model), encoding, "{model}");
        }
    }

    #[test]
    fn texts_are_counted_as_tiktoken_does() {
        // Counts of tiktoken 0.12.
        for (text, o200k, cl100k) in [("", 0, 0), ("hello world", 2, 2), ("tiktoken is great!", 6, 6)] {
            assert_eq!((Encoding::O200k.count(text), Encoding::Cl100k.count(text)), (o200k, cl100k), "{text}");
        }
        assert_eq!(Encoding::Estimate.count("hello world"), 3);
    }

    #[test]
    fn the_cookbook_example_is_counted() {
        // Its messages are 129 tokens for gpt-3.5-turbo and gpt-4, 124 for gpt-4o.
        let request = r#"{"messages": [
            {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
            {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
            {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
            {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
            {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
            {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."}]}"#;
        assert_eq!(count("gpt-4-0613", request), Count { tokens: 129, exact: true });
        assert_eq!(count("gpt-4o", request), Count { tokens: 124, exact: true });
        assert!(!count("claude-sonnet-4", request).exact);
    }

    #[test]
    fn what_cannot_be_counted_is_told() {
        for bad in [r#"{"messages": 1}"#, r#"{"messages": [1]}"#, r#"{}"#, r#"{"input": 1}"#] {
            let request: Value = serde_json::from_str(bad).unwrap();
            assert!(of_request(Encoding::O200k, request.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
