//! The tokens of one request.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::find::Finder;
use super::tenant::{Vault, lasts};
use crate::clock::wall_us;

/// Longest label in a token.
const LABEL: usize = 32;
/// Names of others in one request that the store is asked for.
const UNKNOWN: usize = 1_000;

/// Which values stand behind which tokens.
#[derive(Clone, Default)]
pub struct Tokens {
    pub(super) values: HashMap<Box<str>, Arc<str>>,
    /// By label and value.
    names: HashMap<(Box<str>, Arc<str>), Box<str>>,
    counts: HashMap<Box<str>, u32>,
    /// What is being looked at, until the first value is found in it.
    body: Bytes,
    /// Names that the caller's own texts use: they stay what they are.
    taken: HashSet<Box<str>>,
    pub(super) lasting: Option<Lasting>,
}

/// Where a request's tokens come from, and go to, that outlive it.
#[derive(Clone)]
pub struct Lasting {
    pub vault: Arc<Vault>,
    pub tenant: Arc<str>,
    /// Without the store nothing is sent.
    pub fails_closed: bool,
    /// What the store has to be told.
    pub fresh: Vec<Fresh>,
    /// Names that it may know.
    pub unknown: Vec<Box<str>>,
}

/// A value that is to be kept.
#[derive(Clone, Serialize)]
pub struct Fresh {
    pub name: Box<str>,
    pub value: Box<str>,
    pub ttl_s: u32,
}

impl Tokens {
    /// A request is about to be looked at.
    pub fn looks_at(&mut self, body: &Bytes) {
        self.body = body.clone();
        if self.lasting.is_some() {
            self.read();
        }
    }

    /// Some of its tokens outlive it.
    pub fn lasts(&mut self, vault: &Arc<Vault>, tenant: Arc<str>, fails_closed: bool) {
        let (fresh, unknown) = (Vec::new(), Vec::new());
        let new = || Lasting { vault: vault.clone(), tenant, fails_closed: false, fresh, unknown };
        self.lasting.get_or_insert_with(new).fails_closed |= fails_closed;
    }

    /// There is nothing that could come back.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.lasting.is_none()
    }

    /// The store has to be asked before it goes on.
    pub fn waits(&self) -> bool {
        self.lasting.as_ref().is_some_and(|lasting| !lasting.fresh.is_empty() || !lasting.unknown.is_empty())
    }

    /// Reads which names stand in a text already.
    fn read(&mut self) {
        let body = std::mem::take(&mut self.body);
        Finder::default().push(&String::from_utf8_lossy(&body), |_, name| self.meets(name));
    }

    /// A name in a text that was not made here.
    pub(super) fn meets(&mut self, name: &str) {
        if self.value(name).is_some() || !self.taken.insert(name.into()) {
            return;
        }
        if let Some(lasting) = self.lasting.as_mut().filter(|lasting| lasts(name) && lasting.unknown.len() < UNKNOWN) {
            lasting.unknown.push(name.into());
        }
    }

    /// The token of a value, with its brackets. The same value has the same one throughout the request.
    /// `ttl_s`: how long its tenant keeps it, 0 for the request alone.
    pub fn token(&mut self, label: &str, value: &str, ttl_s: u32) -> String {
        if !self.body.is_empty() {
            self.read();
        }
        let label = tidy(label);
        let value: Arc<str> = value.into();
        if let Some(name) = self.lasting_name(&label, &value, ttl_s) {
            return format!("<{name}>");
        }
        let name = match self.names.entry((label.clone(), value.clone())) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let count = self.counts.entry(label.clone()).or_default();
                let name = loop {
                    *count += 1;
                    let name: Box<str> = format!("{label}_{count}").into();
                    if !self.taken.contains(&name) {
                        break name;
                    }
                };
                self.values.insert(name.clone(), value);
                place.insert(name).clone()
            }
        };
        format!("<{name}>")
    }

    fn lasting_name(&mut self, label: &str, value: &Arc<str>, ttl_s: u32) -> Option<Box<str>> {
        let lasting = self.lasting.as_mut().filter(|_| ttl_s > 0)?;
        let name = lasting.vault.name(&lasting.tenant, label, value);
        match self.values.entry(name.clone()) {
            // Two values that meet in one name are kept apart as other requests' are.
            Entry::Occupied(known) => known.get() == value,
            Entry::Vacant(place) => {
                let known = lasting.vault.value(&lasting.tenant, &name, wall_us());
                if known.as_ref().is_some_and(|known| known != value) {
                    return None;
                }
                if known.is_none() {
                    lasting.fresh.push(Fresh { name: name.clone(), value: (**value).into(), ttl_s });
                }
                place.insert(value.clone());
                true
            }
        }
        .then_some(name)
    }

    /// What a token of this name stands for.
    pub fn value(&self, name: &str) -> Option<Arc<str>> {
        let lasting = || self.lasting.as_ref().filter(|_| lasts(name));
        let known = || lasting().and_then(|lasting| lasting.vault.value(&lasting.tenant, name, wall_us()));
        self.values.get(name).cloned().or_else(known)
    }
}

/// A label as it stands in tokens: capital letters, digits and `_`.
fn tidy(label: &str) -> Box<str> {
    let tidied: String = label
        .chars()
        .take(LABEL)
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' })
        .collect();
    let tidied = tidied.trim_matches('_');
    if tidied.starts_with(|first: char| first.is_ascii_uppercase()) { tidied.into() } else { "VALUE".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_token_and_the_callers_own_texts_stay() {
        let mut tokens = Tokens::default();
        tokens.looks_at(&Bytes::from_static(br#"{"a":"\u003cEMAIL_1\u003e and <EMAIL_3>"}"#));
        assert_eq!(tokens.token("EMAIL", "a@b.c", 0), "<EMAIL_2>");
        assert_eq!(tokens.token("EMAIL", "d@e.f", 0), "<EMAIL_4>");
        assert_eq!(tokens.token("EMAIL", "a@b.c", 0), "<EMAIL_2>");
        assert_eq!(tokens.token("US SSN", "a@b.c", 0), "<US_SSN_1>");
        assert_eq!(tokens.token("- 1", "x", 0), "<VALUE_1>");
        assert_eq!(tokens.value("EMAIL_2").as_deref(), Some("a@b.c"));
        assert_eq!(tokens.value("EMAIL_1"), None);
    }
}
