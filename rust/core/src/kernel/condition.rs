//! Conditions on a request, compiled once and asked often: what Portkey's conditional router and our own policies are written
//! in.
//!
//! A condition is a JSON object. Its members must all hold. `$and`, `$or`, `$not` (also `all`, `any`, `not`) nest; every
//! other member is a field with a value it must equal, or with operators: `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`,
//! `$nin`, `$regex`, `$exists`. A field that a request does not have fails every operator but `$exists: false`.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::nearest::nearest;

/// Deepest nesting, longest list, largest compiled regular expression.
const DEPTH: usize = 16;
const LIST: usize = 1_000;
const REGEX_BYTES: usize = 256 * 1024;

/// Something a condition may ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The caller's metadata: header or body.
    Metadata(String),
    /// A member of the request body, by its path.
    Param(Vec<String>),
    Header(String),
    Path,
    Model,
    Operation,
    Stream,
    /// Estimated.
    InputTokens,
    MaxTokens,
    /// `text`, `image`, `audio`, `file`: the highest there is.
    Modality,
    KeyId,
    /// `user` in the body.
    User,
    /// In UTC: 0–23, `monday` …, `HH:MM`.
    Hour,
    Weekday,
    Time,
}

const FIXED: [(&str, Field); 12] = [
    ("url.pathname", Field::Path),
    ("model", Field::Model),
    ("operation", Field::Operation),
    ("stream", Field::Stream),
    ("tokens.input", Field::InputTokens),
    ("tokens.max_output", Field::MaxTokens),
    ("modality", Field::Modality),
    ("key.id", Field::KeyId),
    ("user", Field::User),
    ("time.hour", Field::Hour),
    ("time.weekday", Field::Weekday),
    ("time.utc", Field::Time),
];
const OPERATORS: [&str; 10] = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex", "$exists"];

impl Field {
    pub fn parse(name: &str) -> Option<Field> {
        if let Some((_, field)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            return Some(field.clone());
        }
        let (kind, rest) = name.split_once('.')?;
        if rest.is_empty() {
            return None;
        }
        match kind {
            "metadata" => Some(Field::Metadata(rest.to_string())),
            "params" => Some(Field::Param(rest.split('.').map(str::to_string).collect())),
            "headers" | "header" => Some(Field::Header(rest.to_ascii_lowercase())),
            _ => None,
        }
    }
}

/// The value of a field in one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'f> {
    Missing,
    Bool(bool),
    Number(f64),
    Text(Cow<'f, str>),
}

impl<'f> From<&'f Value> for Fact<'f> {
    /// Lists and objects have no value of their own.
    fn from(value: &'f Value) -> Self {
        match value {
            Value::Bool(value) => Fact::Bool(*value),
            Value::Number(number) => number.as_f64().map_or(Fact::Missing, Fact::Number),
            Value::String(text) => Fact::Text(Cow::Borrowed(text)),
            Value::Null | Value::Array(_) | Value::Object(_) => Fact::Missing,
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
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Field, Test),
}

#[derive(Clone, Debug)]
enum Test {
    Equals(Constant, bool),
    Compare(Order, f64),
    In(Vec<Constant>, bool),
    Matches(Regex),
    Exists(bool),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Constant {
    Bool(bool),
    Number(f64),
    Text(String),
}

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition(Node);

impl Condition {
    /// From JSON.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn parse(text: &str) -> Result<Condition, Fault> {
        let value: Value = serde_json::from_str(text).map_err(|error| fault("", format!("not valid JSON: {error}")))?;
        Condition::compile(&value)
    }

    /// # Errors
    /// The first fault, with its path in the condition.
    pub fn compile(value: &Value) -> Result<Condition, Fault> {
        compile(value, "", 0).map(Condition)
    }

    pub fn holds(&self, facts: &dyn Facts) -> bool {
        holds(&self.0, facts)
    }

    /// Whether a field is asked that `wanted` picks.
    pub fn asks(&self, wanted: &dyn Fn(&Field) -> bool) -> bool {
        asks(&self.0, wanted)
    }
}

fn asks(node: &Node, wanted: &dyn Fn(&Field) -> bool) -> bool {
    match node {
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().any(|node| asks(node, wanted)),
        Node::Not(node) => asks(node, wanted),
        Node::Test(field, _) => wanted(field),
    }
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_string(), message: message.into() }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

fn compile(value: &Value, path: &str, depth: usize) -> Result<Node, Fault> {
    let Value::Object(members) = value else { return Err(fault(path, "a condition is an object")) };
    if depth > DEPTH {
        return Err(fault(path, format!("nested deeper than {DEPTH} levels")));
    }
    if members.is_empty() {
        return Err(fault(path, "a condition has at least one member"));
    }
    let mut nodes = Vec::new();
    for (name, value) in members {
        let here = join(path, name);
        match name.as_str() {
            "$and" | "all" => nodes.push(Node::All(list(value, &here, depth)?)),
            "$or" | "any" => nodes.push(Node::Any(list(value, &here, depth)?)),
            "$not" | "not" => nodes.push(Node::Not(Box::new(compile(value, &here, depth + 1)?))),
            _ => field(name, value, &here, &mut nodes)?,
        }
    }
    Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::All(nodes) })
}

