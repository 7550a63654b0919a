//! Verifying what AWS clients signed.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use smallvec::SmallVec;

use super::{ALGORITHM, Canonical, Scope, Stamp, TERMINATOR, signature};

/// How far a client's clock may be off, as AWS has it.
const SKEW: i64 = 300;
/// Most headers a client may sign.
const HEADERS_MAX: usize = 64;

/// Why a signature is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The header is not what the algorithm wants.
    Malformed(&'static str),
    /// Signed too long ago, or in the future.
    Skewed,
    /// Something was changed, or another secret was used.
    Signature,
}

impl Mismatch {
    /// What a caller can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Mismatch::Malformed(what) => what,
            Mismatch::Skewed => {
                "The signature is more than 5 minutes from the gateway's clock. Set the clock of this machine."
            }
            Mismatch::Signature => {
                "The signature does not fit the request. Check the secret access key, and that nothing between changes \
                 the request."
            }
        }
    }
}

/// What an `Authorization` header says about the signature of its request.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The access key id.
    pub id: String,
    region: String,
    service: String,
    stamp: Stamp,
    signed: Vec<String>,
    signature: [u8; 64],
    content: Option<String>,
}

impl Claim {
    /// True for a header that carries a signature.
    pub fn is_one(authorization: &[u8]) -> bool {
        authorization.starts_with(ALGORITHM.as_bytes())
    }

    /// Reads the headers of a signed request; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`Mismatch`] for a claim that is malformed or not of this time.
    pub fn read(headers: &HeaderMap, now: i64) -> Result<Claim, Mismatch> {
        const HEADER: Mismatch = Mismatch::Malformed(
            "The Authorization header is not `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.",
        );
        let text = one(headers, AUTHORIZATION.as_str()).ok_or(HEADER)?;
        let fields = text.strip_prefix(ALGORITHM).ok_or(HEADER)?;
        let field = |name: &str| fields.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let (credential, signed) = (field("Credential").ok_or(HEADER)?, field("SignedHeaders").ok_or(HEADER)?);
        let signature = field("Signature").and_then(|text| text.as_bytes().try_into().ok()).ok_or(HEADER)?;
        let mut parts = credential.split('/');
        let [Some(id), Some(date), Some(region), Some(service), Some(TERMINATOR), None] =
            std::array::from_fn(|_| parts.next())
        else {
            return Err(HEADER);
        };
        let date_header = one(headers, "x-amz-date").ok_or(Mismatch::Malformed("The x-amz-date header is missing."))?;
        let (stamp, seconds) =
            Stamp::parse(date_header).ok_or(Mismatch::Malformed("x-amz-date is not like 20260131T235959Z."))?;
        if stamp.date() != date {
            return Err(Mismatch::Malformed("The credential's date is not that of x-amz-date."));
        }
        if (now - seconds).abs() > SKEW {
            return Err(Mismatch::Skewed);
        }
        let signed: Vec<String> = signed.split(';').take(HEADERS_MAX + 1).map(str::to_string).collect();
        let sorted = signed.windows(2).all(|pair| pair[0] < pair[1]);
        let has = |name: &str| signed.iter().any(|signed| signed == name);
        if signed.len() > HEADERS_MAX || !sorted || !has("host") || !has("x-amz-date") {
            return Err(Mismatch::Malformed("SignedHeaders must be sorted and name host and x-amz-date."));
        }
        let content = one(headers, "x-amz-content-sha256").filter(|_| has("x-amz-content-sha256"));
        Ok(Claim {
            id: id.to_string(),
            region: region.to_string(),
            service: service.to_string(),
            stamp,
            signature,
            content: content.map(str::to_string),
            signed,
        })
    }

