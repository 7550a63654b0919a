//! Conditions as expressions: the part of the Common Expression Language (<https://cel.dev>) that comes to the same tests.
//!
//! `model == "gpt-4o" && !(time.hour >= 8 && time.hour < 18) && (team.id in ["a", "b"] || "beta" in tags)`
//!
//! Comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`), `in`, `&&`, `||`, `!`, parentheses, `has(field)`, and the methods
//! `startsWith`, `endsWith`, `contains`, `matches` of a field. A comparison is of a field with a constant. Unlike in CEL, a
//! field that is missing makes a comparison false instead of an error.

use serde_json::{Number, Value};

use super::compile::{Compiler, test};
use super::{Fault, Node, fault};

const DEPTH: usize = 16;
/// Longest expression in bytes.
const LONGEST: usize = 64 * 1024;

pub(super) fn parse(text: &str, compiler: &mut Compiler<'_>) -> Result<Node, Fault> {
    if text.len() > LONGEST {
        return Err(fault("", format!("an expression is at most {LONGEST} bytes long")));
    }
    let mut parser = Parser { text, at: 0, compiler };
    let node = parser.any(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.wrong("the end, `&&` or `||`")),
    }
}

struct Parser<'p, 'c> {
    text: &'p str,
    at: usize,
    compiler: &'p mut Compiler<'c>,
}

/// One side of a comparison.
enum Operand {
    Field(String, usize),
    Constant(Value),
}

impl Parser<'_, '_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&mut self) -> Option<char> {
        let skipped = self.rest().len() - self.rest().trim_start().len();
        self.at += skipped;
        self.rest().chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn place(&self, at: usize) -> String {
        format!("character {}", self.text.get(..at).unwrap_or_default().chars().count() + 1)
    }

    fn wrong(&self, expected: &str) -> Fault {
        let found: String = self.rest().chars().take(12).collect();
        let found = if found.is_empty() { "the end".to_string() } else { format!("`{found}`") };
        fault(&self.place(self.at), format!("expected {expected}, found {found}"))
    }

