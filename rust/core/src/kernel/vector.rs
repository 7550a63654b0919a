//! Vectors of meaning, made small: a byte per number to compare exactly enough, and 256 bits to find what is near at all.
//!
//! The bits are the signs of 256 random directions (Charikar, "Similarity estimation techniques from rounding algorithms",
//! STOC 2002): two vectors with an angle of `t` differ in about `256 * t / pi` of them. The directions are rows of a
//! Hadamard matrix over randomly flipped coordinates, which takes `n log n` additions instead of `256 n` products.
//!
//! ## Tried
//! A scan of 100,000 such sketches reads 1.6 MB, their first halves. A graph (HNSW) visits fewer vectors, but needs 256 bytes
//! and a cache miss for each, has to be repaired when entries leave, and forgets some neighbours. Distances written to a
//! list that is filtered afterwards took twice as long. See `benches/test_cache.py`.

/// Bits of a sketch, in words of 64.
pub const WORDS: usize = 4;
pub type Sketch = [u64; WORDS];

/// Longest vector that is taken.
pub const DIMENSIONS: usize = 8192;

#[derive(Clone, Debug)]
pub struct Vector {
    pub sketch: Sketch,
    /// From -127 to 127.
    values: Box<[i8]>,
    /// One over the length of `values`.
    inverse: f32,
}

impl Vector {
    /// `None` for a vector without a direction, or one that is too long.
    pub fn new(values: &[f32]) -> Option<Vector> {
        let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        if values.len() > DIMENSIONS || most <= 0.0 || !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)]
        let small: Box<[i8]> = values.iter().map(|value| (value / most * 127.0).round() as i8).collect();
        let length = (dot(&small, &small) as f32).sqrt();
        Some(Vector { sketch: sketch(values), values: small, inverse: 1.0 / length })
    }

    /// As it was taken apart by [`Vector::parts`]. `None` for what cannot come of it.
    pub fn whole(sketch: Sketch, values: Box<[i8]>) -> Option<Vector> {
        let square = dot(&values, &values);
        let good = values.len() <= DIMENSIONS && square > 0;
        good.then(|| Vector { sketch, values, inverse: 1.0 / (square as f32).sqrt() })
    }

    /// What it is made of.
    pub fn parts(&self) -> (Sketch, &[i8]) {
        (self.sketch, &self.values)
    }

    pub fn dimensions(&self) -> usize {
        self.values.len()
    }

    /// From -1 to 1; vectors of another length have nothing in common.
    pub fn cosine(&self, other: &Vector) -> f32 {
        if self.values.len() != other.values.len() {
            return 0.0;
        }
        dot(&self.values, &other.values) as f32 * self.inverse * other.inverse
    }

    /// Bytes it takes.
    pub fn weight(&self) -> usize {
        self.values.len() + size_of::<Vector>()
    }
}

/// How many bits two vectors of this similarity differ in at most, but for one pair in some ten thousand.
pub fn farthest(similarity: f32) -> u32 {
    let bits = (WORDS * 64) as f32;
    let share = similarity.clamp(-1.0, 1.0).acos() / std::f32::consts::PI;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let most = (bits * share + 5.0 * (bits * share * (1.0 - share)).sqrt()).ceil() as u32;
    most.clamp(8, 256)
}

/// The signs of 256 directions.
fn sketch(values: &[f32]) -> Sketch {
    let size = values.len().next_power_of_two().max(WORDS * 64);
    let mut mixed = vec![0.0f32; size];
    for (at, (to, value)) in mixed.iter_mut().zip(values).enumerate() {
        *to = if random(at as u64) & 1 == 0 { *value } else { -*value };
    }
    let mut half = 1;
    while half < size {
        for block in mixed.chunks_exact_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for (x, y) in left.iter_mut().zip(right) {
                (*x, *y) = (*x + *y, *x - *y);
            }
        }
        half *= 2;
    }
    let mut sketch = Sketch::default();
    for (at, value) in mixed.iter().take(WORDS * 64).enumerate() {
        sketch[at / 64] |= u64::from(*value > 0.0) << (at % 64);
    }
    sketch
}

