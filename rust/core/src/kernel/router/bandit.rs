//! Contextual bandits: what they estimate includes what there is to learn.

use super::Estimates;
use crate::kernel::features::{DENSE, complexity};

/// The dense features and a one.
pub const CONTEXT: usize = DENSE + 1;
/// Prompts of like complexity share a bucket.
pub const BUCKETS: usize = 8;

/// LinUCB (Li et al. 2010), disjoint: a linear model for each candidate, and how little is known in a direction.
#[derive(Debug)]
pub struct LinUcb {
    pub alpha: f32,
    pub theta: Vec<[f32; CONTEXT]>,
    /// Inverse of what was seen, symmetric, row by row.
    pub inverse: Vec<Vec<f32>>,
}

impl LinUcb {
    pub fn estimates(&self, dense: &[f32; DENSE]) -> Estimates {
        let mut x = [1.0f32; CONTEXT];
        for (to, value) in x.iter_mut().zip(dense) {
            *to = *value;
        }
        self.theta
            .iter()
            .zip(&self.inverse)
            .map(|(theta, inverse)| {
                let mean: f32 = theta.iter().zip(&x).map(|(weight, value)| weight * value).sum();
                let spread: f32 = inverse
                    .chunks(CONTEXT)
                    .zip(&x)
                    .map(|(row, value)| value * row.iter().zip(&x).map(|(a, b)| a * b).sum::<f32>())
                    .sum();
                mean + self.alpha * spread.max(0.0).sqrt()
            })
            .collect()
    }
}

/// Thompson sampling: for each bucket and candidate a beta distribution of its quality, drawn from.
#[derive(Debug)]
pub struct Thompson {
    /// Bucket by bucket, candidate by candidate: successes and failures, each above 0.
    pub beliefs: Vec<(f32, f32)>,
    pub candidates: usize,
}

impl Thompson {
    pub fn estimates(&self, dense: &[f32; DENSE], random: &mut dyn FnMut() -> f32) -> Estimates {
        let bucket = ((complexity(dense) * BUCKETS as f32) as usize).min(BUCKETS - 1);
        let row = self.beliefs.get(bucket * self.candidates..(bucket + 1) * self.candidates).unwrap_or_default();
        row.iter().map(|(good, bad)| beta(*good, *bad, random)).collect()
    }
}

/// A draw of a beta distribution, by a normal one of the same mean and variance where there are counts to speak of.
fn beta(good: f32, bad: f32, random: &mut dyn FnMut() -> f32) -> f32 {
    // Nothing is known: anything may be.
    if good <= 1.0 && bad <= 1.0 {
        return random().clamp(0.0, 1.0);
    }
    let total = good + bad;
    let mean = good / total;
    let deviation = (mean * (1.0 - mean) / (total + 1.0)).sqrt();
    // Box and Muller.
    let (u, v) = (random().max(1e-6), random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos();
    (mean + deviation * normal).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_little_known_is_tried() {
        let identity = |scale: f32| {
            (0..CONTEXT * CONTEXT).map(|at| if at % (CONTEXT + 1) == 0 { scale } else { 0.0 }).collect::<Vec<_>>()
        };
        let mut known = [0.0; CONTEXT];
        known[DENSE] = 0.6;
        let bandit =
            LinUcb { alpha: 1.0, theta: vec![known, [0.0; CONTEXT]], inverse: vec![identity(0.001), identity(1.0)] };
        let found = bandit.estimates(&[0.0; DENSE]);
        assert!((found[0] - 0.63).abs() < 0.01 && (found[1] - 1.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn draws_have_the_mean_of_the_belief() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut draw = || random.f32();
        for (good, bad) in [(1.0, 1.0), (3.0, 1.0), (80.0, 20.0), (2.0, 38.0)] {
            let mean = (0..20_000).map(|_| beta(good, bad, &mut draw)).sum::<f32>() / 20_000.0;
            assert!((mean - good / (good + bad)).abs() < 0.03, "{good} {bad}: {mean}");
        }
    }
}
