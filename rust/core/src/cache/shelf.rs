//! The entries in memory, weighed in bytes: what is used least goes first.

use std::sync::Arc;

use quick_cache::sync::Cache as Quick;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::entry::Entry;
use super::key::CacheKey;
use crate::snapshot::wire;

#[derive(Clone)]
pub struct ByBytes;

impl Weighter<CacheKey, Arc<Entry>> for ByBytes {
    fn weight(&self, _key: &CacheKey, entry: &Arc<Entry>) -> u64 {
        entry.weight()
    }
}

/// Tells each insertion which keys lost their entry by it.
#[derive(Clone)]
pub struct Leavers;

impl Lifecycle<CacheKey, Arc<Entry>> for Leavers {
    type RequestState = Vec<CacheKey>;

    fn begin_request(&self) -> Vec<CacheKey> {
        Vec::new()
    }

    fn on_evict(&self, gone: &mut Vec<CacheKey>, key: CacheKey, _: Arc<Entry>) {
        gone.push(key);
    }
}

pub struct Shelf {
    pub settings: wire::Cache,
    pub entries: Quick<CacheKey, Arc<Entry>, ByBytes, DefaultHashBuilder, Leavers>,
}

impl Shelf {
    /// An empty one; none for a size that no cache can have.
    pub fn new(settings: wire::Cache) -> Option<Self> {
        let items = usize::try_from(settings.max_bytes / 2048).unwrap_or(usize::MAX).max(16);
        // One shard would let one large entry push out everything else of its shard; a shard must hold the largest.
        let shards = usize::try_from(settings.max_bytes / settings.max_entry_bytes.max(1) / 4).unwrap_or(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(settings.max_bytes)
            .shards(shards.clamp(1, 16).next_power_of_two())
            .build()
            .ok()?;
        let entries = Quick::with_options(options, ByBytes, DefaultHashBuilder::default(), Leavers);
        Some(Shelf { settings, entries })
    }

    /// How many entries went for want of room. The one that stood under the same key went for its successor.
    pub fn insert(&self, key: CacheKey, entry: Arc<Entry>) -> usize {
        let gone = self.entries.insert_with_lifecycle(key, entry);
        gone.iter().filter(|other| **other != key).count()
    }
}
