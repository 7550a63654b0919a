//! A config object, read and checked. Keys may be written in snake or camel case, as Portkey takes both.
//! Documentation: <https://portkey.ai/docs/api-reference/inference-api/config-object>.

use std::time::Duration;

use serde_json::{Map, Value};

use super::drops::Drop;
use super::hooks::{self, Hooks};
use crate::kernel::condition::{Condition, Fault};
use crate::kernel::nearest::nearest;

/// Members of a strategy.
const STRATEGY: [&str; 7] = ["mode", "on_status_codes", "conditions", "default", "sticky", "cb_config", "is_open"];
const DEPTH: usize = 8;
/// Most targets of one strategy (Portkey's own cap).
const TARGETS: usize = 100;
/// Statuses that are tried again when the config does not say which.
const RETRIED: [u16; 6] = [429, 500, 502, 503, 504, 529];
const ATTEMPTS: u32 = 5;

/// A target: a call, or a strategy over further targets.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: Option<String>,
    pub weight: f64,
    pub mode: Mode,
    pub targets: Vec<Config>,
    pub settings: Settings,
}

#[derive(Clone, Debug)]
pub enum Mode {
    /// It is itself what is called.
    Call,
    Single,
    /// `sticky`: the fields that tie a caller to a target.
    LoadBalance {
        sticky: Vec<String>,
    },
    /// None: any status that is no success.
    Fallback {
        codes: Option<Vec<u16>>,
    },
    Conditional {
        rules: Vec<(Condition, String)>,
        default: Option<String>,
    },
}

/// How a target is called; what it does not say is said by the one above.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A provider's name, `@` left out.
    pub provider: Option<String>,
    /// The provider is the one that the request's header names.
    pub passthrough: bool,
    pub defaults: Map<String, Value>,
    pub overrides: Map<String, Value>,
    pub drops: Vec<Drop>,
    pub retry: Option<Retry>,
    pub timeout: Option<Duration>,
    pub cache: Option<Caching>,
    pub input: Option<Hooks>,
    pub output: Option<Hooks>,
    /// Of the outermost object alone, besides all others.
    pub always: [Hooks; 2],
}

/// Whether the cache takes part, and what will do.
#[derive(Clone, Copy, Debug)]
pub struct Caching {
    pub semantic: bool,
    pub max_age_s: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Retry {
    pub attempts: u32,
    pub codes: Vec<u16>,
}

/// Keys with no effect here, harmless ones. `cb_config`: every deployment has its breaker.
const IGNORED: [&str; 9] = [
    "id",
    "name",
    "metadata",
    "weight",
    "strict_open_ai_compliance",
    "is_open",
    "on_status_codes",
    "forward_headers",
    "cb_config",
];
const READ: [&str; 19] = [
    "passthrough",
    "strategy",
    "targets",
    "provider",
    "virtual_key",
    "override_params",
    "default_params",
    "drop_params",
    "retry",
    "cache",
    "request_timeout",
    "before_request_hooks",
    "after_request_hooks",
    "input_guardrails",
    "output_guardrails",
    "input_mutators",
    "output_mutators",
    "default_input_guardrails",
    "default_output_guardrails",
];

impl Config {
    /// # Errors
    /// The first fault, with its path.
    pub fn parse(text: &[u8]) -> Result<Config, Fault> {
        let value: Value =
            serde_json::from_slice(text).map_err(|error| fault("", format!("not valid JSON: {error}")))?;
        target(&value, "config", 0)
    }

    /// What a request comes to that brings no config: itself.
    pub fn plain() -> Config {
        Config { name: None, weight: 1.0, mode: Mode::Call, targets: Vec::new(), settings: Settings::default() }
    }
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_string(), message: message.into() }
}

/// `requestTimeout` → `request_timeout`.
fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for char in key.chars() {
        if char.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(char.to_ascii_lowercase());
    }
    out
}

/// The members of an object, their keys in snake case.
fn members(value: &Value, path: &str) -> Result<Map<String, Value>, Fault> {
    match value {
        Value::Object(members) => Ok(members.iter().map(|(key, value)| (snake(key), value.clone())).collect()),
        _ => Err(fault(path, "expected an object")),
    }
}

