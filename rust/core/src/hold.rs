//! What a request has taken from limits, until it is known what it used. Whatever happens, the guard settles when it is
//! dropped: a request that used nothing gives everything back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::state::draw::{Ask, Grants, Refused, Told, draw};
use crate::state::keys::Key;
use crate::state::rules::{Amounts, Metric};
use crate::state::subjects::Subject;

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
    pub fn take(key: Option<&Arc<Key>>, extra: Extra, ask: &Ask<'_>, told: &mut Told) -> Result<Hold, Box<Refused>> {
        let mut grants = Grants::new();
        let own = key.into_iter().flat_map(|key| key.subjects.iter());
        draw(own.chain(&extra).map(|subject| &**subject), ask, &mut grants, told)?;
        Ok(Hold { key: key.cloned(), extra, grants, used: [0; Metric::COUNT] })
    }

    /// Who pays, without anything taken from limits.
    pub fn nothing(key: Option<Arc<Key>>, extra: Extra) -> Hold {
        Hold { key, extra, grants: Grants::new(), used: [0; Metric::COUNT] }
    }

    /// The request counts, however it ends: what is in flight is given back then, the rest stays.
    pub fn keep(&mut self) {
        self.used[Metric::Requests as usize] = 1;
    }

    /// As if nothing had been taken.
    pub fn give_back(mut self) {
        self.used = [0; Metric::COUNT];
    }

    /// Tells those who ask about the past what an attempt used.
    pub fn tell(&self, cost: i64, used: &Amounts) {
        let own = self.key.iter().flat_map(|key| key.subjects.iter());
        own.chain(&self.extra).filter(|subject| subject.is_tallied()).for_each(|subject| subject.count(cost, used));
    }

    /// Settles with what was used, and counts the cost with everybody who pays.
    pub fn bill(&mut self, cost: i64, used: &Amounts) {
        let own = self.key.iter().flat_map(|key| key.subjects.iter());
        for (payer, subject) in (0..=u8::MAX).zip(own.chain(&self.extra)) {
            let mut grants = self.grants.iter().filter(|grant| grant.payer == payer).peekable();
            if cost != 0 || grants.peek().is_some() {
                subject.settle(cost, grants, used);
            }
        }
        self.grants.clear();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            let used = self.used;
            self.bill(0, &used);
        }
    }
}