/// Fixed for ever: sketches of different processes can be compared.
fn random(seed: u64) -> u64 {
    let mixed = (seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40
}

/// Sketches of many vectors, in two halves: the first tells most of them apart.
#[derive(Debug, Default)]
pub struct Sketches {
    heads: Vec<Half>,
    tails: Vec<Half>,
}

type Half = [u64; WORDS / 2];
/// How many are compared before anybody looks.
const BLOCK: usize = 64;

impl Sketches {
    pub fn push(&mut self, sketch: Sketch) {
        let [a, b, c, d] = sketch;
        self.heads.push([a, b]);
        self.tails.push([c, d]);
    }

    pub fn set(&mut self, at: usize, sketch: Sketch) {
        let [a, b, c, d] = sketch;
        if let (Some(head), Some(tail)) = (self.heads.get_mut(at), self.tails.get_mut(at)) {
            (*head, *tail) = ([a, b], [c, d]);
        }
    }

    pub fn swap_remove(&mut self, at: usize) {
        self.heads.swap_remove(at);
        self.tails.swap_remove(at);
    }

    /// Those that differ in at most `most` bits: how many, and where they stand.
    pub fn within(&self, sketch: &Sketch, most: u32) -> Vec<(u32, usize)> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt") {
            #[allow(unsafe_code)]
            // SAFETY: the processor has what the function asks for.
            unsafe {
                return self.within_avx2(sketch, most);
            }
        }
        self.plain_within(sketch, most)
    }

    /// The plain loop, compiled for wider registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,popcnt")]
    fn within_avx2(&self, sketch: &Sketch, most: u32) -> Vec<(u32, usize)> {
        self.plain_within(sketch, most)
    }

    #[inline(always)]
    fn plain_within(&self, sketch: &Sketch, most: u32) -> Vec<(u32, usize)> {
        let [a, b, c, d] = *sketch;
        let mut found = Vec::new();
        let mut distances = [0u32; BLOCK];
        for (block, heads) in self.heads.chunks(BLOCK).enumerate() {
            for (to, head) in distances.iter_mut().zip(heads) {
                *to = differing(head, &[a, b]);
            }
            let distances = &distances[..heads.len()];
            // What differs too much in one half does so in both.
            if distances.iter().fold(u32::MAX, |least, distance| least.min(*distance)) > most {
                continue;
            }
            for (place, distance) in distances.iter().enumerate().filter(|(_, distance)| **distance <= most) {
                let at = block * BLOCK + place;
                let whole = distance + differing(&self.tails[at], &[c, d]);
                if whole <= most {
                    found.push((whole, at));
                }
            }
        }
        found
    }
}

#[inline(always)]
fn differing(one: &Half, other: &Half) -> u32 {
    one.iter().zip(other).map(|(x, y)| (x ^ y).count_ones()).sum()
}

fn dot(a: &[i8], b: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has AVX2, which is all the function asks for.
        unsafe {
            return dot_avx2(a, b);
        }
    }
    plain_dot(a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(a: &[i8], b: &[i8]) -> i32 {
    plain_dot(a, b)
}

#[inline(always)]
fn plain_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(random: &mut fastrand::Rng, size: usize) -> Vec<f32> {
        (0..size).map(|_| (0..12).map(|_| random.f32()).sum::<f32>() - 6.0).collect()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn small_vectors_are_as_near_as_large_ones() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut far = 0;
        for size in [64, 256, 300, 1536] {
            for step in 0..200 {
                let (a, noise) = (drawn(&mut random, size), drawn(&mut random, size));
                let share = step as f32 / 200.0;
                let b: Vec<f32> = a.iter().zip(noise).map(|(x, y)| x * (1.0 - share) + y * share).collect();
                let exact = cosine(&a, &b);
                let (a, b) = (Vector::new(&a).expect("valid"), Vector::new(&b).expect("valid"));
                assert!((a.cosine(&b) - exact).abs() < 0.02, "{size} {exact} {}", a.cosine(&b));
                let mut sketches = Sketches::default();
                sketches.push(b.sketch);
                far += usize::from(sketches.within(&a.sketch, farthest(exact)).is_empty());
            }
        }
        assert!(far <= 1, "{far} of 800 lie outside what is looked at");
    }

    #[test]
    fn what_has_no_direction_is_no_vector() {
        assert!(Vector::new(&[]).is_none());
        assert!(Vector::new(&[0.0; 8]).is_none());
        assert!(Vector::new(&[f32::NAN, 1.0]).is_none());
        assert!(Vector::new(&vec![1.0; DIMENSIONS + 1]).is_none());
        let (short, long) = (Vector::new(&[1.0; 8]).expect("valid"), Vector::new(&[1.0; 16]).expect("valid"));
        assert_eq!(short.cosine(&long), 0.0);
        assert!((short.cosine(&short) - 1.0).abs() < 1e-5);
    }
}
