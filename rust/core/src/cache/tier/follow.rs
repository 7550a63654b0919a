//! Questions that other nodes have stored, and this one before its start, become questions of memory.
//!
//! Their keys stand in a stream, in the order they came; each question is a value of its own beside its entry, so that it
//! ends with it and a purge finds it. A node reads the stream from its beginning, then what is new. After a purge it
//! forgets all and begins anew: what was removed is not there any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Tier, command};
use crate::cache::key::CacheKey;
use crate::cache::link::Link;
use crate::cache::semantic::{Record, Semantic};

/// How often new ones are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How many are read together.
const STEP: usize = 200;

/// The stream of keys.
pub fn name(prefix: &str) -> String {
    format!("{prefix}questions")
}

/// How far somebody has read.
struct Place {
    /// Who was told, and the purges he knew of.
    who: Option<(Arc<Semantic>, u64)>,
    last: String,
}

/// Keys of a stream as Redis tells them: streams by name, each with its entries: an id, and names and values.
type Told = Option<Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>>;

pub async fn run(tier: Arc<Tier>, mut connection: Link) {
    let mut place = Place { who: None, last: String::new() };
    loop {
        // What fails is counted where requests ask the tier; here it is but tried again.
        let more = tier.learn(&mut connection, &mut place).await.unwrap_or(false);
        if !more {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Tier {
    /// Reads on; whether there may be more at once.
    async fn learn(&self, connection: &mut Link, place: &mut Place) -> redis::RedisResult<bool> {
        let Some(semantic) = self.memory.semantic.load_full() else {
            place.who = None;
            return Ok(false);
        };
        let epoch = self.memory.epoch.load(Ordering::Acquire);
        match &place.who {
            Some((known, seen)) if Arc::ptr_eq(known, &semantic) && *seen == epoch => {}
            known => {
                let again = known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &semantic));
                if again && !semantic.clear() {
                    return Ok(false);
                }
                *place = Place { who: Some((semantic.clone(), epoch)), last: "0".to_string() };
            }
        }
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(STEP).arg("STREAMS").arg(name(&self.prefix)).arg(&place.last);
        let told: Told = connection.query(&read).await?;
        let told: Vec<_> = told.into_iter().flatten().flat_map(|(_, told)| told).collect();
        let Some((last, _)) = told.last() else { return Ok(false) };
        let keys = told.iter().filter_map(|(_, told)| told.get(1)?.as_slice().try_into().ok());
        let found = join_all(keys.map(|key| self.question(connection.clone(), key))).await;
        let found = found.into_iter().collect::<redis::RedisResult<Vec<_>>>()?;
        if !semantic.learn(found.into_iter().flatten().collect()) {
            return Ok(false);
        }
        place.last.clone_from(last);
        Ok(told.len() == STEP)
    }

    async fn question(&self, mut connection: Link, key: CacheKey) -> redis::RedisResult<Option<Record>> {
        let value: Option<Vec<u8>> = connection.query(&command("GET", self.question_name(&key))).await?;
        let Some(value) = value else { return Ok(None) };
        let record = Record::open(&self.sealer, &key, &value);
        if record.is_none() {
            self.counts.foreign.fetch_add(1, Ordering::Relaxed);
        }
        Ok(record)
    }
}
