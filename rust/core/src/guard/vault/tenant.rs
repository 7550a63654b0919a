//! Tokens that outlive their request: the same value has the same token for a tenant, on every node, as long as it is kept.
//!
//! A name is computed from tenant, label and value under the installation's key, so that nobody has to be asked for it; what
//! it stands for is in the store, sealed, and for a while in the memory of nodes that had to do with it.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::state::keys::Key;
use crate::state::subjects::Kind;

/// Characters behind the label: 60 bits, so that a tenant's values do not meet.
const DIGITS: usize = 12;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Values in memory; when there are more, all are forgotten and asked for again.
const MOST: usize = 200_000;

/// The values that this node knows.
pub struct Vault {
    mac: Hmac<Sha256>,
    known: Mutex<HashMap<Name, Known>>,
}

/// A tenant, and a token's name.
type Name = (Arc<str>, Box<str>);

struct Known {
    value: Arc<str>,
    until_us: i64,
}

impl Vault {
    pub fn new(pepper: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        let key = Sha256::new().chain_update(b"ailink/v1/vault").chain_update(pepper).finalize();
        block[..32].copy_from_slice(&key);
        Vault { mac: Hmac::new(&block.into()), known: Mutex::default() }
    }

    /// The name of a value for a tenant.
    pub fn name(&self, tenant: &str, label: &str, value: &str) -> Box<str> {
        let mut mac = self.mac.clone();
        for part in [tenant, label, value] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        let digits = digest.iter().take(DIGITS).map(|byte| char::from(BASE32[usize::from(byte & 31)]));
        format!("{label}_{}", digits.collect::<String>()).into()
    }

    /// What a name stands for.
    pub fn value(&self, tenant: &Arc<str>, name: &str, now_us: i64) -> Option<Arc<str>> {
        let known = self.known.lock();
        let found = known.get(&(tenant.clone(), name.into()))?;
        (found.until_us > now_us).then(|| found.value.clone())
    }

    /// Knows a value for a while.
    pub fn put(&self, tenant: &Arc<str>, name: &str, value: Arc<str>, until_us: i64) {
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((tenant.clone(), name.into()), Known { value, until_us });
    }

    /// Forgets everything: the store has to be asked again.
    pub fn forget(&self) {
        self.known.lock().clear();
    }
}

/// Whether a name may be one that outlives its request.
pub fn lasts(name: &str) -> bool {
    name.rsplit_once('_')
        .is_some_and(|(_, digits)| digits.len() == DIGITS && digits.bytes().all(|byte| BASE32.contains(&byte)))
}

/// Whose values they are.
pub fn tenant(key: Option<&Key>) -> Arc<str> {
    let Some(key) = key else { return "gateway".into() };
    let of = |kind: Kind| key.subjects.iter().find(|subject| subject.kind == kind);
    match of(Kind::Organization).or_else(|| of(Kind::Team)).or_else(|| of(Kind::User)) {
        Some(subject) => format!("{}:{}", subject.kind.name(), subject.id).into(),
        None => format!("key:{}", key.id).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_their_tenant_and_their_installation() {
        let vault = Vault::new(&[7; 32]);
        let name = vault.name("team:a", "EMAIL", "jane@example.org");
        assert!(lasts(&name), "{name}");
        assert_eq!(name, vault.name("team:a", "EMAIL", "jane@example.org"));
        assert_eq!(name, Vault::new(&[7; 32]).name("team:a", "EMAIL", "jane@example.org"));
        assert_ne!(name, vault.name("team:b", "EMAIL", "jane@example.org"));
        assert_ne!(name, vault.name("team:a", "EMAIL", "Jane@example.org"));
        assert_ne!(name, Vault::new(&[8; 32]).name("team:a", "EMAIL", "jane@example.org"));
        assert_ne!(vault.name("a", "bc", "d"), vault.name("ab", "c", "d"));
        assert!(!lasts("EMAIL_1") && !lasts("EMAIL_ABCDEFGHIJKL"));
    }

    #[test]
    fn a_value_is_known_to_its_tenant_until_its_time() {
        let vault = Vault::new(&[7; 32]);
        let (one, other): (Arc<str>, Arc<str>) = ("team:a".into(), "team:b".into());
        vault.put(&one, "EMAIL_x", "jane".into(), 10);
        assert_eq!(vault.value(&one, "EMAIL_x", 9).as_deref(), Some("jane"));
        assert_eq!(vault.value(&one, "EMAIL_x", 10), None);
        assert_eq!(vault.value(&other, "EMAIL_x", 9), None);
        vault.forget();
        assert_eq!(vault.value(&one, "EMAIL_x", 9), None);
    }
}
