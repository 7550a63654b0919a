//! A single call to an address that an operator or a tenant named: webhooks, approvals, checks. Not for providers.
//!
//! With `guarded`, every address the name resolves to must be public, and the connection goes to the address that was
//! looked at, so that a second answer of the resolver changes nothing. Redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use http::header::CONTENT_ENCODING;
use sha2::Sha256;
use tokio::net::TcpStream;

use crate::wire::encoding::Inflate;

use super::conn::{Conn, IoError, Outgoing, Stream};
use super::origin::{BaseUrl, Origin};
use super::pool::Pool;
use super::tls;

/// Longest answer that is usually read.
pub const ANSWER: usize = 1024 * 1024;

/// Time a connection of a pool of such calls may rest.
pub const IDLE: Duration = Duration::from_secs(20);

/// A message that is signed as Standard Webhooks are.
pub struct Post<'p> {
    pub url: &'p str,
    pub body: &'p [u8],
    /// Signs as Standard Webhooks do: `whsec_` and base64, or any text.
    pub secret: Option<&'p str>,
    /// Names the message, the same when it is sent again.
    pub id: &'p str,
    pub time_s: i64,
    pub timeout: Duration,
    pub guarded: bool,
}

impl Post<'_> {
    /// Status and body of the answer.
    ///
    /// # Errors
    /// Why there is none, for the operator.
    pub async fn send(&self) -> Result<(u16, Bytes), String> {
        let mut headers = vec![
            ("webhook-id".to_string(), self.id.to_string()),
            ("webhook-timestamp".to_string(), self.time_s.to_string()),
            ("connection".to_string(), "close".to_string()),
        ];
        if let Some(secret) = self.secret {
            headers.push(("webhook-signature".to_string(), format!("v1,{}", self.signature(secret))));
        }
        let call = Call {
            method: "POST",
            url: self.url,
            headers: &headers,
            body: self.body,
            timeout: self.timeout,
            guarded: self.guarded,
            pool: None,
            most: ANSWER,
        };
        call.send().await
    }

    fn signature(&self, secret: &str) -> String {
        let key = match secret.strip_prefix("whsec_").map(|text| STANDARD.decode(text)) {
            Some(Ok(key)) => key,
            _ => secret.as_bytes().to_vec(),
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
        mac.update(format!("{}.{}.", self.id, self.time_s).as_bytes());
        mac.update(self.body);
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// Any call. The connection goes back to the pool, where there is one.
pub struct Call<'c> {
    pub method: &'static str,
    pub url: &'c str,
    /// Besides those that every call has.
    pub headers: &'c [(String, String)],
    pub body: &'c [u8],
    pub timeout: Duration,
    pub guarded: bool,
    pub pool: Option<(&'c Pool, usize)>,
    /// Longest answer that is read.
    pub most: usize,
}

impl Call<'_> {
    /// Status and body of the answer; nothing but the status of one to HEAD.
    ///
    /// # Errors
    /// Why there is none, for the operator.
    pub async fn send(&self) -> Result<(u16, Bytes), String> {
        let late = |_| format!("no answer within {} ms", self.timeout.as_millis());
        tokio::time::timeout(self.timeout, self.exchange()).await.map_err(late)?
    }

    async fn exchange(&self) -> Result<(u16, Bytes), String> {
        let base = BaseUrl::parse(self.url)?;
        let head = self.head(&base);
        if let Some(conn) = self.pool.and_then(|(pool, thread)| pool.take(thread)) {
            match self.on(conn, head.as_bytes()).await {
                Ok(answer) => return Ok(answer),
                // It was closed while nobody looked: nothing of an answer was seen, so it is asked once more.
                Err(IoError::Lost { seen: false, .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let conn = Conn::new(self.connect(&base).await?);
        self.on(conn, head.as_bytes()).await.map_err(|error| error.to_string())
    }

    fn head(&self, base: &BaseUrl) -> String {
        let query = base.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
        let path = if base.prefix.is_empty() { "/" } else { &base.prefix };
        let mut head = format!("{} {path}{query} HTTP/1.1\r\nhost: {}\r\n", self.method, base.authority);
        head.push_str("accept: application/json\r\nuser-agent: ailink\r\n");
        let has = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if matches!(self.method, "POST" | "PUT") {
            if !has("content-type") {
                head.push_str("content-type: application/json\r\n");
            }
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        let clean = |text: &str| !text.contains(['\r', '\n', '\0']);
        for (name, value) in self.headers.iter().filter(|(name, value)| clean(name) && clean(value)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    async fn connect(&self, base: &BaseUrl) -> Result<Stream, String> {
        let Origin::Tcp { host, port, tls, .. } = &base.origin else {
            return base.origin.connect().await.map_err(|error| error.to_string());
        };
        let address = resolved(host, *port, self.guarded).await?;
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(match tls {
            None => Stream::Tcp(crate::outbox::Tcp::new(stream)),
            Some(name) => {
                let stream = tls::connector().connect(name.clone(), stream).await;
                Stream::Tls(Box::new(stream.map_err(|error| format!("TLS handshake failed: {error}"))?))
            }
        })
    }

    async fn on(&self, mut conn: Conn, head: &[u8]) -> Result<(u16, Bytes), IoError> {
        conn.send(&Outgoing { parts: &[head, self.body] }).await?;
        let mut head = conn.head(false).await?;
        let status = head.status.as_u16();
        if self.method == "HEAD" {
            return Ok((status, Bytes::new()));
        }
        let lost = |message: String| IoError::Lost { message, written: true, seen: true };
        // Asked for or not: object stores send what was stored packed as it is.
        let coding = head.headers.get(CONTENT_ENCODING).map_or(b"".as_slice(), |value| value.as_bytes());
        let mut inflate = Inflate::for_coding(coding).map_err(|error| lost(error.to_string()))?;
        let mut body = BytesMut::new();
        while let Some(data) = std::future::poll_fn(|cx| conn.poll_frame(cx, &mut head.body)).await {
            match &mut inflate {
                None => body.extend_from_slice(&data?),
                Some(inflate) => {
                    body.extend_from_slice(&inflate.feed(&data?).map_err(|error| lost(error.to_string()))?);
                }
            }
            if body.len() > self.most {
                return Err(lost(format!("the answer is longer than {} bytes", self.most)));
            }
        }
        if let (true, Some((pool, thread))) = (head.keep_alive, self.pool) {
            pool.put(thread, conn);
        }
        Ok((status, body.freeze()))
    }
}

/// The address to connect to.
pub async fn resolved(host: &str, port: u16, guarded: bool) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host:?}: {error}"))?.collect();
    if guarded && let Some(inner) = found.iter().find(|address| !is_public(address.ip())) {
        return Err(format!("{host:?} is {}, which is not a public address", inner.ip()));
    }
    found.first().copied().ok_or_else(|| format!("{host:?} has no address"))
}

/// Whether a name leads to public addresses.
pub async fn resolves(host: &str, port: u16, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, resolved(host, port, true)).await.is_ok_and(|found| found.is_ok())
}

/// Whether an address belongs to the open Internet (the IANA special-purpose registries, and what embeds IPv4 by what it
/// embeds).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    // Metadata services of clouds that live at public addresses.
    !special && ip != Ipv4Addr::new(168, 63, 129, 16)
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // IPv4-mapped and NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4
        [0x2002, high, low, ..] => embedded(high, low),
        // Only what is handed out as global unicast, without Teredo, ORCHID, documentation and benchmarks.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
            "64:ff9b:1::1",
            "fd00:ec2::254",
        ] {
            assert!(!is_public(text.parse().expect(text)), "{text}");
        }
        for text in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().expect(text)), "{text}");
        }
    }
}
