//! Parameters of a check: each is read once, and what is left over is refused.

use serde_json::{Map, Value};

use super::Fault;
use crate::kernel::nearest::nearest;

pub struct Params {
    given: Map<String, Value>,
    known: Vec<&'static str>,
}

/// How many of a list have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Any,
    All,
    None,
}

impl Operator {
    pub fn holds(self, found: usize, of: usize) -> bool {
        match self {
            Operator::Any => found > 0,
            Operator::All => found == of,
            Operator::None => found == 0,
        }
    }
}

fn wrong<T>(name: &str, text: &str) -> Result<T, Fault> {
    Err((name.to_string(), text.to_string()))
}

impl Params {
    /// # Errors
    /// They are no object.
    pub fn new(value: &Value) -> Result<Params, Fault> {
        match value {
            Value::Object(given) => Ok(Params { given: given.clone(), known: Vec::new() }),
            Value::Null => Ok(Params { given: Map::new(), known: Vec::new() }),
            _ => wrong("", "expected an object of parameters"),
        }
    }

    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.given.remove(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// It is neither true nor false.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => wrong(name, "expected true or false"),
        }
    }

    /// # Errors
    /// It is no text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => wrong(name, "expected text"),
        }
    }

    /// # Errors
    /// It is missing, or no text.
    pub fn needed(&mut self, name: &'static str) -> Result<String, Fault> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => wrong(name, "is missing"),
        }
    }

    /// # Errors
    /// It is no whole number from 0.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()) {
                Some(number) => Ok(Some(number)),
                None => wrong(name, "expected a whole number from 0"),
            },
        }
    }

    /// # Errors
    /// It is no list of texts. One text will do for a list of one.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Fault> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(value) => list(name, &value),
        }
    }

    /// # Errors
    /// It is none of `any`, `all`, `none`.
    pub fn operator(&mut self, otherwise: Operator) -> Result<Operator, Fault> {
        match self.text("operator")?.as_deref() {
            None => Ok(otherwise),
            Some("any") => Ok(Operator::Any),
            Some("all") => Ok(Operator::All),
            Some("none") => Ok(Operator::None),
            Some(_) => wrong("operator", "expected `any`, `all` or `none`"),
        }
    }

    /// # Errors
    /// A parameter is left that nobody reads.
    pub fn done(self) -> Result<(), Fault> {
        // Credentials stand beside the parameters of a check in Portkey's objects, of built-in ones as an empty object.
        let left = self
            .given
            .iter()
            .find(|(name, value)| *name != "credentials" || value.as_object().is_none_or(|m| !m.is_empty()));
        let Some((name, _)) = left else { return Ok(()) };
        let hint = nearest(name, self.known.iter().copied());
        let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        Err((name.clone(), format!("unknown parameter `{name}`{hint}")))
    }
}

/// # Errors
/// It is no list of texts.
pub fn list(name: &str, value: &Value) -> Result<Vec<String>, Fault> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str().map_or_else(|| wrong(name, "expected a list of texts"), |text| Ok(text.to_string()))
            })
            .collect(),
        _ => wrong(name, "expected a list of texts"),
    }
}
