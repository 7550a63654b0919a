//! How the cache takes part in a request: what the configuration says, and what the caller may say himself.

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};
use serde_json::Value as Json;

use super::terms::Own;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::snapshot::wire;

/// Longest name of a namespace.
const NAMESPACE: usize = 128;
const YEAR_S: u64 = 366 * 86_400;

const TTL: HeaderName = HeaderName::from_static("x-ailink-cache-ttl");
const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("x-ailink-cache-namespace");
const PORTKEY: HeaderName = HeaderName::from_static("x-portkey-cache");
const PORTKEY_REFRESH: HeaderName = HeaderName::from_static("x-portkey-cache-force-refresh");
const PORTKEY_NAMESPACE: HeaderName = HeaderName::from_static("x-portkey-cache-namespace");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Off,
    On,
    /// Only for requests that ask for it.
    OptIn,
}

impl Mode {
    /// # Errors
    /// The name is none.
    pub fn of(name: &str, what: &str) -> std::result::Result<Mode, String> {
        Ok(match name {
            "off" => Mode::Off,
            "on" => Mode::On,
            "opt_in" => Mode::OptIn,
            _ => return Err(format!("{what} {name:?} is not known")),
        })
    }
}

/// Who shares answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Key,
    User,
    Team,
    Organization,
    /// Everybody whose policy names the same namespace.
    Shared,
}

impl Scope {
    /// # Errors
    /// The name is none.
    pub fn of(name: &str) -> std::result::Result<Scope, String> {
        Ok(match name {
            "key" => Scope::Key,
            "user" => Scope::User,
            "team" => Scope::Team,
            "organization" => Scope::Organization,
            "shared" => Scope::Shared,
            other => return Err(format!("cache scope {other:?} is not known")),
        })
    }
}

/// What the configuration says for a model.
#[derive(Clone, Debug)]
pub struct Policy {
    pub mode: Mode,
    pub scope: Scope,
    pub namespace: Box<str>,
    pub ttl_us: i64,
    pub stale_us: i64,
    pub errors_us: i64,
    /// Between two events of a stream that is replayed.
    pub pace: Duration,
    /// Whether an answer to a similar question will do.
    pub semantic: Mode,
    /// Least similarity, in ten-thousandths; 0: the index's.
    pub threshold: u16,
}

impl Policy {
    /// # Errors
    /// Which value is not known.
    pub fn compile(wire: &wire::CachePolicy) -> std::result::Result<Policy, String> {
        Ok(Policy {
            mode: Mode::of(&wire.mode, "cache mode")?,
            scope: Scope::of(&wire.scope)?,
            namespace: wire.namespace.as_str().into(),
            ttl_us: micros(wire.ttl_ms),
            stale_us: micros(wire.stale_ms),
            errors_us: micros(wire.errors_ms),
            pace: Duration::from_millis(wire.pace_ms),
            semantic: Mode::of(&wire.semantic, "semantic cache mode")?,
            threshold: wire.threshold,
        })
    }
}

pub(super) fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX / 2)
}

/// What one request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Asked for by name.
    pub wanted: bool,
    pub off: bool,
    /// The answer shall be fresh, and may be kept.
    pub refresh: bool,
    /// The answer shall not be kept, nor come from the cache.
    pub no_store: bool,
    /// Answer from the cache or not at all.
    pub only: bool,
    /// Oldest answer that will do.
    pub max_age_s: Option<u64>,
    pub ttl_s: Option<u64>,
    pub namespace: Option<String>,
    /// An answer to a similar question will do.
    pub semantic: Option<bool>,
    /// What of all this was said.
    pub said: Controls,
}

/// Some of [`CONTROLS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls(u8);

/// What a request may say, by LiteLLM's names.
const CONTROLS: [&str; 6] = ["no-cache", "no-store", "ttl", "s-maxage", "namespace", "use-cache"];

impl Controls {
    /// # Errors
    /// A name is none.
    pub fn of(names: &[String]) -> std::result::Result<Controls, String> {
        let bits = names.iter().map(|name| {
            let place = CONTROLS.iter().position(|control| control == name);
            place.map(|place| 1u8 << place).ok_or_else(|| format!("cache control {name:?} is not known"))
        });
        bits.sum::<std::result::Result<u8, String>>().map(Controls)
    }
}

impl Wish {
    /// # Errors
    /// 403 for what the key may not say.
    pub fn allowed(&self, own: Option<&Own>) -> Result<()> {
        let Some(allowed) = own.and_then(Own::controls) else { return Ok(()) };
        let beyond = self.said.0 & !allowed.0;
        let Some(name) = CONTROLS.iter().enumerate().find(|(place, _)| beyond & 1 << place != 0) else { return Ok(()) };
        let text = format!("This key may not say `{}` of the cache (allowed_cache_controls).", name.1);
        Err(Error::new(Code::CacheControlDenied, text).param(format!("cache.{}", name.1)))
    }

    /// Notes what was said.
    fn told(&mut self) {
        let said = [
            self.refresh,
            self.no_store,
            self.ttl_s.is_some(),
            self.max_age_s.is_some(),
            self.namespace.is_some(),
            self.wanted,
        ];
        let bits = said.iter().enumerate().map(|(place, said)| u8::from(*said) << place);
        self.said = Controls(bits.sum());
    }
}

