//! Access key pairs for AWS's clients, which sign requests instead of sending a key.
//!
//! Of a virtual key only a digest is kept, and no signature can be verified with that. So every key has a pair beside it:
//! the access key id spells the key's digest, the secret is derived from it by HKDF (RFC 5869) with the gateway's pepper.
//! Nothing is stored, and a key that is rotated or deleted takes its pair along.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::keys::KeyDigest;

/// What access key ids of this gateway begin with.
const PREFIX: &str = "AILK";
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// HKDF's salt and the beginning of its info: what the derived secrets are for.
const SALT: &[u8] = b"ailink";
const INFO: &[u8] = b"aws access key pair";

/// Derives secrets.
pub struct Pairs(Option<Hmac<Sha256>>);

impl Pairs {
    pub fn new(pepper: &[u8; 32]) -> Self {
        let extracted = hmac(SALT).map(|mut mac| {
            mac.update(pepper);
            mac.finalize().into_bytes()
        });
        Pairs(extracted.and_then(|key| hmac(&key)))
    }

    /// The secret access key beside this key.
    pub fn secret(&self, digest: &KeyDigest) -> Option<String> {
        let mut mac = self.0.clone()?;
        mac.update(INFO);
        mac.update(digest);
        mac.update(&[1]);
        Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

fn hmac(key: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).ok()
}

/// The access key id of a key: its digest in base 32 (RFC 4648).
pub fn access_key_id(digest: &KeyDigest) -> String {
    let mut out = String::from(PREFIX);
    for group in digest.chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(bits);
        for place in 0..(group.len() * 8).div_ceil(5) {
            let digit = usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or(0);
            out.push(char::from(ALPHABET[digit]));
        }
    }
    out
}

/// The digest that an access key id spells.
pub fn digest_of(id: &str) -> Option<KeyDigest> {
    let text = id.strip_prefix(PREFIX)?;
    let mut digest = [0; 32];
    let (mut bits, mut held, mut filled) = (0u32, 0, digest.iter_mut());
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 5 | u32::try_from(digit).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            #[allow(clippy::cast_possible_truncation)]
            {
                *filled.next()? = (bits >> held) as u8;
            }
            bits &= (1 << held) - 1;
        }
    }
    // All of it, and nothing in the bits that are left.
    (filled.next().is_none() && bits == 0 && held < 5).then_some(digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_belong_to_one_key_and_one_gateway() {
        let (here, there) = (Pairs::new(&[1; 32]), Pairs::new(&[2; 32]));
        let secret = here.secret(&[7; 32]);
        assert_eq!(secret.as_ref().map(String::len), Some(43));
        assert_eq!(secret, Pairs::new(&[1; 32]).secret(&[7; 32]));
        assert_ne!(secret, here.secret(&[8; 32]));
        assert_ne!(secret, there.secret(&[7; 32]));
    }

    #[test]
    fn what_is_no_id_of_ours_is_nothing() {
        let id = access_key_id(&[0xff; 32]);
        assert_eq!(id.len(), 56);
        for bad in ["", "AILK", "AKIAIOSFODNN7EXAMPLE", &id[..55], &format!("{id}A"), &id.replace('7', "1")] {
            assert_eq!(digest_of(bad), None, "{bad}");
        }
        // The last digit has one bit of the digest and four that must be zero.
        assert_eq!(digest_of(&format!("{}R", &id[..55])), None);
    }

    proptest! {
        #[test]
        fn ids_spell_digests(digest in any::<[u8; 32]>()) {
            prop_assert_eq!(digest_of(&access_key_id(&digest)), Some(digest));
        }

        #[test]
        fn any_text_is_safe(text in "AILK[A-Z2-7]{0,60}|\\PC{0,20}") {
            let _ = digest_of(&text);
        }
    }
}
