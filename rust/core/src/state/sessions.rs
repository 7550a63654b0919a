//! Sessions that policies count by: what one conversation or run of an agent used. Callers name them, so each is of one key,
//! and the number of them is bounded: those not used for longest are forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;

use super::subject::Subject;
use super::subjects::Kind;

/// Headers that name a session; the first that is there counts.
const HEADERS: [&str; 4] = ["x-ailink-session-id", "x-session-id", "x-litellm-session-id", "x-portkey-trace-id"];
const SHARDS: usize = 16;
/// Most sessions of one shard.
const MOST: usize = 4_096;

/// The session that a request names.
pub fn named(headers: &HeaderMap) -> Option<&[u8]> {
    HEADERS.iter().find_map(|name| headers.get(*name)).map(|value| value.as_bytes()).filter(|name| !name.is_empty())
}

/// The same, told by its key: what its caller calls it is nobody else's.
pub fn own(key: &str, headers: &HeaderMap) -> Option<String> {
    named(headers).map(|name| format!("{key}/{}", String::from_utf8_lossy(name)))
}

struct Known {
    subject: Arc<Subject>,
    used_ns: u64,
}

/// All sessions that are counted.
#[derive(Default)]
pub struct Sessions {
    shards: [Mutex<HashMap<Arc<str>, Known>>; SHARDS],
    hasher: RandomState,
}

impl Sessions {
    /// The session of this name, made when first asked for. It has no limits: what it is for are counters of the past.
    pub fn of(&self, id: &str, now_ns: u64) -> Option<Arc<Subject>> {
        let mut shard = self.shards.get(self.hasher.hash_one(id) as usize % SHARDS)?.lock();
        if let Some(known) = shard.get_mut(id) {
            known.used_ns = now_ns;
            return Some(known.subject.clone());
        }
        if shard.len() >= MOST {
            let mut times: Vec<u64> = shard.values().map(|known| known.used_ns).collect();
            let middle = times.len() / 2;
            let limit = *times.select_nth_unstable(middle).1;
            shard.retain(|_, known| known.used_ns > limit);
        }
        let subject = Arc::new(Subject::new(u64::MAX, Kind::Session, id));
        shard.insert(subject.id.clone(), Known { subject: subject.clone(), used_ns: now_ns });
        Some(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_its_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(own("k", &headers), None);
        headers.insert("x-portkey-trace-id", "b".parse().unwrap());
        headers.insert("x-session-id", "a".parse().unwrap());
        assert_eq!(own("k", &headers).as_deref(), Some("k/a"));
    }

    #[test]
    fn those_not_used_for_longest_are_forgotten() {
        let sessions = Sessions::default();
        let first = sessions.of("first", 0).unwrap();
        let kept = sessions.of("kept", 0).unwrap();
        for number in 1..(SHARDS * MOST * 2) as u64 {
            sessions.of(&number.to_string(), number);
            sessions.of("kept", number);
        }
        assert!(Arc::ptr_eq(&kept, &sessions.of("kept", 0).unwrap()));
        assert!(!Arc::ptr_eq(&first, &sessions.of("first", 0).unwrap()));
        assert!(sessions.shards.iter().all(|shard| shard.lock().len() <= MOST));
    }
}
