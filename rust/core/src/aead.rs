//! AES-256-GCM (NIST SP 800-38D), for what Python keeps sealed in its store.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;

/// The content is damaged, stands in another place, or was sealed under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct DoesNotOpen;

fn key(bytes: &[u8; KEY_BYTES]) -> Result<LessSafeKey, DoesNotOpen> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| DoesNotOpen)
}

/// Ciphertext and tag. The caller sees to it that a nonce is used once under a key.
///
/// # Errors
/// Only for a plaintext of more than 64 GiB.
pub fn seal(
    key_bytes: &[u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    plaintext: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, DoesNotOpen> {
    let mut buffer = plaintext.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key(key_bytes)?.seal_in_place_append_tag(nonce, Aad::from(data), &mut buffer).map_err(|_| DoesNotOpen)?;
    Ok(buffer)
}

/// The plaintext of what [`seal`] gave.
///
/// # Errors
/// [`DoesNotOpen`] unless key, nonce, data and every byte are the same as then.
pub fn open(
    key_bytes: &[u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    sealed: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, DoesNotOpen> {
    let mut buffer = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = key(key_bytes)?.open_in_place(nonce, Aad::from(data), &mut buffer).map_err(|_| DoesNotOpen)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 16 of the GCM specification (McGrew and Viega), with its additional data.
    #[test]
    fn the_published_vector_is_met() {
        let hex = |text: &str| -> Vec<u8> {
            text.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
                .collect()
        };
        let key: [u8; 32] =
            hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308").try_into().expect("32");
        let nonce: [u8; 12] = hex("cafebabefacedbaddecaf888").try_into().expect("12");
        let plain = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let data = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let sealed = seal(&key, nonce, &plain, &data).expect("seals");
        let expected = hex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        assert_eq!(sealed, expected);
        assert_eq!(open(&key, nonce, &sealed, &data), Ok(plain));
        assert_eq!(open(&key, nonce, &sealed, b"elsewhere"), Err(DoesNotOpen));
        assert_eq!(open(&key, nonce, &sealed[1..], &data), Err(DoesNotOpen));
        assert_eq!(open(&key, nonce, b"", &data), Err(DoesNotOpen));
    }
}
