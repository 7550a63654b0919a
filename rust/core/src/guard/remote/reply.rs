//! How a service's reply is understood: which values fail the check, what it would put in the place of what it saw, and
//! what must be there for the reply to be one.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::guard::Action;
use crate::guard::check::{Change, Outcome, View};

/// Of a reply that is told, in bytes.
const DATA: usize = 8 * 1024;
/// Values found at one path.
const VALUES: usize = 4_096;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Paths of which each must be there.
    #[serde(default)]
    expect: Vec<String>,
    /// Any of them fails the check.
    #[serde(default)]
    fail: Vec<Test>,
    /// Holds for every reply that is one.
    must: Option<Test>,
    /// Any of them refuses, even where the guardrail redacts.
    #[serde(default)]
    hard: Vec<Test>,
    /// What is told of the reply; all of it otherwise.
    data: Option<String>,
    /// Why it failed, for the caller.
    reason: Option<String>,
    /// What is done when it failed; what is no action leaves it to the guardrail.
    does: Option<String>,
    /// Texts in the places of those that were sent, in their order.
    texts: Option<String>,
    /// Spans of a text that are cut out.
    spans: Option<Spans>,
    /// Whole documents in the place of request and answer.
    document: Option<Document>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    input: String,
    output: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spans {
    items: String,
    /// Members of an item.
    start: String,
    end: String,
    label: String,
    /// Labels that are refused and not cut out.
    #[serde(default)]
    block: Vec<String>,
    /// Labels that are left alone.
    #[serde(default)]
    ignore: Vec<String>,
    score: Option<String>,
    #[serde(default)]
    least: f64,
    /// Of their own, by label.
    #[serde(default)]
    least_of: Map<String, Value>,
}

/// A test of the values at a path: of any of them. Exactly one of the members is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    path: String,
    is: Option<Value>,
    #[serde(rename = "in")]
    among: Option<Vec<Value>>,
    not_in: Option<Vec<Value>>,
    at_least: Option<f64>,
    below: Option<f64>,
    exists: Option<bool>,
    matches: Option<String>,
    #[serde(skip)]
    regex: Option<Regex>,
}

impl Test {
    fn holds(&self, reply: &Value) -> bool {
        let values = found(reply, &self.path);
        if let Some(exists) = self.exists {
            let some = values.iter().any(|value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
            return some == exists;
        }
        values.into_iter().any(|value| {
            let listed = |list: &[Value]| list.iter().any(|wanted| same(wanted, value));
            self.is.as_ref().is_some_and(|wanted| same(wanted, value))
                || self.among.as_deref().is_some_and(listed)
                || self.not_in.as_deref().is_some_and(|list| !value.is_null() && !listed(list))
                || self.at_least.is_some_and(|least| number(value).is_some_and(|number| number >= least))
                || self.below.is_some_and(|most| number(value).is_some_and(|number| number < most))
                || self.regex.as_ref().is_some_and(|regex| value.as_str().is_some_and(|text| regex.is_match(text)))
        })
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn same(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::String(wanted), Value::String(value)) => wanted.eq_ignore_ascii_case(value),
        (Value::Number(_), Value::Number(_)) => wanted.as_f64() == value.as_f64(),
        _ => wanted == value,
    }
}

/// The values at a path such as `results[*].flagged`; `*` also stands for every member of an object.
fn found<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut at = vec![value];
    for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
        let mut next = Vec::new();
        for value in at {
            match (step, value) {
                ("*", Value::Array(items)) => next.extend(items),
                ("*", Value::Object(members)) => next.extend(members.values()),
                (step, Value::Array(items)) => next.extend(step.parse().ok().and_then(|index: usize| items.get(index))),
                (step, Value::Object(members)) => next.extend(members.get(step)),
                _ => {}
            }
            if next.len() > VALUES {
                break;
            }
        }
        at = next;
    }
    at
}

impl Reading {
    /// # Errors
    /// An expression that cannot be used.
    pub fn compile(mut self) -> Result<Reading, String> {
        for test in self.fail.iter_mut().chain(&mut self.hard).chain(&mut self.must) {
            if let Some(rule) = &test.matches {
                test.regex = Some(Regex::new(rule).map_err(|error| error.to_string())?);
            }
        }
        Ok(self)
    }

    /// Whether the service is asked where there is no text.
    pub fn takes_nothing(&self) -> bool {
        self.document.is_some()
    }

