//! From JSON to rules.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Counted, DEPTH, Node, Rule};
use crate::kernel::nearest::nearest;

const KEYWORDS: [&str; 27] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];
const ANNOTATIONS: [&str; 10] =
    ["title", "description", "default", "examples", "$schema", "$id", "$comment", "format", "$defs", "definitions"];

type Fault = (String, String);

pub(super) fn node(value: &Value, at: &str, depth: usize) -> Result<Node, Fault> {
    let wrong = |text: String| Err((at.to_string(), text));
    if depth > DEPTH {
        return wrong(format!("nested deeper than {DEPTH} levels"));
    }
    let members = match value {
        Value::Bool(value) => return Ok(Node::Any(*value)),
        Value::Object(members) => members,
        _ => return wrong("a schema is an object, true or false".to_string()),
    };
    for name in members.keys() {
        if !KEYWORDS.contains(&name.as_str()) && !ANNOTATIONS.contains(&name.as_str()) && name != "$ref" {
            let hint = nearest(name, KEYWORDS.into_iter());
            let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return wrong(format!("the keyword `{name}` is not supported{hint}"));
        }
    }
    if let (Some(Value::String(name)), 1) = (members.get("$ref"), members.len()) {
        return Ok(Node::Ref(name.clone()));
    }
    rules(members, at, depth).map(Node::All)
}

/// How many there may be of what is counted.
fn counts(out: &mut Vec<Rule>, whole: impl Fn(&str) -> Result<Option<u64>, Fault>) -> Result<(), Fault> {
    for (counted, least, most) in [
        (Counted::Members, "minProperties", "maxProperties"),
        (Counted::Elements, "minItems", "maxItems"),
        (Counted::Characters, "minLength", "maxLength"),
    ] {
        let (least, most) = (whole(least)?, whole(most)?);
        if least.is_some() || most.is_some() {
            out.push(Rule::Count(counted, least.unwrap_or(0), most.unwrap_or(u64::MAX)));
        }
    }
    Ok(())
}

fn rules(members: &Map<String, Value>, at: &str, depth: usize) -> Result<Vec<Rule>, Fault> {
    let below = |name: &str| if at.is_empty() { name.to_string() } else { format!("{at}.{name}") };
    let one = |name: &str| members.get(name).map(|value| node(value, &below(name), depth + 1)).transpose();
    let wrong = |name: &str, text: &str| (below(name), text.to_string());
    let list = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::Array(items)) => {
            let nodes =
                items.iter().enumerate().map(|(i, item)| node(item, &format!("{}[{i}]", below(name)), depth + 1));
            nodes.collect::<Result<Vec<_>, _>>().map(Some)
        }
        Some(_) => Err(wrong(name, "expected a list of schemas")),
    };
    let number = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| wrong(name, "expected a number")),
    };
    let whole = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(name, "expected a whole number")),
    };
    let texts = |name: &str, value: &Value| match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_string)).collect();
            texts.ok_or_else(|| wrong(name, "expected texts"))
        }
        _ => Err(wrong(name, "expected text or a list of texts")),
    };
    let regex = |name: &str, text: &str| Regex::new(text).map_err(|_| wrong(name, "is no regular expression"));
    let mut out = Vec::new();
    if let Some(value) = members.get("type") {
        let types = texts("type", value)?;
        const TYPES: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];
        if let Some(bad) = types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
            return Err(wrong("type", &format!("`{bad}` is no type")));
        }
        out.push(Rule::Type(types));
    }
    match members.get("enum") {
        None => {}
        Some(Value::Array(values)) => out.push(Rule::Enum(values.clone())),
        Some(_) => return Err(wrong("enum", "expected a list")),
    }
    out.extend(members.get("const").map(|value| Rule::Enum(vec![value.clone()])));
    if let Some(value) = members.get("required") {
        out.push(Rule::Required(texts("required", value)?));
    }
    let rest = one("additionalProperties")?;
    if rest.is_some() || members.contains_key("properties") || members.contains_key("patternProperties") {
        let section = |name: &str| match members.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(members)) => Ok(members.clone()),
            Some(_) => Err(wrong(name, "expected an object")),
        };
        let mut known = BTreeMap::new();
        for (name, value) in section("properties")? {
            known.insert(name.clone(), node(&value, &below(&format!("properties.{name}")), depth + 1)?);
        }
        let mut patterns = Vec::new();
        for (name, value) in section("patternProperties")? {
            patterns.push((regex("patternProperties", &name)?, node(&value, &below("patternProperties"), depth + 1)?));
        }
        out.push(Rule::Properties(known, patterns, rest.map(Box::new)));
    }
    let (first, items) = (list("prefixItems")?, one("items")?);
    if first.is_some() || items.is_some() {
        out.push(Rule::Items(first.unwrap_or_default(), items.map(Box::new)));
    }
    out.extend(one("contains")?.map(|node| Rule::Contains(Box::new(node))));
    if members.get("uniqueItems") == Some(&Value::Bool(true)) {
        out.push(Rule::Unique);
    }
    counts(&mut out, whole)?;
    for (name, upper, exclusive) in [
        ("minimum", false, false),
        ("maximum", true, false),
        ("exclusiveMinimum", false, true),
        ("exclusiveMaximum", true, true),
    ] {
        out.extend(number(name)?.map(|limit| Rule::Bound { limit, upper, exclusive }));
    }
    match number("multipleOf")? {
        None => {}
        Some(of) if of > 0.0 => out.push(Rule::Multiple(of)),
        Some(_) => return Err(wrong("multipleOf", "must be above 0")),
    }
    if let Some(value) = members.get("pattern") {
        let text = value.as_str().ok_or_else(|| wrong("pattern", "expected text"))?;
        out.push(Rule::Pattern(regex("pattern", text)?));
    }
    out.extend(list("allOf")?.map(Rule::AllOf));
    out.extend(list("anyOf")?.map(Rule::AnyOf));
    out.extend(list("oneOf")?.map(Rule::OneOf));
    out.extend(one("not")?.map(|node| Rule::Not(Box::new(node))));
    if let Some(value) = members.get("$ref") {
        let name = value.as_str().ok_or_else(|| wrong("$ref", "expected text"))?;
        out.push(Rule::Reference(name.to_string()));
    }
    Ok(out)
}
