//! From JSON to a tree of tests.

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::field::Field;
use super::test::{Constant, HASHED, Order, Test};
use super::{Fault, Fields, Node, cel, fault};
use crate::kernel::nearest::nearest;

/// Deepest nesting, longest list, most tests, largest compiled regular expression.
const DEPTH: usize = 16;
const LIST: usize = 1_000;
const TESTS: usize = 4_096;
const REGEX_BYTES: usize = 256 * 1024;

/// The operators by the names they have in `{field, op, value}`; behind a `$` in the other form.
const OPERATORS: [&str; 17] = [
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "in",
    "not_in",
    "between",
    "regex",
    "glob",
    "contains",
    "not_contains",
    "starts_with",
    "ends_with",
    "cidr",
    "exists",
];

/// Where a condition is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// The number of the zone its times are in.
    pub zone: u16,
    /// There is an answer to ask about.
    pub answer: bool,
}

pub(super) struct Compiler<'c> {
    pub scope: Scope,
    pub fields: &'c mut Fields,
    pub tests: usize,
}

pub(super) fn rule(value: &Value, scope: Scope, fields: &mut Fields) -> Result<Node, Fault> {
    let mut compiler = Compiler { scope, fields, tests: 0 };
    match value {
        Value::String(text) => cel::parse(text, &mut compiler),
        value => compiler.node(value, "", 0),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

impl Compiler<'_> {
    fn node(&mut self, value: &Value, path: &str, depth: usize) -> Result<Node, Fault> {
        let Value::Object(members) = value else { return Err(fault(path, "a condition is an object")) };
        if depth > DEPTH {
            return Err(fault(path, format!("nested deeper than {DEPTH} levels")));
        }
        if members.is_empty() {
            return Err(fault(path, "a condition has at least one member"));
        }
        if members.contains_key("field") {
            return self.leaf(members, path);
        }
        let mut nodes = Vec::new();
        for (name, value) in members {
            let here = join(path, name);
            match name.as_str() {
                "$and" | "all" => nodes.push(Node::All(self.list(value, &here, depth)?)),
                "$or" | "any" => nodes.push(Node::Any(self.list(value, &here, depth)?)),
                "$not" | "not" => nodes.push(Node::Not(Box::new(self.node(value, &here, depth + 1)?))),
                "always" if *value == Value::Bool(true) => nodes.push(Node::Always),
                "always" => return Err(fault(&here, "`always` is true, or left out")),
                _ => self.member(name, value, &here, &mut nodes)?,
            }
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::All(nodes) })
    }

    fn list(&mut self, value: &Value, path: &str, depth: usize) -> Result<Vec<Node>, Fault> {
        let Value::Array(items) = value else { return Err(fault(path, "expected a list of conditions")) };
        if items.is_empty() || items.len() > LIST {
            return Err(fault(path, format!("expected 1 to {LIST} conditions")));
        }
        items.iter().enumerate().map(|(at, item)| self.node(item, &format!("{path}[{at}]"), depth + 1)).collect()
    }

    /// `{field, op, value, ignore_case}`
    fn leaf(&mut self, members: &Map<String, Value>, path: &str) -> Result<Node, Fault> {
        const KNOWN: [&str; 4] = ["field", "op", "value", "ignore_case"];
        if let Some(name) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let hint = nearest(name, KNOWN.into_iter());
            let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return Err(fault(&join(path, name), format!("unknown key `{name}`{hint}")));
        }
        let text = |name: &str| match members.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(fault(&join(path, name), "expected text")),
            None => Err(fault(path, format!("`{name}` is missing"))),
        };
        let field = self.field(text("field")?, &join(path, "field"))?;
        let operator = text("op")?;
        let caseless = match members.get("ignore_case") {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => return Err(fault(&join(path, "ignore_case"), "expected true or false")),
        };
        if !OPERATORS.contains(&operator) {
            return Err(unknown_operator(&join(path, "op"), operator, ""));
        }
        let missing = Value::Bool(true);
        let value = match members.get("value") {
            Some(value) => value,
            None if operator == "exists" => &missing,
            None => return Err(fault(path, "`value` is missing")),
        };
        let lowered = if caseless { lowered(value) } else { value.clone() };
        let test = test(operator, &lowered, &join(path, "value"), true)?;
        self.push(field, if caseless { Test::Caseless(Box::new(test)) } else { test }, path)
    }

    pub(super) fn push(&mut self, field: Field, test: Test, path: &str) -> Result<Node, Fault> {
        self.tests += 1;
        if self.tests > TESTS {
            return Err(fault(path, format!("more than {TESTS} tests")));
        }
        let place = self.fields.place(field).ok_or_else(|| fault(path, "more fields than can be kept apart"))?;
        Ok(Node::Test(place, test))
    }

    pub(super) fn field(&self, name: &str, path: &str) -> Result<Field, Fault> {
        let Some(field) = Field::parse(name, self.scope.zone) else {
            let known = Field::names().chain(["all", "any", "not"]);
            let hint = nearest(name, known).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return Err(fault(path, format!("unknown field `{name}`{hint}")));
        };
        if field.is_of_answer() && !self.scope.answer {
            return Err(fault(path, format!("`{name}` is known when there is an answer; this is asked before")));
        }
        Ok(field)
    }

    /// A field with its value or operators.
    fn member(&mut self, name: &str, value: &Value, path: &str, nodes: &mut Vec<Node>) -> Result<(), Fault> {
        let field = self.field(name, path)?;
        let Value::Object(tests) = value else {
            let test = Test::Equals { constant: constant(value, path)?, wanted: true, loose: false };
            nodes.push(self.push(field, test, path)?);
            return Ok(());
        };
        if tests.is_empty() {
            return Err(fault(path, "expected a value or an operator"));
        }
        for (operator, value) in tests {
            let here = join(path, operator);
            let known = operator.strip_prefix('$').map(|name| match name {
                "ne" => "neq",
                "nin" => "not_in",
                other => other,
            });
            let Some(name) = known.filter(|name| OPERATORS.contains(name)) else {
                return Err(unknown_operator(&here, operator, "$"));
            };
            let test = test(name, value, &here, false)?;
            nodes.push(self.push(field.clone(), test, &here)?);
        }
        Ok(())
    }
}

