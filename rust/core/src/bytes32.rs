//! Reads MessagePack binaries of exactly 32 bytes: digests and the pepper.

use serde::de::{Deserializer, Error, Visitor};

struct Bytes32;

impl Visitor<'_> for Bytes32 {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<[u8; 32], E> {
        value.try_into().map_err(|_| E::invalid_length(value.len(), &self))
    }
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    deserializer.deserialize_bytes(Bytes32)
}

/// 32 bytes of 64 hex digits.
pub fn of_hex(text: &str) -> Option<[u8; 32]> {
    let (high, low) = (text.get(..32)?, text.get(32..).filter(|low| low.len() == 32)?);
    let half = |text: &str| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes);
    let mut digest = [0; 32];
    let (first, second) = digest.split_at_mut(16);
    first.copy_from_slice(&half(high)?);
    second.copy_from_slice(&half(low)?);
    Some(digest)
}
