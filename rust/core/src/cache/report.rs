//! What operators see of the cache.

use serde::Serialize;

use super::count::{Line, Table, merged};
use super::entry::{Entry, Form};
use super::gate::TierReport;
use super::key::CacheKey;
use super::semantic::SemanticReport;
use super::store::Cache;
use crate::metrics::CacheTimes;

/// The state of the store, and what it did since the start.
#[derive(Debug, Serialize)]
pub struct Report {
    pub enabled: bool,
    pub entries: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Answers kept.
    pub stored: u64,
    /// Answers not kept: too large, or purged before they came.
    pub refused: u64,
    pub evicted: u64,
    /// Requests that others may wait for.
    pub in_flight: u64,
    /// Mean time of a lookup in memory with its key, of one request in 64.
    pub lookup_us: f64,
    pub semantic: Option<SemanticReport>,
    pub redis: Option<TierReport>,
    pub objects: Option<TierReport>,
    pub rows: Vec<Line>,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Explained {
    pub model: String,
    pub tenant: String,
    pub key_id: String,
    pub namespace: String,
    pub tags: Vec<String>,
    pub form: &'static str,
    pub bytes: u64,
    pub stored_us: i64,
    pub expires_us: i64,
    pub stale_us: i64,
    pub cost_pico: i64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micros: u64,
}

pub fn report<'t>(cache: &Cache, tables: impl Iterator<Item = &'t Table>, lookups: &[&CacheTimes]) -> Report {
    let (entries, bytes) = cache.size();
    let sum_us: u64 = lookups.iter().map(|times| times.sum_us()).sum();
    let looked: u64 = lookups.iter().map(|times| times.count()).sum();
    let max_bytes = cache.max_bytes();
    Report {
        enabled: max_bytes > 0,
        entries,
        bytes,
        max_bytes,
        stored: cache.stored.load(std::sync::atomic::Ordering::Relaxed),
        refused: cache.refused.load(std::sync::atomic::Ordering::Relaxed),
        evicted: cache.evicted(),
        in_flight: cache.flights.len() as u64,
        lookup_us: sum_us as f64 / looked.max(1) as f64,
        semantic: cache.semantic().map(|semantic| semantic.report()),
        redis: cache.remote().map(|remote| remote.report()),
        objects: cache.objects().map(|objects| objects.report()),
        rows: merged(tables),
    }
}

/// A key of 64 hex digits.
pub fn parse_key(text: &str) -> Option<CacheKey> {
    let mut key = CacheKey::default();
    if text.len() != 2 * key.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

impl Explained {
    pub fn new(entry: &Entry) -> Self {
        let about = &entry.about;
        Explained {
            model: about.model.to_string(),
            tenant: about.tenant_text(),
            key_id: about.key_id.to_string(),
            namespace: about.namespace.to_string(),
            tags: about.tags.to_vec(),
            form: match entry.form {
                Form::Whole => "whole",
                Form::Stream { .. } => "stream",
            },
            bytes: entry.body.len() as u64,
            stored_us: entry.stored_us,
            expires_us: entry.expires_us,
            stale_us: entry.stale_us,
            cost_pico: entry.worth.pico,
            input_tokens: entry.worth.input,
            output_tokens: entry.worth.output,
            micros: entry.worth.micros,
        }
    }
}