fn list(value: &Value, path: &str, depth: usize) -> Result<Vec<Node>, Fault> {
    let Value::Array(items) = value else { return Err(fault(path, "expected a list of conditions")) };
    if items.is_empty() || items.len() > LIST {
        return Err(fault(path, format!("expected 1 to {LIST} conditions")));
    }
    items.iter().enumerate().map(|(at, item)| compile(item, &format!("{path}[{at}]"), depth + 1)).collect()
}

fn field(name: &str, value: &Value, path: &str, nodes: &mut Vec<Node>) -> Result<(), Fault> {
    let Some(field) = Field::parse(name) else {
        let known = FIXED.iter().map(|(name, _)| *name).chain([
            "metadata.NAME",
            "params.NAME",
            "headers.NAME",
            "$and",
            "$or",
            "$not",
        ]);
        let hint = nearest(name, known).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(fault(path, format!("unknown field `{name}`{hint}")));
    };
    let Value::Object(tests) = value else {
        nodes.push(Node::Test(field, Test::Equals(constant(value, path)?, true)));
        return Ok(());
    };
    if tests.is_empty() {
        return Err(fault(path, "expected a value or an operator"));
    }
    for (operator, value) in tests {
        nodes.push(Node::Test(field.clone(), test(operator, value, &join(path, operator))?));
    }
    Ok(())
}

fn test(operator: &str, value: &Value, path: &str) -> Result<Test, Fault> {
    let compare = |order| Ok(Test::Compare(order, number(value).ok_or_else(|| fault(path, "expected a number"))?));
    match operator {
        "$eq" => Ok(Test::Equals(constant(value, path)?, true)),
        "$ne" => Ok(Test::Equals(constant(value, path)?, false)),
        "$gt" => compare(Order::Greater),
        "$gte" => compare(Order::GreaterOrEqual),
        "$lt" => compare(Order::Less),
        "$lte" => compare(Order::LessOrEqual),
        "$in" | "$nin" => {
            let Value::Array(items) = value else { return Err(fault(path, "expected a list of values")) };
            if items.len() > LIST {
                return Err(fault(path, format!("more than {LIST} values")));
            }
            let items = items.iter().map(|item| constant(item, path)).collect::<Result<_, _>>()?;
            Ok(Test::In(items, operator == "$in"))
        }
        "$regex" => {
            let Value::String(text) = value else { return Err(fault(path, "expected a regular expression")) };
            let built = RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
            built.map(Test::Matches).map_err(|error| fault(path, short(&error.to_string())))
        }
        "$exists" => match value {
            Value::Bool(wanted) => Ok(Test::Exists(*wanted)),
            _ => Err(fault(path, "expected true or false")),
        },
        _ => {
            let hint = nearest(operator, OPERATORS.into_iter());
            let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            Err(fault(path, format!("unknown operator `{operator}`{hint}")))
        }
    }
}

/// The last line of a message says what is wrong; those before draw it.
fn short(message: &str) -> String {
    message.lines().last().unwrap_or_default().trim().to_string()
}

