//! Checks of texts.

use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};

use super::params::{Operator, Params};
use super::{Change, Fault, Outcome, Scope, View, each};

/// Memory of one compiled expression.
const REGEX_SIZE: usize = 4 << 20;
/// What a text may count at most, when nobody says.
const MOST: u64 = 99_999;
/// Of a text that is told.
const EXCERPT: usize = 100;

#[derive(Debug)]
pub enum Text {
    Match { regex: Regex, not: bool },
    Replace { regex: Regex, with: String, all: bool, fails: bool },
    Count { what: Counted, least: u64, most: u64, not: bool },
    Contains { words: Vec<String>, operator: Operator },
    Case { upper: bool, not: bool },
    EndsWith { suffix: String, not: bool },
    NotNull { not: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Words,
    Sentences,
    Characters,
}

/// `rule`, or `/rule/flags`.
fn expression(rule: &str, flags: &str) -> Result<Regex, Fault> {
    let mut builder = RegexBuilder::new(rule);
    builder.size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE);
    for flag in flags.chars() {
        match flag {
            'i' => _ = builder.case_insensitive(true),
            'm' => _ = builder.multi_line(true),
            's' => _ = builder.dot_matches_new_line(true),
            'g' | 'u' | 'y' | 'd' | 'v' => {}
            other => return Err(("rule".into(), format!("unknown flag `{other}`"))),
        }
    }
    builder.build().map_err(|error| {
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let hint = if text.contains("look-around") || text.contains("backreferences") {
            "; expressions are matched in linear time, which rules these out: say it with two checks, or with `not`"
        } else {
            ""
        };
        ("rule".to_string(), format!("cannot be used: {why}{hint}"))
    })
}

