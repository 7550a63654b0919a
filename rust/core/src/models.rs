//! `/v1/models`: what the caller's key may use, from the snapshot, in the caller's dialect.

use std::net::IpAddr;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use serde::Serialize;

use crate::body::Body;
use crate::connection::Connection;
use crate::endpoint::Dialect;
use crate::error::{Code, Error, Result};
use crate::kernel::nearest::nearest;
use crate::snapshot::wire::ModelInfo;
use crate::snapshot::{Listed, Snapshot};
use crate::stage::{authorize, identify};
use crate::state::keys::Keys;

/// Who asks, and in which dialect.
pub struct Caller<'a> {
    pub connection: &'a Connection,
    pub client: IpAddr,
    pub dialect: Dialect,
}

/// The list, or one model when `name` is given.
///
/// # Errors
/// 401 without a valid key, 404 for a model that is not there or not this key's to use.
pub fn answer(
    keys: &Keys,
    snapshot: &Snapshot,
    caller: &Caller<'_>,
    request: &Request<Incoming>,
    name: Option<&str>,
) -> Result<Response<Body>> {
    let key = identify::find(keys, request.headers(), request.uri().query(), caller.connection)?;
    identify::check(&key)?;
    authorize::check_address(&key, caller.client)?;
    let may_use = |one: &Listed<'_>| key.may_use(&one.name) || one.model.is_some_and(|model| key.may_use(model));
    let mut allowed: Vec<Listed<'_>> = snapshot.listed().filter(may_use).collect();
    if !snapshot.boundaries.is_empty() {
        let bounds = snapshot.boundaries.of(Some(&key));
        allowed.retain(|one| snapshot.lists(one, bounds));
    }
    allowed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let body = match name {
        None => serde_json::to_vec(&list(&allowed, caller.dialect)),
        Some(wanted) => match allowed.iter().find(|one| *one.name == *wanted) {
            Some(one) => serde_json::to_vec(&object(one, caller.dialect)),
            None => {
                let hint = nearest(wanted, allowed.iter().map(|one| &*one.name));
                let hint = hint.map_or(String::new(), |near| format!(" Did you mean '{near}'?"));
                let wanted: String = wanted.chars().take(128).collect();
                let text = format!("The model '{wanted}' does not exist or you do not have access to it.{hint}");
                return Err(Error::new(Code::ModelNotFound, text).param("model"));
            }
        },
    };
    let body = body.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A list of models in a dialect.
#[derive(Serialize)]
#[serde(untagged)]
enum List<'a> {
    OpenAi { object: &'static str, data: Vec<Object<'a>> },
    Anthropic { data: Vec<Object<'a>>, has_more: bool, first_id: Option<&'a str>, last_id: Option<&'a str> },
    Gemini { models: Vec<Object<'a>> },
}

/// One model in a dialect: the dialect's members first, ours behind them.
#[derive(Serialize)]
#[serde(untagged)]
enum Object<'a> {
    OpenAi {
        id: &'a str,
        object: &'static str,
        created: i64,
        owned_by: &'a str,
        mode: &'a str,
        #[serde(flatten)]
        info: Option<&'a ModelInfo>,
    },
    Anthropic {
        #[serde(rename = "type")]
        kind: &'static str,
        id: &'a str,
        display_name: &'a str,
        created_at: String,
    },
    #[serde(rename_all = "camelCase")]
    Gemini {
        name: String,
        base_model_id: &'a str,
        version: &'static str,
        display_name: &'a str,
        description: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        input_token_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_token_limit: Option<u64>,
        supported_generation_methods: &'static [&'static str],
    },
}

fn list<'a>(models: &'a [Listed<'a>], dialect: Dialect) -> List<'a> {
    let data = models.iter().map(|one| object(one, dialect)).collect();
    match dialect {
        Dialect::OpenAi | Dialect::Responses | Dialect::Cohere | Dialect::Bedrock => {
            List::OpenAi { object: "list", data }
        }
        Dialect::Anthropic => List::Anthropic {
            data,
            has_more: false,
            first_id: models.first().map(|one| &*one.name),
            last_id: models.last().map(|one| &*one.name),
        },
        Dialect::Gemini => List::Gemini { models: data },
    }
}

fn object<'a>(model: &'a Listed<'a>, dialect: Dialect) -> Object<'a> {
    let (name, info) = (&*model.name, model.info);
    match dialect {
        Dialect::OpenAi | Dialect::Responses | Dialect::Cohere | Dialect::Bedrock => Object::OpenAi {
            id: name,
            object: "model",
            created: model.created,
            owned_by: model.owned_by,
            mode: model.mode,
            info,
        },
        Dialect::Anthropic => {
            Object::Anthropic { kind: "model", id: name, display_name: name, created_at: rfc3339(model.created) }
        }
        Dialect::Gemini => Object::Gemini {
            name: format!("models/{name}"),
            base_model_id: name,
            version: "1",
            display_name: name,
            description: format!("{} of {}", model.mode, model.owned_by),
            input_token_limit: info.and_then(|info| info.context_window),
            output_token_limit: info.and_then(|info| info.max_output),
            supported_generation_methods: methods(model.mode),
        },
    }
}

/// What a Gemini client may do with a model.
fn methods(mode: &str) -> &'static [&'static str] {
    match mode {
        "embedding" => &["embedContent", "batchEmbedContents"],
        "chat" | "completion" | "responses" => &["generateContent", "streamGenerateContent", "countTokens"],
        _ => &[],
    }
}

/// Seconds since 1970 as a UTC time stamp (civil-from-days by Howard Hinnant).
fn rfc3339(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let time = seconds.rem_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_257_377), "2026-11-21T10:36:17Z");
    }
}
