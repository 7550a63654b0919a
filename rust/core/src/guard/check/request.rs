//! Checks of what a request is, not of what it says.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::params::{Operator, Params, list};
use super::{Change, Fault, Outcome, View};

#[derive(Debug)]
pub enum Request {
    Models {
        models: Vec<String>,
        not: bool,
    },
    /// By metadata key and its value the models that are allowed; where none of them applies, the defaults.
    Rules {
        defaults: Vec<String>,
        metadata: BTreeMap<String, BTreeMap<String, Vec<String>>>,
        not: bool,
    },
    Keys {
        keys: Vec<String>,
        operator: Operator,
    },
    Pairs {
        pairs: Map<String, Value>,
        operator: Operator,
        matching: Matching,
    },
    Types {
        allowed: Vec<String>,
        blocked: Vec<String>,
    },
    Prefix {
        prefix: String,
        role: String,
        existing: bool,
        only_if_empty: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    Exact,
    Contains,
    ContainsAll,
    Regex,
}

impl Request {
    /// None: the name is not one of these.
    ///
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(name: &str, given: &mut Params) -> Result<Option<Request>, Fault> {
        let some = |name: &str, list: Vec<String>| {
            if list.is_empty() { Err((name.to_string(), "names none".to_string())) } else { Ok(list) }
        };
        Ok(Some(match name {
            "modelWhitelist" | "modelwhitelist" => {
                let mut models = given.texts("models")?;
                // As the form of Portkey's application names it.
                models.extend(given.texts("Models")?);
                Request::Models { models: some("models", models)?, not: given.flag("not")?.unwrap_or(false) }
            }
            "modelRules" => rules(given)?,
            "requiredMetadataKeys" => {
                let keys = some("metadataKeys", given.texts("metadataKeys")?)?;
                Request::Keys { keys, operator: given.operator(Operator::All)? }
            }
            "requiredMetadataKeyValuePairs" => {
                let pairs = match given.take("metadataPairs") {
                    Some(Value::Object(pairs)) if !pairs.is_empty() => pairs,
                    _ => return Err(("metadataPairs".into(), "expected an object of keys and values".into())),
                };
                let matching = match given.text("matchType")?.as_deref() {
                    None | Some("exact") => Matching::Exact,
                    Some("contains") => Matching::Contains,
                    Some("containsAll") => Matching::ContainsAll,
                    Some("regex") => Matching::Regex,
                    Some(_) => {
                        return Err((
                            "matchType".into(),
                            "expected `exact`, `contains`, `containsAll` or `regex`".into(),
                        ));
                    }
                };
                if matching == Matching::Regex {
                    for (name, value) in &pairs {
                        for rule in wanted(value) {
                            regex::Regex::new(&rule)
                                .map_err(|error| (format!("metadataPairs.{name}"), error.to_string()))?;
                        }
                    }
                }
                Request::Pairs { pairs, operator: given.operator(Operator::All)?, matching }
            }
            "allowedRequestTypes" => {
                let (allowed, blocked) = (given.texts("allowedTypes")?, given.texts("blockedTypes")?);
                if allowed.is_empty() && blocked.is_empty() {
                    return Err(("allowedTypes".into(), "give these, or `blockedTypes`".into()));
                }
                if let Some(both) = allowed.iter().find(|name| blocked.contains(name)) {
                    return Err(("blockedTypes".into(), format!("`{both}` is allowed, too")));
                }
                if let Some(odd) = allowed.iter().chain(&blocked).find(|name| !TYPES.contains(&name.as_str())) {
                    return Err(("allowedTypes".into(), format!("`{odd}` is none of {}", TYPES.join(", "))));
                }
                Request::Types { allowed, blocked }
            }
            "addPrefix" => Request::Prefix {
                prefix: given.needed("prefix")?,
                role: given.text("applyToRole")?.unwrap_or("user".to_string()),
                existing: given.flag("addToExisting")?.unwrap_or(true),
                only_if_empty: given.flag("onlyIfEmpty")?.unwrap_or(false),
            },
            _ => return Ok(None),
        }))
    }

