//! Looking at a block of string content: a mask of its stops (`"`, `\` and control characters), lowest bit first, and
//! whether a byte is above 0x7f.
//!
//! `unsafe` is confined to the SSE2 loads, each from a borrowed array of exactly its size. It makes a 16 KiB chat 2.2 times
//! as fast as ordinary registers do (1.2 instead of 2.6 µs).

#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{LONG, SHORT, from, long, place, short};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use swar::{LONG, SHORT, from, long, place, short};

/// The 16 and 64 bytes of SSE2.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_xor_si128,
    };

    pub(in super::super) const SHORT: usize = 16;
    pub(in super::super) const LONG: usize = 64;

    /// The place of the first stop.
    #[inline(always)]
    pub(in super::super) fn place(stops: u64) -> usize {
        stops.trailing_zeros() as usize
    }

    /// The stops from place `at` on, `at` < `LONG`.
    #[inline(always)]
    pub(in super::super) fn from(stops: u64, at: usize) -> u64 {
        stops & u64::MAX << at
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    pub(in super::super) fn short(block: &[u8; SHORT]) -> (u64, bool) {
        // SAFETY: every x86-64 processor has SSE2; the load reads exactly the 16 bytes borrowed.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast());
            (stops(bytes), _mm_movemask_epi8(bytes) != 0)
        }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    pub(in super::super) fn long(block: &[u8; LONG]) -> (u64, bool) {
        let start: *const __m128i = block.as_ptr().cast();
        // SAFETY: every x86-64 processor has SSE2; the four loads read exactly the 64 bytes borrowed.
        unsafe {
            let [a, b, c, d] = [0, 1, 2, 3].map(|index| _mm_loadu_si128(start.add(index)));
            let any = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
            (stops(a) | stops(b) << 16 | stops(c) << 32 | stops(d) << 48, _mm_movemask_epi8(any) != 0)
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    #[allow(clippy::cast_sign_loss)]
    fn stops(bytes: __m128i) -> u64 {
        // `"` is 0x22: with bit 1 flipped, exactly it and the control characters are at most 0x20.
        let flipped = _mm_xor_si128(bytes, _mm_set1_epi8(2));
        let low = _mm_cmpeq_epi8(_mm_min_epu8(flipped, _mm_set1_epi8(0x20)), flipped);
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
        _mm_movemask_epi8(_mm_or_si128(low, backslash)) as u64
    }
}

/// The same with ordinary registers, for other processors: eight bytes, whose stops are the top bits of their bytes.
#[cfg(any(not(target_arch = "x86_64"), test))]
mod swar {
    pub(in super::super) const SHORT: usize = 8;
    pub(in super::super) const LONG: usize = 8;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES * 0x80;

    #[inline(always)]
    pub(in super::super) fn place(stops: u64) -> usize {
        stops.trailing_zeros() as usize / 8
    }

    #[inline(always)]
    pub(in super::super) fn from(stops: u64, at: usize) -> u64 {
        stops & u64::MAX << (at * 8)
    }

    #[inline(always)]
    pub(in super::super) fn short(block: &[u8; SHORT]) -> (u64, bool) {
        let word = u64::from_le_bytes(*block);
        let low = above(word ^ (ONES * 2), 0x20);
        let backslash = above(word ^ (ONES * 0x5c), 0);
        (!(low & backslash) & TOPS, word & TOPS != 0)
    }

    #[inline(always)]
    pub(in super::super) fn long(block: &[u8; LONG]) -> (u64, bool) {
        short(block)
    }

    /// The top bit of each byte of `word` that is above `limit` (at most 0x7f); no carry leaves a byte.
    #[inline(always)]
    fn above(word: u64, limit: u64) -> u64 {
        ((word & !TOPS) + ONES * (0x7f - limit)) | word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of all stops in a block, and whether a byte is above 0x7f.
    fn stops_of(bytes: &[u8; 64]) -> (Vec<usize>, bool) {
        let mut places = Vec::new();
        let mut any = false;
        for (index, block) in bytes.as_chunks::<LONG>().0.iter().enumerate() {
            let (mut stops, high) = long(block);
            any |= high;
            while stops != 0 {
                places.push(index * LONG + place(stops));
                stops = if place(stops) + 1 < LONG { from(stops, place(stops) + 1) } else { 0 };
            }
        }
        (places, any)
    }

    fn portable_stops_of(bytes: &[u8; 64]) -> (Vec<usize>, bool) {
        let mut places = Vec::new();
        let mut any = false;
        for (index, block) in bytes.as_chunks::<{ swar::LONG }>().0.iter().enumerate() {
            let (mut stops, high) = swar::long(block);
            any |= high;
            while stops != 0 {
                let place = swar::place(stops);
                places.push(index * swar::LONG + place);
                stops = if place + 1 < swar::LONG { swar::from(stops, place + 1) } else { 0 };
            }
        }
        (places, any)
    }

    #[test]
    fn sees_every_stop() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut long = [0_u8; 64];
            for byte in &mut long {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Mostly bytes near the borders of what counts.
                let near =
                    [0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff, 0x00, 0x41, 0x42];
                *byte = if state >> 63 == 0 { near[(state >> 40) as usize % 16] } else { (state >> 48) as u8 };
            }
            let stop = |byte: &u8| *byte < 0x20 || b"\"\\".contains(byte);
            let expected: Vec<usize> = (0..64).filter(|at| stop(&long[*at])).collect();
            let expected = (expected, long.iter().any(|byte| *byte > 0x7f));
            assert_eq!(stops_of(&long), expected);
            assert_eq!(portable_stops_of(&long), expected);
        }
    }
}
