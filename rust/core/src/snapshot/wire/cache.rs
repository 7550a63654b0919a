//! What a snapshot says of the cache.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Some model uses it.
    pub enabled: bool,
    pub max_bytes: u64,
    pub max_entry_bytes: u64,
    /// Equal requests wait for one of them.
    pub single_flight: bool,
    /// The ledger is told what was asked.
    pub measure: bool,
    pub redis: Option<RedisTier>,
    pub objects: Option<ObjectTier>,
    pub semantic: Option<Semantic>,
}

/// Answers to similar questions. `directory`: of a static model; `embedding_model`: a model that embeds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Semantic {
    pub directory: Option<String>,
    pub embedding_model: Option<String>,
    /// In ten-thousandths.
    pub threshold: u16,
    pub top_k: usize,
    pub judge: Option<String>,
    pub timeout_ms: u64,
    pub max_entries: usize,
}

/// The second tier of the cache; its address is a credential.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RedisTier {
    pub credential: String,
    /// Certificates in PEM.
    pub authority: Option<String>,
    pub prefix: String,
    pub timeout_ms: u64,
}

/// The third tier of the cache: a directory, or a bucket, whose access key is a credential.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ObjectTier {
    pub directory: Option<String>,
    /// Address of the bucket.
    pub bucket: Option<String>,
    pub region: String,
    pub credential: String,
    /// Of all names.
    pub prefix: String,
    pub timeout_ms: u64,
    pub min_bytes: u64,
    pub min_ttl_ms: u64,
    /// Of a directory.
    pub max_bytes: u64,
}

/// How the cache takes part in the requests of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachePolicy {
    pub mode: String,
    pub scope: String,
    pub namespace: String,
    pub ttl_ms: u64,
    pub stale_ms: u64,
    pub errors_ms: u64,
    pub pace_ms: u64,
    pub semantic: String,
    /// In ten-thousandths; 0: that of the semantic cache.
    pub threshold: u16,
}
