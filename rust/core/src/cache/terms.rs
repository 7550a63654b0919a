//! What holds for one request: what the file says for its model and endpoint, and what stands above its key.
//!
//! Levels above a key only narrow one another; together they replace what the file says, except that what the file
//! switches off stays off, and that no threshold falls below the file's.

use std::time::Duration;

use serde::Deserialize;

use super::control::{Controls, Mode, Policy, Scope};
use crate::endpoint::Operation;
use crate::snapshot::wire;

/// What the levels above a key say, as Python sends it. None: nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCache {
    pub mode: Option<String>,
    pub scope: Option<String>,
    pub namespace: Option<String>,
    pub ttl_ms: Option<u64>,
    /// Answers are kept; without that, the key is only given what others keep.
    pub store: bool,
    pub semantic: Option<String>,
    /// In ten-thousandths.
    pub threshold: Option<u16>,
    /// What requests may say of the cache, by LiteLLM's names; None: all of it.
    pub controls: Option<Vec<String>>,
}

/// The same, checked.
#[derive(Debug)]
pub struct Own {
    mode: Option<Mode>,
    scope: Option<Scope>,
    namespace: Option<Box<str>>,
    ttl_us: Option<i64>,
    store: bool,
    semantic: Option<Mode>,
    threshold: Option<u16>,
    controls: Option<Controls>,
}

impl Own {
    /// # Errors
    /// Which value is not known.
    pub fn compile(wire: KeyCache) -> Result<Own, String> {
        let mode = |name: Option<String>| name.map(|name| Mode::of(&name, "cache mode")).transpose();
        Ok(Own {
            mode: mode(wire.mode)?,
            scope: wire.scope.map(|name| Scope::of(&name)).transpose()?,
            namespace: wire.namespace.map(Into::into),
            ttl_us: wire.ttl_ms.map(super::control::micros),
            store: wire.store,
            semantic: mode(wire.semantic)?,
            threshold: wire.threshold,
            controls: wire.controls.map(|names| Controls::of(&names)).transpose()?,
        })
    }

    /// Of requests that name none.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// What requests may say; None: all of it.
    pub fn controls(&self) -> Option<Controls> {
        self.controls
    }
}

/// A model's policies: one for most endpoints, others for those that the file names.
#[derive(Clone, Debug)]
pub struct Policies {
    general: Policy,
    /// By endpoint, where it is another.
    named: Box<[(Operation, Policy)]>,
}

impl Policies {
    /// # Errors
    /// Which value is not known.
    pub fn compile(model: &wire::Model) -> Result<Policies, String> {
        let named = model.caches.iter().map(|(name, policy)| {
            let operation = Operation::parse(name).ok_or_else(|| format!("cache: there is no endpoint {name:?}"))?;
            Ok((operation, Policy::compile(policy)?))
        });
        Ok(Policies { general: Policy::compile(&model.cache)?, named: named.collect::<Result<_, String>>()? })
    }

    pub fn of(&self, operation: Operation) -> &Policy {
        let operation = super::key::class(operation);
        self.named.iter().find(|(named, _)| *named == operation).map_or(&self.general, |(_, policy)| policy)
    }
}

/// What holds for one request.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub mode: Mode,
    pub scope: Scope,
    /// Of the scope `shared`.
    pub namespace: &'a str,
    /// Within the tenant, for requests that name none.
    pub within: &'a str,
    pub ttl_us: i64,
    /// Requests may ask for less time, not for more.
    pub most_ttl: bool,
    pub stale_us: i64,
    pub errors_us: i64,
    pub pace: Duration,
    pub store: bool,
    pub semantic: Mode,
    /// Least similarity; None: the index's.
    pub threshold: Option<f32>,
}