fn target(value: &Value, path: &str, depth: usize) -> Result<Config, Fault> {
    if depth > DEPTH {
        return Err(fault(path, format!("nested deeper than {DEPTH} levels")));
    }
    let members = members(value, path)?;
    for (key, value) in &members {
        known(key, value, path)?;
    }
    let mut targets = Vec::new();
    if let Some(list) = members.get("targets") {
        let at = format!("{path}.targets");
        let Value::Array(items) = list else { return Err(fault(&at, "expected a list of targets")) };
        if items.is_empty() || items.len() > TARGETS {
            return Err(fault(&at, format!("expected 1 to {TARGETS} targets")));
        }
        for (index, item) in items.iter().enumerate() {
            targets.push(target(item, &format!("{at}[{index}]"), depth + 1)?);
        }
    }
    let mode = match members.get("strategy") {
        Some(strategy) => mode(strategy, &format!("{path}.strategy"), &targets)?,
        None if targets.is_empty() => Mode::Call,
        None => return Err(fault(path, "`targets` need a `strategy`")),
    };
    let weight = members.get("weight").map_or(Some(1.0), Value::as_f64);
    let weight = weight.filter(|weight| weight.is_finite() && *weight >= 0.0);
    Ok(Config {
        name: text(&members, "name", path)?,
        weight: weight.ok_or_else(|| fault(&format!("{path}.weight"), "expected a number from 0"))?,
        mode,
        targets,
        settings: settings(&members, path)?,
    })
}

/// Refuses what would be expected to have an effect and has none.
fn known(key: &str, value: &Value, path: &str) -> Result<(), Fault> {
    let at = format!("{path}.{key}");
    if IGNORED.contains(&key) || READ.contains(&key) {
        return Ok(());
    }
    let given = match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Null => false,
        _ => true,
    };
    if !given {
        return Ok(());
    }
    if key == "api_key"
        || key == "custom_host"
        || key.starts_with("aws_")
        || key.starts_with("azure_")
        || key.starts_with("vertex_")
    {
        return Err(fault(&at, "credentials and addresses are the gateway's: name a `provider` or a model of it"));
    }
    let hint = nearest(key, READ.iter().copied()).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
    Err(fault(&at, format!("unknown key `{key}`{hint}")))
}

fn text(members: &Map<String, Value>, key: &str, path: &str) -> Result<Option<String>, Fault> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(fault(&format!("{path}.{key}"), "expected text")),
    }
}

fn flag(members: &Map<String, Value>, key: &str, path: &str) -> Result<bool, Fault> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(fault(&format!("{path}.{key}"), "expected true or false")),
    }
}

fn mode(strategy: &Value, path: &str, targets: &[Config]) -> Result<Mode, Fault> {
    let members = members(strategy, path)?;
    let at = format!("{path}.mode");
    let name = text(&members, "mode", path)?.ok_or_else(|| fault(&at, "is missing"))?;
    if let Some(odd) = members.keys().find(|key| !STRATEGY.contains(&key.as_str())) {
        let hint = nearest(odd, STRATEGY.into_iter()).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(fault(&format!("{path}.{odd}"), format!("unknown key `{odd}`{hint}")));
    }
    if targets.is_empty() && name == "single" {
        return Ok(Mode::Call);
    }
    if targets.is_empty() {
        return Err(fault(path, "a strategy needs `targets`"));
    }
    match name.as_str() {
        "single" => Ok(Mode::Single),
        "loadbalance" => {
            if targets.iter().map(|target| target.weight).sum::<f64>() <= 0.0 {
                return Err(fault(path, "the weights sum to zero"));
            }
            let sticky = members.get("sticky").filter(|sticky| sticky.get("enabled") == Some(&Value::Bool(true)));
            let fields = sticky.and_then(|sticky| sticky.get("hash_fields")?.as_array());
            let fields = fields.into_iter().flatten().filter_map(|field| field.as_str().map(str::to_string));
            Ok(Mode::LoadBalance { sticky: fields.collect() })
        }
        "fallback" => {
            Ok(Mode::Fallback { codes: codes(members.get("on_status_codes"), &format!("{path}.on_status_codes"))? })
        }
        "conditional" => conditional(&members, path, targets),
        other => {
            let modes = ["single", "loadbalance", "fallback", "conditional"];
            let hint =
                nearest(other, modes.into_iter()).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            Err(fault(&at, format!("unknown strategy `{other}`{hint}")))
        }
    }
}

fn conditional(members: &Map<String, Value>, path: &str, targets: &[Config]) -> Result<Mode, Fault> {
    let named = |name: &str, at: &str| {
        if targets.iter().any(|target| target.name.as_deref() == Some(name)) {
            Ok(name.to_string())
        } else {
            Err(fault(at, format!("no target is named `{name}`")))
        }
    };
    let at = format!("{path}.conditions");
    let Some(Value::Array(items)) = members.get("conditions") else {
        return Err(fault(&at, "expected a list of conditions"));
    };
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let query = item.get("query").ok_or_else(|| fault(&at, "`query` is missing"))?;
        let condition = Condition::compile(query)
            .map_err(|found| fault(format!("{at}.query.{}", found.path).trim_end_matches('.'), found.message))?;
        let then = item.get("then").and_then(Value::as_str).ok_or_else(|| fault(&at, "`then` is missing"))?;
        rules.push((condition, named(then, &format!("{at}.then"))?));
    }
    let default = text(members, "default", path)?;
    let default = default.map(|name| named(&name, &format!("{path}.default"))).transpose()?;
    Ok(Mode::Conditional { rules, default })
}

