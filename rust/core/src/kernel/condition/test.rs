//! What may be asked of a field's value.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;

use super::Fact;

/// Lists from this length on are looked up by hash.
pub(super) const HASHED: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists(bool),
    /// `wanted` false: not equal. `loose`: a number equals its text.
    Equals {
        constant: Constant,
        wanted: bool,
        loose: bool,
    },
    Compare(Order, Constant),
    In {
        constants: Vec<Constant>,
        texts: Option<HashSet<String>>,
        wanted: bool,
        loose: bool,
    },
    Between(Constant, Constant),
    Matches(Regex),
    Contains {
        needle: String,
        wanted: bool,
    },
    Starts(String),
    Ends(String),
    Cidr(Vec<IpNet>),
    /// The same without regard to case; what it is compared with is in lower case.
    Caseless(Box<Test>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Test {
    /// Holds for what is not in a list instead of for what is.
    fn is_negative(&self) -> bool {
        match self {
            Test::Equals { wanted, .. } | Test::In { wanted, .. } | Test::Contains { wanted, .. } => !wanted,
            Test::Caseless(inner) => inner.is_negative(),
            _ => false,
        }
    }

    pub(super) fn passes(&self, fact: &Fact<'_>) -> bool {
        match (self, fact) {
            (Test::Exists(wanted), Fact::Missing) => !wanted,
            (Test::Exists(wanted), _) => *wanted,
            (_, Fact::Missing) => false,
            // A list contains an element, not a part of one.
            (Test::Contains { needle, wanted }, Fact::Many(facts)) => {
                facts.iter().any(|fact| matches!(fact, Fact::Text(text) if text == needle)) == *wanted
            }
            (test, Fact::Many(facts)) if test.is_negative() => facts.iter().all(|fact| test.passes(fact)),
            (test, Fact::Many(facts)) => facts.iter().any(|fact| test.passes(fact)),
            (Test::Caseless(inner), Fact::Text(text)) => inner.passes(&Fact::Text(text.to_lowercase().into())),
            (Test::Caseless(inner), fact) => inner.passes(fact),
            (Test::Equals { constant, wanted, loose }, fact) => equal(constant, fact, *loose) == *wanted,
            (Test::In { constants, texts, wanted, loose }, fact) => {
                let found = match (texts, fact) {
                    (Some(texts), Fact::Text(text)) => texts.contains(&**text),
                    _ => constants.iter().any(|constant| equal(constant, fact, *loose)),
                };
                found == *wanted
            }
            (Test::Compare(order, constant), fact) => {
                let Some(ordering) = compare(fact, constant) else { return false };
                match order {
                    Order::Greater => ordering.is_gt(),
                    Order::GreaterOrEqual => ordering.is_ge(),
                    Order::Less => ordering.is_lt(),
                    Order::LessOrEqual => ordering.is_le(),
                }
            }
            (Test::Between(low, high), fact) => {
                let from = compare(fact, low).is_some_and(std::cmp::Ordering::is_ge);
                let to = compare(fact, high).is_some_and(std::cmp::Ordering::is_le);
                // From 22:00 to 06:00.
                if wraps(low, high) { from || to } else { from && to }
            }
            (Test::Matches(regex), Fact::Text(text)) => regex.is_match(text),
            (Test::Matches(regex), Fact::Number(number)) => regex.is_match(&number.to_string()),
            (Test::Matches(regex), Fact::Bool(value)) => regex.is_match(if *value { "true" } else { "false" }),
            (Test::Contains { needle, wanted }, Fact::Text(text)) => text.contains(needle.as_str()) == *wanted,
            (Test::Starts(start), Fact::Text(text)) => text.starts_with(start.as_str()),
            (Test::Ends(end), Fact::Text(text)) => text.ends_with(end.as_str()),
            (Test::Cidr(nets), Fact::Text(text)) => {
                text.parse::<IpAddr>().is_ok_and(|ip| nets.iter().any(|net| net.contains(&ip)))
            }
            (Test::Contains { .. } | Test::Starts(_) | Test::Ends(_) | Test::Cidr(_), _) => false,
        }
    }
}

/// Strictly, as Portkey compares, a number is not its text; loosely it is.
fn equal(constant: &Constant, fact: &Fact<'_>, loose: bool) -> bool {
    match (constant, fact) {
        (Constant::Bool(a), Fact::Bool(b)) => a == b,
        (Constant::Number(a), Fact::Number(b)) => a == b,
        (Constant::Text(a), Fact::Text(b)) => a == b,
        (Constant::Number(a), Fact::Text(b)) if loose => b.trim().parse() == Ok(*a),
        (Constant::Text(a), Fact::Number(b)) if loose => a.trim().parse() == Ok(*b),
        _ => false,
    }
}

fn compare(fact: &Fact<'_>, constant: &Constant) -> Option<std::cmp::Ordering> {
    match (fact, constant) {
        (Fact::Number(a), Constant::Number(b)) => a.partial_cmp(b),
        (Fact::Text(a), Constant::Number(b)) => a.trim().parse::<f64>().ok()?.partial_cmp(b),
        (Fact::Text(a), Constant::Text(b)) => Some((**a).cmp(b.as_str())),
        _ => None,
    }
}

fn wraps(low: &Constant, high: &Constant) -> bool {
    match (low, high) {
        (Constant::Number(low), Constant::Number(high)) => low > high,
        (Constant::Text(low), Constant::Text(high)) => low > high,
        _ => false,
    }
}