    pub fn run(&self, view: &View) -> Outcome {
        match self {
            Request::Models { models, not } => {
                let known = models.contains(&view.model);
                let told = if known { "The model is in the list." } else { "The model is not in the list." };
                Outcome::of(known != *not, json!({"explanation": told, "model": view.model}))
            }
            Request::Rules { defaults, metadata, not } => {
                let mut allowed: Vec<&String> = Vec::new();
                for (key, values) in metadata {
                    let told = view.metadata.get(key).map(plain);
                    allowed.extend(told.and_then(|told| values.get(&told)).into_iter().flatten());
                }
                if allowed.is_empty() {
                    allowed.extend(defaults);
                }
                let known = allowed.iter().any(|model| **model == view.model);
                let told = if known { "The rules allow the model." } else { "The rules do not allow the model." };
                Outcome::of(known != *not, json!({"explanation": told, "model": view.model, "allowed": allowed}))
            }
            Request::Keys { keys, operator } => {
                let has = |key: &&String| view.metadata.get(key.as_str()).is_some_and(|value| !value.is_null());
                let (found, missing): (Vec<&String>, Vec<&String>) = keys.iter().partition(has);
                let data = json!({
                    "explanation": format!("{} of {} metadata keys were found.", found.len(), keys.len()),
                    "present_keys": found, "missing_keys": missing,
                });
                Outcome::of(operator.holds(found.len(), keys.len()), data)
            }
            Request::Pairs { pairs, operator, matching } => {
                let fits = |(name, value): &(&String, &Value)| {
                    view.metadata.get(name.as_str()).is_some_and(|told| matching.fits(&plain(told), &wanted(value)))
                };
                let found = pairs.iter().filter(fits).count();
                let told = format!("{found} of {} pairs of metadata were found.", pairs.len());
                Outcome::of(operator.holds(found, pairs.len()), json!({"explanation": told}))
            }
            Request::Types { allowed, blocked } => {
                let kind = view.kind.to_string();
                let passed = !blocked.contains(&kind) && (allowed.is_empty() || allowed.contains(&kind));
                let told = if passed {
                    "Requests of this type are allowed."
                } else {
                    "Requests of this type are not allowed."
                };
                Outcome::of(passed, json!({"explanation": told, "requestType": kind}))
            }
            Request::Prefix { prefix, role, existing, only_if_empty } => {
                prefixed(view, prefix, role, (*existing, *only_if_empty))
            }
        }
    }
}

impl Matching {
    fn fits(self, told: &str, wanted: &[String]) -> bool {
        match self {
            Matching::Exact => wanted.iter().any(|wanted| wanted == told),
            Matching::Contains => wanted.iter().any(|wanted| told.contains(wanted.as_str())),
            Matching::ContainsAll => wanted.iter().all(|wanted| told.contains(wanted.as_str())),
            Matching::Regex => {
                wanted.iter().any(|rule| regex::Regex::new(rule).is_ok_and(|regex| regex.is_match(told)))
            }
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn wanted(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        value => vec![plain(value)],
    }
}

fn rules(given: &mut Params) -> Result<Request, Fault> {
    let rules = match given.take("rules") {
        Some(Value::Object(rules)) if !rules.is_empty() => rules,
        _ => return Err(("rules".into(), "expected `defaults` and `metadata`".into())),
    };
    if let Some(odd) = rules.keys().find(|key| !matches!(key.as_str(), "defaults" | "metadata")) {
        return Err((format!("rules.{odd}"), "is neither `defaults` nor `metadata`".into()));
    }
    let mut metadata = BTreeMap::new();
    if let Some(told) = rules.get("metadata") {
        let keys = told.as_object().ok_or(("rules.metadata".to_string(), "expected an object".to_string()))?;
        for (key, values) in keys {
            let place = format!("rules.metadata.{key}");
            let values = values.as_object().ok_or((place.clone(), "expected an object".to_string()))?;
            let lists = values.iter().map(|(value, models)| Ok((value.clone(), list(&place, models)?)));
            metadata.insert(key.clone(), lists.collect::<Result<BTreeMap<_, _>, Fault>>()?);
        }
    }
    let defaults = rules.get("defaults").map_or(Ok(Vec::new()), |told| list("rules.defaults", told))?;
    Ok(Request::Rules { defaults, metadata, not: given.flag("not")?.unwrap_or(false) })
}

/// Puts a text before the first message of a role, or a message of its own in front.
fn prefixed(view: &View, prefix: &str, role: &str, how: (bool, bool)) -> Outcome {
    let (existing, only_if_empty) = how;
    let done = |change| Outcome { change, ..Outcome::of(true, json!({"explanation": "The prefix was added."})) };
    if view.output {
        return Outcome::of(true, json!({"explanation": "An answer gets no prefix."}));
    }
    let first = view.pieces.iter().position(|piece| piece.role == role && piece.speech);
    match first.and_then(|at| Some((at, view.pieces.get(at)?))) {
        Some((_, piece)) if only_if_empty && !piece.text.trim().is_empty() => {
            Outcome::of(true, json!({"explanation": "There is a text already."}))
        }
        Some((at, piece)) if existing => done(Some(Change::Pieces(vec![(at, format!("{prefix}{}", piece.text))]))),
        _ => {
            let mut body = view.request().clone();
            let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else {
                return Outcome::failed("the request has no messages to put a prefix before");
            };
            messages.insert(0, json!({"role": role, "content": prefix}));
            done(serde_json::to_vec(&body).ok().map(Change::Document))
        }
    }
}

/// Names of requests that can be allowed or blocked.
pub const TYPES: [&str; 14] = [
    "chatComplete",
    "complete",
    "embed",
    "messages",
    "messagesCountTokens",
    "createModelResponse",
    "createModeration",
    "imageGenerate",
    "imageEdit",
    "createSpeech",
    "createTranscription",
    "createTranslation",
    "rerank",
    "realtime",
];
