//! Checks: a question about a request or an answer that is passed or failed.
//!
//! Names, parameters and outcomes are those of Portkey's built-in checks, where these can be kept: expressions match in linear
//! time, JSON is found however deep it nests, and a name or parameter that is not known is refused instead of passed.
//! Documentation: <https://portkey.ai/docs/integrations/guardrails/portkey/deterministic-guardrails>.

mod code;
mod json;
mod jwt;
mod params;
mod request;
mod text;

use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::Action;
use super::remote::Remote;
use super::texts::{self, Piece};
use crate::kernel::nearest::nearest;
pub use params::Params as Parameters;
use params::Params;

/// Where in what was given, and what is wrong with it.
pub type Fault = (String, String);

/// What checks see: a request, or a request and its answer. Owned, so that it can be looked at beside the request.
pub struct View {
    pub output: bool,
    pub pieces: Vec<Piece>,
    /// The request as it is sent.
    pub body: Bytes,
    /// The answer; empty on its way in, and of a stream.
    pub answer: Bytes,
    pub status: u16,
    pub model: String,
    pub provider: String,
    /// By Portkey's names of requests.
    pub kind: &'static str,
    pub stream: bool,
    pub metadata: Map<String, Value>,
    pub headers: HeaderMap,
    pub request_id: String,
    pub key: String,
    pub key_alias: String,
    pub user: String,
    pub team: String,
    pub body_value: OnceLock<Value>,
    pub answer_value: OnceLock<Value>,
}

impl View {
    /// The request's body; null when it is no JSON.
    pub fn request(&self) -> &Value {
        self.body_value.get_or_init(|| serde_json::from_slice(&self.body).unwrap_or_default())
    }

    /// The answer's body; null for a stream.
    pub fn response(&self) -> &Value {
        self.answer_value.get_or_init(|| serde_json::from_slice(&self.answer).unwrap_or_default())
    }

    /// The document that pieces are put into.
    pub fn document(&self) -> &Bytes {
        if self.output { &self.answer } else { &self.body }
    }

    pub fn change_document(&mut self, document: Vec<u8>) {
        let pieces = if self.output { texts::said(&document) } else { texts::asked(&document) };
        self.pieces = pieces.unwrap_or_default();
        if self.output {
            (self.answer, self.answer_value) = (document.into(), OnceLock::new());
        } else {
            (self.body, self.body_value) = (document.into(), OnceLock::new());
        }
    }

    /// Which pieces are within a scope.
    pub fn within(&self, scope: Scope) -> impl Iterator<Item = (usize, &Piece)> {
        let last = self.pieces.last().map(|piece| piece.message);
        let output = self.output;
        self.pieces.iter().enumerate().filter(move |(_, piece)| match scope {
            _ if output => true,
            Scope::All => true,
            Scope::Last => Some(piece.message) == last,
            Scope::User => piece.role == "user",
        })
    }

    /// The texts that are judged one by one: what is asked as a whole, what is answered choice by choice.
    fn units(&self, scope: Scope) -> Vec<String> {
        let mut units: Vec<String> = Vec::new();
        let mut of = None;
        for (_, piece) in self.within(scope).filter(|(_, piece)| piece.speech) {
            match units.last_mut() {
                Some(unit) if !self.output || of == Some(piece.message) => {
                    unit.push('\n');
                    unit.push_str(&piece.text);
                }
                _ => units.push(piece.text.clone()),
            }
            of = Some(piece.message);
        }
        units
    }
}

/// Which messages of a request are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Last,
    User,
}

/// What a check came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: bool,
    /// It could not be made.
    pub error: Option<String>,
    /// There was nothing to look at, which is nobody's failure.
    pub empty: bool,
    /// It refuses, even where its guardrail redacts.
    pub hard: bool,
    /// What is done when it failed, where it says so itself and does not leave it to its guardrail.
    pub does: Option<Action>,
    /// Why it failed, in the words of who made it.
    pub reason: Option<String>,
    pub data: Value,
    pub change: Option<Change>,
}

/// What a check puts in the place of what it saw.
#[derive(Debug)]
pub enum Change {
    Pieces(Vec<(usize, String)>),
    Document(Vec<u8>),
}

impl Outcome {
    pub fn of(passed: bool, data: Value) -> Outcome {
        Outcome { passed, data, ..Outcome::default() }
    }

    pub fn failed(error: impl Into<String>) -> Outcome {
        Outcome { error: Some(error.into()), ..Outcome::default() }
    }

