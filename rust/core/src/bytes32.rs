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
