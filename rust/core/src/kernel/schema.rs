//! JSON Schema, the part that validates without reading other documents, compiled once.
//!
//! A keyword that is not known is refused when it is compiled, because one that is passed over would let everything through.
//! Annotations (`title`, `description`, `default`, `examples`, `$schema`, `$id`, `$comment`, `format`) say nothing about
//! validity here.

mod compile;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use compile::node;

const DEPTH: usize = 32;
/// Most values looked at in one validation.
const STEPS: usize = 200_000;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    root: Node,
    defs: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Any(bool),
    Ref(String),
    All(Vec<Rule>),
}

#[derive(Debug)]
enum Rule {
    Type(Vec<String>),
    Enum(Vec<Value>),
    Properties(BTreeMap<String, Node>, Vec<(Regex, Node)>, Option<Box<Node>>),
    Required(Vec<String>),
    Items(Vec<Node>, Option<Box<Node>>),
    Contains(Box<Node>),
    Unique,
    /// Of what, least, most.
    Count(Counted, u64, u64),
    Bound {
        limit: f64,
        upper: bool,
        exclusive: bool,
    },
    Multiple(f64),
    Pattern(Regex),
    AllOf(Vec<Node>),
    AnyOf(Vec<Node>),
    OneOf(Vec<Node>),
    Not(Box<Node>),
    Reference(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    Members,
    Elements,
    Characters,
}

impl Schema {
    /// # Errors
    /// Where in the schema, and what cannot be used.
    pub fn compile(value: &Value) -> Result<Schema, (String, String)> {
        let mut defs = BTreeMap::new();
        for section in ["$defs", "definitions"] {
            if let Some(Value::Object(members)) = value.get(section) {
                for (name, value) in members {
                    let at = format!("{section}.{name}");
                    defs.insert(format!("#/{section}/{name}"), node(value, &at, 0)?);
                }
            }
        }
        let schema = Schema { root: node(value, "", 0)?, defs };
        let mut wanted = Vec::new();
        references(&schema.root, &mut wanted);
        schema.defs.values().for_each(|node| references(node, &mut wanted));
        match wanted.into_iter().find(|name| name != "#" && !schema.defs.contains_key(name)) {
            Some(missing) => Err((String::new(), format!("`$ref` to `{missing}`, which is not in the schema"))),
            None => Ok(schema),
        }
    }

    /// # Errors
    /// Where in the value, and what is wrong.
    pub fn validate(&self, value: &Value) -> Result<(), (String, String)> {
        let mut steps = 0;
        self.check(&self.root, value, "", 0, &mut steps)
    }

    fn check(
        &self,
        node: &Node,
        value: &Value,
        at: &str,
        depth: usize,
        steps: &mut usize,
    ) -> Result<(), (String, String)> {
        *steps += 1;
        if *steps > STEPS || depth > DEPTH * 4 {
            return Err((at.to_string(), "is too large to be validated".to_string()));
        }
        match node {
            Node::Any(true) => Ok(()),
            Node::Any(false) => Err((at.to_string(), "is not allowed".to_string())),
            Node::Ref(name) => self.reference(name, value, at, depth, steps),
            Node::All(rules) => rules.iter().try_for_each(|rule| self.rule(rule, value, at, depth, steps)),
        }
    }

    fn reference(
        &self,
        name: &str,
        value: &Value,
        at: &str,
        depth: usize,
        steps: &mut usize,
    ) -> Result<(), (String, String)> {
        let node = if name == "#" { Some(&self.root) } else { self.defs.get(name) };
        node.map_or(Ok(()), |node| self.check(node, value, at, depth + 1, steps))
    }

