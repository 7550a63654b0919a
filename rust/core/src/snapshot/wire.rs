//! The wire form of a snapshot, field by field as Python's `ailink.snapshot.model` writes it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kernel::price::Listed;

mod behind;
mod cache;
mod row;
pub use behind::{Known, KnownAt, PassThrough, Wildcard};
pub use cache::{Cache, CachePolicy, ObjectTier, RedisTier, Semantic};
pub use row::{ErrorRule, Field, Rule, Telling, Timed, Worded};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub schema: u32,
    pub version: u64,
    pub settings: Settings,
    pub cache: Cache,
    pub aliases: BTreeMap<String, String>,
    /// Saved config objects, as JSON.
    pub configs: BTreeMap<String, String>,
    pub deployments: Vec<Deployment>,
    pub models: Vec<Model>,
    pub wildcards: Vec<Wildcard>,
    pub pass_through: Vec<PassThrough>,
    pub guardrails: Vec<Guardrail>,
    pub boundaries: Vec<Boundary>,
    pub policies: crate::policy::wire::Policies,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds of silence before a comment keeps a waiting stream alive; 0 = never.
    pub keepalive_comment_ms: u64,
    /// Write the public model name into answers (LiteLLM does; off by default).
    pub restamp_model: bool,
    /// Output tokens reserved for a request without a maximum.
    pub assumed_output: u32,
    /// Status of a refusal for an exhausted budget.
    pub budget_status: u16,
    /// Requests may ask why they went where they went.
    pub explain_header: bool,
    /// Decisions kept, and of how many requests in a hundred.
    pub explain_keep: u32,
    pub explain_percent: u32,
    /// Status of what a guardrail blocks.
    pub block_status: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub id: String,
    pub provider: String,
    pub dialect: String,
    pub model: String,
    pub base_url: String,
    pub operations: BTreeMap<String, String>,
    /// Parameter rules by operation.
    pub rules: BTreeMap<String, Vec<Rule>>,
    /// How operations are asked for that are not asked for in the caller's own words.
    pub requests: BTreeMap<String, Worded>,
    pub auth: Auth,
    pub credential: Option<String>,
    /// Others that are used in turn with it.
    pub credentials: Vec<String>,
    pub headers: BTreeMap<String, String>,
    pub weight: u32,
    pub tier: u32,
    pub tags: Vec<String>,
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
    pub price: Option<Listed>,
    pub price_version: String,
    pub stream_usage: String,
    pub timeouts: Timeouts,
    pub pool_idle_ms: u64,
    pub max_connections: u32,
    /// Most tokens of an answer; 0: not known.
    pub max_output: u32,
    /// Most tokens of a prompt; 0: not known.
    pub context_window: u32,
    /// What it cannot do: as its configuration says, and as far as is known otherwise.
    pub cannot: Vec<String>,
    pub doubtful: Vec<String>,
    /// Requests of its model may not leave the regions that it is not in.
    pub elsewhere: bool,
    /// What it asks its provider for; `default` otherwise.
    pub service_tier: String,
    /// Empty: not said.
    pub region: String,
    /// Its provider keeps nothing of what it is asked.
    pub keeps_nothing: bool,
    /// Another takes what it has no room for.
    pub spills: bool,
    pub check: Option<super::probes::CheckWire>,
    pub engine: Option<super::probes::PollWire>,
    /// Beginnings of prompts are marked for the provider to keep.
    pub prompt_caching: bool,
    /// The path names the model, and the body must not.
    pub model_in_path: bool,
    /// The path says whether a stream is wanted, and the body must not.
    pub stream_in_path: bool,
    /// Connected to at public addresses only.
    pub public_only: bool,
    pub errors: Vec<ErrorRule>,
    /// Headers that tell what is left of a quota, with those that tell the quota; empty: the common ones.
    pub rate_limit_headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub scheme: String,
    pub name: String,
    /// What is signed for, for `sigv4`.
    pub region: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    pub connect_ms: u64,
    pub first_byte_ms: u64,
    pub idle_ms: u64,
    pub total_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    pub deployments: Vec<u32>,
    pub fallbacks: Vec<String>,
    pub routing: Routing,
    pub cache: CachePolicy,
    /// By endpoint, where it is another.
    pub caches: BTreeMap<String, CachePolicy>,
    pub auto: Option<Auto>,
    /// Numbers of its guardrails, ascending.
    pub guardrails: Vec<u32>,
    pub owned_by: String,
    pub created: i64,
    pub mode: String,
    pub info: Option<ModelInfo>,
}

/// Models that one stands for, from the simplest to the best; routers as they were trained.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auto {
    pub models: Vec<String>,
    pub thresholds: Vec<f32>,
    pub incumbent: Option<Binary>,
    pub candidate: Option<Binary>,
    pub percent: u32,
    pub record: u32,
}

