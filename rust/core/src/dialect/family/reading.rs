//! Taking requests apart: members by name, and which of them were not looked at.

use serde_json::{Map, Value};

use super::Fault;

/// An object whose members are taken one by one; what is left at the end was not understood.
pub struct Members<'v> {
    object: &'v Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'v> Members<'v> {
    pub fn of(value: &'v Value) -> Result<Self, Fault> {
        match value {
            Value::Object(object) => Ok(Members { object, taken: Vec::new() }),
            _ => Err(Fault::invalid("", "a JSON object is expected")),
        }
    }

    /// A member that is there and not null.
    pub fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.taken.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<&'v str>, Fault> {
        self.take(name)
            .map(|value| value.as_str().ok_or_else(|| Fault::invalid(name, "a string is expected")))
            .transpose()
    }

    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, Fault> {
        let number = |value: &Value| value.as_u64().ok_or_else(|| Fault::invalid(name, "a whole number is expected"));
        self.take(name).map(number).transpose()
    }

    pub fn bool(&mut self, name: &'static str) -> Result<Option<bool>, Fault> {
        let flag = |value: &Value| value.as_bool().ok_or_else(|| Fault::invalid(name, "a boolean is expected"));
        self.take(name).map(flag).transpose()
    }

    pub fn array(&mut self, name: &'static str) -> Result<Option<&'v [Value]>, Fault> {
        let list = |value: &'v Value| match value {
            Value::Array(items) => Ok(items.as_slice()),
            _ => Err(Fault::invalid(name, "an array is expected")),
        };
        self.take(name).map(list).transpose()
    }

    /// The names of members that nobody took, short enough for a header.
    pub fn rest(&self) -> Vec<Box<str>> {
        let plain = |name: &&String| {
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let left = self.object.iter().filter(|(name, value)| !value.is_null() && !self.taken.contains(&name.as_str()));
        left.map(|(name, _)| name).filter(plain).take(16).map(|name| name.as_str().into()).collect()
    }
}

/// A whole document.
pub fn document(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::invalid("", error.to_string()))
}

/// A provider's answer, as its shape has it.
pub fn told<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::invalid("", error.to_string()))
}
