//! The in-memory exact cache: answers by the hash of everything that makes them, weighed in bytes, with a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Quick;

use crate::snapshot::wire;

/// SHA-256 over tenant, operation, model and the body.
pub type CacheKey = [u8; 32];

/// A complete, successful answer.
pub struct Entry {
    pub content_type: HeaderValue,
    pub body: Bytes,
    pub stored: Instant,
    pub deadline: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<CacheKey, Arc<Entry>> for ByBytes {
    fn weight(&self, _key: &CacheKey, entry: &Arc<Entry>) -> u64 {
        entry.body.len() as u64 + 256
    }
}

struct Store {
    settings: wire::Cache,
    entries: Quick<CacheKey, Arc<Entry>, ByBytes>,
}

/// Holds nothing until a snapshot enables it.
pub struct Cache {
    store: ArcSwapOption<Store>,
}

impl Cache {
    pub fn new() -> Self {
        Cache { store: ArcSwapOption::empty() }
    }

    /// Follows the settings of a new snapshot; what is cached stays unless the size changes.
    pub fn configure(&self, settings: wire::Cache) {
        if !settings.enabled {
            self.store.store(None);
            return;
        }
        let current = self.store.load();
        if current.as_ref().is_none_or(|store| store.settings != settings) {
            let items = usize::try_from(settings.max_bytes / 2048).unwrap_or(usize::MAX).max(16);
            let entries = Quick::with_weighter(items, settings.max_bytes, ByBytes);
            self.store.store(Some(Arc::new(Store { settings, entries })));
        }
    }

    pub fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        let store = self.store.load();
        let store = store.as_ref()?;
        let entry = store.entries.get(key)?;
        if entry.deadline > Instant::now() {
            return Some(entry);
        }
        store.entries.remove(key);
        None
    }

    pub fn put(&self, key: CacheKey, content_type: HeaderValue, body: Bytes) {
        if let Some(store) = self.store.load().as_ref() {
            let stored = Instant::now();
            let deadline = stored + Duration::from_millis(store.settings.ttl_ms);
            // A slice of a larger read buffer would keep all of that buffer alive.
            let body = Bytes::copy_from_slice(&body);
            store.entries.insert(key, Arc::new(Entry { content_type, body, stored, deadline }));
        }
    }

    /// Number of entries and their weight in bytes.
    pub fn size(&self) -> (u64, u64) {
        self.store.load().as_ref().map_or((0, 0), |store| (store.entries.len() as u64, store.entries.weight()))
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}