    fn any(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.all(depth)?];
        while self.take("||") {
            nodes.push(self.all(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.unary(depth)?];
        while self.take("&&") {
            nodes.push(self.unary(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::All(nodes) })
    }

    fn unary(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH {
            return Err(fault(&self.place(self.at), format!("nested deeper than {DEPTH} levels")));
        }
        self.peek();
        if self.rest().starts_with('!') && !self.rest().starts_with("!=") {
            self.at += 1;
            return Ok(Node::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.take("(") {
            let node = self.any(depth + 1)?;
            return if self.take(")") { Ok(node) } else { Err(self.wrong("`)`")) };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Node, Fault> {
        let start = self.at;
        match self.operand()? {
            Operand::Field(name, at) if name == "has" && self.take("(") => {
                let Operand::Field(name, at) = self.operand()? else {
                    return Err(fault(&self.place(at), "`has` takes a field"));
                };
                if !self.take(")") {
                    return Err(self.wrong("`)`"));
                }
                self.node(&name, at, "exists", &Value::Bool(true))
            }
            Operand::Field(name, at) => self.of_field(&name, at),
            Operand::Constant(Value::Bool(true)) => Ok(Node::Always),
            Operand::Constant(Value::Bool(false)) => Ok(Node::Not(Box::new(Node::Always))),
            Operand::Constant(value) => {
                if self.take("in") {
                    let Operand::Field(name, at) = self.operand()? else {
                        return Err(fault(&self.place(start), "`in` takes a field with a list behind a constant"));
                    };
                    return self.node(&name, at, "contains", &value);
                }
                let operator = self.operator().ok_or_else(|| self.wrong("a comparison"))?;
                let Operand::Field(name, at) = self.operand()? else {
                    return Err(fault(&self.place(start), "a comparison needs a field"));
                };
                // The other way round.
                let operator = match operator {
                    "gt" => "lt",
                    "gte" => "lte",
                    "lt" => "gt",
                    "lte" => "gte",
                    same => same,
                };
                self.node(&name, at, operator, &value)
            }
        }
    }

    /// What stands behind a field: a comparison, `in`, or a method that was read as its last name.
    fn of_field(&mut self, name: &str, at: usize) -> Result<Node, Fault> {
        if self.take("(") {
            let (field, method) = name.rsplit_once('.').unwrap_or(("", name));
            let operator = match method {
                "startsWith" => "starts_with",
                "endsWith" => "ends_with",
                "contains" => "contains",
                "matches" => "regex",
                other => {
                    let text = format!("`{other}` is no method; there are startsWith, endsWith, contains and matches");
                    return Err(fault(&self.place(at), text));
                }
            };
            let value = self.constant()?;
            if !self.take(")") {
                return Err(self.wrong("`)`"));
            }
            return self.node(field, at, operator, &value);
        }
        if let Some(operator) = self.operator() {
            let value = self.constant()?;
            return self.node(name, at, operator, &value);
        }
        if self.take("in") {
            let value = self.constant()?;
            return self.node(name, at, "in", &value);
        }
        // A field by itself is a truth.
        self.node(name, at, "eq", &Value::Bool(true))
    }

    fn node(&mut self, name: &str, at: usize, operator: &str, value: &Value) -> Result<Node, Fault> {
        let place = self.place(at);
        let field = self.compiler.field(name, &place)?;
        let test = test(operator, value, &place, true)?;
        self.compiler.push(field, test, &place)
    }

    fn operator(&mut self) -> Option<&'static str> {
        const SIGNS: [(&str, &str); 6] =
            [("==", "eq"), ("!=", "neq"), (">=", "gte"), ("<=", "lte"), (">", "gt"), ("<", "lt")];
        SIGNS.into_iter().find(|(sign, _)| self.take(sign)).map(|(_, name)| name)
    }

    fn constant(&mut self) -> Result<Value, Fault> {
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                if !items.is_empty() && !self.take(",") {
                    return Err(self.wrong("`,` or `]`"));
                }
                items.push(self.constant()?);
            }
            return Ok(Value::Array(items));
        }
        let start = self.at;
        match self.operand()? {
            Operand::Constant(value) => Ok(value),
            Operand::Field(name, _) => {
                Err(fault(&self.place(start), format!("expected a constant, found `{name}`; text stands in quotes")))
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(|text| Operand::Constant(Value::String(text))),
            Some('-' | '0'..='9') => {
                let length = self.rest().bytes().take_while(|b| b.is_ascii_digit() || b"+-.eE".contains(b)).count();
                let number = self.rest().get(..length).and_then(|text| text.parse::<f64>().ok());
                let number = number.and_then(Number::from_f64).ok_or_else(|| self.wrong("a number"))?;
                self.at += length;
                Ok(Operand::Constant(Value::Number(number)))
            }
            Some(first) if first.is_alphabetic() || first == '_' => {
                let at = self.at;
                let name = self.name()?;
                Ok(match name.as_str() {
                    "true" => Operand::Constant(Value::Bool(true)),
                    "false" => Operand::Constant(Value::Bool(false)),
                    _ => Operand::Field(name, at),
                })
            }
            _ => Err(self.wrong("a field or a constant")),
        }
    }

    /// `body.messages[0].role`, `headers["x-team"]`
    fn name(&mut self) -> Result<String, Fault> {
        let mut name = String::new();
        loop {
            let length = self.rest().find(|c: char| !(c.is_alphanumeric() || "_.-".contains(c)));
            let length = length.unwrap_or(self.rest().len());
            name.push_str(self.rest().get(..length).unwrap_or_default());
            self.at += length;
            if !self.rest().starts_with('[') {
                return Ok(name);
            }
            self.at += 1;
            match self.peek() {
                Some(quote @ ('"' | '\'')) => {
                    name.push('.');
                    name.push_str(&self.quoted(quote)?);
                }
                _ => {
                    let length = self.rest().find(']').unwrap_or(0);
                    name.push('[');
                    name.push_str(self.rest().get(..length).unwrap_or_default());
                    name.push(']');
                    self.at += length;
                }
            }
            if !self.take("]") {
                return Err(self.wrong("`]`"));
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let start = self.at;
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next().map(|(_, next)| next) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other @ ('\\' | '"' | '\'')) => text.push(other),
                    // What a regular expression means by it.
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                end if end == quote => {
                    self.at = start + at + 1;
                    return Ok(text);
                }
                other => text.push(other),
            }
        }
        Err(fault(&self.place(start), "the text has no end"))
    }
}
