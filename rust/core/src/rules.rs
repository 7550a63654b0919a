//! What a provider does not take as it was sent: parameter rules, applied to the bytes of a request as splices.
//!
//! The rules are data of the provider's row. They speak about members of the body's root object; members without a rule
//! pass untouched. What a rule changes about the meaning of a request is announced to the caller.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::snapshot::wire;
use crate::wire::json::{self, Kind, Member, Value};

/// Replaces the bytes `start..end` of a body; an insertion where both are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub start: usize,
    pub end: usize,
    pub text: Bytes,
}

/// The rules of one operation at one deployment; never empty.
#[derive(Debug)]
pub struct Rules(Vec<Rule>);

/// What happens to one parameter. Several may apply: renamed and bounded, say.
#[derive(Debug)]
struct Rule {
    name: Box<str>,
    /// Its name at the provider: text and JSON.
    to: Option<(Box<str>, Bytes)>,
    /// Refused; what to do instead.
    reject: Option<Box<str>>,
    drop: bool,
    /// `"name":value`, whatever the caller says.
    set: Option<Set>,
    min: Option<Bound>,
    max: Option<Bound>,
    /// `"name":value,` for a request without it.
    default: Option<Bytes>,
    require: bool,
}

/// A value that stands in place of the caller's: alone, and as a member.
#[derive(Debug)]
struct Set {
    value: Bytes,
    member: Bytes,
}

/// A number, and as it is written.
#[derive(Debug)]
struct Bound {
    value: f64,
    text: Bytes,
}

/// What the rules come to for one body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Disjoint, in no order.
    pub edits: SmallVec<[Edit; 4]>,
    /// What the caller is told: names of parameters left out, `name=value` where a value was bounded.
    pub dropped: SmallVec<[Box<str>; 2]>,
}

/// A request that the provider cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unsupported { parameter: Box<str>, alternative: Box<str> },
    Missing { parameter: Box<str> },
}

impl Refusal {
    pub fn parameter(&self) -> &str {
        match self {
            Refusal::Unsupported { parameter, .. } | Refusal::Missing { parameter } => parameter,
        }
    }

    /// What the caller is told about a provider that refuses.
    pub fn message(&self, provider: &str) -> String {
        match self {
            Refusal::Unsupported { parameter, alternative } => {
                let text = format!("Provider '{provider}' does not support the parameter '{parameter}'.");
                if alternative.is_empty() { text } else { format!("{text} {alternative}") }
            }
            Refusal::Missing { parameter } => {
                format!("Missing required parameter: '{parameter}' (provider '{provider}' needs it).")
            }
        }
    }
}

/// A rule that cannot be compiled.
#[derive(Debug)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    /// `None` for an empty list.
    ///
    /// # Errors
    /// A bound that is no number, or a default that is not JSON.
    pub fn compile(rules: &[wire::Rule]) -> Result<Option<Box<Rules>>, RuleError> {
        let rules = rules.iter().map(Rule::compile).collect::<Result<Vec<_>, _>>()?;
        Ok((!rules.is_empty()).then(|| Box::new(Rules(rules))))
    }

    /// Whether some request might be refused.
    pub fn refuses(&self) -> bool {
        self.0.iter().any(|rule| rule.reject.is_some() || rule.require)
    }

    /// The parameter for which a request is refused, if it is.
    pub fn refused(&self, body: &[u8], root: Value) -> Option<Box<str>> {
        self.apply(body, root).err().map(|refusal| refusal.parameter().into())
    }

    /// The splices that make `body`, whose root object is `root`, what the provider takes.
    ///
    /// # Errors
    /// [`Refusal`] for a parameter that the provider does not support or that is missing.
    pub fn apply(&self, body: &[u8], root: Value) -> Result<Applied, Refusal> {
        let mut pass =
            Pass { body, members: json::members(body, root).map(Kept::new).collect(), done: Applied::default() };
        for rule in &self.0 {
            pass.rule(rule, root.start as usize + 1)?;
        }
        pass.remove();
        Ok(pass.done)
    }
}

impl Rule {
    fn compile(rule: &wire::Rule) -> Result<Rule, RuleError> {
        let quoted = |name: &str| serde_json::to_string(name).map_err(|error| RuleError(error.to_string()));
        let wrong = |what: &str| RuleError(format!("rule of parameter {:?}: {what} is not valid", rule.parameter));
        let bound = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Some(Bound { value, text: text.clone().into() })),
                _ => Err(wrong("a bound")),
            },
        };
        let default = match &rule.default {
            None => None,
            Some(value) if serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok() => {
                let name = quoted(rule.to.as_ref().unwrap_or(&rule.parameter))?;
                Some(format!("{name}:{value},").into())
            }
            Some(_) => return Err(wrong("the default")),
        };
        let set = match &rule.set {
            None => None,
            Some(value) if serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok() => {
                let member = format!("{}:{value},", quoted(&rule.parameter)?).into();
                Some(Set { value: value.clone().into(), member })
            }
            Some(_) => return Err(wrong("the value")),
        };
        let to = match &rule.to {
            None => None,
            Some(to) => Some((to.as_str().into(), quoted(to)?.into())),
        };
        Ok(Rule {
            name: rule.parameter.as_str().into(),
            to,
            reject: rule.reject.as_deref().map(Into::into),
            drop: rule.drop,
            set,
            min: bound(&rule.min)?,
            max: bound(&rule.max)?,
            default,
            require: rule.require,
        })
    }
}

