//! What a provider's row says of requests and of refusals.

use serde::Deserialize;

/// A refusal by its status (0: any), or by words in lower case in its body (empty: any), and its class.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub status: u16,
    pub words: String,
    pub of: String,
}

/// What happens to one parameter of a request. Numbers and values are JSON text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub parameter: String,
    pub to: Option<String>,
    pub reject: Option<String>,
    pub drop: bool,
    /// Its value, whatever the caller says.
    pub set: Option<String>,
    pub min: Option<String>,
    pub max: Option<String>,
    pub default: Option<String>,
    pub require: bool,
}
