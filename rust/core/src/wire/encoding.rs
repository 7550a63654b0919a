//! Content codings of providers that compress although they were asked not to: gzip and deflate, decoded within bounds.

use std::io::Write;

use bytes::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};

/// Most bytes an answer may decode to: what a JSON body may be.
const MAX_DECODED: u64 = 256 << 20;

/// A body beyond [`BOMB_FROM`] may not decode to more than this many times its size: text shrinks to a fiftieth at best.
const RATIO: u64 = 200;
const BOMB_FROM: u64 = 128 << 10;
/// Decoded at once, so that a bomb is noticed before it has unfolded.
const SLICE: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    #[error("its content coding is not supported")]
    Unsupported,
    #[error("its compressed body is malformed")]
    Malformed,
    #[error("its body decodes to more than {MAX_DECODED} bytes")]
    TooLarge,
    #[error("its body decodes to more than {RATIO} times its size")]
    Bomb,
}

enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

/// Decodes a body piece by piece.
pub struct Inflate {
    decoder: Decoder,
    fed: u64,
    total: u64,
}

impl Inflate {
    /// A decoder for the value of a `Content-Encoding` header; `None` for identity.
    ///
    /// # Errors
    /// [`EncodingError::Unsupported`] for codings other than gzip and deflate.
    pub fn for_coding(coding: &[u8]) -> Result<Option<Self>, EncodingError> {
        let coding = coding.trim_ascii().to_ascii_lowercase();
        let decoder = match coding.as_slice() {
            b"" | b"identity" => return Ok(None),
            b"gzip" | b"x-gzip" => Decoder::Gzip(GzDecoder::new(Vec::new())),
            b"deflate" => Decoder::Deflate(ZlibDecoder::new(Vec::new())),
            _ => return Err(EncodingError::Unsupported),
        };
        Ok(Some(Inflate { decoder, fed: 0, total: 0 }))
    }

    /// What `data` decodes to; may be empty although more is to come.
    ///
    /// # Errors
    /// Malformed data, or more of it than a body may have.
    pub fn feed(&mut self, data: &[u8]) -> Result<Bytes, EncodingError> {
        let mut all = Vec::new();
        for slice in data.chunks(SLICE) {
            let decoded = match &mut self.decoder {
                Decoder::Gzip(decoder) => push(decoder, slice).map(|()| std::mem::take(decoder.get_mut())),
                Decoder::Deflate(decoder) => push(decoder, slice).map(|()| std::mem::take(decoder.get_mut())),
            };
            let decoded = decoded.map_err(|_| EncodingError::Malformed)?;
            self.fed += slice.len() as u64;
            self.total += decoded.len() as u64;
            if self.total > MAX_DECODED {
                return Err(EncodingError::TooLarge);
            }
            if self.total > BOMB_FROM && self.total / self.fed > RATIO {
                return Err(EncodingError::Bomb);
            }
            if all.is_empty() {
                all = decoded;
            } else {
                all.extend_from_slice(&decoded);
            }
        }
        Ok(all.into())
    }
}

fn push(decoder: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    decoder.write_all(data)?;
    decoder.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        if coding == "gzip" {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        } else {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
    }

    #[test]
    fn every_split_decodes_to_the_same() {
        let text = b"data: {\"usage\":null}\n\n".repeat(20);
        for coding in ["gzip", "deflate"] {
            let wire = compressed(coding, &text);
            for cut in 0..=wire.len() {
                let mut inflate = Inflate::for_coding(coding.as_bytes()).expect("known").expect("not identity");
                let mut decoded = inflate.feed(&wire[..cut]).expect("valid").to_vec();
                decoded.extend_from_slice(&inflate.feed(&wire[cut..]).expect("valid"));
                assert_eq!(decoded, text, "{coding} split at {cut}");
            }
        }
    }

    #[test]
    fn bombs_are_told_before_they_unfold() {
        for coding in ["gzip", "deflate"] {
            let bomb = compressed(coding, &vec![b' '; 64 << 20]);
            let mut inflate = Inflate::for_coding(coding.as_bytes()).expect("known").expect("not identity");
            assert_eq!(inflate.feed(&bomb).err(), Some(EncodingError::Bomb));
            assert!(inflate.total < 8 << 20, "{}", inflate.total);
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        assert_eq!(Inflate::for_coding(b"br").err(), Some(EncodingError::Unsupported));
        assert!(Inflate::for_coding(b"Identity").expect("known").is_none());
        let mut inflate = Inflate::for_coding(b"gzip").expect("known").expect("not identity");
        assert_eq!(inflate.feed(b"not gzip at all").err(), Some(EncodingError::Malformed));
    }
}
