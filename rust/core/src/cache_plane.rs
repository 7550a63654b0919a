//! The plane's cache, for those who manage it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::cache::objects::{self, Place};
use crate::cache::remote::Target;
use crate::cache::report::{self, Explained};
use crate::cache::semantic::{Settings, Source};
use crate::clock;
use crate::plane::{Plane, PlaneError};
use crate::snapshot::{Snapshot, wire};

/// What the key of stored entries is derived for.
const PURPOSE: &[u8] = b"ailink cache entries 1";

impl Plane {
    /// Connects the second tier that a snapshot names, or lets go of it.
    pub(crate) fn connect_cache(&self, snapshot: &Snapshot) -> Result<(), PlaneError> {
        let cache = Some(&snapshot.cache).filter(|cache| cache.enabled);
        let most = usize::try_from(snapshot.cache.max_entry_bytes).unwrap_or(usize::MAX);
        let target = match cache.and_then(|cache| cache.redis.as_ref()) {
            None => None,
            Some(tier) => {
                let slot = self.shared.state.credential(&tier.credential);
                let url = slot.load().as_ref().map(|secret| secret.expose().to_vec()).unwrap_or_default();
                Some(Target {
                    url,
                    authority: tier.authority.clone(),
                    prefix: tier.prefix.clone(),
                    timeout: Duration::from_millis(tier.timeout_ms),
                    seal: self.seal()?,
                    most,
                })
            }
        };
        let objects = match cache.and_then(|cache| cache.objects.as_ref()) {
            None => None,
            Some(tier) => {
                let slot = self.shared.state.credential(&tier.credential);
                Some((objects(tier, self.seal()?, most)?, slot))
            }
        };
        let wrong = |error| PlaneError(format!("cache.objects: {error}"));
        self.shared.state.cache.connect_objects(objects).map_err(wrong)?;
        self.shared.state.cache.connect(target).map_err(PlaneError)?;
        let semantic = snapshot.cache.semantic.as_ref().filter(|_| snapshot.cache.enabled).map(semantic).transpose()?;
        self.shared.state.cache.understand(semantic).map_err(|error| PlaneError(format!("cache.semantic: {error}")))
    }

    /// What entries outside the process are sealed with.
    fn seal(&self) -> Result<[u8; 32], PlaneError> {
        let mac = Hmac::<Sha256>::new_from_slice(self.shared.options.pepper.as_ref());
        let mut mac = mac.map_err(|error| PlaneError(error.to_string()))?;
        mac.update(PURPOSE);
        Ok(mac.finalize().into_bytes().into())
    }

    /// What the cache holds and did, as MessagePack.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn cache_report(&self) -> Result<Vec<u8>, PlaneError> {
        let lookups: Vec<_> = self.shards.iter().map(|shard| &shard.metrics.cache_lookup).collect();
        let tables = self.shards.iter().map(|shard| &shard.cache);
        let report = report::report(&self.shared.state.cache, tables, &lookups);
        rmp_serde::to_vec_named(&report).map_err(|error| PlaneError(error.to_string()))
    }

    /// What Redis says of itself, and how the tier does, as MessagePack; `None` without such a tier. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn cache_redis_info(&self) -> Result<Option<Vec<u8>>, PlaneError> {
        let Some(remote) = self.shared.state.cache.remote() else { return Ok(None) };
        let packed = rmp_serde::to_vec_named(&(remote.report(), remote.info()));
        packed.map(Some).map_err(|error| PlaneError(error.to_string()))
    }

    /// One entry of the cache by its key in hexadecimal, as MessagePack.
    ///
    /// # Errors
    /// The key is none; it cannot be written.
    pub fn cache_entry(&self, key: &str) -> Result<Option<Vec<u8>>, PlaneError> {
        let key = report::parse_key(key).ok_or_else(|| PlaneError(format!("{key:?} is no key")))?;
        let entry = self.shared.state.cache.get(&key, clock::wall_us());
        let packed = entry.map(|entry| rmp_serde::to_vec_named(&Explained::new(&entry)));
        packed.transpose().map_err(|error| PlaneError(error.to_string()))
    }

    /// Removes entries; how many went.
    ///
    /// # Errors
    /// The bytes do not say which; a tier could not be reached.
    pub fn cache_purge(&self, purge: &[u8]) -> Result<u64, PlaneError> {
        let purge = rmp_serde::from_slice(purge).map_err(|error| PlaneError(format!("purge: {error}")))?;
        self.shared.state.cache.purge(&purge).map_err(PlaneError)
    }
}

fn objects(wire: &wire::ObjectTier, seal: [u8; 32], most: usize) -> Result<objects::Target, PlaneError> {
    let place = match (&wire.directory, &wire.bucket) {
        (Some(path), None) => Place::Directory { path: path.clone(), most: wire.max_bytes },
        (None, Some(url)) => {
            Place::Bucket { url: url.clone(), region: wire.region.clone(), credential: wire.credential.clone() }
        }
        _ => return Err(PlaneError("cache.objects: either a directory or a bucket".to_string())),
    };
    Ok(objects::Target {
        place,
        prefix: wire.prefix.clone(),
        timeout: Duration::from_millis(wire.timeout_ms),
        seal,
        most,
        min_bytes: usize::try_from(wire.min_bytes).unwrap_or(usize::MAX),
        min_ttl_us: i64::try_from(wire.min_ttl_ms.saturating_mul(1000)).unwrap_or(i64::MAX),
    })
}

fn semantic(wire: &wire::Semantic) -> Result<Settings, PlaneError> {
    let source = match (&wire.directory, &wire.embedding_model) {
        (Some(directory), None) => Source::Directory(directory.into()),
        (None, Some(model)) => Source::Model(model.clone()),
        _ => return Err(PlaneError("cache.semantic: either a directory or a model that embeds".to_string())),
    };
    Ok(Settings {
        source,
        threshold: f32::from(wire.threshold) / 10_000.0,
        top: wire.top_k,
        judge: wire.judge.clone(),
        timeout: Duration::from_millis(wire.timeout_ms),
        most: wire.max_entries,
    })
}
