//! Tag routing as LiteLLM has it: a request with tags goes to deployments that have one of them (or all), one without to
//! those tagged `default`, if there are any.

use crate::exchange::Exchange;
use crate::snapshot::{Deployment, Model};
use crate::wire::json::{Kind, scan_object};

const HEADERS: [&str; 2] = ["x-ailink-tags", "x-litellm-tags"];
const DEFAULT: &str = "default";

/// The tags of a request: from the header, or from `metadata.tags` in the body.
pub fn wanted(exchange: &Exchange) -> Vec<String> {
    if let Some(header) = HEADERS.iter().find_map(|name| exchange.headers.get(*name)?.to_str().ok()) {
        return header.split(',').map(|tag| tag.trim().to_string()).filter(|tag| !tag.is_empty()).collect();
    }
    let metadata = exchange.call.metadata.filter(|value| value.kind == Kind::Object);
    let tags = metadata.and_then(|metadata| {
        let raw = metadata.raw(&exchange.call.body);
        let [tags] = scan_object(raw, &["tags"]).ok()?.fields;
        serde_json::from_slice(tags?.raw(raw)).ok()
    });
    tags.unwrap_or_default()
}

/// Whether a deployment may answer a request with these tags.
pub fn admits(model: &Model, deployment: &Deployment, wanted: &[String]) -> bool {
    let has = |tag: &str| deployment.tags.iter().any(|own| **own == *tag);
    if wanted.is_empty() {
        return !model.routing.has_default_tag || has(DEFAULT);
    }
    if model.routing.match_all_tags { wanted.iter().all(|tag| has(tag)) } else { wanted.iter().any(|tag| has(tag)) }
}

/// Whether it stands in when no deployment has the request's tags.
pub fn stands_in(deployment: &Deployment) -> bool {
    deployment.tags.iter().any(|tag| **tag == *DEFAULT)
}
