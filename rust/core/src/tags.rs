//! The tags of a request: those of its key, and those it names itself where the key allows that and the tag is known.

use http::{HeaderMap, HeaderName};

use crate::exchange::Exchange;
use crate::ledger::DictKind;
use crate::state::keys::tag_set;
use crate::state::subjects::Kind;
use crate::wire::json::{Kind as Json, scan_value_object};

/// Most tags of a request that are looked at.
const MOST: usize = 32;

/// All tags of the request that are known, sorted, each once.
pub fn of(exchange: &Exchange) -> Vec<String> {
    let Some(key) = &exchange.key else { return Vec::new() };
    let mut tags: Vec<String> = key.tags.to_vec();
    if key.may_tag {
        let subjects = &exchange.shard.shared.state.subjects;
        let named = of_headers(&exchange.headers).chain(of_body(exchange).unwrap_or_default()).take(MOST);
        tags.extend(named.filter(|tag| subjects.find(Kind::Tag, tag).is_some()));
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn of_headers(headers: &HeaderMap) -> impl Iterator<Item = String> {
    const TAGS: HeaderName = HeaderName::from_static("x-litellm-tags");
    let lists = headers.get_all(TAGS).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|tag| tag.trim().to_string()).filter(|tag| !tag.is_empty())
}

fn of_body(exchange: &Exchange) -> Option<Vec<String>> {
    let call = &exchange.call;
    let metadata = call.metadata.filter(|metadata| metadata.kind == Json::Object)?;
    let list = scan_value_object(&call.body, metadata, &["tags"]).ok()?.fields[0]?;
    serde_json::from_slice(list.raw(&call.body)).ok()
}

/// The number of the request's set of tags in the ledger. A set that was never seen is numbered first, on a thread that
/// may wait for the disk; should that fail, the request is recorded with the key's own tags.
pub async fn number(exchange: &Exchange) -> u32 {
    let own = exchange.key.as_ref().map_or(0, |key| key.owners.tags);
    let Some(set) = tag_set(&exchange.tags) else { return own };
    let ledger = exchange.shard.shared.state.ledger.clone();
    if let Some(id) = ledger.lookup(DictKind::Tags, &set) {
        return id;
    }
    let numbered = tokio::task::spawn_blocking(move || ledger.intern(DictKind::Tags, &set)).await;
    numbered.ok().and_then(Result::ok).unwrap_or(own)
}
