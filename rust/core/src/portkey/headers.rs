//! Portkey's headers: what a request says in them, and what its answer says.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::config::Config;
use super::hooks;
use crate::error::{Code, Error, Result};
use crate::exchange::CacheUse;

const PREFIX: &str = "x-portkey-";
/// Brings a config, or names a saved one.
pub const CONFIG: HeaderName = HeaderName::from_static("x-portkey-config");
const PROVIDER: HeaderName = HeaderName::from_static("x-portkey-provider");
const VIRTUAL_KEY: HeaderName = HeaderName::from_static("x-portkey-virtual-key");
const TIMEOUT: HeaderName = HeaderName::from_static("x-portkey-request-timeout");
const INPUT: HeaderName = HeaderName::from_static("x-portkey-default-input-guardrails");
const OUTPUT: HeaderName = HeaderName::from_static("x-portkey-default-output-guardrails");
const TRACE: HeaderName = HeaderName::from_static("x-portkey-trace-id");
const CACHE_STATUS: HeaderName = HeaderName::from_static("x-portkey-cache-status");

/// Whether a request has any of these headers.
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// What a request's headers say besides its config.
pub struct Headers {
    /// `x-portkey-provider` or `x-portkey-virtual-key`, `@` left out.
    pub provider: Option<String>,
    timeout: Option<Duration>,
    guardrails: Map<String, Value>,
}

impl Headers {
    /// # Errors
    /// One cannot be read.
    pub fn read(headers: &HeaderMap) -> Result<Headers> {
        let text = |name: &HeaderName| {
            let value = headers.get(name)?.to_str().unwrap_or_default().trim();
            (!value.is_empty()).then_some(value)
        };
        let provider = text(&PROVIDER).or_else(|| text(&VIRTUAL_KEY));
        let timeout = match text(&TIMEOUT) {
            None => None,
            Some(value) => {
                let ms = value.parse().ok().filter(|ms| *ms > 0);
                Some(Duration::from_millis(ms.ok_or_else(|| refused(&TIMEOUT, "expected milliseconds"))?))
            }
        };
        let mut guardrails = Map::new();
        for (name, key) in [(&INPUT, "default_input_guardrails"), (&OUTPUT, "default_output_guardrails")] {
            if let Some(value) = text(name) {
                let value = serde_json::from_str(value).map_err(|error| refused(name, &error.to_string()))?;
                guardrails.insert(key.to_string(), value);
            }
        }
        Ok(Headers { provider: provider.map(|name| name.trim_start_matches('@').to_string()), timeout, guardrails })
    }

    /// Whether they alone change what becomes of a request.
    pub fn say_something(&self) -> bool {
        self.provider.is_some() || self.timeout.is_some() || !self.guardrails.is_empty()
    }

    /// The config as these headers complete it: a provider where it names none and has no targets, a time-out where it has
    /// none, guardrails besides its own.
    ///
    /// # Errors
    /// A guardrail cannot be used.
    pub fn complete(&self, config: &mut Config) -> Result<()> {
        let settings = &mut config.settings;
        if config.targets.is_empty() && settings.provider.is_none() {
            settings.provider.clone_from(&self.provider);
        }
        settings.timeout = settings.timeout.or(self.timeout);
        for (at, (header, key)) in
            [(&INPUT, "default_input_guardrails"), (&OUTPUT, "default_output_guardrails")].into_iter().enumerate()
        {
            let read = hooks::read(&self.guardrails, &[key], at == 1, header.as_str());
            let read = read.map_err(|fault| refused(header, &format!("{}: {}", fault.path, fault.message)))?;
            if let (Some(found), Some(always)) = (read, settings.always.get_mut(at)) {
                always.hooks.extend(found.hooks);
                always.named.extend(found.named);
            }
        }
        Ok(())
    }
}

fn refused(name: &HeaderName, text: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("The header '{name}' cannot be used: {text}.")).param(name.to_string())
}

/// What Portkey's clients read from every answer.
pub fn tell(request: &HeaderMap, cache: CacheUse, semantic: bool, response: &mut HeaderMap) {
    let status = match cache {
        CacheUse::Off | CacheUse::Bypass => "DISABLED",
        CacheUse::Miss if semantic => "SEMANTIC MISS",
        CacheUse::Miss => "MISS",
        CacheUse::Refresh => "REFRESH",
        CacheUse::Hit => "HIT",
        CacheUse::Semantic(_) => "SEMANTIC HIT",
    };
    response.insert(CACHE_STATUS, HeaderValue::from_static(status));
    if let Some(trace) = request.get(&TRACE) {
        response.insert(TRACE, trace.clone());
    }
}

/// The provider that answered.
pub fn tell_provider(provider: &HeaderValue, response: &mut HeaderMap) {
    response.insert(PROVIDER, provider.clone());
}
