//! The upgrade to a WebSocket (RFC 6455, section 4), on both sides.
//!
//! Browsers cannot set headers on a WebSocket, so OpenAI's clients there put the key, and the version of the API, into the
//! list of sub-protocols. What carries a key is never echoed unless nothing else was offered: a browser that offered
//! protocols wants one back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::body::Body;
use crate::error::{Code, Error, Result};
use crate::exchange::RequestId;
use crate::outgoing::put_line;

/// Sub-protocols that are not one: what follows is a key, or a header in disguise.
const KEY: &str = "openai-insecure-api-key.";
const BETA: &str = "openai-beta.";
const IN_DISGUISE: [&str; 4] = [KEY, BETA, "openai-organization.", "openai-project."];

/// Parameters of the query that are the gateway's own business.
const OWN: [&str; 2] = ["model", "key"];

/// Refuses what is not a well-formed request for a WebSocket.
///
/// # Errors
/// 426 without an upgrade, 400 for a broken one.
pub fn check(headers: &HeaderMap, upgradable: bool) -> Result<()> {
    let says = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if !upgradable || !says(UPGRADE, "websocket") || !says(CONNECTION, "upgrade") {
        let text = "This endpoint speaks WebSocket over HTTP/1.1: ask for an upgrade, as wss:// clients do.";
        return Err(Error::new(Code::UpgradeRequired, text));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Error::new(Code::UpgradeRequired, "Sec-WebSocket-Version must be 13."));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key.as_bytes()).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(Error::new(Code::InvalidRequest, "Sec-WebSocket-Key must be 16 bytes in base64."));
    }
    Ok(())
}

/// The model that the query names.
///
/// # Errors
/// 400 when it names none, or is not valid.
pub fn model(query: Option<&str>) -> Result<String> {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
    // Azure's clients say `deployment`.
    let mut named = pairs.filter(|(name, value)| matches!(*name, "model" | "deployment") && !value.is_empty());
    match named.next_back() {
        Some((_, value)) => crate::head::decode(&value.replace('+', " ")),
        None => {
            let text = "The query must name the model: ?model=NAME.";
            Err(Error::new(Code::InvalidRequest, text).param("model"))
        }
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

/// The key among the sub-protocols.
pub fn offered_key(headers: &HeaderMap) -> Option<&str> {
    offered(headers).find_map(|protocol| protocol.strip_prefix(KEY)).filter(|key| !key.is_empty())
}

fn is_real(protocol: &&str) -> bool {
    !IN_DISGUISE.iter().any(|prefix| protocol.starts_with(prefix))
}

/// The answer that ends HTTP on the client's connection.
pub fn accept(headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = headers.get(SEC_WEBSOCKET_KEY).map_or(b"".as_slice(), |key| key.as_bytes());
    answer.extend(HeaderValue::from_str(&derive_accept_key(key)).ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
    let chosen = offered(headers).find(is_real).or_else(|| offered(headers).next());
    let chosen = chosen.and_then(|protocol| HeaderValue::from_str(protocol).ok());
    answer.extend(chosen.map(|protocol| (SEC_WEBSOCKET_PROTOCOL, protocol)));
    response
}

/// What we send as `Sec-WebSocket-Key`: 80 of the 128 bits are random.
fn nonce(id: &RequestId) -> String {
    STANDARD.encode(id.0)
}

/// Asks a provider for the upgrade.
pub fn put_offer(head: &mut BytesMut, headers: &HeaderMap, id: &RequestId) {
    put_line(head, b"connection", b"Upgrade");
    put_line(head, b"upgrade", b"websocket");
    put_line(head, b"sec-websocket-version", b"13");
    put_line(head, b"sec-websocket-key", nonce(id).as_bytes());
    let real: Vec<&str> = offered(headers).filter(is_real).collect();
    if !real.is_empty() {
        put_line(head, b"sec-websocket-protocol", real.join(", ").as_bytes());
    }
    let beta = offered(headers).find_map(|protocol| protocol.strip_prefix(BETA)?.split_once('-'));
    if let Some((name, version)) = beta.filter(|_| !headers.contains_key("openai-beta")) {
        put_line(head, b"openai-beta", format!("{name}={version}").as_bytes());
    }
}

/// Whether a provider agreed to what we asked for.
pub fn is_accepted(headers: &HeaderMap, id: &RequestId) -> bool {
    let upgrade = headers.get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrade && headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|said| *said == *derive_accept_key(nonce(id).as_bytes()))
}

/// Appends what else the caller's query says; true if there is a query then.
pub fn put_query(head: &mut BytesMut, mut queried: bool, query: Option<&str>) -> bool {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
    for pair in pairs {
        let name = pair.split('=').next().unwrap_or_default();
        // What the deployment's own path says stands.
        let said = || {
            let mut needle = name.as_bytes().to_vec();
            needle.push(b'=');
            memchr::memmem::find(head, &needle).is_some()
        };
        if !OWN.contains(&name) && name != "deployment" && !said() {
            head.put_u8(if queried { b'&' } else { b'?' });
            head.put_slice(pair.as_bytes());
            queried = true;
        }
    }
    queried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(protocols: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        if !protocols.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols).expect("valid"));
        }
        headers
    }

    #[test]
    fn a_key_may_travel_as_a_protocol_and_is_not_echoed() {
        let sent = headers("realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1");
        assert_eq!(offered_key(&sent), Some("sk-1"));
        let answer = accept(&sent);
        assert_eq!(answer.headers()[SEC_WEBSOCKET_PROTOCOL], "realtime");
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let alone = accept(&headers("openai-insecure-api-key.sk-1"));
        assert_eq!(alone.headers()[SEC_WEBSOCKET_PROTOCOL], "openai-insecure-api-key.sk-1");
        assert!(!accept(&headers("")).headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_provider_sees_protocols_without_keys() {
        let mut head = BytesMut::new();
        let id = RequestId([7; 16]);
        put_offer(&mut head, &headers("realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1"), &id);
        let text = String::from_utf8(head.to_vec()).expect("text");
        assert!(text.contains("sec-websocket-protocol: realtime\r\n") && !text.contains("sk-1"), "{text}");
        assert!(text.contains("openai-beta: realtime=v1\r\n"), "{text}");
    }

    #[test]
    fn what_is_no_upgrade_is_refused() {
        assert!(check(&headers(""), true).is_ok());
        assert_eq!(check(&headers(""), false).expect_err("no upgrade").code, Code::UpgradeRequired);
        for (name, value, code) in [
            (UPGRADE, "h2c", Code::UpgradeRequired),
            (CONNECTION, "close", Code::UpgradeRequired),
            (SEC_WEBSOCKET_VERSION, "8", Code::UpgradeRequired),
            (SEC_WEBSOCKET_KEY, "short", Code::InvalidRequest),
        ] {
            let mut sent = headers("");
            sent.insert(name.clone(), HeaderValue::from_static(value));
            assert_eq!(check(&sent, true).expect_err(value).code, code, "{name}");
        }
    }

    #[test]
    fn the_query_is_carried_on() {
        assert_eq!(model(Some("intent=x&model=gpt%2Drealtime")).expect("named"), "gpt-realtime");
        assert!(model(Some("intent=x")).is_err() && model(None).is_err());
        let mut head = BytesMut::from(&b"GET /v1/realtime?model=up"[..]);
        assert!(put_query(&mut head, true, Some("model=a&key=sk&intent=transcription")));
        assert_eq!(&head[..], b"GET /v1/realtime?model=up&intent=transcription");
    }
}
