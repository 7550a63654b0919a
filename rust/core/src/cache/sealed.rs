//! Entries as they lie outside the process: compressed, encrypted and bound to their key, so that nobody who can write
//! there can give one request the answer to another.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use http::HeaderValue;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::entry::{About, Entry, Form, Worth};
use super::gate::{Counts, Got};
use super::key::CacheKey;
use crate::aead::{self, KEY_BYTES, NONCE_BYTES};
use crate::clock::wall_us;

/// The layout, and its version.
const MAGIC: &[u8; 4] = b"ALC1";
/// Shorter bodies are not compressed.
const COMPRESSED: usize = 2048;

pub struct Sealer {
    key: [u8; KEY_BYTES],
    most: usize,
    random: SystemRandom,
}

/// What is known of an entry, before its body.
#[derive(Serialize, Deserialize)]
struct Head {
    whole: bool,
    usage: bool,
    usage_at: Option<(u32, u32)>,
    content_type: String,
    deflated: bool,
    stored_us: i64,
    expires_us: i64,
    stale_us: i64,
    worth: (i64, u64, u64, u64),
    tenant: Vec<u8>,
    key_id: String,
    model: String,
    namespace: String,
    tags: Vec<String>,
}

impl Sealer {
    /// `most`: longest body that is read back.
    pub fn new(key: [u8; KEY_BYTES], most: usize) -> Self {
        Sealer { key, most, random: SystemRandom::new() }
    }

    /// `None` only when there is no randomness to be had.
    pub fn seal(&self, key: &CacheKey, entry: &Entry) -> Option<Vec<u8>> {
        let deflated = shorter(&entry.body);
        let (usage, usage_at) = match entry.form {
            Form::Whole => (false, None),
            Form::Stream { usage, usage_at } => (usage, usage_at),
        };
        let Worth { pico, input, output, micros } = entry.worth;
        let about = &entry.about;
        let head = rmp_serde::to_vec(&Head {
            whole: entry.form == Form::Whole,
            usage,
            usage_at,
            content_type: entry.content_type.to_str().ok()?.to_string(),
            deflated: deflated.is_some(),
            stored_us: entry.stored_us,
            expires_us: entry.expires_us,
            stale_us: entry.stale_us,
            worth: (pico, input, output, micros),
            tenant: about.tenant.to_vec(),
            key_id: about.key_id.to_string(),
            model: about.model.to_string(),
            namespace: about.namespace.to_string(),
            tags: about.tags.to_vec(),
        })
        .ok()?;
        let length = u32::try_from(head.len()).ok()?.to_le_bytes();
        let plain = [&length[..], &head, deflated.as_deref().unwrap_or(&entry.body)].concat();
        self.lock(MAGIC, &plain, key)
    }

    /// Some bytes under a layout, bound to what they belong to.
    pub fn lock(&self, magic: &[u8; 4], plain: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce).ok()?;
        let sealed = aead::seal(&self.key, nonce, plain, bound).ok()?;
        Some([&magic[..], &nonce, &sealed].concat())
    }

    /// What [`Sealer::lock`] was given.
    pub fn unlock(&self, magic: &[u8; 4], bytes: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.strip_prefix(magic)?.split_first_chunk::<NONCE_BYTES>()?;
        aead::open(&self.key, *nonce, sealed, bound).ok()
    }

    /// The entry, if it was sealed here for this key.
    pub fn open(&self, key: &CacheKey, bytes: &[u8]) -> Option<Entry> {
        let plain = self.unlock(MAGIC, bytes, key)?;
        let (length, rest) = plain.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let head: Head = rmp_serde::from_slice(head).ok()?;
        let body = if head.deflated { inflate(body, self.most)? } else { body.to_vec() };
        let (pico, input, output, micros) = head.worth;
        Some(Entry {
            form: match head.whole {
                true => Form::Whole,
                false => Form::Stream { usage: head.usage, usage_at: head.usage_at },
            },
            content_type: HeaderValue::from_str(&head.content_type).ok()?,
            body: body.into(),
            stored_us: head.stored_us,
            expires_us: head.expires_us,
            stale_us: head.stale_us,
            worth: Worth { pico, input, output, micros },
            about: About {
                tenant: head.tenant.into(),
                key_id: head.key_id.into(),
                model: head.model.into(),
                namespace: head.namespace.into(),
                tags: head.tags.into(),
            },
        })
    }
}

impl Sealer {
    /// What a tier had under this key, as its answer; values that do not open are counted.
    pub fn got(&self, key: &CacheKey, bytes: &[u8], counts: &Counts) -> Got {
        match self.open(key, bytes) {
            Some(entry) if entry.expires_us > wall_us() => Got::Entry(Box::new(entry)),
            Some(_) => Got::Nothing,
            None => {
                counts.foreign.fetch_add(1, Ordering::Relaxed);
                Got::Nothing
            }
        }
    }
}

/// A body compressed, where that is worth it.
pub fn shorter(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < COMPRESSED {
        return None;
    }
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(body.len() / 3), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// What [`shorter`] was given, if it is no longer than `most`.
pub fn inflate(body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    DeflateDecoder::new(body).take(most as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() <= most).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: &str) -> Entry {
        Entry {
            form: Form::Stream { usage: true, usage_at: Some((1, 2)) },
            content_type: HeaderValue::from_static("text/event-stream"),
            body: body.to_string().into(),
            stored_us: 1,
            expires_us: 2,
            stale_us: 3,
            worth: Worth { pico: 4, input: 5, output: 6, micros: 7 },
            about: About { tenant: b"key\0k"[..].into(), tags: ["t".to_string()].into(), ..About::default() },
        }
    }

    #[test]
    fn what_is_sealed_opens_under_its_key_alone() {
        let sealer = Sealer::new([1; 32], 100_000);
        for body in ["short".to_string(), "long ".repeat(2000)] {
            let entry = entry(&body);
            let sealed = sealer.seal(&[7; 32], &entry).expect("seals");
            assert!(sealed.len() < 2 * COMPRESSED);
            assert!(!sealed.windows(4).any(|bytes| bytes == b"long" || bytes == b"shor"));
            let opened = sealer.open(&[7; 32], &sealed).expect("opens");
            assert_eq!((&opened.body, opened.form, &opened.about), (&entry.body, entry.form, &entry.about));
            assert!(sealer.open(&[8; 32], &sealed).is_none());
            assert!(Sealer::new([2; 32], 100_000).open(&[7; 32], &sealed).is_none());
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1;
                assert!(sealer.open(&[7; 32], &damaged).is_none(), "byte {at}");
            }
            assert!(sealer.open(&[7; 32], &sealed[..sealed.len() - 1]).is_none());
        }
        let bomb = sealer.seal(&[7; 32], &entry(&"0".repeat(200_000))).expect("seals");
        assert!(sealer.open(&[7; 32], &bomb).is_none());
    }
}
