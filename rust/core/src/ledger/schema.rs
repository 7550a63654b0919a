//! The ledger's schema: numbered migrations, each applied once, in one transaction, and never edited
//! afterwards (a checksum sees to that).

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::LedgerError;

struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// In order; the first has number 1.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "ledger", sql: include_str!("0001_ledger.sql") },
    Migration { name: "dimensions", sql: include_str!("0002_dimensions.sql") },
    Migration { name: "questions", sql: include_str!("0003_questions.sql") },
    Migration { name: "verdicts", sql: include_str!("0004_verdicts.sql") },
    Migration { name: "decisions", sql: include_str!("0005_decisions.sql") },
];

/// Brings the schema up to date.
///
/// # Errors
/// [`LedgerError::Schema`] if the file was made by a newer version or a migration was edited.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    apply(connection, MIGRATIONS)
}

fn apply(connection: &mut Connection, migrations: &[Migration]) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (id INTEGER PRIMARY KEY, name TEXT NOT NULL, \
         checksum INTEGER NOT NULL, applied_s INTEGER NOT NULL) STRICT",
    )?;
    for (id, Migration { name, sql }) in (1_i64..).zip(migrations) {
        let checksum = i64::from(crc32fast::hash(sql.as_bytes()));
        let done: Option<i64> = transaction
            .query_row("SELECT checksum FROM migrations WHERE id = ?1", [id], |row| row.get(0))
            .optional()?;
        match done {
            Some(found) if found == checksum => {}
            Some(_) => {
                return Err(LedgerError::Schema(format!("migration {id} ({name}) was applied in another wording")));
            }
            None => {
                transaction.execute_batch(sql)?;
                transaction.execute(
                    "INSERT INTO migrations (id, name, checksum, applied_s) VALUES (?1, ?2, ?3, unixepoch())",
                    (id, name, checksum),
                )?;
            }
        }
    }
    let last: i64 = transaction.query_row("SELECT max(id) FROM migrations", [], |row| row.get(0))?;
    if usize::try_from(last).is_ok_and(|last| last > migrations.len()) {
        return Err(LedgerError::Schema(format!(
            "it is at migration {last}, this version knows {}: start the newer version",
            migrations.len()
        )));
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { name: "one", sql: "CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT" };
    const TWO: Migration = Migration { name: "two", sql: "ALTER TABLE one ADD COLUMN text TEXT" };
    const EDITED: Migration = Migration { name: "one", sql: "CREATE TABLE one (id INTEGER PRIMARY KEY)" };

    #[test]
    fn each_is_applied_once_and_in_order() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, &[ONE]).unwrap();
        apply(&mut db, &[ONE]).unwrap();
        apply(&mut db, &[ONE, TWO]).unwrap();
        apply(&mut db, &[ONE, TWO]).unwrap();
        db.execute("INSERT INTO one (id, text) VALUES (1, 'x')", []).unwrap();
    }

    #[test]
    fn an_edited_or_newer_schema_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, &[ONE, TWO]).unwrap();
        assert!(matches!(apply(&mut db, &[EDITED, TWO]), Err(LedgerError::Schema(_))));
        assert!(matches!(apply(&mut db, &[ONE]), Err(LedgerError::Schema(_))));
    }

    #[test]
    fn a_failed_migration_leaves_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        let bad = Migration { name: "bad", sql: "CREATE TABLE bad (id INTEGER); CREATE TABLE bad (id INTEGER)" };
        assert!(apply(&mut db, &[ONE, bad]).is_err());
        apply(&mut db, &[ONE]).unwrap();
        assert!(db.prepare("SELECT * FROM bad").is_err());
    }

    #[test]
    fn the_real_ones_apply() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        migrate(&mut db).unwrap();
    }

    #[test]
    fn sums_survive_the_dimensions() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, &MIGRATIONS[..1]).unwrap();
        let values = "5, 1, 2, 3, 4, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17";
        db.execute(&format!("INSERT INTO rollup VALUES ({values})"), []).unwrap();
        migrate(&mut db).unwrap();
        let found: [i64; 23] =
            db.query_row("SELECT * FROM rollup", [], |row| Ok(std::array::from_fn(|n| row.get(n).unwrap()))).unwrap();
        assert_eq!(found, [5, 1, 2, 0, 0, 0, 0, 0, 3, 4, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
    }
}
