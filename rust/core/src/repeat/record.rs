//! What nodes tell one another of a request with a key of its own: that one of them is at it, or what the answer was.
//! Sealed as entries of the cache are, and bound to its name.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::MOST_KEPT;
use crate::cache::sealed::{Sealer, inflate, shorter};
use crate::state::repeats::Digest;

/// The layout, and its version.
const MAGIC: &[u8; 4] = b"ALR1";

/// An answer, as the first who asked got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// What was asked.
    pub asked: Digest,
    /// `None`: a node is at it.
    pub answer: Option<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    asked: Digest,
    answer: Option<Told>,
}

#[derive(Serialize, Deserialize)]
struct Told {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    deflated: bool,
}

impl Record {
    /// No two are alike, so one that is found again is one's own. `None` only when there is no randomness to be had.
    pub fn seal(&self, sealer: &Sealer, id: &Digest) -> Option<Vec<u8>> {
        let body = self.answer.as_ref().map(|answer| &answer.body[..]).unwrap_or_default();
        let deflated = shorter(body);
        let told = self.answer.as_ref().map(|answer| Told {
            status: answer.status.as_u16(),
            headers: answer.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
            deflated: deflated.is_some(),
        });
        let head = rmp_serde::to_vec(&Head { asked: self.asked, answer: told }).ok()?;
        let length = u32::try_from(head.len()).ok()?.to_le_bytes();
        sealer.lock(MAGIC, &[&length[..], &head, deflated.as_deref().unwrap_or(body)].concat(), id)
    }

    /// What was sealed by one of us under this name.
    pub fn open(sealer: &Sealer, id: &Digest, bytes: &[u8]) -> Option<Record> {
        let plain = sealer.unlock(MAGIC, bytes, id)?;
        let (length, rest) = plain.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let head: Head = rmp_serde::from_slice(head).ok()?;
        let Some(told) = head.answer else { return Some(Record { asked: head.asked, answer: None }) };
        let mut headers = HeaderMap::with_capacity(told.headers.len());
        for (name, value) in &told.headers {
            headers.append(HeaderName::try_from(name.as_str()).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let body = if told.deflated { inflate(body, MOST_KEPT)? } else { body.to_vec() };
        let status = StatusCode::from_u16(told.status).ok()?;
        Some(Record { asked: head.asked, answer: Some(Answer { status, headers, body: body.into() }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Record {
        let mut headers = HeaderMap::new();
        headers.append("x-twice", HeaderValue::from_static("1"));
        headers.append("x-twice", HeaderValue::from_bytes(b"\xe4").expect("a value"));
        let answer = Answer { status: StatusCode::CREATED, headers, body: body.to_string().into() };
        Record { asked: [3; 32], answer: Some(answer) }
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_alone() {
        let sealer = Sealer::new([1; 32], MOST_KEPT);
        let claim = Record { asked: [3; 32], answer: None };
        for record in [claim, answer(""), answer("short"), answer(&"long ".repeat(10_000))] {
            let sealed = record.seal(&sealer, &[7; 32]).expect("seals");
            assert!(!sealed.windows(4).any(|bytes| bytes == b"long" || bytes == b"shor"));
            assert_eq!(Record::open(&sealer, &[7; 32], &sealed), Some(record));
            assert_eq!(Record::open(&sealer, &[8; 32], &sealed), None);
            assert_eq!(Record::open(&Sealer::new([2; 32], MOST_KEPT), &[7; 32], &sealed), None);
            assert_eq!(Record::open(&sealer, &[7; 32], &sealed[..sealed.len() - 1]), None);
        }
        let bomb = answer(&"0".repeat(MOST_KEPT + 1)).seal(&sealer, &[7; 32]).expect("seals");
        assert_eq!(Record::open(&sealer, &[7; 32], &bomb), None);
    }

    #[test]
    fn no_two_claims_are_alike() {
        let sealer = Sealer::new([1; 32], MOST_KEPT);
        let claim = Record { asked: [3; 32], answer: None };
        assert_ne!(claim.seal(&sealer, &[7; 32]), claim.seal(&sealer, &[7; 32]));
    }
}
