//! JSON within texts: in fenced blocks, or anywhere.

use serde_json::{Value, json};

use super::params::{Operator, Params};
use super::{Fault, Outcome};
use crate::kernel::schema::Schema;

/// Places where a value is looked for, and values that are kept.
const TRIES: usize = 1_000;
const VALUES: usize = 64;

#[derive(Debug)]
pub enum Json {
    Schema { schema: Box<Schema>, not: bool },
    Keys { keys: Vec<String>, operator: Operator },
}

impl Json {
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(name: &str, given: &mut Params) -> Result<Json, Fault> {
        if name == "jsonKeys" {
            let keys = given.texts("keys")?;
            if keys.is_empty() {
                return Err(("keys".into(), "names none".into()));
            }
            return Ok(Json::Keys { keys, operator: given.operator(Operator::Any)? });
        }
        let schema = match given.take("schema") {
            Some(Value::String(text)) => serde_json::from_str(&text)
                .map_err(|error| ("schema".to_string(), format!("is not valid JSON: {error}")))?,
            Some(schema) => schema,
            None => return Err(("schema".into(), "is missing".into())),
        };
        let schema = Schema::compile(&schema).map_err(|(place, text)| (format!("schema.{place}"), text))?;
        Ok(Json::Schema { schema: Box::new(schema), not: given.flag("not")?.unwrap_or(false) })
    }

    pub fn run(&self, text: &str) -> Outcome {
        let values = found(text);
        if values.is_empty() {
            return Outcome::of(false, json!({"explanation": "No JSON was found."}));
        }
        match self {
            Json::Schema { schema, not } => {
                let faults: Vec<(String, String)> =
                    values.iter().filter_map(|value| schema.validate(value).err()).collect();
                let valid = faults.len() < values.len();
                let told = if valid { "JSON that fits the schema was found." } else { "No JSON fits the schema." };
                let errors: Vec<String> =
                    faults.iter().map(|(place, text)| format!("{place} {text}").trim().to_string()).collect();
                let data = if valid {
                    json!({"explanation": told})
                } else {
                    json!({"explanation": told, "validationErrors": errors})
                };
                Outcome::of(valid != *not, data)
            }
            Json::Keys { keys, operator } => {
                let has = |value: &Value| keys.iter().filter(|key| value.get(key.as_str()).is_some()).count();
                let counts: Vec<usize> = values.iter().map(has).collect();
                let passed = match operator {
                    Operator::None => counts.iter().all(|count| *count == 0),
                    operator => counts.iter().any(|count| operator.holds(*count, keys.len())),
                };
                let best = counts.iter().max().copied().unwrap_or(0);
                Outcome::of(passed, json!({"explanation": format!("{best} of {} keys were found.", keys.len())}))
            }
        }
    }
}

/// The outermost values in a text; those in fenced blocks come first.
fn found(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    for (at, block) in text.split("```").enumerate() {
        if at % 2 == 1 {
            let inner = block.split_once('\n').map_or(block, |(_, rest)| rest);
            values.extend(
                serde_json::from_str::<Value>(inner.trim()).ok().filter(|value| value.is_object() || value.is_array()),
            );
        }
    }
    if !values.is_empty() {
        return values;
    }
    let (mut at, mut tries) = (0, 0);
    while let Some(next) = text.get(at..).and_then(|rest| rest.find(['{', '['])) {
        let from = at + next;
        tries += 1;
        if tries > TRIES || values.len() >= VALUES {
            break;
        }
        let mut stream = serde_json::Deserializer::from_str(text.get(from..).unwrap_or_default()).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                values.push(value);
                at = from + stream.byte_offset().max(1);
            }
            _ => at = from + 1,
        }
    }
    values
}
