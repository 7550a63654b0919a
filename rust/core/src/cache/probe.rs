//! A lookup by itself, for measuring: the key of a chat and the entry under it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::entry::{About, Entry, Form, Worth};
use super::key::{self, CacheKey};
use super::store::Cache;
use crate::endpoint::Operation;
use crate::snapshot::wire;
use crate::wire::json::{Value, scan_object};

pub struct Probe {
    cache: Cache,
    body: Bytes,
    root: Value,
    headers: HeaderMap,
}

impl Probe {
    /// A store of `entries`, and one for this chat.
    ///
    /// # Errors
    /// The body is no JSON object.
    pub fn new(body: Bytes, entries: u64) -> Result<Probe, String> {
        let root = scan_object(&body, &[]).map_err(|error| error.to_string())?.root;
        let cache = Cache::default();
        cache.configure(wire::Cache {
            enabled: true,
            max_bytes: 1 << 32,
            max_entry_bytes: 1 << 20,
            single_flight: false,
            measure: false,
            redis: None,
            objects: None,
            semantic: None,
        });
        let headers = ["host", "user-agent", "accept", "authorization", "content-type", "content-length"];
        let headers = headers.map(|name| (http::HeaderName::from_static(name), HeaderValue::from_static("x")));
        let probe = Probe { cache, body, root, headers: headers.into_iter().collect() };
        let entry = Arc::new(Entry {
            form: Form::Whole,
            content_type: HeaderValue::from_static("application/json"),
            body: Bytes::from_static(b"{}"),
            stored_us: 0,
            expires_us: i64::MAX,
            stale_us: i64::MAX,
            worth: Worth::default(),
            about: About::default(),
        });
        for number in 0..entries {
            let mut key = CacheKey::default();
            key.iter_mut().zip(number.to_le_bytes().iter().cycle()).for_each(|(to, byte)| *to = *byte);
            probe.cache.put(key, &entry, 0);
        }
        probe.cache.put(probe.key(), &entry, 0);
        Ok(probe)
    }

    fn key(&self) -> CacheKey {
        let begin = key::Begin {
            operation: Operation::Chat,
            streamed: false,
            tenant: b"team\0the-team",
            namespace: b"",
            model: b"gpt-4o-mini",
            provider: b"",
            prints: &[],
            headers: &self.headers,
        };
        key::of_body(&begin, &self.body, self.root)
    }

    pub fn look(&self) -> bool {
        self.cache.get(&self.key(), 1).is_some()
    }
}
