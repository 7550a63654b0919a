//! A question as it lies in Redis, for other nodes and for the time behind a restart: sealed like the entry it leads to, and
//! bound to it. It says whose it is, so that a purge finds it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Question;
use crate::cache::entry::About;
use crate::cache::key::CacheKey;
use crate::cache::sealed::Sealer;
use crate::kernel::vector::{Sketch, Vector};

/// The layout, and its version.
const MAGIC: &[u8; 4] = b"ALQ1";

/// One question and the entry that answers it.
#[derive(Clone)]
pub struct Record {
    pub key: CacheKey,
    pub partition: CacheKey,
    pub text: Box<str>,
    pub vector: Arc<Vector>,
    /// Of what made the vector: those of others cannot be compared.
    pub source: [u8; 32],
    /// Microseconds since 1970.
    pub until_us: i64,
    pub about: About,
}

#[derive(Serialize, Deserialize)]
struct Written {
    partition: CacheKey,
    text: String,
    sketch: Sketch,
    #[serde(with = "signed")]
    values: Box<[i8]>,
    source: [u8; 32],
    until_us: i64,
    tenant: Vec<u8>,
    key_id: String,
    model: String,
    namespace: String,
    tags: Vec<String>,
}

/// Bytes of a sign each, as bytes: a list of numbers would take half as much again.
mod signed {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::snapshot::wire::Binary;

    pub fn serialize<S: Serializer>(values: &[i8], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().map(|value| value.cast_unsigned()).collect();
        to.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[i8]>, D::Error> {
        Binary::deserialize(from).map(|bytes| bytes.0.iter().map(|byte| byte.cast_signed()).collect())
    }
}

impl Record {
    pub fn new(question: &Question, vector: Arc<Vector>, source: [u8; 32], to: (CacheKey, i64, About)) -> Record {
        let (key, until_us, about) = to;
        let (partition, text) = (question.partition, question.text.as_str().into());
        Record { key, partition, text, vector, source, until_us, about }
    }

    /// `None` only when there is no randomness to be had.
    pub fn seal(&self, sealer: &Sealer) -> Option<Vec<u8>> {
        let (sketch, values) = self.vector.parts();
        let about = &self.about;
        let written = Written {
            partition: self.partition,
            text: self.text.to_string(),
            sketch,
            values: values.into(),
            source: self.source,
            until_us: self.until_us,
            tenant: about.tenant.to_vec(),
            key_id: about.key_id.to_string(),
            model: about.model.to_string(),
            namespace: about.namespace.to_string(),
            tags: about.tags.to_vec(),
        };
        sealer.lock(MAGIC, &rmp_serde::to_vec(&written).ok()?, &self.key)
    }

    /// The question, if it was sealed here for this entry.
    pub fn open(sealer: &Sealer, key: &CacheKey, bytes: &[u8]) -> Option<Record> {
        let written: Written = rmp_serde::from_slice(&sealer.unlock(MAGIC, bytes, key)?).ok()?;
        Some(Record {
            key: *key,
            partition: written.partition,
            text: written.text.into(),
            vector: Arc::new(Vector::whole(written.sketch, written.values)?),
            source: written.source,
            until_us: written.until_us,
            about: About {
                tenant: written.tenant.into(),
                key_id: written.key_id.into(),
                model: written.model.into(),
                namespace: written.namespace.into(),
                tags: written.tags.into(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_back_for_its_entry_alone() {
        let vector = Arc::new(Vector::new(&[0.5, -1.0, 0.25]).expect("valid"));
        let question = Question { partition: [1; 32], text: "how so?".to_string(), max_age_us: None, threshold: None };
        let about = About { tenant: b"key\0k"[..].into(), tags: ["t".to_string()].into(), ..About::default() };
        let record = Record::new(&question, vector.clone(), [2; 32], ([3; 32], 4, about.clone()));
        let sealer = Sealer::new([5; 32], 100);
        let sealed = record.seal(&sealer).expect("seals");
        assert!(!sealed.windows(3).any(|bytes| bytes == b"how"));
        let opened = Record::open(&sealer, &[3; 32], &sealed).expect("opens");
        assert_eq!((&*opened.text, opened.partition, opened.source), ("how so?", [1; 32], [2; 32]));
        assert_eq!((opened.until_us, &opened.about), (4, &about));
        assert!((opened.vector.cosine(&vector) - 1.0).abs() < 1e-6);
        assert_eq!(opened.vector.sketch, vector.sketch);
        assert!(Record::open(&sealer, &[6; 32], &sealed).is_none());
        assert!(Record::open(&Sealer::new([7; 32], 100), &[3; 32], &sealed).is_none());
        // An entry is no question, whoever puts it there.
        assert!(sealer.open(&[3; 32], &sealed).is_none());
    }
}
