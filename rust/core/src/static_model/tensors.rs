//! Tensors of a file in the safetensors format: eight bytes of length, a head in JSON, the numbers.
//! <https://github.com/huggingface/safetensors#format>

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// A shape, and numbers.
pub type Floats = (Vec<usize>, Vec<f32>);

pub struct Tensors<'b> {
    head: HashMap<String, Described>,
    data: &'b [u8],
}

impl<'b> Tensors<'b> {
    /// # Errors
    /// What is wrong with the head.
    pub fn parse(bytes: &'b [u8]) -> Result<Tensors<'b>, String> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or("the file is too short")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "the head is too long")?;
        let (head, data) = rest.split_at_checked(length).ok_or("the head is longer than the file")?;
        let head: HashMap<String, serde_json::Value> =
            serde_json::from_slice(head).map_err(|error| format!("the head: {error}"))?;
        let tensors = head.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, described)| {
            let described = serde_json::from_value(described).map_err(|error| format!("the head: {name}: {error}"))?;
            Ok((name, described))
        });
        Ok(Tensors { head: tensors.collect::<Result<_, String>>()?, data })
    }

    fn find(&self, name: &str) -> Result<Option<(&Described, &'b [u8])>, String> {
        let Some(described) = self.head.get(name) else { return Ok(None) };
        let (from, to) = described.data_offsets;
        let bytes = self.data.get(from..to).ok_or_else(|| format!("`{name}` lies outside the file"))?;
        let size = match described.dtype.as_str() {
            "I8" | "U8" => 1,
            "F16" | "BF16" => 2,
            "F32" | "I32" => 4,
            "F64" | "I64" => 8,
            other => return Err(format!("`{name}` has numbers of the kind {other:?}, which is not known")),
        };
        let count = described.shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        if count.and_then(|count| count.checked_mul(size)) != Some(bytes.len()) {
            return Err(format!("`{name}` has {} bytes, which its shape does not have", bytes.len()));
        }
        Ok(Some((described, bytes)))
    }

    /// A tensor's shape and numbers.
    ///
    /// # Errors
    /// It is not what the head says, or not of numbers with a fraction.
    pub fn floats(&self, name: &str) -> Result<Option<Floats>, String> {
        let Some((described, bytes)) = self.find(name)? else { return Ok(None) };
        #[allow(clippy::cast_possible_truncation)]
        let numbers = match described.dtype.as_str() {
            "F32" => chunks(bytes).map(f32::from_le_bytes).collect(),
            "F64" => chunks(bytes).map(|chunk| f64::from_le_bytes(chunk) as f32).collect(),
            "F16" => chunks(bytes).map(|chunk| half(u16::from_le_bytes(chunk))).collect(),
            "BF16" => chunks(bytes).map(|chunk| f32::from_bits(u32::from(u16::from_le_bytes(chunk)) << 16)).collect(),
            "I8" => chunks(bytes).map(|[byte]: [u8; 1]| f32::from(byte.cast_signed())).collect(),
            other => return Err(format!("`{name}` has numbers of the kind {other:?}")),
        };
        Ok(Some((described.shape.clone(), numbers)))
    }

    /// A tensor of places.
    ///
    /// # Errors
    /// It is not what the head says, or holds no whole numbers from 0 on.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let Some((described, bytes)) = self.find(name)? else { return Ok(None) };
        let numbers: Vec<i64> = match described.dtype.as_str() {
            "I32" => chunks(bytes).map(|chunk| i64::from(i32::from_le_bytes(chunk))).collect(),
            "I64" => chunks(bytes).map(i64::from_le_bytes).collect(),
            other => return Err(format!("`{name}` has numbers of the kind {other:?}")),
        };
        let places = numbers.into_iter().map(usize::try_from).collect::<Result<_, _>>();
        places.map(Some).map_err(|_| format!("`{name}` has a number below 0"))
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    sign * match exponent {
        0 => fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn halves_are_read() {
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x3555, 0.333_251_95), (0, 0.0)]
        {
            assert_eq!(super::half(bits), value);
        }
    }
}