/// Reads what the caller says: `cache-control`, our own headers, Portkey's, LiteLLM's member `cache`.
///
/// # Errors
/// 400 for what cannot be read.
pub fn wish(exchange: &Exchange) -> Result<Wish> {
    let mut wish = Wish::default();
    let headers = &exchange.headers;
    for value in headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        value.split(',').for_each(|directive| standard(directive.trim(), &mut wish));
    }
    if let Some(object) = &exchange.call.cache {
        litellm(object, &mut wish)?;
    }
    headers_of(headers, &mut wish)?;
    wish.told();
    if let Some(settings) = exchange.plan.as_ref().and_then(|plan| plan.step()?.cache) {
        wish.wanted = true;
        wish.semantic = wish.semantic.or(Some(settings.semantic));
        wish.ttl_s = wish.ttl_s.or(settings.max_age_s);
    }
    Ok(wish)
}

/// One directive of RFC 9111; what cannot be read is passed over, as it demands.
fn standard(directive: &str, wish: &mut Wish) {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    let seconds = || value.trim_matches('"').parse::<u64>().ok();
    match name.to_ascii_lowercase().as_str() {
        "no-cache" => wish.refresh = true,
        "no-store" => wish.no_store = true,
        "only-if-cached" => wish.only = true,
        "max-age" => match seconds() {
            Some(0) => wish.refresh = true,
            Some(age) => wish.max_age_s = Some(age),
            None => {}
        },
        _ => {}
    }
}

fn headers_of(headers: &HeaderMap, wish: &mut Wish) -> Result<()> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match text(&PORTKEY) {
        None | Some("") => {}
        Some("simple") => (wish.wanted, wish.semantic) = (true, Some(false)),
        Some("semantic") => (wish.wanted, wish.semantic) = (true, Some(true)),
        Some(_) => return Err(bad(PORTKEY.as_str(), "`simple` or `semantic`")),
    }
    match text(&PORTKEY_REFRESH) {
        Some(value) if value.eq_ignore_ascii_case("true") => wish.refresh = true,
        Some(value) if !value.eq_ignore_ascii_case("false") => {
            return Err(bad(PORTKEY_REFRESH.as_str(), "`true` or `false`"));
        }
        _ => {}
    }
    if let Some(value) = text(&TTL) {
        wish.ttl_s = Some(seconds(value.parse().ok(), TTL.as_str())?);
    }
    for name in [&PORTKEY_NAMESPACE, &NAMESPACE_HEADER] {
        if let Some(value) = text(name) {
            wish.namespace = Some(namespace(value, name.as_str())?);
        }
    }
    Ok(())
}

/// LiteLLM's `cache: {…}`.
fn litellm(object: &Json, wish: &mut Wish) -> Result<()> {
    let Json::Object(members) = object else {
        return Err(bad("cache", "an object"));
    };
    for (name, value) in members {
        let path = format!("cache.{name}");
        let flag = || value.as_bool().ok_or_else(|| bad(&path, "a boolean"));
        match name.as_str() {
            "no-cache" => wish.refresh |= flag()?,
            "no-store" => wish.no_store |= flag()?,
            "use-cache" => wish.wanted |= flag()?,
            "ttl" => wish.ttl_s = Some(seconds(value.as_u64(), &path)?),
            "s-maxage" | "s-max-age" => wish.max_age_s = Some(seconds(value.as_u64(), &path)?),
            "namespace" => {
                let text = value.as_str().ok_or_else(|| bad(&path, "text"))?;
                wish.namespace = Some(namespace(text, &path)?);
            }
            _ => {
                let text = "no-cache, no-store, use-cache, ttl, s-maxage or namespace";
                return Err(bad(&path, text));
            }
        }
    }
    Ok(())
}

fn seconds(value: Option<u64>, path: &str) -> Result<u64> {
    value.filter(|seconds| *seconds <= YEAR_S).ok_or_else(|| bad(path, "whole seconds, at most a year"))
}

fn namespace(text: &str, path: &str) -> Result<String> {
    if text.is_empty() || text.len() > NAMESPACE || text.chars().any(char::is_control) {
        return Err(bad(path, &format!("1 to {NAMESPACE} bytes without control characters")));
    }
    Ok(text.to_string())
}

fn bad(what: &str, expected: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("Invalid '{what}': expected {expected}.")).param(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read() {
        let of = |text: &str| {
            let mut wish = Wish::default();
            text.split(',').for_each(|directive| standard(directive.trim(), &mut wish));
            wish
        };
        assert!(of("no-cache").refresh);
        assert!(of("max-age=0").refresh);
        assert!(of("No-Store, private").no_store);
        assert_eq!(of("max-age=60").max_age_s, Some(60));
        assert!(of("only-if-cached").only);
        assert_eq!(of("max-age=soon, stale"), Wish::default());
    }

    #[test]
    fn litellms_object_is_checked() {
        let mut wish = Wish::default();
        let object = serde_json::json!({"no-cache": true, "ttl": 60, "s-maxage": 5, "namespace": "n"});
        litellm(&object, &mut wish).expect("valid");
        assert_eq!((wish.refresh, wish.ttl_s, wish.max_age_s), (true, Some(60), Some(5)));
        for wrong in [
            serde_json::json!({"ttl": "1"}),
            serde_json::json!({"no-cache": 1}),
            serde_json::json!({"nocache": true}),
            serde_json::json!([]),
        ] {
            assert!(litellm(&wrong, &mut Wish::default()).is_err(), "{wrong}");
        }
    }
}
