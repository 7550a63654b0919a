//! What one request asks of the cache: which entry, how old it may be, how long an answer is kept.
//!
//! Everything that has to be borrowed from the caller's key and from the model is read here, once; what goes on owns it.

use std::time::Duration;

use crate::cache::control::{Mode, wish};
use crate::cache::key::{self, CacheKey};
use crate::cache::terms::Terms;
use crate::error::Result;
use crate::exchange::Exchange;

/// How the cache takes part in a request.
pub enum Part {
    None,
    /// Neither from the cache nor kept. `only`: the caller wanted nothing else.
    Bypass {
        only: bool,
    },
    Full(Asked),
}

pub struct Asked {
    pub key: CacheKey,
    pub tenant: Vec<u8>,
    pub namespace: Box<str>,
    /// The answer shall be fresh.
    pub refresh: bool,
    /// From the cache or not at all.
    pub only: bool,
    pub max_age_us: Option<i64>,
    pub ttl_us: i64,
    pub stale_us: i64,
    /// How long a refusal is told again; 0: it is not.
    pub errors_us: i64,
    pub pace: Duration,
    /// The answer is kept.
    pub store: bool,
    pub semantic: Semantic,
    /// Least similarity; None: the index's.
    pub threshold: Option<f32>,
}

/// Whether an answer to a similar question would do: what holds, and what the request says.
#[derive(Clone, Copy)]
pub struct Semantic {
    pub mode: Mode,
    pub said: Option<bool>,
}

impl Asked {
    /// # Errors
    /// 400 for what cannot be read of the caller's wishes, 403 for what he may not wish.
    pub fn of(exchange: &Exchange) -> Result<Part> {
        let Some(model) = exchange.model() else { return Ok(Part::None) };
        let own = exchange.key.as_ref().and_then(|key| key.cache.as_deref());
        let terms = Terms::new(model.cache.of(exchange.endpoint.operation), own);
        if terms.mode == Mode::Off {
            return Ok(Part::None);
        }
        let wish = wish(exchange)?;
        wish.allowed(own)?;
        if terms.mode == Mode::OptIn && !wish.wanted || wish.off {
            return Ok(Part::None);
        }
        let barred = exchange.policed.as_ref().is_some_and(|policed| policed.cache == Some(false));
        if wish.no_store || barred {
            return Ok(Part::Bypass { only: wish.only });
        }
        let tenant = key::tenant(exchange.key.as_deref(), &terms);
        let (max_age_us, ttl_us) = (terms.max_age_us(wish.max_age_s), terms.ttl_us(wish.ttl_s));
        let namespace: Box<str> = wish.namespace.map_or_else(|| terms.within.into(), String::into_boxed_str);
        Ok(Part::Full(Asked {
            key: key::of(exchange, &tenant, &namespace),
            tenant,
            namespace,
            refresh: wish.refresh,
            only: wish.only,
            max_age_us,
            ttl_us,
            stale_us: terms.stale_us,
            errors_us: if terms.store { terms.errors_us.min(ttl_us) } else { 0 },
            pace: terms.pace,
            store: terms.store,
            semantic: Semantic { mode: terms.semantic, said: wish.semantic },
            threshold: terms.threshold,
        }))
    }
}
