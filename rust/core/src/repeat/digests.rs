//! What a request and its repeats are known by.

use sha2::{Digest as _, Sha256};

use super::{HEADER, LONGEST};
use crate::exchange::Exchange;
use crate::state::repeats::Digest;

/// Whose key it is, and what is asked under it.
pub fn digests(exchange: &Exchange) -> Option<(Digest, Digest)> {
    let mut keys = exchange.headers.get_all(HEADER).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return None };
    if !(1..=LONGEST).contains(&key.len()) {
        return None;
    }
    let digest = |parts: &[&[u8]]| -> Digest {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    };
    let owner = exchange.key.as_ref().map_or("", |key| &key.id);
    let pattern = exchange.endpoint.pattern.as_bytes();
    let id = digest(&[owner.as_bytes(), pattern, key.as_bytes()]);
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let (model, query) = (of(&exchange.path_model), of(&exchange.query));
    Some((id, digest(&[model.as_bytes(), query.as_bytes(), &exchange.call.body])))
}
