//! Who and what is limited: organizations, teams, keys, models, … Subjects live outside the snapshot, found by kind and
//! id, and survive every change of their settings.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::parts;
use super::rules::SubjectRow;
pub use super::subject::Subject;

macro_rules! kinds {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// What a subject is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Kind { $($variant),+ }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),+];
            pub const COUNT: usize = Kind::ALL.len();

            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name),+ }
            }

            pub fn parse(name: &str) -> Option<Kind> {
                match name { $($name => Some(Kind::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    Global = "global",
    Organization = "organization",
    Team = "team",
    Project = "project",
    User = "user",
    Member = "member",
    Key = "key",
    Customer = "customer",
    Tag = "tag",
    Model = "model",
    Provider = "provider",
    Deployment = "deployment",
    Endpoint = "endpoint",
    Session = "session",
    // Of another subject: what one address, session, … of its requests uses.
    Part = "part",
}

impl Kind {
    /// Found by what a request asks for instead of by whose it is.
    fn is_scope(self) -> bool {
        matches!(self, Kind::Global | Kind::Model | Kind::Provider | Kind::Deployment | Kind::Endpoint)
    }
}

const SHARDS: usize = 64;

type Shard = RwLock<[HashMap<Arc<str>, Arc<Subject>>; Kind::COUNT]>;

/// Subjects that a request may draw on without naming them.
#[derive(Default)]
struct Scopes {
    by_kind: [HashMap<Arc<str>, Arc<Subject>>; Kind::COUNT],
}

/// All subjects.
pub struct Subjects {
    shards: Box<[Shard]>,
    hasher: RandomState,
    next: AtomicU64,
    scopes: ArcSwap<Scopes>,
    /// Some scope has a row.
    scoped: AtomicBool,
    /// Rows by kind.
    known: [AtomicU64; Kind::COUNT],
    pub(super) count: parts::Count,
}

impl Default for Subjects {
    fn default() -> Self {
        Subjects {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
            scopes: ArcSwap::default(),
            scoped: AtomicBool::new(false),
            known: Default::default(),
            count: parts::Count::default(),
        }
    }
}

impl Subjects {
    fn shard(&self, id: &str) -> &Shard {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    /// The subject of this name, made when first asked for.
    pub fn cell(&self, kind: Kind, id: &str) -> Arc<Subject> {
        let shard = self.shard(id);
        if let Some(found) = shard.read()[kind as usize].get(id) {
            return found.clone();
        }
        let mut shard = shard.write();
        let map = &mut shard[kind as usize];
        if let Some(found) = map.get(id) {
            return found.clone();
        }
        let order = self.next.fetch_add(1, Ordering::Relaxed);
        let made = Arc::new(Subject::new(order, kind, id));
        map.insert(made.id.clone(), made.clone());
        made
    }

    /// The subject of this name, if a row stands behind it.
    pub fn find(&self, kind: Kind, id: &str) -> Option<Arc<Subject>> {
        self.shard(id).read()[kind as usize].get(id).filter(|subject| subject.is_known()).cloned()
    }

    /// What a row says of a subject besides its limits.
    pub fn put(&self, row: &SubjectRow) -> Arc<Subject> {
        let subject = self.cell(row.kind, &row.id);
        subject.cell.lock().alias = row.alias.as_deref().map(Arc::from);
        subject.blocked.store(row.blocked, Ordering::Relaxed);
        if !subject.known.swap(true, Ordering::AcqRel) {
            self.known[row.kind as usize].fetch_add(1, Ordering::AcqRel);
        }
        if row.kind.is_scope() {
            self.rescope(|scopes| {
                scopes.by_kind[row.kind as usize].insert(subject.id.clone(), subject.clone());
            });
        }
        subject
    }

    /// Takes a row away. What was used stays counted, should it come back.
    pub fn remove(&self, kind: Kind, id: &str) -> bool {
        let Some(subject) = self.find(kind, id) else { return false };
        if subject.known.swap(false, Ordering::AcqRel) {
            self.known[kind as usize].fetch_sub(1, Ordering::AcqRel);
        }
        subject.blocked.store(false, Ordering::Relaxed);
        subject.cell.lock().meters.clear();
        subject.metrics.store(0, Ordering::Release);
        if kind.is_scope() {
            self.rescope(|scopes| {
                scopes.by_kind[kind as usize].remove(id);
            });
        }
        true
    }

    /// Forgets the subjects of a kind that need not stay; how many are left.
    pub(super) fn retain(&self, kind: Kind, stays: impl Fn(&Arc<Subject>) -> bool) -> u64 {
        let mut left = 0;
        for shard in &self.shards {
            let map = &mut shard.write()[kind as usize];
            map.retain(|_, subject| stays(subject));
            left += map.len() as u64;
        }
        left
    }

    fn rescope(&self, change: impl Fn(&mut Scopes)) {
        self.scopes.rcu(|current| {
            let mut next = Scopes { by_kind: current.by_kind.clone() };
            change(&mut next);
            next
        });
        let scoped = self.scopes.load().by_kind.iter().any(|map| !map.is_empty());
        self.scoped.store(scoped, Ordering::Release);
    }

    /// Whether there are rows of this kind.
    #[inline]
    pub fn has(&self, kind: Kind) -> bool {
        self.known[kind as usize].load(Ordering::Acquire) > 0
    }

    /// Whether any limit hangs on what is asked for instead of on who asks.
    #[inline]
    pub fn has_scopes(&self) -> bool {
        self.scoped.load(Ordering::Acquire)
    }

    /// The scopes of these names that have limits.
    pub fn scopes(&self, names: &[(Kind, &str)], found: &mut SmallVec<[Arc<Subject>; 4]>) {
        let scopes = self.scopes.load();
        found.extend(names.iter().filter_map(|(kind, id)| scopes.by_kind[*kind as usize].get(*id).cloned()));
    }
}
