//! The file of a trained router: small, versioned, checked, and only numbers.
//!
//! ```text
//! "AILROUTE" │ u32 format │ u32 header length │ header (JSON) │ numbers │ SHA-256 of all before
//! ```
//! All little-endian. The header names the kind, the candidates and their costs; how many numbers must follow is computed
//! from it before any is read.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::bandit::{BUCKETS, CONTEXT, LinUcb, Thompson};
use super::knn::{K_MAX, Knn};
use super::{Kind, MODELS_MAX, Router};
use crate::kernel::features::{self, DIM};

const MAGIC: &[u8; 8] = b"AILROUTE";
const FORMAT: u32 = 1;
const DIGEST: usize = 32;
/// Longest file and header, most vectors.
const MAX: usize = 64 << 20;
const HEADER_MAX: usize = 1 << 20;
const VECTORS_MAX: usize = 200_000;
/// No honest weight is larger.
const WEIGHT_MAX: f32 = 1e6;

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

fn bad(text: impl Into<String>) -> FormatError {
    FormatError(text.into())
}

/// Members that serve people (metrics, where it is from) are not read.
#[derive(Deserialize)]
struct Header {
    name: String,
    version: String,
    kind: String,
    features: u32,
    models: Vec<String>,
    costs: Vec<f32>,
    margin: f32,
    #[serde(default)]
    k: usize,
    #[serde(default)]
    vectors: usize,
    #[serde(default)]
    alpha: f32,
}

pub fn read(bytes: &[u8]) -> Result<Router, FormatError> {
    if bytes.len() > MAX {
        return Err(bad(format!("longer than {MAX} bytes")));
    }
    let short = || bad("cut short");
    let (body, digest) = bytes.split_at_checked(bytes.len().saturating_sub(DIGEST)).ok_or_else(short)?;
    if body.get(..MAGIC.len()) != Some(MAGIC) {
        return Err(bad("not a router"));
    }
    if Sha256::digest(body).as_slice() != digest {
        return Err(bad("the checksum is wrong"));
    }
    let mut rest = Numbers(&body[MAGIC.len()..]);
    let format = rest.u32().ok_or_else(short)?;
    if format != FORMAT {
        return Err(bad(format!("format {format} is not {FORMAT}")));
    }
    let length = rest.u32().ok_or_else(short)? as usize;
    let header = rest.bytes(length.min(HEADER_MAX + 1)).filter(|_| length <= HEADER_MAX).ok_or_else(short)?;
    let header: Header = serde_json::from_slice(header).map_err(|error| bad(format!("header: {error}")))?;
    if header.features != features::VERSION {
        let text =
            format!("trained on features of version {}, not {}; train it again", header.features, features::VERSION);
        return Err(bad(text));
    }
    let count = header.models.len();
    if count == 0 || count > MODELS_MAX || header.costs.len() != count {
        return Err(bad(format!("{count} models with {} costs; 1 to {MODELS_MAX} are needed", header.costs.len())));
    }
    if !header.costs.iter().all(|cost| cost.is_finite() && *cost >= 0.0) || !(0.0..=1.0).contains(&header.margin) {
        return Err(bad("costs or margin out of bounds"));
    }
    let kind = kind(&header, &mut rest)?;
    if !rest.0.is_empty() {
        return Err(bad(format!("{} bytes too many", rest.0.len())));
    }
    Ok(Router {
        name: header.name,
        version: header.version,
        models: header.models,
        costs: header.costs,
        margin: header.margin,
        kind,
    })
}

fn kind(header: &Header, rest: &mut Numbers<'_>) -> Result<Kind, FormatError> {
    let count = header.models.len();
    Ok(match header.kind.as_str() {
        "knn" => {
            if header.vectors == 0 || header.vectors > VECTORS_MAX || header.k == 0 || header.k > K_MAX {
                return Err(bad(format!("{} vectors with k = {}", header.vectors, header.k)));
            }
            let raw = rest.bytes(header.vectors * DIM).ok_or_else(|| bad("cut short"))?;
            let vectors = raw.as_chunks::<DIM>().0.iter().map(|chunk| chunk.map(u8::cast_signed)).collect();
            let qualities = rest.bytes(header.vectors * count).ok_or_else(|| bad("cut short"))?.to_vec();
            Kind::Knn(Knn { k: header.k, vectors, qualities })
        }
        "svm" => Kind::Svm { planes: (0..count).map(|_| rest.weights()).collect::<Result<_, _>>()? },
        "linucb" => {
            if !(0.0..=10.0).contains(&header.alpha) {
                return Err(bad("alpha out of bounds"));
            }
            let theta = (0..count).map(|_| rest.weights()).collect::<Result<_, _>>()?;
            let inverse = (0..count).map(|_| rest.floats(CONTEXT * CONTEXT)).collect::<Result<_, _>>()?;
            Kind::LinUcb(LinUcb { alpha: header.alpha, theta, inverse })
        }
        "thompson" => {
            let flat = rest.floats(BUCKETS * count * 2)?;
            if flat.iter().any(|value| *value <= 0.0) {
                return Err(bad("a belief that is not above 0"));
            }
            let beliefs = flat.as_chunks::<2>().0.iter().map(|[good, bad]| (*good, *bad)).collect();
            Kind::Thompson(Thompson { beliefs, candidates: count })
        }
        other => return Err(bad(format!("kind {other:?} is not known"))),
    })
}

/// What is left to read.
struct Numbers<'b>(&'b [u8]);

impl<'b> Numbers<'b> {
    fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, FormatError> {
        let raw = self.bytes(count * 4).ok_or_else(|| bad("cut short"))?;
        let floats: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        match floats.iter().all(|value| value.is_finite() && value.abs() <= WEIGHT_MAX) {
            true => Ok(floats),
            false => Err(bad("a number out of bounds")),
        }
    }

    fn weights<const N: usize>(&mut self) -> Result<[f32; N], FormatError> {
        self.floats(N)?.try_into().map_err(|_| bad("cut short"))
    }
}
