//! From a received request to the answer and the script it is sent by.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Method};
use serde_json::json;

use super::answer::{Answer, Content};
use super::errors::{Dialect, Failure};
use super::fields::Call;
use super::operation::{Operation, Parsed, take_apart};
use super::script::{BodyKind, Script, percent_decode};
use super::sigv4;
use super::state::Shared;
use super::voices;
use crate::{Error, clock};

/// A request as the plan needs it.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub number: u64,
}

/// What will be answered, and how.
pub struct Plan {
    pub script: Script,
    pub answer: Answer,
    /// The model that was asked for, without its script.
    pub model: String,
    pub dialect: Dialect,
}

impl Plan {
    /// Decides what to answer.
    pub fn make(shared: &Shared, asked: &Asked<'_>) -> Self {
        let (path_script, tail) = take_apart(asked.path);
        let operation = Operation::of(tail);
        let dialect = dialect_of(operation, asked.headers);
        let content_type = header(asked.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let parsed = operation
            .filter(|_| asked.method == Method::POST)
            .map(|operation| Parsed::read(operation, content_type, asked.body).map(|parsed| (operation, parsed)));
        let path_model = operation.and_then(|operation| operation.path_model(tail));
        let path_model = path_model.or_else(|| asked_model(operation?, asked.query?));
        let body_model = || parsed.as_ref().and_then(|read| read.as_ref().ok()?.1.model());
        let asked_model = path_model.as_deref().or_else(body_model).unwrap_or_default();
        let (model, model_script) =
            asked_model.split_once('?').map_or((asked_model, None), |(name, script)| (name, Some(script)));

        let mut script = Script::clone(&shared.defaults());
        let carriers = [path_script, model_script, query_script(asked.query), header(asked.headers, "x-mock")];
        let plan = |answer: Result<Answer, Failure>, script: Script| {
            let answer = answer.unwrap_or_else(|failure| failure.answer(dialect));
            Self { script, answer, model: model.to_owned(), dialect }
        };
        for carrier in carriers.into_iter().flatten() {
            if let Err(error) = script.apply(carrier) {
                return plan(Err(refusal(&error)), Script::default());
            }
        }
        limit_failures(shared, &mut script, model);
        if let Err(failure) = check_caller(shared, dialect, asked) {
            return plan(Err(failure), script);
        }
        if let Some(status) = script.status.filter(|status| *status >= 400 && script.error_at_event.is_none()) {
            let answer = Failure::scripted(dialect, status, &script).answer(dialect);
            return plan(Ok(altered(answer, &script)), script);
        }
        let call = Call {
            script: &script,
            number: asked.number,
            bytes_in: asked.body.len(),
            model: script.model.as_deref().unwrap_or(model),
            created: clock::unix_ns() / 1_000_000_000,
            query: asked.query.unwrap_or_default(),
        };
        let answer = match &parsed {
            Some(Ok((operation, parsed))) => parsed.answer(*operation, &call),
            Some(Err(failure)) => Err(failure.clone()),
            None => listing(shared, asked.method, tail),
        };
        plan(answer.map(|answer| altered(answer, &script)), script)
    }
}

/// The operation's dialect; for paths both have (`/v1/models`), Anthropic's if its version header is there.
fn dialect_of(operation: Option<Operation>, headers: &HeaderMap) -> Dialect {
    match operation {
        Some(operation) => operation.dialect(),
        None if headers.contains_key("anthropic-version") => Dialect::Anthropic,
        None => Dialect::OpenAi,
    }
}

/// The model that a query names.
fn asked_model(operation: Operation, query: &str) -> Option<String> {
    if operation.dialect() == Dialect::Deepgram { voices::asked(query, "model") } else { None }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The query parameter `mock`, still percent-encoded but for its own separators.
pub fn query_script(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("mock="))
}

fn refusal(error: &Error) -> Failure {
    let mut failure = Failure::bad_request(error.to_string());
    failure.code = Some("mock_script".to_owned());
    failure
}

/// With `fail_first`, only the first requests of an id fail; without any failure scripted, they fail with 500.
fn limit_failures(shared: &Shared, script: &mut Script, model: &str) {
    let Some(limit) = script.fail_first else {
        return;
    };
    let id = if script.id.is_empty() { model } else { &script.id };
    if shared.hit(id) > limit {
        script.heal();
    } else if !script.fails() {
        script.status = Some(500);
    }
}

/// Anthropic's version header is required; a key is, if the instance has keys.
pub fn check_caller(shared: &Shared, dialect: Dialect, asked: &Asked<'_>) -> Result<(), Failure> {
    let headers = asked.headers;
    if dialect == Dialect::Anthropic && !headers.contains_key("anthropic-version") {
        return Err(Failure::bad_request("anthropic-version: header is required"));
    }
    let keys = &shared.options.keys;
    let authorization = header(headers, AUTHORIZATION.as_str()).unwrap_or_default();
    if dialect == Dialect::Bedrock && !keys.is_empty() && !authorization.starts_with("Bearer ") {
        let signed = sigv4::Signed {
            method: asked.method,
            path: asked.path,
            query: asked.query.unwrap_or_default(),
            headers,
            body: asked.body,
        };
        let fault = sigv4::fault(&signed, keys);
        return fault.map_or(Ok(()), |fault| Err(Failure::new(dialect, 403).saying(fault)));
    }
    let prefix = if dialect == Dialect::Deepgram { "Token " } else { "Bearer " };
    let bearer = header(headers, AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix(prefix));
    let named =
        || ["x-api-key", "api-key", "x-goog-api-key", "xi-api-key"].iter().find_map(|name| header(headers, name));
    let in_query = || asked.query?.split('&').find_map(|pair| pair.strip_prefix("key="));
    let key = bearer.or_else(named).or_else(in_query);
    if keys.is_empty() || key.is_some_and(|key| keys.iter().any(|known| known == key)) {
        return Ok(());
    }
    Err(Failure::new(dialect, 401))
}

/// `GET /v1/models` and `GET /v1/models/ID`; anything else is unknown.
fn listing(shared: &Shared, method: &Method, tail: &str) -> Result<Answer, Failure> {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "mock"});
    let models = &shared.options.models;
    if method == Method::GET {
        if tail == "models" {
            let data: Vec<_> = models.iter().map(|id| model(id)).collect();
            return Ok(Answer::json(json!({"object": "list", "data": data}).to_string()));
        }
        let id = tail.strip_prefix("models/").map(percent_decode);
        if let Some(id) = id.filter(|id| models.contains(id)) {
            return Ok(Answer::json(model(&id).to_string()));
        }
    }
    let mut failure = Failure::new(Dialect::OpenAi, 404).saying(format!("Unknown request URL: {method} /{tail}."));
    failure.code = Some("unknown_url".to_owned());
    Err(failure)
}

