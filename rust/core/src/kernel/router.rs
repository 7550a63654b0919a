//! Learned routing: which of a few models a prompt goes to, by what it is worth and what it costs.
//!
//! Every kind of model estimates the quality each candidate would reach; the cheapest whose estimate is within a margin of
//! the best is taken. The margin was tuned when the model was trained.

mod bandit;
mod format;
mod knn;

pub use format::FormatError;

use super::features::{DIM, Features};

/// Most models a router chooses among.
pub const MODELS_MAX: usize = 32;

/// One estimate per candidate, from 0 to 1 where it was trained on such.
pub type Estimates = smallvec::SmallVec<[f32; 8]>;

#[derive(Debug)]
enum Kind {
    /// The mean of what the nearest prompts were worth.
    Knn(knn::Knn),
    /// A hyperplane for each candidate: on which side it is good enough.
    Svm {
        planes: Vec<[f32; DIM + 1]>,
    },
    LinUcb(bandit::LinUcb),
    Thompson(bandit::Thompson),
}

/// A trained model, checked when it was read.
#[derive(Debug)]
pub struct Router {
    pub name: String,
    pub version: String,
    /// Names of the candidates, and what a request costs there in the mean; only the order matters.
    pub models: Vec<String>,
    pub costs: Vec<f32>,
    margin: f32,
    kind: Kind,
}

impl Router {
    /// Reads what `ailink router train` wrote.
    ///
    /// # Errors
    /// Says what is wrong with it: another format or version, a wrong checksum, numbers out of bounds.
    pub fn read(bytes: &[u8]) -> Result<Router, FormatError> {
        format::read(bytes)
    }

    pub fn kind(&self) -> &'static str {
        match &self.kind {
            Kind::Knn(_) => "knn",
            Kind::Svm { .. } => "svm",
            Kind::LinUcb(_) => "linucb",
            Kind::Thompson(_) => "thompson",
        }
    }

    /// How much there is to read for an estimate, in vectors.
    pub fn work(&self) -> usize {
        match &self.kind {
            Kind::Knn(knn) => knn.vectors.len(),
            Kind::Svm { .. } | Kind::LinUcb(_) | Kind::Thompson(_) => 0,
        }
    }

    /// What each candidate would be worth for a prompt. Bandits add what there is to learn, with `random` in [0, 1).
    pub fn estimates(&self, features: &Features, random: &mut dyn FnMut() -> f32) -> Estimates {
        match &self.kind {
            Kind::Knn(knn) => knn.estimates(&features.vector, self.models.len()),
            Kind::Svm { planes } => planes.iter().map(|plane| logistic(distance(plane, &features.vector))).collect(),
            Kind::LinUcb(bandit) => bandit.estimates(&features.dense),
            Kind::Thompson(bandit) => bandit.estimates(&features.dense, random),
        }
    }

    /// The candidates in the order they should be tried: first the cheapest of those within the margin of the best, then
    /// the others by their estimate.
    pub fn order(&self, estimates: &[f32]) -> smallvec::SmallVec<[usize; 8]> {
        let best = estimates.iter().copied().fold(f32::MIN, f32::max);
        let good = |at: &usize| estimates.get(*at).is_some_and(|estimate| *estimate >= best - self.margin);
        let cost = |at: usize| self.costs.get(at).copied().unwrap_or(f32::MAX);
        let mut order: smallvec::SmallVec<[usize; 8]> = (0..self.models.len()).collect();
        order.sort_by(|a, b| {
            let key = |at: usize| estimates.get(at).copied().unwrap_or(f32::MIN);
            good(b)
                .cmp(&good(a))
                .then_with(|| if good(a) { cost(*a).total_cmp(&cost(*b)) } else { key(*b).total_cmp(&key(*a)) })
        });
        order
    }
}

fn distance(plane: &[f32; DIM + 1], vector: &[i8; DIM]) -> f32 {
    let bias = plane.last().copied().unwrap_or(0.0);
    plane.iter().zip(vector).map(|(weight, value)| weight * f32::from(*value)).sum::<f32>() / 127.0 + bias
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
pub(crate) mod tests;