    /// Checks the signature, and that the body is the one that was signed. `payload` is its hash; path and query are as
    /// they travelled; `host` is what the request named, in whichever form its version has.
    ///
    /// # Errors
    /// [`Mismatch::Signature`] for anything that was not signed with `secret`.
    pub fn verify(
        &self,
        secret: &str,
        target: (&str, &str),
        host: &str,
        headers: &HeaderMap,
        payload: &[u8; 64],
    ) -> Result<(), Mismatch> {
        let payload = std::str::from_utf8(payload).unwrap_or_default();
        if self.content.as_deref().is_some_and(|claimed| claimed != payload) {
            return Err(Mismatch::Signature);
        }
        let mut values: SmallVec<[(&str, String); 8]> = SmallVec::new();
        for name in &self.signed {
            let value = if name == "host" { Some(host.to_string()) } else { joined(headers, name) };
            values.push((name, value.ok_or(Mismatch::Signature)?));
        }
        let headers: SmallVec<[(&str, &str); 8]> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let canonical = Canonical { method: "POST", path: target.0, query: target.1, headers: &headers, payload };
        let scope = Scope { stamp: &self.stamp, region: &self.region, service: &self.service };
        let expected = signature(secret.as_bytes(), &scope, &canonical);
        // In constant time: all bytes are looked at.
        let differs = expected.iter().zip(&self.signature).fold(0, |differs, (left, right)| differs | (left ^ right));
        if differs == 0 { Ok(()) } else { Err(Mismatch::Signature) }
    }
}

/// The value of a header that is there once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// All values of a header.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let mut text = values.next()?.to_str().ok()?.to_string();
    for value in values {
        text.push(',');
        text.push_str(value.to_str().ok()?);
    }
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use bytes::BytesMut;
    use http::{HeaderName, HeaderValue};

    use super::super::{Credentials, Signer, Unsigned, payload_hash};
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const TARGET: &str = "/model/us.amazon.nova%3A0/converse";

    fn signed(body: &[u8]) -> HeaderMap {
        let signer = Signer {
            region: "eu-west-1".into(),
            service: "bedrock".into(),
            host: "gateway.example:4000".into(),
            operation: None,
        };
        let credentials = Credentials { id: "AKID", secret: "hush", token: Some("t") };
        let mut head = BytesMut::new();
        let request = Unsigned { method: "POST", target: TARGET, payload: &payload_hash([body]) };
        signer.sign(&mut head, &credentials, request, NOW);
        let mut headers = HeaderMap::new();
        for line in std::str::from_utf8(&head).unwrap().split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn verify(headers: &HeaderMap, secret: &str, path: &str, body: &[u8]) -> Result<(), Mismatch> {
        let claim = Claim::read(headers, NOW + 20)?;
        assert_eq!(claim.id, "AKID");
        claim.verify(secret, (path, ""), "gateway.example:4000", headers, &payload_hash([body]))
    }

    #[test]
    fn only_what_was_signed_passes() {
        let headers = signed(b"{}");
        assert_eq!(verify(&headers, "hush", TARGET, b"{}"), Ok(()));
        for (secret, path, body) in [("hush!", TARGET, &b"{}"[..]), ("hush", "/x", b"{}"), ("hush", TARGET, b"{ }")] {
            assert_eq!(verify(&headers, secret, path, body), Err(Mismatch::Signature));
        }
        let mut changed = headers.clone();
        changed.insert("x-amz-security-token", HeaderValue::from_static("u"));
        assert_eq!(verify(&changed, "hush", TARGET, b"{}"), Err(Mismatch::Signature));
        changed.remove("x-amz-security-token");
        assert_eq!(verify(&changed, "hush", TARGET, b"{}"), Err(Mismatch::Signature));
    }

    #[test]
    fn old_and_future_signatures_are_refused() {
        let headers = signed(b"{}");
        for now in [NOW - SKEW - 1, NOW + SKEW + 1] {
            assert_eq!(Claim::read(&headers, now).map(|_| ()), Err(Mismatch::Skewed));
        }
        assert!(Claim::read(&headers, NOW + SKEW).is_ok());
    }

    #[test]
    fn malformed_claims_are_refused() {
        let good = signed(b"");
        let text = good[AUTHORIZATION].to_str().unwrap().to_string();
        for bad in [
            text.replace("host;x-amz-date", "x-amz-date;host"),
            text.replace("host;x-amz-date", "host"),
            text.replace("/aws4_request", ""),
            text.replace("Signature=", "Signature=0"),
            text.replace("AKID/2", "AKID/1"),
            text.replace("Credential", "credential"),
            "AWS4-HMAC-SHA256".to_string(),
            "AWS4-HMAC-SHA256 Credential=////,SignedHeaders=,Signature=".to_string(),
        ] {
            let mut headers = good.clone();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&bad).unwrap());
            assert!(matches!(Claim::read(&headers, NOW), Err(Mismatch::Malformed(_))), "{bad}");
        }
        let mut headers = good.clone();
        headers.append("x-amz-date", HeaderValue::from_static("20260101T000000Z"));
        assert!(Claim::read(&headers, NOW).is_err());
    }
}
