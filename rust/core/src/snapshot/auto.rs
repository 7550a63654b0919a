//! A model that stands for others, compiled from [`wire::Auto`].

use std::collections::HashMap;

use super::{SnapshotError, bad, wire};
use crate::kernel::router::Router;

/// A trained router, and where its candidates stand among the models of the configuration.
pub struct Learned {
    pub router: Router,
    pub places: Vec<Option<usize>>,
}

pub struct Auto {
    /// From the simplest and cheapest to the best.
    pub models: Vec<u32>,
    /// One less than the models: from this complexity on the next.
    pub thresholds: Vec<f32>,
    pub incumbent: Option<Learned>,
    /// One that is being tried on `percent` of the callers.
    pub candidate: Option<Learned>,
    pub percent: u32,
    /// Of a hundred requests, so many are noted for training.
    pub record: u32,
}

pub fn compile(name: &str, wire: &wire::Auto, names: &HashMap<String, u32>) -> Result<Auto, SnapshotError> {
    let fail = |text: String| bad(format!("model {name:?}: auto: {text}"));
    let models = wire.models.iter().map(|target| match names.get(target) {
        Some(index) => Ok(*index),
        None => Err(fail(format!("no model {target:?}"))),
    });
    let learned = |bytes: &Option<wire::Binary>| {
        let Some(bytes) = bytes else { return Ok(None) };
        let router = Router::read(&bytes.0).map_err(|error| fail(format!("router: {error}")))?;
        let places: Vec<_> =
            router.models.iter().map(|candidate| wire.models.iter().position(|target| target == candidate)).collect();
        if places.iter().all(Option::is_none) {
            return Err(fail(format!("router {} knows none of its models", router.version)));
        }
        Ok(Some(Learned { router, places }))
    };
    if wire.models.len() < 2 || wire.thresholds.len() + 1 != wire.models.len() {
        return Err(fail("needs two models or more, and a threshold between each two".to_string()));
    }
    Ok(Auto {
        models: models.collect::<Result<_, _>>()?,
        thresholds: wire.thresholds.clone(),
        incumbent: learned(&wire.incumbent)?,
        candidate: learned(&wire.candidate)?,
        percent: wire.percent,
        record: wire.record,
    })
}