    pub fn read(&self, answer: &[u8], view: &View, pieces: &[usize]) -> Outcome {
        if answer.is_empty() && self.expect.is_empty() && self.fail.is_empty() {
            return Outcome::of(true, Value::Null);
        }
        let Ok(reply) = serde_json::from_slice::<Value>(answer) else {
            if self.expect.is_empty() && self.fail.is_empty() {
                return Outcome::of(true, Value::Null);
            }
            return Outcome::failed("the service's answer is no JSON");
        };
        if let Some(path) = self.expect.iter().find(|path| found(&reply, path).is_empty()) {
            return Outcome::failed(format!("the service's answer has no `{path}`"));
        }
        if self.must.as_ref().is_some_and(|test| !test.holds(&reply)) {
            return Outcome::failed("the service's answer is no verdict");
        }
        let hard = self.hard.iter().any(|test| test.holds(&reply));
        let mut outcome = Outcome::of(!hard && !self.fail.iter().any(|test| test.holds(&reply)), self.told(&reply));
        outcome.hard = hard;
        outcome.does = self.does.as_deref().and_then(|path| Action::parse(found(&reply, path).first()?.as_str()?));
        outcome.reason = self.reason.as_deref().and_then(|path| {
            let reasons: Vec<&str> = found(&reply, path).into_iter().filter_map(Value::as_str).collect();
            (!reasons.is_empty()).then(|| reasons.join("; ").chars().take(500).collect())
        });
        if let Some(spans) = &self.spans
            && let Err(error) = spans.cut(&reply, view, pieces, &mut outcome)
        {
            return Outcome::failed(error);
        }
        if let Some(path) = &self.texts {
            let texts: Vec<&str> = found(&reply, path).into_iter().filter_map(Value::as_str).collect();
            if texts.len() == pieces.len() {
                let changed = pieces.iter().zip(texts).filter_map(|(at, text)| {
                    let piece = view.pieces.get(*at)?;
                    (piece.text != text).then(|| (*at, text.to_string()))
                });
                let changed: Vec<(usize, String)> = changed.collect();
                outcome.change = (!changed.is_empty()).then_some(Change::Pieces(changed));
            }
        }
        if let Some(document) = &self.document {
            let path = if view.output { &document.output } else { &document.input };
            let whole =
                found(&reply, path).into_iter().find(|value| value.as_object().is_some_and(|map| !map.is_empty()));
            outcome.change = whole.and_then(|value| serde_json::to_vec(value).ok()).map(Change::Document);
        }
        outcome
    }

    fn told(&self, reply: &Value) -> Value {
        let told = match &self.data {
            Some(path) => found(reply, path).first().map_or(Value::Null, |value| (*value).clone()),
            None => reply.clone(),
        };
        if told.to_string().len() > DATA { Value::String("too long to be told".into()) } else { told }
    }
}

impl Spans {
    fn cut(&self, reply: &Value, view: &View, pieces: &[usize], outcome: &mut Outcome) -> Result<(), String> {
        let [at] = pieces else { return Err("spans are of one text".to_string()) };
        let Some(piece) = view.pieces.get(*at) else { return Ok(()) };
        let list = self.items.trim_end_matches("[*]");
        if !found(reply, list).first().is_some_and(|items| items.is_array()) {
            return Err("the service's answer has no list of findings".to_string());
        }
        // Positions are counted in characters.
        let mut found_spans: Vec<(usize, usize, String)> = Vec::new();
        for item in found(reply, &self.items) {
            let place =
                |name: &str| item.get(name).and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok());
            let (Some(start), Some(end)) = (place(&self.start), place(&self.end)) else {
                return Err("a span of the service's answer has no place".to_string());
            };
            let label = item.get(&self.label).and_then(Value::as_str).unwrap_or("REDACTED").to_string();
            let least = self.least_of.get(&label).and_then(Value::as_f64).unwrap_or(self.least);
            let score = self.score.as_ref().and_then(|name| item.get(name)?.as_f64()).unwrap_or(1.0);
            if score < least || self.ignore.contains(&label) || start >= end {
                continue;
            }
            outcome.hard |= self.block.contains(&label);
            found_spans.push((start, end, label));
        }
        if found_spans.is_empty() {
            return Ok(());
        }
        outcome.passed = false;
        found_spans.sort();
        let mut text = String::with_capacity(piece.text.len());
        let mut next = 0;
        let mut spans = found_spans.into_iter().peekable();
        for (place, character) in piece.text.chars().enumerate() {
            while let Some((_, end, label)) = spans.next_if(|(start, _, _)| *start <= place) {
                if end > next.max(place) {
                    if next <= place {
                        text.push('[');
                        text.push_str(&label);
                        text.push(']');
                    }
                    next = next.max(end);
                }
            }
            if place >= next {
                text.push(character);
            }
        }
        outcome.change = Some(Change::Pieces(vec![(*at, text)]));
        Ok(())
    }
}
