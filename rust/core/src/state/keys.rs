//! Virtual keys: a sharded table outside the snapshot, read without a lock, changed by copying one shard.
//!
//! A key's counters live in [`KeyState`], found by the key's id, and survive every change of its settings.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use parking_lot::RwLock;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::aws_pairs::{Pairs, digest_of};
use super::uses::{KeyState, Uses};
use crate::bytes32;
use crate::cache::terms::{KeyCache, Own};
use crate::endpoint::Operation;
use crate::ledger::DictKind;
pub use crate::state::pattern::Pattern;
use crate::state::rules::{LimitRule, Rule};
use crate::state::subjects::{Kind, Subject, Subjects};

/// HMAC-SHA-256(pepper, SHA-256(key)): what is stored of a key.
pub type KeyDigest = [u8; 32];

const SHARDS: usize = 256;

/// A key as Python sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRow {
    #[serde(deserialize_with = "crate::bytes32::deserialize")]
    pub digest: KeyDigest,
    pub id: String,
    pub org_id: Option<String>,
    pub alias: Option<String>,
    pub role: String,
    pub state: String,
    pub expires_us: Option<i64>,
    pub models: Option<Vec<String>>,
    pub endpoints: Option<Vec<String>>,
    pub ip_allow: Option<Vec<String>>,
    pub limits: Vec<LimitRule>,
    /// Whose it is, in the order messages should name them; each is limited and billed with it.
    pub subjects: Vec<(Kind, String)>,
    pub tags: Vec<String>,
    /// Requests may name tags of their own.
    pub may_tag: bool,
    /// Names of guardrails that hold for it, whatever model it asks for.
    pub guardrails: Vec<String>,
    /// What it and all it belongs to say of the cache.
    pub cache: Option<KeyCache>,
    /// The digest, in hex digits, of the key that it stands for in sessions and for nothing else.
    pub stands_for: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    Key,
}

/// Team, user, project and tags of a key in the ledger's numbers, 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners {
    pub team: u32,
    pub user: u32,
    pub project: u32,
    pub tags: u32,
}

impl KeyRow {
    /// The names that the ledger's rows of this key will hold.
    pub fn names(&self) -> Vec<(DictKind, String)> {
        let owner = |kind| self.subjects.iter().find(|(of, _)| *of == kind).map(|(_, id)| id.clone());
        let mut names = vec![(DictKind::Key, self.id.clone())];
        let org = owner(Kind::Organization).or_else(|| self.org_id.clone()).unwrap_or_default();
        names.push((DictKind::Org, org));
        names.extend(owner(Kind::Team).map(|id| (DictKind::Team, id)));
        names.extend(owner(Kind::User).map(|id| (DictKind::User, id)));
        names.extend(owner(Kind::Project).map(|id| (DictKind::Project, id)));
        names.extend(tag_set(&self.tags).map(|set| (DictKind::Tags, set)));
        names
    }
}

/// A set of tags as the ledger's dictionary names it; none for the empty one.
pub fn tag_set(tags: &[String]) -> Option<String> {
    let mut tags: Vec<&String> = tags.iter().collect();
    tags.sort_unstable();
    tags.dedup();
    if tags.is_empty() { None } else { serde_json::to_string(&tags).ok() }
}

/// The settings of one key, checked and compiled, beside its counters.
pub struct Key {
    pub id: Arc<str>,
    pub alias: Option<Box<str>>,
    pub role: Role,
    pub blocked: bool,
    pub expires_us: Option<i64>,
    pub models: Option<Vec<Pattern>>,
    pub endpoints: Option<u64>,
    pub ip_allow: Option<Vec<IpNet>>,
    /// Its own subject, then those it belongs to.
    pub subjects: Box<[Arc<Subject>]>,
    pub tags: Box<[String]>,
    pub may_tag: bool,
    /// Guardrails that hold for it, whatever model it asks for.
    pub guardrails: Box<[Box<str>]>,
    /// What it and all it belongs to say of the cache.
    pub cache: Option<Box<Own>>,
    /// The key that it stands for in sessions; elsewhere it is nobody.
    pub stands_for: Option<KeyDigest>,
    pub ledger_id: u32,
    pub org_ledger_id: u32,
    /// Whose it is, in the ledger's numbers.
    pub owners: Owners,
    pub state: Arc<KeyState>,
}

impl Key {
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(model)))
    }

    pub fn may_call(&self, operation: Operation) -> bool {
        self.endpoints.is_none_or(|mask| mask & 1 << operation as u64 != 0)
    }

    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.ip_allow.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&address)))
    }
}

/// The digest is uniformly distributed already: eight of its bytes are the hash.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

type Shard = HashMap<KeyDigest, Arc<Key>, BuildHasherDefault<DigestHasher>>;