    pub fn nothing(what: &str) -> Outcome {
        Outcome { passed: true, empty: true, error: Some(what.to_string()), ..Outcome::default() }
    }
}

#[derive(Debug)]
pub struct Check {
    /// As it was named.
    pub id: String,
    pub enabled: bool,
    /// An error fails it, whatever its guardrail says.
    pub fail_on_error: bool,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Text(text::Text),
    Code(code::Code),
    Json(json::Json),
    Request(request::Request),
    Jwt(Box<jwt::Jwt>),
    Remote(Box<Remote>),
}

/// Names of the checks that are made here.
pub const NAMES: [&str; 26] = [
    "addPrefix",
    "allLowerCase",
    "allUpperCase",
    "alllowercase",
    "alluppercase",
    "allowedRequestTypes",
    "characterCount",
    "contains",
    "containsCode",
    "endsWith",
    "jsonKeys",
    "jsonSchema",
    "jwt",
    "log",
    "modelRules",
    "modelWhitelist",
    "modelwhitelist",
    "notNull",
    "regexMatch",
    "regexReplace",
    "requiredMetadataKeyValuePairs",
    "requiredMetadataKeys",
    "sentenceCount",
    "validUrls",
    "webhook",
    "wordCount",
];

impl Check {
    /// Reads `id` with its parameters; `guarded`: only public addresses may be asked.
    ///
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(id: &str, parameters: &Value, guarded: bool) -> Result<Check, Fault> {
        let name = id.strip_prefix("default.").unwrap_or(id);
        let mut given = Params::new(parameters)?;
        let fail_on_error = given.flag("failOnError")?.unwrap_or(false);
        let kind = match name {
            "remote" => Kind::Remote(Box::new(Remote::read(parameters, guarded)?)),
            "jsonSchema" | "jsonKeys" => Kind::Json(json::Json::parse(name, &mut given)?),
            "containsCode" => Kind::Code(code::Code::parse(&mut given)?),
            "jwt" => Kind::Jwt(Box::new(jwt::Jwt::parse(&mut given, guarded)?)),
            "webhook" | "log" | "validUrls" => Kind::Remote(Box::new(Remote::built_in(name, &mut given, guarded)?)),
            _ => match text::Text::parse(name, &mut given)? {
                Some(text) => Kind::Text(text),
                None => match request::Request::parse(name, &mut given)? {
                    Some(request) => Kind::Request(request),
                    None => {
                        let same = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name));
                        let hint = same.or_else(|| nearest(name, NAMES.into_iter()));
                        let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
                        return Err((String::new(), format!("no check `{id}`{hint}")));
                    }
                },
            },
        };
        if !matches!(name, "remote") {
            given.done()?;
        }
        Ok(Check { id: id.to_string(), enabled: true, fail_on_error, kind })
    }

    /// Whether it waits for somebody.
    pub fn waits(&self) -> bool {
        match &self.kind {
            Kind::Remote(_) => true,
            Kind::Jwt(jwt) => jwt.asks(),
            _ => false,
        }
    }

    /// Makes the check. `thread`: the I/O thread it is made on.
    pub async fn made(&self, view: &View, scope: Scope, thread: usize) -> Outcome {
        match &self.kind {
            Kind::Remote(remote) => remote.run(view, scope, thread).await,
            Kind::Jwt(jwt) if jwt.asks() => jwt.asked(view).await,
            _ => self.run(view, scope),
        }
    }

    /// Makes a check that waits for nobody.
    pub fn run(&self, view: &View, scope: Scope) -> Outcome {
        match &self.kind {
            Kind::Text(text) => text.run(view, scope),
            Kind::Code(code) => each(view, scope, |unit| code.run(unit)),
            Kind::Json(json) => each(view, scope, |unit| json.run(unit)),
            Kind::Request(request) => request.run(view),
            Kind::Jwt(jwt) => jwt.run(view),
            Kind::Remote(_) => Outcome::failed("it is made elsewhere"),
        }
    }
}

/// Every text must pass; the first that does not is told.
fn each(view: &View, scope: Scope, judge: impl Fn(&str) -> Outcome) -> Outcome {
    let units = view.units(scope);
    if units.is_empty() {
        return judge("");
    }
    let mut told = None;
    for unit in &units {
        let outcome = judge(unit);
        if !outcome.passed {
            return outcome;
        }
        told.get_or_insert(outcome);
    }
    told.unwrap_or_default()
}

#[cfg(test)]
mod tests;
