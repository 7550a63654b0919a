//! What a request has taken from limits, until it is known what it used. Whatever happens, the guard settles when it is
//! dropped: a request that used nothing gives everything back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::state::keys::Key;
use crate::state::rules::{Amounts, Metric};
use crate::state::subjects::{Ask, Grants, Refused, Subject, Told, draw};

/// Subjects that a request draws on besides those of its key: customer, tags, model, deployment, …
pub type Extra = SmallVec<[Arc<Subject>; 4]>;

/// Taken from limits and not settled yet.
#[derive(Default)]
pub struct Hold {
    key: Option<Arc<Key>>,
    extra: Extra,
    grants: Grants,
    /// What a drop without a word settles with.
    used: Amounts,
}

impl Hold {
    /// Takes what is asked for from all limits of the key and of `extra`, or nothing.
    ///
    /// # Errors
    /// The limit that refuses; nothing is taken then.
    pub fn take(key: Option<&Arc<Key>>, extra: &Extra, ask: &Ask<'_>, told: &mut Told) -> Result<Hold, Box<Refused>> {
        let payers = key.into_iter().flat_map(|key| key.subjects.iter()).chain(extra).map(|subject| &**subject);
        let mut grants = Grants::new();
        draw(payers, ask, &mut grants, told)?;
        if grants.is_empty() {
            return Ok(Hold::default());
        }
        Ok(Hold { key: key.cloned(), extra: extra.clone(), grants, used: [0; Metric::COUNT] })
    }

    /// The request counts, however it ends: what is in flight is given back then, the rest stays.
    pub fn keep(&mut self) {
        self.used[Metric::Requests as usize] = 1;
    }

    /// Settles with what was used.
    pub fn settle(&mut self, used: &Amounts) {
        for run in self.grants.chunk_by(|a, b| a.payer == b.payer) {
            let Some(payer) = run.first().map(|grant| usize::from(grant.payer)) else { continue };
            let own = self.key.as_ref().map_or(0, |key| key.subjects.len());
            let subject = match payer.checked_sub(own) {
                None => self.key.as_ref().and_then(|key| key.subjects.get(payer)),
                Some(extra) => self.extra.get(extra),
            };
            if let Some(subject) = subject {
                subject.settle(0, run.iter(), used);
            }
        }
        self.grants.clear();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            let used = self.used;
            self.settle(&used);
        }
    }
}
