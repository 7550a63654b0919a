//! A bucket that speaks S3. Names there need no encoding: they are of letters, digits and `-._/`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Target;
use super::store::Page;
use crate::clock::wall_us;
use crate::sigv4::{Credentials, S3, Signer, Unsigned, payload_hash};
use crate::state::CredentialSlot;
use crate::upstream::Pool;
use crate::upstream::call::{Call, IDLE};
use crate::upstream::origin::BaseUrl;

/// What nobody waits for may take that long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for what stands around a body.
const AROUND: usize = 64 * 1024;
/// A page of a listing: a thousand names of at most a kilobyte, and what stands around them.
const LISTING: usize = 4 * 1024 * 1024;

pub struct Bucket {
    /// Scheme and authority.
    site: String,
    /// Of the bucket, without a slash at its end.
    path: String,
    prefix: String,
    signer: Signer,
    credential: Arc<CredentialSlot>,
    pool: Pool,
    timeout: Duration,
    most: usize,
}

/// What is asked.
struct Asked<'a> {
    method: &'static str,
    target: String,
    body: &'a [u8],
    timeout: Duration,
    most: usize,
}

impl Bucket {
    /// # Errors
    /// The address is none.
    pub fn new(target: &Target, url: &str, region: &str, credential: Arc<CredentialSlot>) -> Result<Bucket, String> {
        let base = BaseUrl::parse(url)?;
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        Ok(Bucket {
            site: format!("{scheme}://{}", base.authority),
            path: base.prefix,
            prefix: target.prefix.clone(),
            signer: Signer {
                region: region.to_string(),
                service: S3.to_string(),
                host: base.authority,
                operation: None,
            },
            credential,
            pool: Pool::new(1, IDLE),
            timeout: target.timeout,
            most: target.most + AROUND,
        })
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{}{name}", self.path, self.prefix)
    }

    async fn call(&self, asked: Asked<'_>) -> Result<(u16, Bytes), String> {
        let secret = self.credential.load();
        let credentials = secret.as_ref().and_then(|secret| Credentials::parse(secret.expose()));
        let credentials = credentials.ok_or("there is no access key (yet)")?;
        let payload = payload_hash([asked.body]);
        let request = Unsigned { method: asked.method, target: &asked.target, payload: &payload };
        let mut headers = self.signer.headers(&credentials, request, wall_us() / 1_000_000);
        headers.push(("content-type".to_string(), "application/octet-stream".to_string()));
        let url = format!("{}{}", self.site, asked.target);
        let call = Call {
            method: asked.method,
            url: &url,
            headers: &headers,
            body: asked.body,
            timeout: asked.timeout,
            guarded: false,
            pool: Some((&self.pool, 0)),
            most: asked.most,
        };
        call.send().await
    }

    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let target = self.object(name);
        let asked = Asked { method: "GET", target, body: b"", timeout: self.timeout, most: self.most };
        match self.call(asked).await? {
            (200, body) => Ok(Some(body.into())),
            (404, body) if tag(&body, "Code") != Some("NoSuchBucket") => Ok(None),
            (status, body) => Err(refused(status, &body)),
        }
    }

    pub async fn put(&self, name: &str, body: &[u8]) -> Result<(), String> {
        let target = self.object(name);
        match self.call(Asked { method: "PUT", target, body, timeout: PATIENCE, most: AROUND }).await? {
            (200 | 201 | 204, _) => Ok(()),
            (status, body) => Err(refused(status, &body)),
        }
    }

    pub async fn remove(&self, name: &str) -> Result<(), String> {
        let target = self.object(name);
        match self.call(Asked { method: "DELETE", target, body: b"", timeout: PATIENCE, most: AROUND }).await? {
            (200 | 202 | 204 | 404, _) => Ok(()),
            (status, body) => Err(refused(status, &body)),
        }
    }

    pub async fn list(&self, under: &str, after: &str) -> Result<Page, String> {
        let prefix = encoded(&format!("{}{under}", self.prefix));
        // A bucket in the path travels without a slash behind it.
        let place = if self.path.is_empty() { "/" } else { &self.path };
        let mut target = format!("{place}?list-type=2&prefix={prefix}");
        if !after.is_empty() {
            target.push_str(&format!("&start-after={}", encoded(&format!("{}{after}", self.prefix))));
        }
        let asked = Asked { method: "GET", target, body: b"", timeout: PATIENCE, most: LISTING };
        let body = match self.call(asked).await? {
            (200, body) => body,
            (status, body) => return Err(refused(status, &body)),
        };
        let text = std::str::from_utf8(&body).map_err(|_| "the listing is not UTF-8")?;
        if !text.contains("<ListBucketResult") {
            return Err("the listing is none".to_string());
        }
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let names: Vec<String> =
            keys.filter_map(|(key, _)| Some(key.strip_prefix(&self.prefix)?.to_string())).collect();
        // A listing that neither ends nor goes on would be asked for again and again.
        let more =
            text.contains("<IsTruncated>true</IsTruncated>") && names.last().is_some_and(|name| name.as_str() > after);
        Ok(Page { names, more })
    }
}

/// Percent-encoded, as a value of a query.
fn encoded(text: &str) -> String {
    text.replace('/', "%2F")
}

/// The text of an element of an answer.
fn tag<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

fn refused(status: u16, body: &[u8]) -> String {
    let code: String = tag(body, "Code").unwrap_or("no reason").chars().take(80).collect();
    format!("the object store answered {status} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_code() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message></Error>";
        assert_eq!(refused(503, body), "the object store answered 503 (SlowDown)");
        assert_eq!(refused(502, b"<html>"), "the object store answered 502 (no reason)");
        assert_eq!(refused(502, b"\xff<Code>"), "the object store answered 502 (no reason)");
        assert_eq!(encoded("a/i/x.1"), "a%2Fi%2Fx.1");
    }
}
