//! The tiers of the cache beneath memory: what they have becomes an entry of memory, and the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;

use super::cache::told;
use crate::body::Body;
use crate::cache::count::What;
use crate::cache::entry::Entry;
use crate::cache::objects::Objects;
use crate::cache::remote::Remote;
use crate::cache::{Cache, key, replay};
use crate::exchange::{CacheUse, Exchange};

/// How long an answer that another node is fetching is waited for; a stream could begin meanwhile.
const WHOLE: Duration = Duration::from_secs(600);
const STREAM: Duration = Duration::from_secs(60);
/// How often it is looked for: a tenth of the wait so far, within these bounds.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(200);

/// The answer from a tier beneath memory, also if another node is about to put it there.
pub async fn look(exchange: &mut Exchange) -> Option<Response<Body>> {
    let cache = &exchange.shard.shared.state.cache;
    if exchange.cache == CacheUse::Refresh || !cache.is_tiered() {
        return None;
    }
    let (remote, objects, key) = (cache.remote(), cache.objects(), exchange.fill.as_ref()?.key);
    let began = Instant::now();
    let most = if exchange.call.stream { STREAM } else { WHOLE };
    let (mut found, answered) = match &remote {
        Some(remote) => remote.read(&key).await,
        None => (None, false),
    };
    let mut risen = None;
    if found.is_none() {
        risen = far(objects.as_deref(), &key).await;
    }
    if found.is_none()
        && risen.is_none()
        && answered
        && exchange.snapshot.cache.single_flight
        && let Some(remote) = remote
    {
        let mut waited = false;
        loop {
            if let Some(lease) = remote.lease(&key).await {
                // What came between the look and the lease. Long answers are in the third tier alone.
                found = if lease.is_shared() { remote.get(&key).await } else { None };
                if found.is_none() && waited {
                    risen = far(objects.as_deref(), &key).await;
                }
                if let Some(fill) = exchange.fill.as_mut().filter(|_| found.is_none() && risen.is_none()) {
                    fill.lease = Some(lease);
                }
                break;
            }
            waited = true;
            tokio::time::sleep((began.elapsed() / 10).clamp(OFTEN, SELDOM)).await;
            found = remote.get(&key).await;
            if found.is_some() || began.elapsed() > most {
                break;
            }
        }
    }
    exchange.waited += began.elapsed();
    let is_risen = risen.is_some();
    found.or(risen).and_then(|entry| from_below(exchange, entry, is_risen))
}

/// What a tier has under a key.
pub async fn entry(cache: &Cache, key: &key::CacheKey) -> Option<Entry> {
    let (remote, objects) = (cache.remote(), cache.objects());
    match near(remote.as_deref(), key).await {
        Some(entry) => Some(entry),
        None => far(objects.as_deref(), key).await,
    }
}

async fn near(remote: Option<&Remote>, key: &key::CacheKey) -> Option<Entry> {
    remote?.get(key).await
}

async fn far(objects: Option<&Objects>, key: &key::CacheKey) -> Option<Entry> {
    objects?.get(key).await
}

/// An entry of a tier becomes one of memory, and the answer; one that has `risen` from the third becomes one of the second.
fn from_below(exchange: &mut Exchange, entry: Entry, risen: bool) -> Option<Response<Body>> {
    let fill = exchange.fill.as_ref()?;
    let old = fill.max_age_us.is_some_and(|age| exchange.wall_us - entry.stored_us > age);
    if old || entry.about.tenant != fill.about.tenant {
        return None;
    }
    let entry = Arc::new(entry);
    let cache = &exchange.shard.shared.state.cache;
    cache.put(fill.key, &entry, fill.epoch);
    if risen {
        cache.rise(fill.key, &entry, fill.epoch);
    }
    let pace = replay::pace(exchange);
    let response = replay::response(exchange, &entry, pace)?;
    exchange.cache = CacheUse::Hit;
    if let Some(lead) = exchange.fill.take().and_then(|fill| fill.lead) {
        lead.done(&entry);
    }
    told(exchange, What::Hit, &entry.worth);
    Some(response)
}
