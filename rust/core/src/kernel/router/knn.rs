//! The nearest prompts by the dot product of int8 vectors, exactly, by a walk over all of them.
//!
//! ## Measured
//! 10,000 vectors of 256: see `benches/kernels.rs` (`knn`). With AVX2 most of the time is that of reading 2.56 MB (55 of 70 µs
//! where the L2 cache has 2 MB), so wider products (VNNI) gain little; what the compiler makes of the plain loop takes 170 µs.

use super::Estimates;
use crate::kernel::features::DIM;

/// Neighbours that are asked at most.
pub const K_MAX: usize = 64;
/// Stands for a quality nobody knows.
pub const UNKNOWN: u8 = 255;
const FULL: f32 = 254.0;

#[derive(Debug)]
pub struct Knn {
    pub k: usize,
    pub vectors: Vec<[i8; DIM]>,
    /// One for each vector and candidate: from 0 to 254, or [`UNKNOWN`].
    pub qualities: Vec<u8>,
}

impl Knn {
    /// The mean quality among the nearest, weighted by nearness. A candidate nobody knows there gets the mean of all.
    pub fn estimates(&self, vector: &[i8; DIM], candidates: usize) -> Estimates {
        let nearest = self.nearest(vector);
        let closest = nearest.first().map_or(1, |(dot, _)| (*dot).max(1)) as f32;
        let mut sums: Estimates = smallvec::smallvec![0.0; candidates];
        let mut weights: Estimates = smallvec::smallvec![0.0; candidates];
        for (dot, at) in &nearest {
            let weight = (*dot as f32 / closest).clamp(0.01, 1.0).powi(2);
            let row = self.qualities.get(at * candidates..(at + 1) * candidates).unwrap_or_default();
            for ((sum, of), quality) in sums.iter_mut().zip(&mut weights).zip(row) {
                if *quality != UNKNOWN {
                    *sum += weight * f32::from(*quality) / FULL;
                    *of += weight;
                }
            }
        }
        let known: f32 = weights.iter().sum();
        let all = if known > 0.0 { sums.iter().sum::<f32>() / known } else { 0.0 };
        sums.iter().zip(&weights).map(|(sum, of)| if *of > 0.0 { sum / of } else { all }).collect()
    }

    /// The `k` largest products with their places, the largest first.
    fn nearest(&self, vector: &[i8; DIM]) -> Vec<(i32, usize)> {
        let k = self.k.clamp(1, K_MAX);
        let mut best: Vec<(i32, usize)> = Vec::with_capacity(k + 1);
        let mut least = i32::MIN;
        let mut dots = [0i32; BLOCK];
        for (block, vectors) in self.vectors.chunks(BLOCK).enumerate() {
            products(vectors, vector, &mut dots);
            for (at, dot) in dots.iter().take(vectors.len()).enumerate() {
                if best.len() < k || *dot > least {
                    let place = best.partition_point(|(other, _)| other >= dot);
                    best.insert(place, (*dot, block * BLOCK + at));
                    best.truncate(k);
                    least = best.last().map_or(i32::MIN, |(dot, _)| *dot);
                }
            }
        }
        best
    }
}

const BLOCK: usize = 64;

/// The products of a block; with AVX2 if there is.
fn products(vectors: &[[i8; DIM]], vector: &[i8; DIM], out: &mut [i32; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has AVX2, which is all the function asks for.
        unsafe {
            return products_avx2(vectors, vector, out);
        }
    }
    plain(vectors, vector, out);
}

/// Sixteen numbers at a time, widened to 16 bits: exact for every byte, where products of bytes (`maddubs`) would overflow.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx2")]
fn products_avx2(vectors: &[[i8; DIM]], vector: &[i8; DIM], out: &mut [i32; BLOCK]) {
    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_hadd_epi32, _mm_loadu_si128, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_madd_epi16,
        _mm256_setzero_si256,
    };
    const LANES: usize = 16;
    const SUMS: usize = 4;
    // SAFETY: a chunk is as long as what is read of it, and may stand anywhere.
    let widened = |chunk: &[i8; LANES]| _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) });
    let mut query = [_mm256_setzero_si256(); DIM / LANES];
    for (to, chunk) in query.iter_mut().zip(vector.as_chunks().0) {
        *to = widened(chunk);
    }
    for (to, other) in out.iter_mut().zip(vectors) {
        // Several sums, so that an addition need not wait for the one before.
        let mut sums: [__m256i; SUMS] = [_mm256_setzero_si256(); SUMS];
        for (four, chunks) in query.as_chunks::<SUMS>().0.iter().zip(other.as_chunks().0.as_chunks::<SUMS>().0) {
            for ((sum, one), chunk) in sums.iter_mut().zip(four).zip(chunks) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(widened(chunk), *one));
            }
        }
        let [a, b, c, d] = sums;
        let sum = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let quarter = _mm_hadd_epi32(half, half);
        *to = _mm_cvtsi128_si32(_mm_hadd_epi32(quarter, quarter));
    }
}

#[inline(always)]
fn plain(vectors: &[[i8; DIM]], vector: &[i8; DIM], out: &mut [i32; BLOCK]) {
    // Widened once: the compiler multiplies pairs of 16 bits.
    let wide: [i16; DIM] = vector.map(i16::from);
    for (to, other) in out.iter_mut().zip(vectors) {
        *to = wide.iter().zip(other).map(|(a, b)| i32::from(*a) * i32::from(i16::from(*b))).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_slow_search_finds() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut draw = || std::array::from_fn::<i8, DIM, _>(|_| random.i8(-127..=127));
        let vectors: Vec<_> = (0..517).map(|_| draw()).collect();
        let query = draw();
        let knn = Knn { k: 9, vectors, qualities: vec![0; 517] };
        let mut slow: Vec<(i32, usize)> = knn
            .vectors
            .iter()
            .map(|other| other.iter().zip(query).map(|(a, b)| i32::from(*a) * i32::from(b)).sum())
            .zip(0..)
            .collect();
        slow.sort_by_key(|(dot, at)| (-dot, *at));
        slow.truncate(9);
        assert_eq!(knn.nearest(&query), slow);
    }

    #[test]
    fn every_byte_is_multiplied_exactly() {
        for (one, other) in [(-128, -128), (-128, 127), (127, 127), (-1, 1), (0, -128)] {
            let mut vectors = [[one; DIM]; BLOCK];
            vectors[3][7] = -7;
            let (mut fast, mut slow) = ([0; BLOCK], [0; BLOCK]);
            products(&vectors, &[other; DIM], &mut fast);
            plain(&vectors, &[other; DIM], &mut slow);
            assert_eq!(fast, slow, "{one} {other}");
            assert_eq!(fast[0], i32::from(one) * i32::from(other) * 256);
        }
    }

    #[test]
    fn what_nobody_knows_gets_the_mean() {
        let mut vector = [0i8; DIM];
        vector[0] = 100;
        let knn = Knn { k: 2, vectors: vec![vector; 2], qualities: vec![254, UNKNOWN, 127, UNKNOWN] };
        let found = knn.estimates(&vector, 2);
        assert!((found[0] - 0.75).abs() < 0.01 && (found[1] - 0.75).abs() < 0.01, "{found:?}");
        assert_eq!(Knn { k: 2, vectors: vec![], qualities: vec![] }.estimates(&vector, 2).to_vec(), [0.0, 0.0]);
    }
}
