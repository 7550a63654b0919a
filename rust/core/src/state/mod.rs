//! What outlives a snapshot, in cells found again by stable id: keys with their windows and spend, pools, retry budgets,
//! credentials, the cache, counters.

pub mod aws_pairs;
pub mod credentials;
pub mod deployments;
pub mod draw;
pub mod elsewhere;
pub mod given;
pub mod keys;
pub mod leases;
pub mod limits;
pub mod line;
pub mod models;
pub mod parts;
pub mod pattern;
pub mod pools;
pub mod prefixes;
pub mod queue;
pub mod repeats;
pub mod rules;
pub mod scope;
mod seed;
pub mod sessions;
mod share;
pub mod subject;
pub mod subjects;
pub mod uses;
mod wording;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use credentials::{CredentialSlot, KeyPool};
pub use deployments::DeploymentState;
pub use models::ModelState;

use crate::guard::record::Record;
use crate::ledger::{DictKind, Ledger};
use keys::Keys;
use subjects::Subjects;

/// Everything that survives a publish.
pub struct State {
    pub threads: usize,
    pub subjects: Arc<Subjects>,
    pub keys: Keys,
    pub cache: crate::cache::Cache,
    pub guards: Record,
    /// Values that tenants keep behind tokens.
    pub vault: Arc<crate::guard::vault::Vault>,
    pub repeats: Arc<repeats::Repeats>,
    /// Beginnings of prompts that providers may have kept.
    pub prefixes: prefixes::Prefixes,
    /// What policies did.
    pub policies: Record,
    /// What they remember.
    pub past: crate::policy::record::Past,
    pub sessions: sessions::Sessions,
    /// Who waits for people.
    pub approvals: crate::approval::Waiting,
    pub ledger: Arc<Ledger>,
    /// Where limits are shared with other nodes.
    pub leases: Option<Arc<leases::Leases>>,
    pub pools: pools::Pools,
    deployments: Mutex<HashMap<String, Arc<DeploymentState>>>,
    models: Mutex<HashMap<String, Arc<ModelState>>>,
    credentials: Mutex<HashMap<String, Arc<CredentialSlot>>>,
}

impl State {
    pub fn new(
        threads: usize,
        keys: Keys,
        ledger: Arc<Ledger>,
        leases: Option<Arc<leases::Leases>>,
        pepper: &[u8; 32],
    ) -> Self {
        State {
            threads,
            subjects: keys.subjects.clone(),
            vault: Arc::new(crate::guard::vault::Vault::new(pepper)),
            keys,
            cache: crate::cache::Cache::default(),
            guards: Record::kept(ledger.verdicts(), false),
            repeats: Arc::default(),
            prefixes: prefixes::Prefixes::default(),
            policies: Record::kept(ledger.verdicts(), true),
            past: crate::policy::record::Past::default(),
            sessions: sessions::Sessions::default(),
            approvals: crate::approval::Waiting::default(),
            ledger,
            leases,
            pools: pools::Pools::default(),
            deployments: Mutex::default(),
            models: Mutex::default(),
            credentials: Mutex::default(),
        }
    }

    /// The dictionary id of a text in the ledger, durable before it is returned.
    ///
    /// # Errors
    /// The ledger's database refused the write.
    pub fn intern(&self, kind: DictKind, text: &str) -> Result<u32, String> {
        self.ledger.intern(kind, text).map_err(|error| format!("ledger dictionary: {error}"))
    }

    /// The cell of a deployment. Provider and model are part of its identity, so the labels never change.
    pub fn deployment(&self, id: &str, provider: &str, model: &str) -> Arc<DeploymentState> {
        let mut cells = self.deployments.lock();
        cells
            .entry(id.to_string())
            .or_insert_with(|| Arc::new(DeploymentState::new(self.threads, id, provider, model)))
            .clone()
    }

    pub fn model(&self, name: &str) -> Arc<ModelState> {
        self.models.lock().entry(name.to_string()).or_insert_with(|| Arc::new(ModelState::new())).clone()
    }

    pub fn credential(&self, id: &str) -> Arc<CredentialSlot> {
        self.credentials.lock().entry(id.to_string()).or_default().clone()
    }

    /// Every model that was ever published, by name.
    pub fn models(&self) -> Vec<(String, Arc<ModelState>)> {
        let mut models: Vec<_> = self.models.lock().iter().map(|(name, cell)| (name.clone(), cell.clone())).collect();
        models.sort_by(|a, b| a.0.cmp(&b.0));
        models
    }

    /// Every deployment that was ever published, for metrics.
    pub fn deployments(&self) -> Vec<Arc<DeploymentState>> {
        self.deployments.lock().values().cloned().collect()
    }
}
