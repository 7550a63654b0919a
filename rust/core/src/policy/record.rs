//! Requests kept with what they were answered, for replaying policies over them; and what policies count by.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::exchange::Exchange;
use crate::facts::identity_of;
use crate::facts::{Almanac, Reply, SECRET, Scene, Told, Who};
use crate::kernel::window::{Refusal, Window};
use crate::shard::SnapshotRef;

/// Longest body that is kept.
const BODY: usize = 64 * 1024;
const SHARDS: usize = 16;
/// Counters of one shard; beyond them the ones not used for longest are forgotten.
const COUNTERS: usize = 8_192;

/// A request by itself: kept, or told by a trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    pub time_us: i64,
    pub request_id: String,
    pub method: String,
    pub path: String,
    pub operation: String,
    pub dialect: String,
    #[serde(with = "headers")]
    pub headers: HeaderMap,
    pub query: Option<String>,
    #[serde(with = "text")]
    pub body: Bytes,
    pub model: String,
    pub stream: bool,
    pub input_tokens: u64,
    pub max_output: Option<u64>,
    pub ip: Option<std::net::IpAddr>,
    pub who: Told,
    pub reply: Option<Answered>,
}

/// The answer of a kept request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answered {
    pub status: u16,
    #[serde(with = "headers")]
    pub headers: HeaderMap,
    #[serde(with = "text")]
    pub body: Bytes,
    pub text: Option<String>,
    pub provider: String,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost: Option<f64>,
    pub latency_ms: u64,
}

impl Kept {
    pub fn of(exchange: &Exchange, body: &Bytes) -> Kept {
        let mut headers = exchange.headers.clone();
        for name in SECRET {
            headers.remove(name);
        }
        let body = if body.len() <= BODY { body.clone() } else { Bytes::new() };
        Kept {
            time_us: exchange.wall_us,
            request_id: exchange.request_id.to_string(),
            method: exchange.endpoint.method.to_string(),
            path: exchange.endpoint.pattern.to_string(),
            operation: exchange.endpoint.operation.name().to_string(),
            dialect: exchange.endpoint.dialect.name().to_string(),
            headers,
            query: None,
            body,
            model: exchange.call.model.clone(),
            stream: exchange.call.stream,
            input_tokens: u64::from(exchange.call.est_input),
            max_output: exchange.call.max_output,
            ip: Some(exchange.client),
            who: identity_of(exchange),
            reply: None,
        }
    }

    pub fn scene<'k>(&'k self, almanac: &'k Almanac, reply: Option<&'k Reply>) -> Scene<'k> {
        Scene {
            almanac: Some(almanac),
            wall_us: self.time_us,
            method: &self.method,
            path: &self.path,
            operation: &self.operation,
            dialect: &self.dialect,
            headers: &self.headers,
            query: self.query.as_deref(),
            body: &self.body,
            root: None,
            model: &self.model,
            stream: self.stream,
            input: self.input_tokens,
            max_output: self.max_output,
            ip: self.ip,
            who: Who::Told(&self.who),
            reply,
        }
    }
}

impl From<&Answered> for Reply {
    fn from(answered: &Answered) -> Reply {
        Reply {
            status: answered.status,
            headers: answered.headers.clone(),
            body: answered.body.clone(),
            text: answered.text.clone(),
            calls: Vec::new(),
            provider: answered.provider.clone(),
            input: answered.input_tokens,
            output: answered.output_tokens,
            cost: answered.cost,
            latency_ms: answered.latency_ms,
        }
    }
}

impl From<&Reply> for Answered {
    fn from(reply: &Reply) -> Answered {
        let body = if reply.body.len() <= BODY { reply.body.clone() } else { Bytes::new() };
        Answered {
            status: reply.status,
            headers: reply.headers.clone(),
            body,
            text: reply.text.clone(),
            provider: reply.provider.clone(),
            input_tokens: reply.input,
            output_tokens: reply.output,
            cost: reply.cost,
            latency_ms: reply.latency_ms,
        }
    }
}

/// The requests kept, and the counters of policies. Outlives every snapshot.
#[derive(Default)]
pub struct Past {
    kept: Mutex<VecDeque<Kept>>,
    counters: [Mutex<HashMap<u64, Counter>>; SHARDS],
    hasher: RandomState,
}

struct Counter {
    window: Window,
    limit: u64,
    period_ns: u64,
    used_ns: u64,
}

impl Past {
    pub fn keep(&self, snapshot: &SnapshotRef, kept: Kept) {
        let most = snapshot.policies.keep;
        let mut all = self.kept.lock();
        while all.len() >= most.max(1) {
            all.pop_front();
        }
        if most > 0 {
            all.push_back(kept);
        }
    }

    /// Those of a period, oldest first.
    pub fn between(&self, from_us: i64, to_us: i64) -> Vec<Kept> {
        self.kept.lock().iter().filter(|kept| (from_us..=to_us).contains(&kept.time_us)).cloned().collect()
    }

    /// Takes one of `limit` within `period_ns` for a name.
    ///
    /// # Errors
    /// There is none left.
    pub fn take(&self, policy: &str, who: &str, limit: u64, period_ns: u64, now_ns: u64) -> Result<(), Refusal> {
        let hash = self.hasher.hash_one((policy, who));
        let Some(shard) = self.counters.get(hash as usize % SHARDS) else { return Ok(()) };
        let mut counters = shard.lock();
        if counters.len() >= COUNTERS && !counters.contains_key(&hash) {
            let mut times: Vec<u64> = counters.values().map(|counter| counter.used_ns).collect();
            let middle = times.len() / 2;
            let (_, limit, _) = times.select_nth_unstable(middle);
            let limit = *limit;
            counters.retain(|_, counter| counter.used_ns > limit);
        }
        let new = || Counter { window: Window::new(limit, period_ns), limit, period_ns, used_ns: now_ns };
        let counter = counters.entry(hash).or_insert_with(new);
        if counter.period_ns != period_ns {
            *counter = new();
        }
        if counter.limit != limit {
            counter.window.set_limit(limit);
            counter.limit = limit;
        }
        counter.used_ns = now_ns;
        counter.window.try_take(now_ns, 1).map(|_| ())
    }

    /// Whether this is the first within a period for a name: an alert that is told once.
    pub fn first(&self, policy: &str, who: &str, period_ns: u64, now_ns: u64) -> bool {
        period_ns == 0 || self.take(policy, who, 1, period_ns, now_ns).is_ok()
    }
}

mod headers {
    use super::{HeaderMap, HeaderName, HeaderValue};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        pairs.collect::<std::collections::BTreeMap<_, _>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
        let pairs = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(serde::de::Error::custom)?;
            Ok((name, HeaderValue::from_str(value).map_err(serde::de::Error::custom)?))
        });
        pairs.collect()
    }
}

mod text {
    use super::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer).map(Bytes::from)
    }
}