impl<'a> Terms<'a> {
    pub fn new(policy: &'a Policy, own: Option<&'a Own>) -> Terms<'a> {
        let mut terms = Terms {
            mode: policy.mode,
            scope: policy.scope,
            namespace: &policy.namespace,
            within: "",
            ttl_us: policy.ttl_us,
            most_ttl: false,
            stale_us: policy.stale_us,
            errors_us: policy.errors_us,
            pace: policy.pace,
            store: true,
            semantic: policy.semantic,
            threshold: None,
        };
        let mut threshold = policy.threshold;
        if let Some(own) = own {
            terms.mode = own.mode.filter(|_| policy.mode != Mode::Off).unwrap_or(policy.mode);
            terms.scope = own.scope.unwrap_or(policy.scope);
            terms.within = own.namespace.as_deref().unwrap_or_default();
            if let Some(ttl_us) = own.ttl_us {
                (terms.ttl_us, terms.most_ttl) = (ttl_us, true);
            }
            terms.store = own.store;
            terms.semantic = own.semantic.filter(|_| policy.semantic != Mode::Off).unwrap_or(policy.semantic);
            threshold = threshold.max(own.threshold.unwrap_or(0));
        }
        terms.threshold = (threshold > 0).then(|| f32::from(threshold) / 10_000.0);
        terms
    }

    /// The oldest answer that will do for a request that takes none older than `wanted` seconds.
    pub fn max_age_us(&self, wanted: Option<u64>) -> Option<i64> {
        let wanted = wanted.map(|seconds| i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX));
        let most = self.most_ttl.then(|| self.ttl_us.saturating_add(self.stale_us));
        wanted.into_iter().chain(most).min()
    }

    /// How long an answer is kept for a request that asks for `wanted` seconds.
    pub fn ttl_us(&self, wanted: Option<u64>) -> i64 {
        let Some(seconds) = wanted else { return self.ttl_us };
        let wanted = i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX / 2);
        if self.most_ttl { wanted.min(self.ttl_us) } else { wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: &str, semantic: &str, threshold: u16) -> Policy {
        let wire = wire::CachePolicy {
            mode: mode.to_string(),
            scope: "team".to_string(),
            namespace: "n".to_string(),
            ttl_ms: 5_000,
            stale_ms: 7,
            errors_ms: 0,
            pace_ms: 0,
            semantic: semantic.to_string(),
            threshold,
        };
        Policy::compile(&wire).expect("known names")
    }

    fn own(change: impl FnOnce(&mut KeyCache)) -> Own {
        let mut wire = KeyCache { store: true, ..KeyCache::default() };
        change(&mut wire);
        Own::compile(wire).expect("known names")
    }

    #[test]
    fn what_stands_above_a_key_replaces_the_file() {
        let file = policy("opt_in", "opt_in", 0);
        let own = own(|own| {
            own.mode = Some("on".to_string());
            own.scope = Some("key".to_string());
            own.ttl_ms = Some(1_000);
            own.semantic = Some("on".to_string());
            own.threshold = Some(9_900);
            own.store = false;
        });
        let terms = Terms::new(&file, Some(&own));
        assert_eq!((terms.mode, terms.scope, terms.semantic), (Mode::On, Scope::Key, Mode::On));
        assert_eq!((terms.ttl_us, terms.namespace, terms.within, terms.store), (1_000_000, "n", "", false));
        assert_eq!((terms.max_age_us(None), terms.max_age_us(Some(0))), (Some(1_007_000), Some(0)));
        assert_eq!(terms.threshold, Some(0.99));
        assert_eq!((terms.ttl_us(None), terms.ttl_us(Some(60)), terms.ttl_us(Some(0))), (1_000_000, 1_000_000, 0));
        let plain = Terms::new(&file, None);
        assert_eq!((plain.ttl_us(None), plain.ttl_us(Some(60))), (5_000_000, 60_000_000));
        assert_eq!((plain.mode, plain.threshold), (Mode::OptIn, None));
    }

    #[test]
    fn what_the_file_switches_off_stays_off() {
        let on = || {
            own(|own| {
                own.mode = Some("on".to_string());
                own.semantic = Some("on".to_string());
                own.threshold = Some(6_000);
            })
        };
        assert_eq!(Terms::new(&policy("off", "on", 0), Some(&on())).mode, Mode::Off);
        let (file, own) = (policy("on", "off", 9_000), on());
        let terms = Terms::new(&file, Some(&own));
        assert_eq!((terms.semantic, terms.threshold), (Mode::Off, Some(0.9)));
    }
}
