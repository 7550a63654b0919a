//! Conditions on a request and its answer, compiled once and asked often: what Portkey's conditional router, routing rules and
//! policies are written in.
//!
//! Three ways to write one come to the same tree. As `{field, op, value}`; as members that must all hold, each a field with a
//! value it must equal or with operators (`{"metadata.plan": {"$in": [...]}}`); as an expression in a subset of CEL.
//! `all`, `any`, `not` (also `$and`, `$or`, `$not`) nest in the first two. A field that a request does not have fails every
//! operator but `exists: false`, so that a rule about what is missing has to say so.
//!
//! Fields are looked up when a test first asks for them and once for all tests of a [`Memo`].

mod cel;
mod compile;
mod field;
mod test;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use serde_json::{Map, Value};
use smallvec::SmallVec;

pub use compile::Scope;
pub use field::{Field, Holder, Metric, path};
use test::Test;

/// Fields of one memo that are kept; those beyond are looked up each time.
const KEPT: usize = 64;

/// The value of a field in one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'f> {
    Missing,
    Bool(bool),
    Number(f64),
    Text(Cow<'f, str>),
    /// Of a list: a test holds if it holds for one; a negative one, if it holds for all.
    Many(Vec<Fact<'f>>),
}

impl<'f> From<&'f Value> for Fact<'f> {
    /// Lists have the values of their elements; objects have none of their own.
    fn from(value: &'f Value) -> Self {
        match value {
            Value::Bool(value) => Fact::Bool(*value),
            Value::Number(number) => number.as_f64().map_or(Fact::Missing, Fact::Number),
            Value::String(text) => Fact::Text(Cow::Borrowed(text)),
            Value::Array(items) => Fact::Many(items.iter().map(Fact::from).collect()),
            Value::Null | Value::Object(_) => Fact::Missing,
        }
    }
}

impl Fact<'_> {
    /// The same, held by itself.
    pub fn owned(self) -> Fact<'static> {
        match self {
            Fact::Missing => Fact::Missing,
            Fact::Bool(value) => Fact::Bool(value),
            Fact::Number(value) => Fact::Number(value),
            Fact::Text(text) => Fact::Text(Cow::Owned(text.into_owned())),
            Fact::Many(items) => Fact::Many(items.into_iter().map(Fact::owned).collect()),
        }
    }
}

/// Who answers for a request's fields.
pub trait Facts {
    fn fact(&self, field: &Field) -> Fact<'_>;
}

/// A condition that cannot be used: where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    pub message: String,
}

#[derive(Clone, Debug)]
enum Node {
    Always,
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// A field by its place among the fields, and what is asked of it.
    Test(u16, Test),
}

/// The fields that conditions ask for, each once.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    places: HashMap<Field, u16>,
}

impl Fields {
    /// The place of a field; `None` when there are too many.
    fn place(&mut self, field: Field) -> Option<u16> {
        if let Some(at) = self.places.get(&field) {
            return Some(*at);
        }
        let at = u16::try_from(self.list.len()).ok()?;
        self.list.push(field.clone());
        self.places.insert(field, at);
        Some(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.list.iter()
    }
}

/// What was looked up for one request.
pub struct Memo<'m> {
    fields: &'m Fields,
    facts: &'m dyn Facts,
    kept: SmallVec<[OnceCell<Fact<'m>>; 16]>,
}

impl<'m> Memo<'m> {
    pub fn new(fields: &'m Fields, facts: &'m dyn Facts) -> Self {
        let kept = (0..fields.list.len().min(KEPT)).map(|_| OnceCell::new()).collect();
        Memo { fields, facts, kept }
    }

    fn ask(&self, place: u16, test: &Test) -> bool {
        let place = usize::from(place);
        let Some(field) = self.fields.list.get(place) else { return false };
        match self.kept.get(place) {
            Some(cell) => test.passes(cell.get_or_init(|| self.facts.fact(field))),
            None => test.passes(&self.facts.fact(field)),
        }
    }

    /// Whether a condition compiled with the same fields holds.
    pub fn holds(&self, rule: &Rule) -> bool {
        self.node(&rule.0)
    }

    fn node(&self, node: &Node) -> bool {
        match node {
            Node::Always => true,
            Node::All(nodes) => nodes.iter().all(|node| self.node(node)),
            Node::Any(nodes) => nodes.iter().any(|node| self.node(node)),
            Node::Not(node) => !self.node(node),
            Node::Test(place, test) => self.ask(*place, test),
        }
    }
}

/// A condition whose fields stand in a table that many share.
#[derive(Clone, Debug)]
pub struct Rule(Node);

impl Rule {
    /// Holds always.
    pub fn always() -> Rule {
        Rule(Node::Always)
    }

    /// # Errors
    /// The first fault, with its path in the condition.
    pub fn compile(value: &Value, scope: Scope, fields: &mut Fields) -> Result<Rule, Fault> {
        compile::rule(value, scope, fields).map(Rule)
    }
}

/// A compiled condition by itself.
#[derive(Clone, Debug)]
pub struct Condition {
    fields: Fields,
    rule: Rule,
}

impl Condition {
    /// From JSON, or an expression in CEL.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn parse(text: &str) -> Result<Condition, Fault> {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) if text.trim_start().starts_with(['{', '[']) => {
                return Err(fault("", format!("not valid JSON: {error}")));
            }
            Err(_) => Value::String(text.to_string()),
        };
        Condition::compile(&value)
    }

    /// A condition on a request.
    ///
    /// # Errors
    /// The first fault, with its path in the condition.
    pub fn compile(value: &Value) -> Result<Condition, Fault> {
        let mut fields = Fields::default();
        let rule = Rule::compile(value, Scope::default(), &mut fields)?;
        Ok(Condition { fields, rule })
    }

    pub fn holds(&self, facts: &dyn Facts) -> bool {
        Memo::new(&self.fields, facts).holds(&self.rule)
    }

    /// Whether a field is asked that `wanted` picks.
    pub fn asks(&self, wanted: &dyn Fn(&Field) -> bool) -> bool {
        self.fields.iter().any(wanted)
    }
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_string(), message: message.into() }
}

/// A member of a JSON object by its path; numbers in the path are places in a list.
pub fn member<'v>(root: &'v Map<String, Value>, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(root.get(first)?, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The fact at a path; `*` in it stands for every element of a list.
pub fn fact_at<'v>(value: &'v Value, path: &[String]) -> Fact<'v> {
    let Some((first, rest)) = path.split_first() else { return Fact::from(value) };
    match value {
        Value::Object(members) => members.get(first).map_or(Fact::Missing, |value| fact_at(value, rest)),
        Value::Array(items) if first == "*" => {
            let found = items.iter().map(|item| fact_at(item, rest)).filter(|fact| *fact != Fact::Missing);
            let mut all = Vec::new();
            for fact in found {
                match fact {
                    Fact::Many(more) => all.extend(more),
                    one => all.push(one),
                }
            }
            if all.is_empty() { Fact::Missing } else { Fact::Many(all) }
        }
        Value::Array(items) => {
            let item = first.parse::<usize>().ok().and_then(|place| items.get(place));
            item.map_or(Fact::Missing, |item| fact_at(item, rest))
        }
        _ => Fact::Missing,
    }
}