fn constant(value: &Value, path: &str) -> Result<Constant, Fault> {
    match value {
        Value::Bool(value) => Ok(Constant::Bool(*value)),
        Value::Number(value) => value.as_f64().map(Constant::Number).ok_or_else(|| fault(path, "not a number")),
        Value::String(text) => Ok(Constant::Text(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(fault(path, "expected text, a number, true or false")),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn holds(node: &Node, facts: &dyn Facts) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().all(|node| holds(node, facts)),
        Node::Any(nodes) => nodes.iter().any(|node| holds(node, facts)),
        Node::Not(node) => !holds(node, facts),
        Node::Test(field, test) => {
            let fact = facts.fact(field);
            if fact == Fact::Missing { matches!(test, Test::Exists(false)) } else { passes(test, &fact) }
        }
    }
}

fn passes(test: &Test, fact: &Fact<'_>) -> bool {
    match test {
        Test::Equals(constant, wanted) => equal(constant, fact) == *wanted,
        Test::In(constants, wanted) => constants.iter().any(|constant| equal(constant, fact)) == *wanted,
        Test::Exists(wanted) => *wanted,
        Test::Matches(regex) => match fact {
            Fact::Text(text) => regex.is_match(text),
            Fact::Number(number) => regex.is_match(&number.to_string()),
            Fact::Bool(value) => regex.is_match(if *value { "true" } else { "false" }),
            Fact::Missing => false,
        },
        Test::Compare(order, limit) => {
            let value = match fact {
                Fact::Number(number) => Some(*number),
                Fact::Text(text) => text.trim().parse().ok(),
                Fact::Bool(_) | Fact::Missing => None,
            };
            value.is_some_and(|value| match order {
                Order::Greater => value > *limit,
                Order::GreaterOrEqual => value >= *limit,
                Order::Less => value < *limit,
                Order::LessOrEqual => value <= *limit,
            })
        }
    }
}

/// Strictly, as Portkey compares: a number is not its text.
fn equal(constant: &Constant, fact: &Fact<'_>) -> bool {
    match (constant, fact) {
        (Constant::Bool(a), Fact::Bool(b)) => a == b,
        (Constant::Number(a), Fact::Number(b)) => a == b,
        (Constant::Text(a), Fact::Text(b)) => a == b,
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Known(Value);

    impl Facts for Known {
        fn fact(&self, field: &Field) -> Fact<'_> {
            let Value::Object(root) = &self.0 else { return Fact::Missing };
            let path = match field {
                Field::Metadata(name) => vec!["metadata".to_string(), name.clone()],
                Field::Param(path) => [&["params".to_string()], path.as_slice()].concat(),
                Field::InputTokens => vec!["tokens".to_string()],
                Field::Model => vec!["model".to_string()],
                _ => return Fact::Missing,
            };
            member(root, &path).map_or(Fact::Missing, Fact::from)
        }
    }

    #[test]
    fn operators_hold_as_documented() {
        let facts = Known(json!({
            "metadata": {"user_plan": "paid", "age": "21", "score": 0.5},
            "params": {"model": "smart", "temperature": 0.7, "stream": true, "deep": {"list": [{"x": 3}]}},
            "tokens": 1200, "model": "gpt",
        }));
        for (condition, expected) in [
            (json!({"metadata.user_plan": "paid"}), true),
            (json!({"metadata.user_plan": {"$eq": "paid"}}), true),
            (json!({"metadata.user_plan": {"$eq": "free"}}), false),
            (json!({"metadata.user_plan": {"$ne": "free"}}), true),
            (json!({"metadata.nothing": {"$ne": "free"}}), false),
            (json!({"metadata.nothing": {"$nin": ["free"]}}), false),
            (json!({"metadata.nothing": {"$exists": false}}), true),
            (json!({"metadata.age": {"$gt": 18}}), true),
            (json!({"metadata.age": {"$gte": 21, "$lt": 30}}), true),
            (json!({"metadata.age": 21}), false),
            (json!({"metadata.user_plan": {"$in": ["paid", "trial"]}}), true),
            (json!({"metadata.user_plan": {"$nin": ["paid"]}}), false),
            (json!({"metadata.user_plan": {"$regex": "^pa"}}), true),
            (json!({"params.temperature": {"$lte": 0.7}}), true),
            (json!({"params.stream": true}), true),
            (json!({"params.deep.list.0.x": 3}), true),
            (json!({"$and": [{"metadata.user_plan": "paid"}, {"params.model": "smart"}]}), true),
            (json!({"$or": [{"metadata.user_plan": "free"}, {"metadata.score": {"$lt": 1}}]}), true),
            // Siblings count, unlike in the original.
            (json!({"$or": [{"metadata.user_plan": "paid"}], "params.model": "other"}), false),
            (json!({"params.model": {"$regex": "sma", "$ne": "smart"}}), false),
            (json!({"not": {"any": [{"model": "x"}, {"all": [{"tokens.input": {"$gt": 2000}}]}]}}), true),
        ] {
            let compiled = Condition::compile(&condition).unwrap_or_else(|fault| panic!("{condition}: {fault:?}"));
            assert_eq!(compiled.holds(&facts), expected, "{condition}");
        }
    }

    #[test]
    fn faults_name_their_place() {
        for (condition, path, message) in [
            (json!({"metdata.x": 1}), "metdata.x", "unknown field `metdata.x`"),
            (json!({"modell": 1}), "modell", "did you mean `model`"),
            (json!({"model": {"$equals": 1}}), "model.$equals", "unknown operator `$equals`"),
            (json!({"$and": [{"model": {"$gt": "x"}}]}), "$and[0].model.$gt", "a number"),
            (json!({"$or": []}), "$or", "1 to"),
            (json!({"$or": {}}), "$or", "a list"),
            (json!({"model": {"$regex": "("}}), "model.$regex", "unclosed"),
            (json!({"model": {"$in": "x"}}), "model.$in", "a list"),
            (json!({"model": null}), "model", "expected text"),
            (json!({}), "", "at least one"),
            (json!([]), "", "an object"),
            (json!({"metadata.": 1}), "metadata.", "unknown field"),
        ] {
            let fault = Condition::compile(&condition).expect_err(&condition.to_string());
            assert_eq!(fault.path, path, "{condition}");
            assert!(fault.message.contains(message), "{condition}: {}", fault.message);
        }
        let mut deep = json!({"model": "x"});
        for _ in 0..40 {
            deep = json!({"not": deep});
        }
        assert!(Condition::compile(&deep).is_err());
    }
}