    fn rule(
        &self,
        rule: &Rule,
        value: &Value,
        at: &str,
        depth: usize,
        steps: &mut usize,
    ) -> Result<(), (String, String)> {
        let wrong = |text: String| Err((at.to_string(), text));
        let below = |name: &str| if at.is_empty() { name.to_string() } else { format!("{at}.{name}") };
        match (rule, value) {
            (Rule::Type(types), value) if !types.iter().any(|kind| is(kind, value)) => {
                wrong(format!("is not of type {}", types.join(" or ")))
            }
            (Rule::Enum(values), value) if !values.iter().any(|one| same(one, value)) => {
                wrong("is none of the values allowed".to_string())
            }
            (Rule::Required(names), Value::Object(members)) => match names.iter().find(|n| !members.contains_key(*n)) {
                Some(name) => wrong(format!("`{name}` is missing")),
                None => Ok(()),
            },
            (Rule::Properties(known, patterns, rest), Value::Object(members)) => {
                for (name, value) in members {
                    let mut met = false;
                    if let Some(node) = known.get(name) {
                        met = true;
                        self.check(node, value, &below(name), depth + 1, steps)?;
                    }
                    for (_, node) in patterns.iter().filter(|(pattern, _)| pattern.is_match(name)) {
                        met = true;
                        self.check(node, value, &below(name), depth + 1, steps)?;
                    }
                    if let Some(node) = rest.as_deref().filter(|_| !met) {
                        self.check(node, value, &below(name), depth + 1, steps)?;
                    }
                }
                Ok(())
            }
            (Rule::Items(first, rest), Value::Array(items)) => {
                items.iter().enumerate().try_for_each(|(place, item)| match first.get(place).or(rest.as_deref()) {
                    Some(node) => self.check(node, item, &format!("{at}[{place}]"), depth + 1, steps),
                    None => Ok(()),
                })
            }
            (Rule::Contains(node), Value::Array(items)) => {
                let found = items.iter().any(|item| self.check(node, item, at, depth + 1, steps).is_ok());
                if found { Ok(()) } else { wrong("has no element of the kind it must contain".to_string()) }
            }
            (Rule::Unique, Value::Array(items)) if items.len() > 1 => {
                let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
                texts.sort_unstable();
                texts.dedup();
                if texts.len() == items.len() { Ok(()) } else { wrong("has equal elements".to_string()) }
            }
            (Rule::Count(counted, least, most), value) => match count(*counted, value) {
                Some(n) if n < *least || n > *most => wrong(format!("has a length of {n}")),
                _ => Ok(()),
            },
            (Rule::Bound { limit, upper, exclusive }, Value::Number(number)) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                let good = match (upper, exclusive) {
                    (true, false) => value <= *limit,
                    (true, true) => value < *limit,
                    (false, false) => value >= *limit,
                    (false, true) => value > *limit,
                };
                let side = if *upper { "above" } else { "below" };
                if good { Ok(()) } else { wrong(format!("is {side} its bound of {limit}")) }
            }
            (Rule::Multiple(of), Value::Number(number)) => {
                let quotient = number.as_f64().unwrap_or(f64::NAN) / of;
                let good = (quotient - quotient.round()).abs() < 1e-9;
                if good { Ok(()) } else { wrong(format!("is no multiple of {of}")) }
            }
            (Rule::Pattern(regex), Value::String(text)) if !regex.is_match(text) => {
                wrong(format!("does not match {regex}"))
            }
            (Rule::AllOf(nodes), value) => {
                nodes.iter().try_for_each(|node| self.check(node, value, at, depth + 1, steps))
            }
            (Rule::AnyOf(nodes), value) => {
                let good = nodes.iter().any(|node| self.check(node, value, at, depth + 1, steps).is_ok());
                if good { Ok(()) } else { wrong("fits none of the alternatives".to_string()) }
            }
            (Rule::OneOf(nodes), value) => {
                let n = nodes.iter().filter(|node| self.check(node, value, at, depth + 1, steps).is_ok()).count();
                if n == 1 { Ok(()) } else { wrong(format!("fits {n} of the alternatives instead of one")) }
            }
            (Rule::Not(node), value) => match self.check(node, value, at, depth + 1, steps) {
                Ok(()) => wrong("is what it must not be".to_string()),
                Err(_) => Ok(()),
            },
            (Rule::Reference(name), value) => self.reference(name, value, at, depth, steps),
            _ => Ok(()),
        }
    }
}

fn references(node: &Node, found: &mut Vec<String>) {
    let Node::All(rules) = node else {
        if let Node::Ref(name) = node {
            found.push(name.clone());
        }
        return;
    };
    for rule in rules {
        match rule {
            Rule::Reference(name) => found.push(name.clone()),
            Rule::Properties(known, patterns, rest) => {
                known.values().for_each(|node| references(node, found));
                patterns.iter().for_each(|(_, node)| references(node, found));
                rest.iter().for_each(|node| references(node, found));
            }
            Rule::Items(first, rest) => {
                first.iter().for_each(|node| references(node, found));
                rest.iter().for_each(|node| references(node, found));
            }
            Rule::AllOf(nodes) | Rule::AnyOf(nodes) | Rule::OneOf(nodes) => {
                nodes.iter().for_each(|node| references(node, found));
            }
            Rule::Not(node) | Rule::Contains(node) => references(node, found),
            _ => {}
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|value| value.fract() == 0.0),
        _ => false,
    }
}

/// Numbers are equal by value.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn count(counted: Counted, value: &Value) -> Option<u64> {
    let n = match (counted, value) {
        (Counted::Members, Value::Object(members)) => members.len(),
        (Counted::Elements, Value::Array(items)) => items.len(),
        (Counted::Characters, Value::String(text)) => text.chars().count(),
        _ => return None,
    };
    Some(n as u64)
}

#[cfg(test)]
mod tests;
