//! Who is calling: the virtual or admin key, in any of the forms that official clients send it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Request};

use crate::arrival::{Arrival, Caller, Signed};
use crate::clock::wall_us;
use crate::connection::Connection;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::head::client_address;
use crate::realtime::handshake;
use crate::sigv4::{Claim, Mismatch, payload_hash};
use crate::state::draw::Quotas;
use crate::state::keys::{Key, Keys};

/// Headers that may carry a key, in the order they are looked at.
pub const KEY_HEADERS: [HeaderName; 6] = [
    http::header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-litellm-api-key"),
    PORTKEY,
];
/// Portkey's clients send the gateway's key here, and may put a provider's into the others.
const PORTKEY: HeaderName = HeaderName::from_static("x-portkey-api-key");

/// # Errors
/// The key is missing, unknown, blocked or expired.
pub fn run<B>(arrival: &Arrival, signable: bool, request: &Request<B>) -> Result<Caller> {
    let keys = &arrival.shard.shared.state.keys;
    let headers = request.headers();
    let (key, signed) = if signable && is_signed(headers) {
        let (key, signed) = signer(keys, headers, arrival.wall_us)?;
        (key, Some(Box::new(signed)))
    } else {
        (find(keys, headers, request.uri().query(), &arrival.connection)?, None)
    };
    check(&key)?;
    if signed.is_none() {
        keys.uses.note(&key.state, arrival.wall_us, || client_address(&arrival.shard, &arrival.connection, headers));
    }
    Ok(Caller { key, signed, quotas: Quotas::default() })
}

/// AWS's clients sign their requests where they are not given a key.
fn is_signed(headers: &HeaderMap) -> bool {
    headers.get(http::header::AUTHORIZATION).is_some_and(|value| Claim::is_one(value.as_bytes()))
}

/// The key behind a signature, which is still to be verified.
fn signer(keys: &Keys, headers: &HeaderMap, now_us: i64) -> Result<(Arc<Key>, Signed)> {
    let refuse = |mismatch: Mismatch| Error::new(Code::InvalidKey, mismatch.advice());
    let claim = Claim::read(headers, now_us / 1_000_000).map_err(refuse)?;
    let (key, secret) = keys.find_pair(&claim.id).ok_or_else(|| {
        let text = "The access key id is not known here. POST /key/aws tells the one of a key.";
        Error::new(Code::InvalidKey, text)
    })?;
    Ok((key, Signed { claim, secret }))
}

/// Verifies the signature of a request whose body has arrived.
///
/// # Errors
/// [`Code::InvalidKey`] when anything was not signed by the key.
pub fn verify(exchange: &mut Exchange, body: &[u8]) -> Result<()> {
    let (Some(signed), Some(uri)) = (exchange.signed.take(), &exchange.uri) else { return Ok(()) };
    let host = exchange.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    let target = (uri.path(), uri.query().unwrap_or_default());
    signed
        .claim
        .verify(&signed.secret, target, host, &exchange.headers, &payload_hash([body]))
        .map_err(|mismatch| Error::new(Code::InvalidKey, mismatch.advice()))?;
    if let Some(key) = &exchange.key {
        let client = exchange.client;
        exchange.shard.shared.state.keys.uses.note(&key.state, exchange.wall_us, || client);
    }
    Ok(())
}

/// Finds the caller's key. A connection remembers the last credential it hashed, so that its next request may skip that.
///
/// # Errors
/// [`Code::MissingKey`] without any credential, [`Code::InvalidKey`] for one nobody knows.
pub fn find(keys: &Keys, headers: &HeaderMap, query: Option<&str>, connection: &Connection) -> Result<Arc<Key>> {
    let found = match KEY_HEADERS.iter().find_map(|name| headers.get(name)) {
        Some(credential) => {
            let secret = bare(credential.as_bytes());
            if secret.is_empty() {
                return Err(missing());
            }
            let known = keys.find(&connection.digest(credential, || keys.digest(secret)));
            known.or_else(|| keys.find(&keys.digest(bare(headers.get(PORTKEY)?.as_bytes()))))
        }
        None => {
            let offered = || handshake::offered_key(headers);
            let key = query.and_then(key_parameter).or_else(offered).ok_or_else(missing)?;
            keys.find(&keys.digest(key.as_bytes()))
        }
    };
    found.ok_or_else(|| {
        let text = "The API key is not known here. Check it, or ask the gateway's operator for one.";
        Error::new(Code::InvalidKey, text)
    })
}

/// Whether what identifies a caller is in the query: there it is looked for only where no header has it.
pub fn is_in_query(headers: &HeaderMap, query: Option<&str>) -> bool {
    !KEY_HEADERS.iter().any(|name| headers.contains_key(name)) && query.and_then(key_parameter).is_some()
}

/// Refuses keys that are blocked or past their expiry.
pub fn check(key: &Key) -> Result<()> {
    if key.blocked {
        return Err(Error::new(Code::BlockedKey, "This API key is blocked. Ask the gateway's operator to unblock it."));
    }
    if let Some(owner) = key.subjects.iter().find(|subject| subject.is_blocked()) {
        let text = format!("The {} of this API key is blocked. Ask the gateway's operator.", owner.kind.name());
        return Err(Error::new(Code::BlockedKey, text));
    }
    if key.expires_us.is_some_and(|expires| expires <= wall_us()) {
        return Err(Error::new(
            Code::ExpiredKey,
            "This API key has expired. Ask the gateway's operator for a new one.",
        ));
    }
    Ok(())
}

fn missing() -> Error {
    Error::new(
        Code::MissingKey,
        "No API key given. Send it as `Authorization: Bearer sk-…` (or x-api-key, api-key, x-goog-api-key, ?key=).",
    )
}

/// The key without its scheme.
fn bare(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ if value.eq_ignore_ascii_case(b"bearer") => b"",
        _ => value.trim_ascii(),
    }
}

/// The value of `key=` in a query; keys need no percent-decoding.
fn key_parameter(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("key=")).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_taken_off() {
        assert_eq!(bare(b"Bearer sk-1"), b"sk-1");
        assert_eq!(bare(b"bearer   sk-1 "), b"sk-1");
        assert_eq!(bare(b"sk-1"), b"sk-1");
        assert_eq!(bare(b"Bearer"), b"");
        assert_eq!(bare(b"Bearer "), b"");
    }

    #[test]
    fn the_query_may_carry_the_key() {
        assert_eq!(key_parameter("alt=sse&key=sk-1"), Some("sk-1"));
        assert_eq!(key_parameter("monkey=1&key="), None);
    }

    #[test]
    fn a_header_comes_before_the_query() {
        let mut headers = HeaderMap::new();
        assert!(is_in_query(&headers, Some("key=sk-1")));
        assert!(!is_in_query(&headers, Some("key=")));
        assert!(!is_in_query(&headers, None));
        headers.insert("x-api-key", http::HeaderValue::from_static("sk-2"));
        assert!(!is_in_query(&headers, Some("key=sk-1")));
    }
}