/// The table, and the pepper that turns a presented key into its digest.
pub struct Keys {
    shards: Box<[ArcSwap<Shard>]>,
    cells: RwLock<HashMap<Arc<str>, Arc<KeyState>>>,
    pub subjects: Arc<Subjects>,
    pub uses: Uses,
    pepper: Hmac<Sha256>,
    pairs: Pairs,
}

/// A row that was checked: the key, and the limits that come into force with it.
pub struct Compiled {
    digest: KeyDigest,
    pub key: Key,
    pub rules: Vec<Arc<Rule>>,
}

impl Keys {
    pub fn new(pepper: &[u8; 32]) -> Self {
        Keys {
            subjects: Arc::default(),
            uses: Uses::default(),
            shards: (0..SHARDS).map(|_| ArcSwap::from_pointee(Shard::default())).collect(),
            cells: RwLock::default(),
            pepper: keyed(pepper),
            pairs: Pairs::new(pepper),
        }
    }

    /// The digest of a presented key.
    pub fn digest(&self, key: &[u8]) -> KeyDigest {
        finish(self.pepper.clone(), &Sha256::digest(key))
    }

    /// The key with this digest, if there is one.
    pub fn find(&self, digest: &KeyDigest) -> Option<Arc<Key>> {
        self.shard(digest).load().get(digest).cloned()
    }

    /// The key behind an access key id, and the secret that it signs with.
    pub fn find_pair(&self, access_key_id: &str) -> Option<(Arc<Key>, String)> {
        let digest = digest_of(access_key_id)?;
        Some((self.find(&digest)?, self.pairs.secret(&digest)?))
    }

    fn shard(&self, digest: &KeyDigest) -> &ArcSwap<Shard> {
        // Not the byte that begins the hash inside the shard.
        &self.shards[usize::from(digest[31]) % SHARDS]
    }

    /// The counters of a key, made when first asked for.
    pub fn cell(&self, id: &str) -> Arc<KeyState> {
        if let Some(cell) = self.cells.read().get(id) {
            return cell.clone();
        }
        let made = || Arc::new(KeyState::new(self.subjects.cell(Kind::Key, id)));
        self.cells.write().entry(id.into()).or_insert_with(made).clone()
    }

    /// Puts rows in place of those with the same digest. `compile` turned each row into a [`Key`] beforehand.
    pub fn upsert(&self, keys: Vec<Compiled>) {
        let mut by_shard: HashMap<usize, Vec<(KeyDigest, Arc<Key>)>> = HashMap::new();
        for Compiled { digest, key, .. } in keys {
            by_shard.entry(usize::from(digest[31]) % SHARDS).or_default().push((digest, Arc::new(key)));
        }
        for (shard, rows) in by_shard {
            self.shards[shard].rcu(|current| {
                let mut next = Shard::clone(current);
                next.extend(rows.iter().cloned());
                next
            });
        }
    }

    pub fn remove(&self, digests: &[KeyDigest]) -> usize {
        let mut removed = 0;
        for digest in digests {
            if self.find(digest).is_some() {
                removed += 1;
                self.shard(digest).rcu(|current| {
                    let mut next = Shard::clone(current);
                    next.remove(digest);
                    next
                });
            }
        }
        removed
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks a row and compiles it. `intern` gives dictionary ids of the ledger.
    ///
    /// # Errors
    /// Says which key and which field.
    pub fn compile(
        &self,
        row: KeyRow,
        intern: impl Fn(DictKind, &str) -> Result<u32, String>,
    ) -> Result<Compiled, String> {
        let fail = |what: String| format!("key {}: {what}", row.id);
        let role = match row.role.as_str() {
            "admin" => Role::Admin,
            "key" => Role::Key,
            other => return Err(fail(format!("role {other:?} is not admin or key"))),
        };
        let blocked = match row.state.as_str() {
            "active" => false,
            "blocked" => true,
            other => return Err(fail(format!("state {other:?} is not active or blocked"))),
        };
        let mut endpoints = None;
        if let Some(names) = &row.endpoints {
            let mut mask = 0u64;
            for name in names {
                let operation =
                    Operation::parse(name).ok_or_else(|| fail(format!("endpoint {name:?} is not known")))?;
                mask |= 1 << operation as u64;
            }
            endpoints = Some(mask);
        }
        let ip_allow = row.ip_allow.as_ref().map(|nets| networks(nets)).transpose().map_err(fail)?;
        let stands_for = row.stands_for.as_deref().map(|text| {
            bytes32::of_hex(text).ok_or_else(|| fail("stands_for is not a digest of 64 hex digits".to_string()))
        });
        let stands_for = stands_for.transpose()?;
        let cache = row.cache.clone().map(Own::compile).transpose().map_err(fail)?.map(Box::new);
        let names = row.names();
        let rules = row.limits.into_iter().map(|rule| Rule::compile(rule).map(Arc::new)).collect::<Result<_, _>>();
        let rules = rules.map_err(|what| format!("key {}: {what}", row.id))?;
        let state = self.cell(&row.id);
        let mut subjects = vec![state.subject.clone()];
        for (kind, id) in &row.subjects {
            let subject = self.subjects.cell(*kind, id);
            // Named twice, it pays once.
            if !subjects.iter().any(|known| Arc::ptr_eq(known, &subject)) {
                subjects.push(subject);
            }
        }
        let (mut ledger_id, mut org_ledger_id, mut owners) = (0, 0, Owners::default());
        for (kind, name) in names {
            let id = intern(kind, &name)?;
            match kind {
                DictKind::Key => ledger_id = id,
                DictKind::Org => org_ledger_id = id,
                DictKind::Team => owners.team = id,
                DictKind::User => owners.user = id,
                DictKind::Project => owners.project = id,
                _ => owners.tags = id,
            }
        }
        let key = Key {
            ledger_id,
            org_ledger_id,
            owners,
            id: row.id.into(),
            alias: row.alias.map(Into::into),
            role,
            blocked,
            expires_us: row.expires_us,
            models: row.models.map(|names| names.iter().map(|name| Pattern::new(name)).collect()),
            endpoints,
            ip_allow,
            subjects: subjects.into(),
            tags: row.tags.into(),
            may_tag: row.may_tag,
            guardrails: row.guardrails.into_iter().map(Into::into).collect(),
            cache,
            stands_for,
            state,
        };
        Ok(Compiled { digest: row.digest, key, rules })
    }
}

/// Parses networks; a bare address stands for itself.
///
/// # Errors
/// Names the entry that is neither an address nor a network.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    texts
        .iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| format!("{text:?} is not an IP address or network"))
        })
        .collect()
}