fn codes(value: Option<&Value>, path: &str) -> Result<Option<Vec<u16>>, Fault> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let items = value.as_array().ok_or_else(|| fault(path, "expected a list of status codes"))?;
    let code =
        |item: &Value| item.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (100..600).contains(code));
    items
        .iter()
        .map(|item| code(item).ok_or_else(|| fault(path, "expected status codes")))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn settings(members: &Map<String, Value>, path: &str) -> Result<Settings, Fault> {
    let object = |key: &str| match members.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(found)) => Ok(found.clone()),
        Some(_) => Err(fault(&format!("{path}.{key}"), "expected an object")),
    };
    let provider = text(members, "provider", path)?.or(text(members, "virtual_key", path)?);
    let timeout = match members.get("request_timeout") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let ms = value.as_u64().filter(|ms| *ms > 0);
            let ms = ms.ok_or_else(|| fault(&format!("{path}.request_timeout"), "expected milliseconds"))?;
            Some(Duration::from_millis(ms))
        }
    };
    let drops = match members.get("drop_params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => {
            let at = format!("{path}.drop_params");
            let expected = "expected paths such as `a`, `a.b`, `a[0].b` or `a[*].b`";
            items
                .iter()
                .map(|item| item.as_str().and_then(Drop::read).ok_or_else(|| fault(&at, expected)))
                .collect::<Result<_, _>>()?
        }
        Some(_) => return Err(fault(&format!("{path}.drop_params"), "expected a list of names")),
    };
    Ok(Settings {
        provider: provider.map(|name| name.trim_start_matches('@').to_string()),
        passthrough: flag(members, "passthrough", path)?,
        defaults: object("default_params")?,
        overrides: object("override_params")?,
        drops,
        retry: members
            .get("retry")
            .filter(|retry| !retry.is_null())
            .map(|value| retry(value, &format!("{path}.retry")))
            .transpose()?,
        timeout,
        cache: caching(members, path)?,
        input: hooks::read(members, &["before_request_hooks", "input_guardrails", "input_mutators"], false, path)?,
        output: hooks::read(members, &["after_request_hooks", "output_guardrails", "output_mutators"], true, path)?,
        always: [
            hooks::read(members, &["default_input_guardrails"], false, path)?.unwrap_or_default(),
            hooks::read(members, &["default_output_guardrails"], true, path)?.unwrap_or_default(),
        ],
    })
}

fn caching(above: &Map<String, Value>, path: &str) -> Result<Option<Caching>, Fault> {
    let Some(cache) = above.get("cache").filter(|cache| !cache.is_null()) else { return Ok(None) };
    let at = format!("{path}.cache");
    let settings = members(cache, &at)?;
    let semantic = match settings.get("mode").and_then(Value::as_str) {
        Some("simple") => false,
        Some("semantic") => true,
        _ => return Err(fault(&format!("{at}.mode"), "expected `simple` or `semantic`")),
    };
    let max_age_s = match settings.get("max_age").filter(|age| !age.is_null()) {
        None => None,
        Some(age) => {
            let age = age.as_u64().filter(|age| *age > 0);
            Some(age.ok_or_else(|| fault(&format!("{at}.max_age"), "expected seconds"))?)
        }
    };
    Ok(Some(Caching { semantic, max_age_s }))
}

fn retry(value: &Value, path: &str) -> Result<Retry, Fault> {
    let members = members(value, path)?;
    let attempts = members.get("attempts").and_then(Value::as_u64);
    let attempts = attempts.ok_or_else(|| fault(&format!("{path}.attempts"), "expected a whole number"))?;
    // A provider's word on when to come back counts always; both spellings are documented.
    for key in ["use_retry_after_header", "use_retry_after_headers"] {
        flag(&members, key, path)?;
    }
    Ok(Retry {
        attempts: u32::try_from(attempts).unwrap_or(ATTEMPTS).min(ATTEMPTS),
        codes: codes(members.get("on_status_codes"), &format!("{path}.on_status_codes"))?.unwrap_or(RETRIED.to_vec()),
    })
}
