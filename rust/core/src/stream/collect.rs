//! What a stream said, kept for the cache while it passes.

use bytes::BytesMut;
use http::HeaderValue;

use crate::exchange::{CacheUse, Exchange};
use crate::state::State;
use crate::state::cache::CacheKey;

/// Longest stream that is kept.
const CACHED_MAX: usize = 1024 * 1024;

pub struct Collect(Option<(CacheKey, BytesMut)>);

impl Collect {
    pub fn new(exchange: &Exchange) -> Self {
        Collect(match exchange.cache {
            CacheUse::Miss(key) => Some((key, BytesMut::new())),
            _ => None,
        })
    }

    pub fn keep(&mut self, bytes: &[u8]) {
        if let Some((_, kept)) = &mut self.0 {
            kept.extend_from_slice(bytes);
            if kept.len() > CACHED_MAX {
                self.0 = None;
            }
        }
    }

    /// The stream is complete.
    pub fn put(&mut self, state: &State, content_type: &'static str) {
        if let Some((key, kept)) = self.0.take() {
            state.cache.put(key, HeaderValue::from_static(content_type), kept.freeze());
        }
    }
}
