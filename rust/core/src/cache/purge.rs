//! Which entries go.

use serde::Deserialize;

use super::entry::About;
use super::key::CacheKey;

/// Everything that is named must fit; nothing named: all entries.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Keys of entries, 64 hex digits.
    pub keys: Vec<String>,
    pub tag: Option<String>,
    /// `key:ID`, `user:ID`, `team:ID`, `organization:ID` or `shared:NAMESPACE`.
    pub tenant: Option<String>,
    /// The virtual key that an answer was made for.
    pub key_id: Option<String>,
    pub model: Option<String>,
    pub namespace: Option<String>,
}

impl Purge {
    pub fn fits(&self, key: &CacheKey, about: &About) -> bool {
        (self.keys.is_empty() || self.keys.contains(&hex(key)))
            && self.tag.as_ref().is_none_or(|tag| about.tags.contains(tag))
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == about.tenant_text())
            && self.key_id.as_ref().is_none_or(|id| **id == *about.key_id)
            && self.model.as_ref().is_none_or(|model| **model == *about.model)
            && self.namespace.as_ref().is_none_or(|namespace| **namespace == *about.namespace)
    }
}

/// As callers see a key.
pub fn hex(key: &CacheKey) -> String {
    use std::fmt::Write;
    key.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