fn unknown_operator(path: &str, operator: &str, sign: &str) -> Fault {
    let hint = nearest(operator, OPERATORS.into_iter());
    let hint = hint.map_or(String::new(), |near| format!(", did you mean `{sign}{near}`?"));
    fault(path, format!("unknown operator `{operator}`{hint}"))
}

/// What an operator makes of its value. `loose`: numbers equal their texts, and texts have an order.
pub(super) fn test(operator: &str, value: &Value, path: &str, loose: bool) -> Result<Test, Fault> {
    let text = || match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(fault(path, "expected text")),
    };
    let compare = |order| {
        if loose && matches!(value, Value::String(text) if text.trim().parse::<f64>().is_err()) {
            return Ok(Test::Compare(order, constant(value, path)?));
        }
        let number = number(value).ok_or_else(|| fault(path, "expected a number"))?;
        Ok(Test::Compare(order, Constant::Number(number)))
    };
    match operator {
        "eq" | "neq" => Ok(Test::Equals { constant: constant(value, path)?, wanted: operator == "eq", loose }),
        "gt" => compare(Order::Greater),
        "gte" => compare(Order::GreaterOrEqual),
        "lt" => compare(Order::Less),
        "lte" => compare(Order::LessOrEqual),
        "in" | "not_in" => within(value, path, operator == "in", loose),
        "between" => match value.as_array().map(Vec::as_slice) {
            Some([low, high]) => {
                let (low, high) = (constant(low, path)?, constant(high, path)?);
                let alike = std::mem::discriminant(&low) == std::mem::discriminant(&high);
                if !alike || matches!(low, Constant::Bool(_)) {
                    return Err(fault(path, "expected two numbers or two texts"));
                }
                Ok(Test::Between(low, high))
            }
            _ => Err(fault(path, "expected a list of two values, the least and the greatest")),
        },
        "regex" => {
            let Value::String(text) = value else { return Err(fault(path, "expected a regular expression")) };
            compiled(text, path).map(Test::Matches)
        }
        "glob" => compiled(&glob(&text()?), path).map(Test::Matches),
        "contains" | "not_contains" => Ok(Test::Contains { needle: text()?, wanted: operator == "contains" }),
        "starts_with" => Ok(Test::Starts(text()?)),
        "ends_with" => Ok(Test::Ends(text()?)),
        "cidr" => networks(value, path),
        _ => match value {
            Value::Bool(wanted) => Ok(Test::Exists(*wanted)),
            _ => Err(fault(path, "expected true or false")),
        },
    }
}

fn within(value: &Value, path: &str, wanted: bool, loose: bool) -> Result<Test, Fault> {
    let Value::Array(items) = value else { return Err(fault(path, "expected a list of values")) };
    if items.len() > LIST {
        return Err(fault(path, format!("more than {LIST} values")));
    }
    let constants: Vec<Constant> = items.iter().map(|item| constant(item, path)).collect::<Result<_, _>>()?;
    let texts = constants.iter().map(|constant| match constant {
        Constant::Text(text) => Some(text.clone()),
        _ => None,
    });
    let texts = if constants.len() >= HASHED { texts.collect() } else { None };
    Ok(Test::In { constants, texts, wanted, loose })
}

fn networks(value: &Value, path: &str) -> Result<Test, Fault> {
    let one = std::slice::from_ref(value);
    let items = value.as_array().map_or(one, Vec::as_slice);
    let parse = |item: &Value| {
        let text = item.as_str().ok_or_else(|| fault(path, "expected a network or a list of networks"))?;
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        net.map_err(|_| fault(path, format!("`{text}` is neither an address nor a network")))
    };
    items.iter().map(parse).collect::<Result<_, _>>().map(Test::Cidr)
}

pub(super) fn compiled(text: &str, path: &str) -> Result<Regex, Fault> {
    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    built.map_err(|error| fault(path, short(&error.to_string())))
}

/// `*` is any text, `?` any character.
fn glob(text: &str) -> String {
    let mut regex = String::from("(?s)^");
    for character in text.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            other => regex.push_str(&regex::escape(&other.to_string())),
        }
    }
    regex.push('$');
    regex
}

fn lowered(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        Value::Array(items) => Value::Array(items.iter().map(lowered).collect()),
        other => other.clone(),
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
