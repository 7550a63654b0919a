//! Reads what a caller says: the members of a JSON object, or the fields of a form.

use serde_json::{Map, Value};

use super::Asked;
use crate::error::{Code, Error, Result};
use crate::wire::multipart::Part;

/// A parameter of the caller's.
pub struct Given {
    pub name: String,
    /// As it stands in a form: `[]` says that there may be several.
    pub raw: String,
    pub value: Value,
    pub used: bool,
}

/// The parameters of a request, without its files.
///
/// # Errors
/// 400 for what is no object, and for text that is none.
pub fn given(asked: &Asked<'_>, parts: &[Part]) -> Result<Vec<Given>> {
    let found = |raw: String, value| {
        let name = raw.strip_suffix("[]").unwrap_or(&raw).to_string();
        Given { name, raw, value, used: false }
    };
    if asked.boundary.is_none() {
        let members: Map<String, Value> =
            serde_json::from_slice(asked.body).map_err(|error| invalid("", &error.to_string()))?;
        return Ok(members.into_iter().map(|(name, value)| found(name, value)).collect());
    }
    let texts = parts.iter().filter(|part| part.filename.is_none());
    let texts = texts.map(|part| {
        let content = asked.body.get(part.content.clone()).unwrap_or_default();
        let content = std::str::from_utf8(content).map_err(|_| invalid(&part.name, "UTF-8 is expected"))?;
        Ok(found(part.name.clone(), Value::from(content)))
    });
    texts.collect()
}

/// A value as it stands in a path, a query or a form.
/// # Errors
/// 400 for a list or an object.
pub fn text(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(invalid(name, "a string, a number or a boolean is expected")),
    }
}

/// A request that is not what it should be.
pub fn invalid(path: &str, reason: &str) -> Error {
    if path.is_empty() {
        return Error::new(Code::InvalidRequest, format!("The request cannot be read: {reason}."));
    }
    Error::new(Code::InvalidRequest, format!("Invalid '{path}': {reason}.")).param(path.to_string())
}