/// A MessagePack binary.
#[derive(Clone, Debug)]
pub struct Binary(pub Vec<u8>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Binary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Binary, E> {
                Ok(Binary(value.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// What must not pass, and what happens to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    pub name: String,
    pub input: bool,
    pub output: bool,
    pub action: String,
    pub shadow: bool,
    pub fails_closed: bool,
    pub stream: String,
    pub normalise: Vec<String>,
    pub patterns: Vec<Pattern>,
    /// Checks and how they are made, as JSON.
    pub checks: Option<String>,
    /// How long its tokens are kept, in seconds; 0: for their request.
    pub keeps_s: u32,
    /// What happens to what cannot be looked at: `allow`, `whole`, `block`.
    pub unscannable: String,
    pub webhook: Option<Notice>,
}

/// Who is told what a guardrail found.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub url: String,
    pub secret: Option<String>,
}

/// A regular expression, or words where that is missing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    pub label: String,
    pub regex: Option<String>,
    pub words: Vec<String>,
    pub whole: bool,
    pub ignore_case: bool,
    pub validator: Option<String>,
}

/// How often a request is sent again, by the class of its last failure.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    pub bad_request: u32,
    pub authentication: u32,
    pub not_found: u32,
    pub timeout: u32,
    pub rate_limit: u32,
    pub content_policy: u32,
    pub context_window: u32,
    pub server_error: u32,
    pub connection: u32,
}

/// When a deployment is left out. Counts and percentages of 0 turn a rule off.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub consecutive: u32,
    pub percent: u32,
    pub minimum: u32,
    pub window_ms: u64,
    pub allowed_fails: Option<u32>,
    /// The same for failures of a kind: server errors, time-outs and outages, rate limits, credentials.
    pub allowed_of: [Option<u32>; 4],
    pub open_ms: u64,
    pub open_max_ms: u64,
    pub probes: u32,
    pub slow_start_ms: u64,
    pub outlier_percent: u32,
    pub ejected_percent: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// A condition, as JSON.
    pub when: String,
    pub then: String,
}

/// Where requests may go for whose they are. `when`: a condition, as JSON; None: always.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    pub when: Option<String>,
    /// Empty: anywhere.
    pub regions: Vec<String>,
    /// Only providers that keep nothing.
    pub keeps_nothing: bool,
}

/// Which service tiers requests may use, in this order. `when`: a condition, as JSON; None: always.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTiers {
    pub when: Option<String>,
    pub tiers: Vec<String>,
}

/// How requests are routed for which a condition holds. `when`: a condition, as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyRule {
    pub when: String,
    pub strategy: String,
}

/// Who goes first when requests have to wait. `when`: a condition, as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prioritized {
    pub when: String,
    pub priority: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    pub adaptive: bool,
    pub initial: u32,
    pub least: u32,
    pub most: u32,
    pub tolerance: u32,
    pub wait_ms: Option<u64>,
    pub queue: u32,
    pub priorities: Vec<Prioritized>,
}

/// Another model that gets a part of the requests too, without anybody waiting for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub model: String,
    pub percent: u32,
    /// What decides whether a request is of that part; empty: chance.
    pub hash_on: Vec<String>,
    /// Most of them at a time.
    pub in_flight: u32,
    /// The caller's key pays.
    pub bill: bool,
}

/// A second deployment that is asked when the first is slow.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// How slow; None: slower than 95 % of the model's requests.
    pub after_ms: Option<u64>,
    /// Never sooner.
    pub least_ms: u64,
    /// Most second attempts per hundred requests.
    pub percent: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    pub conditions: Vec<Redirect>,
    pub service_tiers: Vec<ServiceTiers>,
    pub strategies: Vec<StrategyRule>,
    pub strategy: String,
    pub latency_of: String,
    /// In place of a strategy of the operator's own that gives no weights.
    pub otherwise: String,
    /// Metrics of engines that are older say nothing.
    pub engine_stale_ms: u32,
    pub slack: u32,
    pub explore: u32,
    pub hash_on: Vec<String>,
    pub prompt_min_tokens: u32,
    pub translation: String,
    pub match_all_tags: bool,
    /// A prompt that is too long for all deployments is refused without asking one.
    pub refuses_long: bool,
    /// Most that a request may come to by estimate.
    pub max_cost_pico: Option<i64>,
    pub retries: Retries,
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    pub retry_after_max_ms: u64,
    pub breaker: Breaker,
    pub overload: Overload,
    pub mirror: Option<Mirror>,
    pub hedge: Option<Hedge>,
    pub context_window_fallbacks: Vec<String>,
    pub content_policy_fallbacks: Vec<String>,
    pub rate_limit_fallbacks: Vec<String>,
    pub cost_fallbacks: Vec<String>,
}

/// What is known about a model, for the list of models.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    #[serde(rename(serialize = "max_output_tokens"), skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    #[serde(rename(serialize = "input_modalities"), skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<String>,
    #[serde(rename(serialize = "output_modalities"), skip_serializing_if = "Vec::is_empty")]
    pub gives: Vec<String>,
    #[serde(rename(serialize = "capabilities"), skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<String>,
    /// Day the provider ends it, YYYY-MM-DD.
    #[serde(rename(serialize = "deprecation_date"), skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}
