//! What the head of every request must be, and what it tells of the client.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Version};

use crate::connection::Connection;
use crate::error::{Code, Error, Result};
use crate::shard::Shard;

/// Exactly one well-formed Host (or `:authority`), RFC 9112 section 3.2.
pub fn check_host<B>(request: &Request<B>) -> Result<()> {
    let bad = |text: &'static str| Error::new(Code::BadHost, text).closing();
    if request.version() == Version::HTTP_2 {
        return match request.uri().authority() {
            Some(_) => Ok(()),
            None if request.headers().contains_key(HOST) => Ok(()),
            None => Err(bad("The request has no :authority.")),
        };
    }
    if request.version() < Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Ok(());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad("The request must have exactly one Host header."));
    };
    if is_host(host.as_bytes()) { Ok(()) } else { Err(bad("The Host header is malformed.")) }
}

/// A body is sent plain or chunked, once (RFC 9112 section 6.1); what else it might be taken for is not guessed.
pub fn check_coding(headers: &HeaderMap) -> Result<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Error::new(Code::InvalidRequest, "The only Transfer-Encoding understood is chunked, once.").closing()),
    }
}

/// `uri-host [ ":" port ]` with the characters of RFC 3986.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if end > 0 => {
                let inside_ok = rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.%".contains(byte));
                if !inside_ok {
                    return false;
                }
                (&rest[..0], &rest[end + 1..])
            }
            _ => return false,
        },
        _ => {
            let colon = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            if colon == 0 {
                return host.is_empty();
            }
            host.split_at(colon)
        }
    };
    let name_ok = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte));
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit) && digits.len() <= 5,
        _ => false,
    };
    name_ok && port_ok
}

pub fn check_size<B>(request: &Request<B>, most: usize, bytes: usize) -> Result<()> {
    let headers = request.headers();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if headers.len() > most || size + target > bytes {
        let text = format!("The request head is larger than {most} headers or {bytes} bytes.");
        return Err(Error::new(Code::HeadersTooLarge, text).closing());
    }
    Ok(())
}

/// The address limits and lists apply to: the peer's, or what a trusted proxy says of its own peer.
pub fn client_address(shard: &Shard, connection: &Connection, headers: &HeaderMap) -> IpAddr {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let trusted = &shard.shared.trusted_proxies;
    let trusts = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if trusted.is_empty() || !trusts(&connection.peer) {
        return connection.peer;
    }
    // From the right: the last entry was written by the proxy that we trust, and so on until the first we do not.
    let mut client = connection.peer;
    let lists: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    for entry in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { return client };
        client = address;
        if !trusts(&address) {
            return client;
        }
    }
    client
}

/// Percent-decodes one captured piece of a path.
pub fn decode(text: &str) -> Result<String> {
    let bad = || Error::new(Code::InvalidRequest, "The path is not valid percent-encoded UTF-8.");
    if !text.contains('%') {
        return Ok(text.to_string());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(bad()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(bad);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        for good in ["", "localhost", "localhost:4000", "127.0.0.1:80", "[::1]:4000", "[::1]", "a-b.c_d", "x:"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "a@b", "a:b", "[::1", "[]", ":80", "a:123456", "[::1]x", "é"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decode("gpt%2D4o").expect("valid"), "gpt-4o");
        assert_eq!(decode("a%252Fb").expect("valid"), "a%2Fb");
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
