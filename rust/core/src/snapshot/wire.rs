//! The wire form of a snapshot, field by field as Python's `ailink.snapshot.model` writes it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kernel::cost::Price;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub schema: u32,
    pub version: u64,
    pub settings: Settings,
    pub cache: Cache,
    pub aliases: BTreeMap<String, String>,
    pub deployments: Vec<Deployment>,
    pub models: Vec<Model>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds of silence before a comment keeps a waiting stream alive; 0 = never.
    pub keepalive_comment_ms: u64,
    /// Write the public model name into answers (LiteLLM does; off by default).
    pub restamp_model: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub enabled: bool,
    pub max_bytes: u64,
    pub ttl_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub id: String,
    pub provider: String,
    pub dialect: String,
    pub model: String,
    pub base_url: String,
    pub operations: BTreeMap<String, String>,
    pub auth: Auth,
    pub credential: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub weight: u32,
    pub price: Option<Price>,
    pub price_version: String,
    pub stream_usage: String,
    pub timeouts: Timeouts,
    pub pool_idle_ms: u64,
    pub max_connections: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub scheme: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    pub connect_ms: u64,
    pub first_byte_ms: u64,
    pub idle_ms: u64,
    pub total_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    pub deployments: Vec<u32>,
    pub fallbacks: Vec<String>,
    pub retries: u32,
    pub owned_by: String,
    pub created: i64,
    pub mode: String,
}
