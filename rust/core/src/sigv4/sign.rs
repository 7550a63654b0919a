//! Signing what goes to AWS.

use bytes::{BufMut, BytesMut};
use smallvec::{SmallVec, smallvec};

use super::canonical::names;
use super::{ALGORITHM, Canonical, Scope, Stamp, signature};

/// The service that object stores are.
pub const S3: &str = "s3";

/// An access key as it is pushed: `ID:SECRET`, or `ID:SECRET:TOKEN` for a temporary one.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub id: &'a str,
    pub secret: &'a str,
    pub token: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// `None` for what is not an access key, such as a Bedrock API key.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (id, rest) = std::str::from_utf8(text).ok()?.split_once(':')?;
        let (secret, token) = rest.split_once(':').map_or((rest, None), |(secret, token)| (secret, Some(token)));
        (!id.is_empty() && !secret.is_empty()).then_some(Credentials {
            id,
            secret,
            token: token.filter(|token| !token.is_empty()),
        })
    }
}

/// Signs the requests of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    pub region: String,
    pub service: String,
    /// The `Host` header of its requests.
    pub host: String,
    /// `X-Amz-Target`, of services that are told by it what is asked.
    pub operation: Option<String>,
}

/// What of a request its signer must know. `payload`: the hash of its body.
#[derive(Clone, Copy)]
pub struct Unsigned<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub payload: &'a [u8; 64],
}

impl Signer {
    /// Appends the headers that sign a request.
    pub fn sign(
        &self,
        head: &mut BytesMut,
        credentials: &Credentials<'_>,
        Unsigned { method, target, payload }: Unsigned<'_>,
        seconds: i64,
    ) {
        let stamp = Stamp::new(seconds);
        let scope = Scope { stamp: &stamp, region: &self.region, service: &self.service };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let payload = std::str::from_utf8(payload).unwrap_or_default();
        let mut headers: SmallVec<[(&str, &str); 5]> = smallvec![("host", self.host.as_str())];
        // S3 wants to be told the hash that was signed.
        headers.extend((self.service == S3).then_some(("x-amz-content-sha256", payload)));
        headers.push(("x-amz-date", stamp.text()));
        headers.extend(credentials.token.map(|token| ("x-amz-security-token", token)));
        headers.extend(self.operation.as_deref().map(|operation| ("x-amz-target", operation)));
        let headers = headers.as_slice();
        let canonical = Canonical { method, path, query, headers, payload };
        let signature = signature(credentials.secret.as_bytes(), &scope, &canonical);
        for (name, value) in headers.iter().skip(1) {
            put(head, &[name, ": ", value, "\r\n"]);
        }
        let mut signed = String::with_capacity(48);
        names(&mut signed, headers);
        put(head, &["authorization: ", ALGORITHM, " Credential=", credentials.id, "/", &scope.text()]);
        put(head, &[", SignedHeaders=", &signed, ", Signature="]);
        head.put_slice(&signature);
        head.put_slice(b"\r\n");
    }

    /// The same headers, one by one.
    pub fn headers(&self, credentials: &Credentials<'_>, request: Unsigned<'_>, seconds: i64) -> Vec<(String, String)> {
        let mut head = BytesMut::new();
        self.sign(&mut head, credentials, request, seconds);
        let text = String::from_utf8_lossy(&head);
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }
}

fn put(head: &mut BytesMut, parts: &[&str]) {
    for part in parts {
        head.put_slice(part.as_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::payload_hash;
    use super::*;

    const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const HEADERS: [(&str, &str); 2] = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];

    /// The signature of a request of AWS's published test suite.
    fn signed(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let (stamp, _) = Stamp::parse("20150830T123600Z").unwrap();
        let scope = Scope { stamp: &stamp, region: "us-east-1", service: "service" };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let payload = payload_hash([body]);
        let payload = std::str::from_utf8(&payload).unwrap();
        let canonical = Canonical { method, path, query, headers, payload };
        String::from_utf8(signature(SECRET, &scope, &canonical).to_vec()).unwrap()
    }

    #[test]
    fn published_vectors() {
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let spaces = [
            ("host", "example.amazonaws.com"),
            ("my-header1", " value1"),
            ("my-header2", " \"a   b   c\" "),
            ("x-amz-date", "20150830T123600Z"),
        ];
        type Vector<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], &'a str);
        let vectors: [Vector<'_>; 5] = [
            ("GET", "/", &HEADERS, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", &HEADERS, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &HEADERS,
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            ("POST", "/", &form, b"Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
            ("GET", "/", &spaces, b"", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        ];
        for (method, target, headers, body, expected) in vectors {
            assert_eq!(signed(method, target, headers, body), expected, "{method} {target}");
        }
    }

    #[test]
    fn the_path_is_encoded_twice() {
        let canonical = Canonical {
            method: "POST",
            path: "/model/anthropic.claude-v1%3A0/converse",
            query: "",
            headers: &[],
            payload: "",
        };
        assert!(canonical.text().starts_with("POST\n/model/anthropic.claude-v1%253A0/converse\n"));
    }

    #[test]
    fn credentials_come_apart() {
        let whole = Credentials::parse(b"AKID:a/b+c=:tok:en").unwrap();
        assert_eq!((whole.id, whole.secret, whole.token), ("AKID", "a/b+c=", Some("tok:en")));
        assert!(Credentials::parse(b"AKID:secret").unwrap().token.is_none());
        for none in [&b"ABSKQmVkcm9jaw=="[..], b"", b":x", b"x:", b"\xff:x"] {
            assert!(Credentials::parse(none).is_none());
        }
    }
}
