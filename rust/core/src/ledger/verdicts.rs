//! What guardrails found and policies did, on its way to the database.
//!
//! A request that nothing was found in never comes here. What was found waits in memory for the ledger's next round: a crash
//! may lose the last of it, unlike money.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{TransactionBehavior, params};

use super::sink::SinkError;
use super::store::Store;

/// Verdicts that may wait; the database is out of reach when there are more.
const MOST: usize = 65_536;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub at_us: i64,
    pub request_id: [u8; 16],
    /// A policy's, else a guardrail's.
    pub policy: bool,
    pub rule: String,
    pub label: String,
    pub action: &'static str,
    pub shadow: bool,
    pub side: &'static str,
    pub place: String,
    pub matches: u32,
    pub model: String,
    pub key: String,
}

/// Those that wait.
#[derive(Debug, Default)]
pub struct Verdicts {
    waiting: Mutex<Vec<Verdict>>,
    /// For want of room.
    pub dropped: AtomicU64,
}

impl Verdicts {
    pub fn keep(&self, verdict: Verdict) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST {
            waiting.push(verdict);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes rows of all that wait, or leaves them waiting.
    pub(super) fn write(&self, store: &Store) -> Result<(), SinkError> {
        let taken = std::mem::take(&mut *self.waiting.lock());
        if taken.is_empty() {
            return Ok(());
        }
        let written = insert(store, &taken);
        if written.is_err() {
            let mut waiting = self.waiting.lock();
            let later = std::mem::replace(&mut *waiting, taken);
            let room = MOST.saturating_sub(waiting.len());
            self.dropped.fetch_add(later.len().saturating_sub(room) as u64, Ordering::Relaxed);
            waiting.extend(later.into_iter().take(room));
        }
        Ok(written?)
    }
}

fn insert(store: &Store, verdicts: &[Verdict]) -> rusqlite::Result<()> {
    let mut connection = store.connection.lock();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO verdict (at_us, request_id, policy, rule, label, action, shadow, side, place, matches, model, key) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for verdict in verdicts {
            statement.execute(params![
                verdict.at_us,
                verdict.request_id.as_slice(),
                verdict.policy,
                verdict.rule,
                verdict.label,
                verdict.action,
                verdict.shadow,
                verdict.side,
                verdict.place,
                verdict.matches,
                verdict.model,
                verdict.key,
            ])?;
        }
    }
    transaction.commit()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::past;
    use super::*;

    fn verdict(number: u8) -> Verdict {
        Verdict {
            at_us: i64::from(number),
            request_id: [number; 16],
            policy: number.is_multiple_of(2),
            rule: "pii".to_string(),
            label: "email".to_string(),
            action: "redact",
            shadow: false,
            side: "input",
            place: "messages[0].content".to_string(),
            matches: 2,
            model: "m".to_string(),
            key: "k".to_string(),
        }
    }

    fn numbers(store: &Store) -> Vec<i64> {
        let connection = store.connection.lock();
        let mut statement = connection.prepare("SELECT at_us FROM verdict ORDER BY number").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn what_cannot_be_written_waits() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("ledger.db")).unwrap();
        let verdicts = Verdicts::default();
        verdicts.write(&store).unwrap();
        verdicts.keep(verdict(1));
        store.connection.lock().execute_batch("PRAGMA query_only = ON").unwrap();
        assert!(verdicts.write(&store).is_err());
        verdicts.keep(verdict(2));
        store.connection.lock().execute_batch("PRAGMA query_only = OFF").unwrap();
        verdicts.write(&store).unwrap();
        verdicts.write(&store).unwrap();
        assert_eq!(numbers(&store), [1, 2]);
        assert_eq!(verdicts.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_old_is_forgotten_and_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("ledger.db")).unwrap();
        let verdicts = Verdicts::default();
        (1..=4).for_each(|number| verdicts.keep(verdict(number)));
        verdicts.write(&store).unwrap();
        assert_eq!(past::forget(&store, 3, 1).unwrap(), 1);
        assert_eq!(past::forget(&store, 3, 10).unwrap(), 1);
        assert_eq!(numbers(&store), [3, 4]);
        assert_eq!(past::forget(&store, 9, 10).unwrap(), 2);
        verdicts.keep(verdict(5));
        verdicts.write(&store).unwrap();
        let last: i64 = store.connection.lock().query_row("SELECT number FROM verdict", [], |row| row.get(0)).unwrap();
        assert_eq!(last, 5);
    }

    #[test]
    fn more_than_there_is_room_for_is_counted() {
        let verdicts = Verdicts::default();
        for _ in 0..MOST + 3 {
            verdicts.keep(verdict(1));
        }
        assert_eq!((verdicts.waiting.lock().len(), verdicts.dropped.load(Ordering::Relaxed)), (MOST, 3));
    }
}
