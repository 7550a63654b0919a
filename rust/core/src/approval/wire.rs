//! What plane and shell tell each other about approvals, as `MessagePack`.

use bytes::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that travel as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bin;
        impl<'de> Visitor<'de> for Bin {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(value)))
            }

            fn visit_byte_buf<E: Error>(self, value: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Bin)
    }
}

pub type Headers = Vec<(String, String)>;

/// An answer that is kept. `body` empty and `whole` false: it was too large.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answered {
    pub status: u16,
    pub headers: Headers,
    pub body: Blob,
    pub whole: bool,
}

/// Everything that a request needs to go on later, on any node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dossier {
    pub method: String,
    pub pattern: String,
    /// What stands in the place of the pattern's capture.
    pub captured: Option<String>,
    pub query: Option<String>,
    pub headers: Headers,
    pub body: Blob,
    pub stream: bool,
    /// The model that policies chose instead of the one in the body.
    pub routed: Option<String>,
    pub provider: Option<String>,
    pub tags: Vec<String>,
    /// Names of the policies that have acted.
    pub done: Vec<String>,
    /// The next action of the policy that asks.
    pub next: u32,
    /// Calls of tools in the answer, as JSON.
    pub calls: String,
    /// The answer that waits to be let out.
    pub answer: Option<Answered>,
}

/// A request that wants to be approved.
#[derive(Debug, Serialize)]
pub struct Entry<'e> {
    pub key_id: &'e str,
    pub org: Option<&'e str>,
    pub team: Option<&'e str>,
    pub user: Option<&'e str>,
    pub request_id: String,
    pub policy: &'e str,
    pub version: u32,
    pub phase: &'e str,
    pub mode: &'e str,
    pub model: &'e str,
    /// Digest that repeats of the request share, and of what is asked.
    pub joins: String,
    pub asked: String,
    /// By an `Idempotency-Key`, not by what is asked.
    pub named: bool,
    pub roles: &'e [String],
    pub users: &'e [String],
    pub quorum: u32,
    pub expiry_ms: u64,
    /// What becomes of it when nobody decides.
    pub default: &'e str,
    pub message: &'e str,
    pub channels: Option<&'e [String]>,
    pub dossier: Blob,
}

/// How an approval stands.
#[derive(Debug, Default, Deserialize)]
pub struct Standing {
    pub id: String,
    pub token: String,
    pub status: String,
    pub phase: String,
    pub policy: String,
    /// What whoever decided said.
    pub message: Option<String>,
    /// Milliseconds until it expires.
    pub left_ms: u64,
    /// Set for the one who may go on.
    pub fence: Option<i64>,
    /// The body as it was edited: of the request, or of the answer that waits.
    pub edited: Option<Blob>,
    pub dossier: Option<Blob>,
    pub answer: Option<Answered>,
}

impl Standing {
    /// Nothing is decided or known yet.
    pub fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "executing")
    }
}
