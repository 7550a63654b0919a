//! Requests in a provider's own words, as its row describes them: where each of the caller's parameters goes (path, query, body), what it
//! is called there, what the caller's words for its value stand for, and where the answer says what the caller wants to know.
//!
//! A row that says nothing of this for an operation gets the caller's own bytes and never comes here.

mod given;
mod write;

use std::sync::Arc;

use regex::Regex;

use crate::dialect::family::{Reading, Timed};
use crate::snapshot::wire;
pub use write::{Asked, Sent, Written};

/// How an operation is asked for at one deployment.
#[derive(Debug)]
pub struct Worded {
    body: Shape,
    /// Parameters without a field of their own go into the query; into the body otherwise.
    rest_in_query: bool,
    fields: Vec<Field>,
    /// `None`: the answer passes as it comes.
    pub reading: Option<Arc<Reading>>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Form,
    /// The form's file itself.
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Body,
}

/// Names and values.
type Parameters = Vec<(Box<str>, Box<str>)>;

/// What becomes of one parameter of the caller's.
#[derive(Debug)]
struct Field {
    name: Box<str>,
    place: Place,
    /// Its name there; members of members in a JSON body have dots between their names.
    to: Box<str>,
    /// What the caller's words stand for: parameters of the same place.
    words: Vec<(Box<str>, Parameters)>,
    /// Other words are refused.
    only: bool,
    /// What words that are not listed are like.
    like: Option<Regex>,
    /// What stands before its value and behind it.
    around: Option<(Box<str>, Box<str>)>,
    default: Option<Box<str>>,
    require: bool,
    drop: bool,
    reject: Option<Box<str>>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Worded {
    /// `model`: the provider's name of it.
    ///
    /// # Errors
    /// A word that there is not.
    pub fn compile(wire: &wire::Worded, model: &str) -> Result<Box<Worded>, String> {
        let body = match wire.body.as_str() {
            "json" => Shape::Json,
            "form" => Shape::Form,
            "file" => Shape::File,
            other => return Err(format!("a body cannot be {other:?}")),
        };
        let fields = wire.fields.iter().map(|field| Field::compile(field, model)).collect::<Result<_, _>>()?;
        let reading = wire.answer.as_ref().map(|answer| Arc::new(reading(answer)));
        Ok(Box::new(Worded { body, rest_in_query: wire.rest == "query", fields, reading }))
    }
}

impl Field {
    /// Its value is a word that may stand for another, or a part of one.
    fn reads_words(&self) -> bool {
        !self.words.is_empty() || self.like.is_some() || self.around.is_some() || self.place == Place::Path
    }

    fn compile(wire: &wire::Field, model: &str) -> Result<Field, String> {
        let place = match wire.place.as_str() {
            "path" => Place::Path,
            "query" => Place::Query,
            "body" => Place::Body,
            other => return Err(format!("field {:?}: there is no place {other:?}", wire.name)),
        };
        let around = wire.form.as_ref().map(|form| {
            let form = form.replace("{model}", model);
            let (before, behind) = form.split_once("{value}").unwrap_or((&form, ""));
            (before.into(), behind.into())
        });
        let like = |like: &String| {
            let like = Regex::new(&format!("^(?:{like})$"));
            like.map_err(|error| format!("field {:?}: {error}", wire.name))
        };
        let stands_for = |(word, told): (&String, &std::collections::BTreeMap<String, String>)| {
            let told = told.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
            (word.as_str().into(), told.collect())
        };
        Ok(Field {
            name: wire.name.as_str().into(),
            place,
            to: wire.to.as_str().into(),
            words: wire.words.iter().map(stands_for).collect(),
            only: wire.only,
            like: wire.like.as_ref().map(like).transpose()?,
            around,
            default: wire.default.as_deref().map(Into::into),
            require: wire.require,
            drop: wire.drop,
            reject: wire.reject.as_deref().map(Into::into),
            min: wire.min,
            max: wire.max,
        })
    }
}

fn reading(wire: &wire::Telling) -> Reading {
    let text = |place: &String| Box::from(place.as_str());
    let timed = |timed: &wire::Timed| Timed {
        at: text(&timed.at),
        text: text(&timed.text),
        start: text(&timed.start),
        end: text(&timed.end),
        only: timed.only.iter().map(|(name, value)| (text(name), text(value))).collect(),
    };
    Reading {
        text: text(&wire.text),
        language: wire.language.as_ref().map(text),
        duration: wire.duration.as_ref().map(text),
        words: wire.words.as_ref().map(timed),
        segments: wire.segments.as_ref().map(timed),
    }
}

#[cfg(test)]
mod tests;
