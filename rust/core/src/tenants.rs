//! The plane's side of who may call, who pays and who is limited: rows that Python pushes, and what it asks of them.

use std::net::IpAddr;
use std::time::Duration;

use crate::ledger::{DictKind, Ledger};
use crate::plane::{Plane, PlaneError};
use crate::state::keys::{KeyDigest, KeyRow, Keys};
use crate::state::leases::{Grant, Leases, Which};
use crate::state::limits::{self, Change};
use crate::state::rules::SubjectRow;
use crate::state::subjects::Kind;
use crate::state::uses::Use;

impl Plane {
    /// Adds or replaces keys. All of them or, when one is bad, none.
    ///
    /// # Errors
    /// Names the key and the field at fault.
    pub fn upsert_keys(&self, bytes: &[u8]) -> Result<usize, PlaneError> {
        let rows: Vec<KeyRow> = rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("keys: {error}")))?;
        let ledger = &self.shared.state.ledger;
        let names: Vec<(DictKind, String)> = rows.iter().flat_map(KeyRow::names).collect();
        let names: Vec<(DictKind, &str)> = names.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
        ledger.intern_all(&names).map_err(|error| PlaneError(format!("ledger dictionary: {error}")))?;
        let keys = &self.shared.state.keys;
        let mut compiled = rows
            .into_iter()
            .map(|row| keys.compile(row, |kind, text| self.shared.state.intern(kind, text)).map_err(PlaneError))
            .collect::<Result<Vec<_>, _>>()?;
        let count = compiled.len();
        let rules = compiled.iter_mut().map(|row| {
            let rules = std::mem::take(&mut row.rules);
            Change { subject: row.key.state.subject.clone(), rules, parents: Vec::new() }
        });
        limits::install(&self.shared.state, rules.collect())?;
        keys.upsert(compiled);
        Ok(count)
    }

    /// Adds or replaces subjects and takes others away. All or, when one is bad, none.
    ///
    /// # Errors
    /// Names the subject and the limit at fault.
    pub fn apply_subjects(&self, upserts: &[u8], removals: &[u8]) -> Result<usize, PlaneError> {
        let decoded = |what: &str, error: &dyn std::fmt::Display| PlaneError(format!("{what}: {error}"));
        let rows: Vec<SubjectRow> = rmp_serde::from_slice(upserts).map_err(|error| decoded("subjects", &error))?;
        let removals: Vec<(Kind, String)> =
            rmp_serde::from_slice(removals).map_err(|error| decoded("removals", &error))?;
        limits::apply(&self.shared.state, rows, &removals)
    }

    /// How the limits of subjects stand: MessagePack list of `{name, metric, max, used}` lists, in the order asked for.
    ///
    /// # Errors
    /// The bytes are no list of kind and id.
    pub fn limit_usage(&self, subjects: &[u8]) -> Result<Vec<u8>, PlaneError> {
        limits::usage(&self.shared.state, subjects)
    }

    fn leases(&self) -> Result<&Leases, PlaneError> {
        self.shared
            .state
            .leases
            .as_deref()
            .ok_or_else(|| PlaneError("limits are not shared with other nodes".to_string()))
    }

    /// Readable while the coordinator is to be asked for something.
    ///
    /// # Errors
    /// Limits are not shared, as for all that follow.
    pub fn lease_fd(&self) -> Result<i32, PlaneError> {
        self.leases().map(Leases::fd)
    }

    /// What the coordinator is to be asked for; MessagePack as for all that follow.
    ///
    /// # Errors
    /// As [`Plane::lease_fd`].
    pub fn lease_calls(&self) -> Result<Vec<u8>, PlaneError> {
        packed(&self.leases()?.take_calls(&self.shared.state.subjects))
    }

    /// How leases stand: `changed` since the last report, `all`, or all `anew` for a coordinator that knows nothing.
    ///
    /// # Errors
    /// As [`Plane::lease_fd`]; another word.
    pub fn lease_report(&self, which: &str) -> Result<Vec<u8>, PlaneError> {
        let which = match which {
            "changed" => Which::Changed,
            "all" => Which::All,
            "anew" => Which::Anew,
            other => return Err(PlaneError(format!("a report is changed, all or anew, not {other:?}"))),
        };
        packed(&self.leases()?.report(&self.shared.state.subjects, which))
    }

    /// Puts the coordinator's decisions in force.
    ///
    /// # Errors
    /// As [`Plane::lease_fd`]; bytes that are no list of grants.
    pub fn lease_grant(&self, grants: &[u8]) -> Result<(), PlaneError> {
        let grants: Vec<Grant> =
            rmp_serde::from_slice(grants).map_err(|error| PlaneError(format!("grants: {error}")))?;
        self.leases()?.grant(&self.shared.state.subjects, &grants);
        Ok(())
    }

    /// Gives leases up, all but so much each; how they stand then.
    ///
    /// # Errors
    /// As [`Plane::lease_fd`]; bytes that are no list of kind, id, serial and amount.
    pub fn lease_shrink(&self, leases: &[u8]) -> Result<Vec<u8>, PlaneError> {
        let leases: Vec<(Kind, String, u64, u64)> =
            rmp_serde::from_slice(leases).map_err(|error| PlaneError(format!("leases: {error}")))?;
        packed(&self.leases()?.shrink(&self.shared.state.subjects, &leases))
    }

    /// Whether the coordinator answers, and for how long leases hold from now on.
    ///
    /// # Errors
    /// As [`Plane::lease_fd`].
    pub fn lease_heard(&self, online: bool, valid: Option<Duration>) -> Result<(), PlaneError> {
        self.leases()?.heard(online, valid);
        Ok(())
    }

    pub fn remove_keys(&self, digests: &[KeyDigest]) -> usize {
        self.shared.state.keys.remove(digests)
    }

    /// Spend of subjects in pico-USD up to the last settled attempt, in the order asked for.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn subject_spend(&self, kind: &str, ids: &[String]) -> Result<Vec<i128>, PlaneError> {
        let kind = Kind::parse(kind).ok_or_else(|| PlaneError(format!("kind {kind:?} is not known")))?;
        let subjects = &self.shared.state.subjects;
        Ok(ids.iter().map(|id| subjects.cell(kind, id).spend()).collect())
    }

    /// Spend of keys in pico-USD up to the last settled attempt, in the order asked for.
    pub fn spend(&self, ids: &[String]) -> Vec<i128> {
        ids.iter().map(|id| self.shared.state.keys.cell(id).subject.spend()).collect()
    }

    /// Last use of keys, microseconds since 1970, and from where; 0 and nowhere: not since the start.
    pub fn last_used(&self, ids: &[String]) -> Vec<(i64, Option<IpAddr>)> {
        ids.iter().map(|id| self.shared.state.keys.cell(id).last_used()).collect()
    }

    /// Last uses of the keys that were used since this was asked last.
    pub fn take_key_uses(&self) -> Vec<Use> {
        self.shared.state.keys.uses.take()
    }
}

fn packed<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, PlaneError> {
    rmp_serde::to_vec_named(value).map_err(|error| PlaneError(error.to_string()))
}

/// Gives every key and every tenant what it has spent so far.
pub(crate) fn seed_spend(keys: &Keys, ledger: &Ledger) -> Result<(), PlaneError> {
    for (dict, kind) in [
        (DictKind::Key, Kind::Key),
        (DictKind::Org, Kind::Organization),
        (DictKind::Team, Kind::Team),
        (DictKind::User, Kind::User),
        (DictKind::Project, Kind::Project),
        (DictKind::Customer, Kind::Customer),
    ] {
        let totals = ledger.totals(dict).map_err(|error| PlaneError(error.to_string()))?;
        for (id, pico) in totals {
            if let Some(name) = ledger.text(id) {
                keys.subjects.cell(kind, &name).seed_spend(pico);
            }
        }
    }
    Ok(())
}