impl Text {
    /// None: the name is not one of these.
    ///
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(name: &str, given: &mut Params) -> Result<Option<Text>, Fault> {
        Ok(Some(match name {
            "regexMatch" => {
                let rule = given.needed("rule")?;
                Text::Match { regex: expression(&rule, "")?, not: given.flag("not")?.unwrap_or(false) }
            }
            "regexReplace" => {
                let rule = given.needed("rule")?;
                let (rule, flags) = match rule.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
                    Some((rule, flags)) => (rule.to_string(), flags.to_string()),
                    None => (rule, String::new()),
                };
                Text::Replace {
                    regex: expression(&rule, &flags)?,
                    with: given.text("redactText")?.unwrap_or("[REDACTED]".to_string()),
                    all: flags.contains('g'),
                    fails: given.flag("failOnDetection")?.unwrap_or(false),
                }
            }
            "wordCount" => Text::count(given, Counted::Words, "minWords", "maxWords")?,
            "sentenceCount" => Text::count(given, Counted::Sentences, "minSentences", "maxSentences")?,
            "characterCount" => Text::count(given, Counted::Characters, "minCharacters", "maxCharacters")?,
            "contains" => {
                let words = given.texts("words")?;
                if words.is_empty() {
                    return Err(("words".into(), "names none".into()));
                }
                Text::Contains { words, operator: given.operator(Operator::Any)? }
            }
            "alluppercase" | "allUpperCase" | "alllowercase" | "allLowerCase" => {
                let upper = name.eq_ignore_ascii_case("alluppercase");
                Text::Case { upper, not: given.flag("not")?.unwrap_or(false) }
            }
            "endsWith" => {
                let suffix = given.needed("suffix")?;
                Text::EndsWith { suffix, not: given.flag("not")?.unwrap_or(false) }
            }
            "notNull" => Text::NotNull { not: given.flag("not")?.unwrap_or(false) },
            _ => return Ok(None),
        }))
    }

    fn count(given: &mut Params, what: Counted, least: &'static str, most: &'static str) -> Result<Text, Fault> {
        let (low, high) = (given.number(least)?.unwrap_or(0), given.number(most)?.unwrap_or(MOST));
        if low > high {
            return Err((least.to_string(), format!("is more than `{most}`")));
        }
        Ok(Text::Count { what, least: low, most: high, not: given.flag("not")?.unwrap_or(false) })
    }

    pub fn run(&self, view: &View, scope: Scope) -> Outcome {
        match self {
            Text::Replace { regex, with, all, fails } => replace(view, scope, regex, (with, *all, *fails)),
            // A turn that only calls a tool says nothing by nature.
            Text::NotNull { not: false } if view.units(scope).is_empty() && !view.pieces.is_empty() => {
                Outcome::of(true, json!({"explanation": "The text is empty beside a tool call."}))
            }
            _ => each(view, scope, |unit| self.judge(unit)),
        }
    }

    fn judge(&self, text: &str) -> Outcome {
        let told = |passed: bool, explanation: String, mut data: Value| {
            data["explanation"] = explanation.into();
            Outcome::of(passed, data)
        };
        match self {
            Text::Match { .. } | Text::Count { .. } if text.trim().is_empty() && !self.counts_nothing() => {
                Outcome::nothing("there is no text to look at")
            }
            Text::Match { regex, not } => {
                let found = regex.find(text);
                let data = json!({
                    "textExcerpt": excerpt(text),
                    "matchDetails": found.map(|found| json!({"matchedText": excerpt(found.as_str()), "index": found.start()})),
                });
                let what = if found.is_some() { "matches" } else { "does not match" };
                told(found.is_some() != *not, format!("The text {what} the expression."), data)
            }
            Text::Count { what, least, most, not } => {
                let (count, name) = what.count(text);
                let inside = (*least..=*most).contains(&count);
                let text = format!(
                    "The text has {count} {name}, {} {least} to {most}.",
                    if inside { "within" } else { "outside" }
                );
                told(inside != *not, text, json!({"count": count, "min": least, "max": most}))
            }
            Text::Contains { words, operator } => {
                let (found, missing): (Vec<&String>, Vec<&String>) =
                    words.iter().partition(|word| text.contains(word.as_str()));
                let data = json!({"foundWords": found, "missingWords": missing});
                let passed = operator.holds(found.len(), words.len());
                told(passed, format!("{} of {} words were found.", found.len(), words.len()), data)
            }
            Text::Case { upper, not } => {
                let mut letters = text.chars().filter(char::is_ascii_alphabetic);
                let all = letters.all(|letter| letter.is_ascii_uppercase() == *upper);
                let name = if *upper { "upper" } else { "lower" };
                let what = if all { "is all in" } else { "is not all in" };
                told(all != *not, format!("The text {what} {name} case."), json!({}))
            }
            Text::EndsWith { suffix, not } => {
                let ends = text.ends_with(suffix.as_str())
                    || text.strip_suffix('.').is_some_and(|text| text.ends_with(suffix.as_str()));
                let what = if ends { "ends" } else { "does not end" };
                told(ends != *not, format!("The text {what} with the suffix."), json!({"suffix": suffix}))
            }
            Text::NotNull { not } => {
                let filled = !text.trim().is_empty();
                let what = if filled { "is not" } else { "is" };
                told(filled != *not, format!("The text {what} empty."), json!({}))
            }
            Text::Replace { .. } => Outcome::default(),
        }
    }

    /// Characters can be counted where there are none.
    fn counts_nothing(&self) -> bool {
        matches!(self, Text::Count { what: Counted::Characters, .. })
    }
}

impl Counted {
    fn count(self, text: &str) -> (u64, &'static str) {
        let (count, name) = match self {
            Counted::Words => (text.split_whitespace().count(), "words"),
            // As Portkey counts: every mark ends one.
            Counted::Sentences => (text.matches(['.', '!', '?']).count(), "sentences"),
            Counted::Characters => (text.encode_utf16().count(), "characters"),
        };
        (count as u64, name)
    }
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(EXCERPT).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

fn replace(view: &View, scope: Scope, regex: &Regex, how: (&str, bool, bool)) -> Outcome {
    let (with, all, fails) = how;
    let mut changes = Vec::new();
    for (at, piece) in view.within(scope) {
        if regex.is_match(&piece.text) {
            let limit = usize::from(!all);
            changes.push((at, regex.replacen(&piece.text, limit, with).into_owned()));
        }
    }
    let found = !changes.is_empty();
    let told = if found { "The expression was found and replaced." } else { "The expression was not found." };
    let change = found.then_some(Change::Pieces(changes));
    Outcome { change, ..Outcome::of(!(found && fails), json!({"explanation": told})) }
}
