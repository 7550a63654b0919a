//! AWS Signature Version 4: requests to AWS are signed, and requests of AWS clients are verified, by the same canonical form.
//!
//! A path is encoded once more than it travels: the `%3A` of a model id is signed as `%253A`. S3 does not do so; names that
//! go there need no encoding.

mod canonical;
mod sign;
mod verify;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub use canonical::{Canonical, Stamp};
pub use sign::{Credentials, S3, Signer, Unsigned};
pub use verify::{Claim, Mismatch};

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";

/// What a signature is valid for, besides the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub stamp: &'a Stamp,
    pub region: &'a str,
    pub service: &'a str,
}

impl Scope<'_> {
    /// `20150830/us-east-1/iam/aws4_request`
    fn text(&self) -> String {
        [self.stamp.date(), self.region, self.service, TERMINATOR].join("/")
    }
}

/// The signature of a canonical request.
fn signature(secret: &[u8], scope: &Scope<'_>, canonical: &Canonical<'_>) -> [u8; 64] {
    let digest = hex(&Sha256::digest(canonical.text()).into());
    let digest = std::str::from_utf8(&digest).unwrap_or_default();
    let text = [ALGORITHM, scope.stamp.text(), &scope.text(), digest].join("\n");
    let mut key = hmac(&[b"AWS4", secret].concat(), scope.stamp.date().as_bytes());
    for part in [scope.region, scope.service, TERMINATOR] {
        key = hmac(&key, part.as_bytes());
    }
    hex(&hmac(&key, text.as_bytes()))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The hash of a body, as it stands in a canonical request.
pub fn payload_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 64] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hex(&hash.finalize().into())
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out
}