/// What a bomb unfolds to.
const BOMB: usize = 32 << 20;

/// The answer with the wrong body the script asks for.
fn altered(mut answer: Answer, script: &Script) -> Answer {
    if let Some(status) = script.status.filter(|status| *status < 400) {
        answer.status = status;
    }
    if matches!(answer.status, 204 | 304) {
        answer.content = Content::Whole(bytes::Bytes::new());
    }
    match (script.body, &mut answer.content) {
        (BodyKind::Proper, _) => {}
        (BodyKind::Garbage, content) => *content = Content::Whole((&b"\x00\xff\xfe{garbage]\x9f\x92\x96"[..]).into()),
        (BodyKind::Empty, content) => *content = Content::Whole(bytes::Bytes::new()),
        (BodyKind::Html, content) => {
            *content = Content::Whole("<html><head><title>502 Bad Gateway</title></head><body></body></html>\n".into());
            answer.content_type = "text/html";
        }
        (BodyKind::Bomb, content) => *content = Content::Whole(vec![b' '; BOMB].into()),
        (BodyKind::Truncated, Content::Whole(body)) => body.truncate(body.len() / 2),
        (BodyKind::Truncated, Content::Events(stream)) => {
            stream.closing.clear();
            stream.terminator = None;
        }
    }
    answer
}
