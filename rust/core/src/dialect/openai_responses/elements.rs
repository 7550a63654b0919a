//! Elements of arrays that are kept until their array is written.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json::write::Writer;

/// Longest text of one item that is repeated when the item ends, and longest output that is repeated at the end.
pub const KEPT_MAX: usize = 16 * 1024 * 1024;

/// Puts elements to others, as far as they are kept.
pub fn append(elements: &mut Vec<u8>, more: &[u8]) {
    if more.is_empty() || elements.len() + more.len() > KEPT_MAX {
        return;
    }
    if !elements.is_empty() {
        elements.push(b',');
    }
    elements.extend_from_slice(more);
}

/// The elements of chat's log probabilities.
pub fn append_logprobs(elements: &mut Vec<u8>, raw: &RawValue) {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        content: Option<Vec<&'a RawValue>>,
    }
    let Ok(wire) = serde_json::from_str::<Wire<'_>>(raw.get()) else { return };
    for raw in wire.content.into_iter().flatten() {
        append(elements, raw.get().as_bytes());
    }
}

/// A member that is an array of such elements.
pub fn write_array(json: &mut Writer, name: &str, elements: &[u8]) {
    json.key(name).begin_array();
    if let Some(elements) = std::str::from_utf8(elements).ok().filter(|elements| !elements.is_empty()) {
        json.json(elements);
    }
    json.end_array();
}
