//! What stands behind names: models behind a `*`, providers' own paths.

use serde::Deserialize;

use super::{Deployment, Model, ModelInfo};
use crate::kernel::price::Listed;

/// Models behind a name with one `*`, made when they are first asked for. What the `*` stands for takes its place in the
/// deployments' names of the model, and, escaped, that of `%2A` in their paths.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wildcard {
    /// Its deployments are numbered in the list below.
    pub model: Model,
    pub deployments: Vec<Deployment>,
    /// Those that serve names which are not known beforehand.
    pub open: Vec<u32>,
    pub known: Vec<Known>,
}

/// A provider whose own paths may be asked for beneath its names. `head`: its models' names but for the provider's part;
/// `prefix`: the path of its base URL, without the slash before it and with one behind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassThrough {
    pub names: Vec<String>,
    pub head: String,
    pub prefix: String,
    pub dialect: String,
}

/// A model that is known to be behind a wildcard. `part`: what the `*` stands for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub part: String,
    /// Clients are told of it.
    pub listed: bool,
    pub mode: String,
    pub info: Option<ModelInfo>,
    pub places: Vec<KnownAt>,
}

/// What one deployment of a wildcard takes for a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAt {
    pub deployment: u32,
    pub price: Option<Listed>,
    pub price_version: String,
    pub max_output: u32,
}
