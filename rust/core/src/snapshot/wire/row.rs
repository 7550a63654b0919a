//! What a provider's row says of requests and of refusals.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A refusal by its status (0: any), or by words in lower case in its body (empty: any), and its class.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub status: u16,
    pub words: String,
    pub of: String,
}

/// What happens to one parameter of a request. Numbers and values are JSON text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub parameter: String,
    pub to: Option<String>,
    pub reject: Option<String>,
    pub drop: bool,
    /// Its value, whatever the caller says.
    pub set: Option<String>,
    pub min: Option<String>,
    pub max: Option<String>,
    pub default: Option<String>,
    pub require: bool,
}

/// How an operation is asked for that is not asked for in the caller's own words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worded {
    /// `json`, `form`, or `file`: the form's file alone.
    pub body: String,
    /// Where parameters without a field go: `body` or `query`.
    pub rest: String,
    pub fields: Vec<Field>,
    /// `None`: the answer passes as it comes.
    pub answer: Option<Telling>,
}

/// What becomes of one parameter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub name: String,
    /// `path`, `query` or `body`.
    pub place: String,
    pub to: String,
    /// What words of the caller's stand for.
    pub words: BTreeMap<String, BTreeMap<String, String>>,
    /// Other words are refused.
    pub only: bool,
    /// A regular expression for words that are not listed; `None`: any.
    pub like: Option<String>,
    /// `{value}` and what stands around it; may hold `{model}`.
    pub form: Option<String>,
    pub default: Option<String>,
    pub require: bool,
    pub drop: bool,
    pub reject: Option<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// Where an answer says what a transcript has: JSON pointers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telling {
    pub text: String,
    pub language: Option<String>,
    pub duration: Option<String>,
    pub words: Option<Timed>,
    pub segments: Option<Timed>,
}

/// A list of what was said when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    pub at: String,
    pub text: String,
    pub start: String,
    pub end: String,
    /// Of its elements only those that have these members.
    pub only: BTreeMap<String, String>,
}