/// A member of the body, and whether it goes.
struct Kept {
    member: Member,
    removed: bool,
}

impl Kept {
    fn new(member: Member) -> Self {
        Kept { member, removed: false }
    }
}

struct Pass<'a> {
    body: &'a [u8],
    members: SmallVec<[Kept; 24]>,
    done: Applied,
}

impl Pass<'_> {
    fn rule(&mut self, rule: &Rule, inside: usize) -> Result<(), Refusal> {
        let Some(at) = self.position(&rule.name) else {
            return self.absent(rule, inside);
        };
        let Some(value) = self.members.get(at).map(|kept| kept.member.value) else { return Ok(()) };
        if let Some(set) = &rule.set {
            if value.raw(self.body) != &set.value[..] {
                let range = value.range();
                self.done.edits.push(Edit { start: range.start, end: range.end, text: set.value.clone() });
                self.done.dropped.push(rule.name.clone());
            }
            return Ok(());
        }
        let null = value.kind == Kind::Null;
        if null && rule.require {
            return Err(Refusal::Missing { parameter: rule.name.clone() });
        }
        if let Some(alternative) = &rule.reject {
            // `null` and `false` ask for nothing.
            if !null && value.raw(self.body) != b"false" {
                return Err(Refusal::Unsupported { parameter: rule.name.clone(), alternative: alternative.clone() });
            }
            self.drop(at, None);
        } else if rule.drop {
            self.drop(at, (!null).then_some(&*rule.name));
        } else if let Some((name, json)) = &rule.to {
            if self.position(name).is_some() {
                // The provider's own name was used too and stands.
                self.drop(at, (!null).then_some(&*rule.name));
            } else {
                self.bound(rule, value);
                self.rename(at, json);
            }
        } else {
            self.bound(rule, value);
        }
        Ok(())
    }

    fn absent(&mut self, rule: &Rule, inside: usize) -> Result<(), Refusal> {
        if rule.require {
            return Err(Refusal::Missing { parameter: rule.name.clone() });
        }
        if let Some(set) = &rule.set {
            self.done.edits.push(Edit { start: inside, end: inside, text: set.member.clone() });
            return Ok(());
        }
        let known = rule.to.as_ref().is_some_and(|(name, _)| self.position(name).is_some());
        if let Some(text) = rule.default.as_ref().filter(|_| !known) {
            self.done.edits.push(Edit { start: inside, end: inside, text: text.clone() });
        }
        Ok(())
    }

    fn position(&self, name: &str) -> Option<usize> {
        let is = |key: Value| match key.raw(self.body) {
            [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => plain == name.as_bytes(),
            _ => json::string(self.body, key).is_some_and(|key: Cow<'_, str>| key == name),
        };
        self.members.iter().position(|kept| !kept.removed && is(kept.member.key))
    }

    fn drop(&mut self, at: usize, announced: Option<&str>) {
        if let Some(kept) = self.members.get_mut(at) {
            kept.removed = true;
        }
        self.done.dropped.extend(announced.map(Into::into));
    }

    fn rename(&mut self, at: usize, json: &Bytes) {
        if let Some(kept) = self.members.get(at) {
            let key = kept.member.key.range();
            self.done.edits.push(Edit { start: key.start, end: key.end, text: json.clone() });
        }
    }

    /// Brings a number into its bounds.
    fn bound(&mut self, rule: &Rule, value: Value) {
        if value.kind != Kind::Number || (rule.min.is_none() && rule.max.is_none()) {
            return;
        }
        let text = std::str::from_utf8(value.raw(self.body)).unwrap_or_default();
        let Ok(number) = text.parse::<f64>() else { return };
        let low = rule.min.as_ref().filter(|bound| number < bound.value);
        let high = rule.max.as_ref().filter(|bound| number > bound.value);
        if let Some(bound) = low.or(high) {
            let range = value.range();
            self.done.edits.push(Edit { start: range.start, end: range.end, text: bound.text.clone() });
            self.done.dropped.push(format!("{}={}", rule.name, String::from_utf8_lossy(&bound.text)).into());
        }
    }

    /// The splices that take removed members out, each with one comma. Members that carry the content of a request have
    /// no rules, so one always stays.
    fn remove(&mut self) {
        let kept_after = |at: usize| self.members.iter().skip(at).position(|kept| !kept.removed).map(|step| at + step);
        let mut edits: SmallVec<[Edit; 4]> = SmallVec::new();
        let mut at = 0;
        while let Some(kept) = self.members.get(at) {
            if !kept.removed {
                at += 1;
                continue;
            }
            let start = kept.member.key.start as usize;
            let (start, end, next) = match kept_after(at).and_then(|next| Some((next, self.members.get(next)?))) {
                Some((next, follower)) => (start, follower.member.key.start as usize, next),
                None => {
                    let before = at.checked_sub(1).and_then(|before| self.members.get(before));
                    let start = before.map_or(start, |before| before.member.value.end as usize);
                    let end = self.members.last().map_or(start, |last| last.member.value.end as usize);
                    (start, end, self.members.len())
                }
            };
            edits.push(Edit { start, end, text: Bytes::new() });
            at = next;
        }
        self.done.edits.extend(edits);
    }
}

#[cfg(test)]
mod tests;
