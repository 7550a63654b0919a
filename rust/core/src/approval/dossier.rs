//! A request as it is written down to wait, and made ready to go on.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::wire::{Answered, Blob, Dossier, Headers};
use crate::account::Admission;
use crate::endpoint::{Owner, TABLE};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::facts::{SECRET, tools};
use crate::policy::apply::Policed;
use crate::repeat;
use crate::stage::parse::understand;
use crate::wire::json::canonical::Canonical;
use crate::wire::json::scan_object;

/// Headers of the connection, not of the request.
const HOPS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "expect", "idempotency-key", "keep-alive"];

/// What a request and its repeats are known by.
pub struct Name {
    pub joins: String,
    pub asked: String,
    /// By an `Idempotency-Key`.
    pub named: bool,
}

/// Writes a request down. `next`: the action with which its policy goes on.
pub fn of(exchange: &Exchange, next: usize, calls: &[tools::Call], answer: Option<Answered>) -> Dossier {
    let policies = &exchange.snapshot.policies;
    let policed = exchange.policed.as_deref();
    let done = policed.map_or(&[][..], |policed| &policed.done);
    let done = done.iter().filter_map(|place| Some(policies.get(*place)?.name.to_string())).collect();
    let calls: Vec<_> = calls.iter().map(|call| json!({"name": call.name, "arguments": call.arguments})).collect();
    Dossier {
        method: exchange.endpoint.method.to_string(),
        pattern: exchange.endpoint.pattern.to_string(),
        captured: exchange.path_model.clone(),
        query: exchange.query.clone(),
        headers: headers(&exchange.headers),
        body: Blob(body(exchange).clone()),
        stream: exchange.call.stream,
        routed: policed.and_then(|policed| policed.routed.clone()),
        provider: exchange.provider.as_deref().map(str::to_string),
        tags: exchange.tags.clone(),
        done,
        next: u32::try_from(next).unwrap_or(u32::MAX),
        calls: serde_json::Value::from(calls).to_string(),
        answer,
    }
}

/// The request as it is sent; when it is gone, as policies remember it.
fn body(exchange: &Exchange) -> &Bytes {
    let kept = exchange.policed.as_ref().map(|policed| &policed.body);
    kept.filter(|kept| exchange.call.body.is_empty() && !kept.is_empty()).unwrap_or(&exchange.call.body)
}

fn headers(headers: &HeaderMap) -> Headers {
    let kept = headers.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()) && !HOPS.contains(&name.as_str()));
    kept.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_string()))).collect()
}

/// The name that a request shares with its repeats.
pub fn name(exchange: &Exchange, policy: &str, phase: &str) -> Name {
    let asked = digest(&[&meaning(body(exchange))]);
    let key = exchange.headers.get(repeat::HEADER);
    let id = exchange.key.as_ref().map_or("", |key| &key.id);
    let captured = exchange.path_model.as_deref().unwrap_or_default();
    let by = key.map_or(asked.as_bytes(), |key| key.as_bytes());
    let kind: &[u8] = if key.is_some() { b"key" } else { b"body" };
    let parts: [&[u8]; 7] = [
        id.as_bytes(),
        policy.as_bytes(),
        phase.as_bytes(),
        exchange.endpoint.pattern.as_bytes(),
        captured.as_bytes(),
        kind,
        by,
    ];
    Name { joins: digest(&parts), asked, named: key.is_some() }
}

/// The body in one form for all spellings of it; what is no JSON, as it is.
fn meaning(body: &Bytes) -> Vec<u8> {
    match scan_object(body, &[]) {
        Ok(scan) => {
            let mut form = Canonical::default();
            form.value(body, scan.root);
            form.bytes().to_vec()
        }
        Err(_) => body.to_vec(),
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes an exchange that of the request which was written down, under the configuration that is in force now. `edited`
/// stands in the place of its body, and is looked at by all policies but the one that asked.
///
/// # Errors
/// The request is not possible any more.
pub fn revive(exchange: &mut Exchange, dossier: &Dossier, policy: &str, edited: Option<Bytes>) -> Result<()> {
    let gone = || Error::new(Code::RouteNotFound, "The endpoint of this request is not there any more.");
    let method = Method::from_bytes(dossier.method.as_bytes()).map_err(|_| gone())?;
    let same = |row: &&crate::endpoint::Endpoint| {
        row.owner == Owner::Plane && row.method == method && row.pattern == dossier.pattern
    };
    exchange.endpoint = TABLE.iter().find(same).ok_or_else(gone)?;
    exchange.snapshot = exchange.shard.snapshot();
    exchange.path_model.clone_from(&dossier.captured);
    exchange.query.clone_from(&dossier.query);
    exchange.headers = read(&dossier.headers);
    exchange.provider = dossier.provider.as_deref().map(Into::into);
    exchange.tags.clone_from(&dossier.tags);
    (exchange.inbound, exchange.uri, exchange.signed) = (None, None, None);
    // The request was counted when it came.
    exchange.admitted = true;
    let shard = exchange.shard.clone();
    exchange.admission.get_or_insert_with(|| Admission::new(shard));
    let changed = edited.is_some();
    understand(exchange, edited.unwrap_or_else(|| dossier.body.0.clone()))?;
    if let Some(routed) = &dossier.routed {
        exchange.call.model.clone_from(routed);
    }
    let list = &exchange.snapshot.policies.list;
    let place = |name: &str| list.iter().position(|known| &*known.name == name).and_then(|at| u32::try_from(at).ok());
    let own = place(policy);
    let done = dossier.done.iter().filter_map(|name| place(name)).filter(|at| !changed || Some(*at) == own).collect();
    let resume = own.map(|own| (own, dossier.next as usize)).filter(|_| dossier.answer.is_none());
    exchange.policed = Some(Box::new(Policed { done, resume, routed: dossier.routed.clone(), ..Policed::default() }));
    Ok(())
}

fn read(headers: &Headers) -> HeaderMap {
    let pairs = headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_body_have_one_meaning() {
        let of = |text: &'static str| meaning(&Bytes::from_static(text.as_bytes()));
        assert_eq!(of(r#"{"a":1,"b":[2]}"#), of(r#"{ "b": [2.0], "a": 1 }"#));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
        assert_eq!(of("no json"), b"no json");
    }

    #[test]
    fn what_names_a_request_cannot_be_moved_between_its_parts() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[]).len(), 64);
    }
}