fn keyed(pepper: &[u8; 32]) -> Hmac<Sha256> {
    // A key shorter than the hash's block is padded with zeros (RFC 2104), which spares a fallible constructor.
    let mut block = [0u8; 64];
    block[..32].copy_from_slice(pepper);
    Hmac::<Sha256>::new(&block.into())
}

fn finish(mut mac: Hmac<Sha256>, message: &[u8]) -> KeyDigest {
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The digest of a key: HMAC-SHA-256(pepper, SHA-256(key)).
pub fn key_digest(pepper: &[u8; 32], key: &[u8]) -> KeyDigest {
    token_digest(pepper, &Sha256::digest(key).into())
}

/// The digest of a key of which only the SHA-256 is known, as LiteLLM stores it.
pub fn token_digest(pepper: &[u8; 32], token: &[u8; 32]) -> KeyDigest {
    finish(keyed(pepper), token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, key: &str) -> KeyRow {
        KeyRow {
            digest: key_digest(&[7; 32], key.as_bytes()),
            id: id.to_string(),
            org_id: None,
            alias: None,
            role: "key".to_string(),
            state: "active".to_string(),
            expires_us: None,
            models: None,
            endpoints: None,
            ip_allow: None,
            limits: Vec::new(),
            subjects: Vec::new(),
            tags: Vec::new(),
            may_tag: false,
            guardrails: Vec::new(),
            cache: None,
            stands_for: None,
        }
    }

    fn insert(keys: &Keys, row: KeyRow) {
        let compiled = keys.compile(row, |_, _| Ok(1)).expect("valid row");
        keys.upsert(vec![compiled]);
    }

    #[test]
    fn keys_are_found_by_what_is_presented() {
        let keys = Keys::new(&[7; 32]);
        insert(&keys, row("k1", "sk-one"));
        insert(&keys, row("k2", "sk-two"));
        let found = keys.find(&keys.digest(b"sk-two")).expect("known key");
        assert_eq!(&*found.id, "k2");
        assert!(keys.find(&keys.digest(b"sk-three")).is_none());
        assert_eq!(keys.remove(&[keys.digest(b"sk-two")]), 1);
        assert!(keys.find(&keys.digest(b"sk-two")).is_none());
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn a_stored_token_gives_the_same_digest() {
        let pepper = [9; 32];
        assert_eq!(key_digest(&pepper, b"sk-x"), token_digest(&pepper, &Sha256::digest(b"sk-x").into()));
    }

    #[test]
    fn counters_survive_a_change() {
        let keys = Keys::new(&[7; 32]);
        insert(&keys, row("k1", "sk-one"));
        keys.cell("k1").subject.settle(42, std::iter::empty(), &Default::default());
        insert(&keys, KeyRow { state: "blocked".to_string(), ..row("k1", "sk-one") });
        let key = keys.find(&keys.digest(b"sk-one")).expect("known key");
        assert!(key.blocked);
        assert_eq!(key.state.subject.spend(), 42);
    }

    #[test]
    fn bad_rows_say_why() {
        let keys = Keys::new(&[7; 32]);
        let bad = KeyRow { ip_allow: Some(vec!["10.0.0.0/99".to_string()]), ..row("k9", "sk-nine") };
        let error = keys.compile(bad, |_, _| Ok(1)).err().expect("refused");
        assert!(error.contains("k9") && error.contains("10.0.0.0/99"), "{error}");
    }
}
