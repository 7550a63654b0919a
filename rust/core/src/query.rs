//! Read-only SQL over the ledger, for the shell's reports.
//!
//! Python must not open `ledger.db` itself while the plane runs: it has a SQLite of its own, POSIX locks belong to the
//! process, and two copies of the library in one process would undo each other's (sqlite.org/howtocorrupt.html, 2.2.1).

use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ToSql, params_from_iter};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::ledger::Ledger;

/// Instructions of SQLite's virtual machine between two looks at the clock.
const STEPS: i32 = 10_000;

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Integer(value) => serializer.serialize_i64(*value),
            Cell::Real(value) => serializer.serialize_f64(*value),
            Cell::Text(value) => serializer.serialize_str(value),
            Cell::Blob(value) => serializer.serialize_bytes(value),
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cells;

        impl Visitor<'_> for Cells {
            type Value = Cell;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("nil, an integer, a float, a string or bytes")
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Null)
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Integer(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Cell, E> {
                i64::try_from(value).map(Cell::Integer).map_err(|_| E::custom("integer beyond 64 bits"))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Real(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::Text(value.to_string()))
            }

            fn visit_bytes<E>(self, value: &[u8]) -> Result<Cell, E> {
                Ok(Cell::Blob(value.to_vec()))
            }
        }

        deserializer.deserialize_any(Cells)
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Integer(value) => ValueRef::Integer(*value),
            Cell::Real(value) => ValueRef::Real(*value),
            Cell::Text(value) => ValueRef::Text(value.as_bytes()),
            Cell::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Integer(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(value) => Cell::Text(String::from_utf8_lossy(value).into_owned()),
            ValueRef::Blob(value) => Cell::Blob(value.to_vec()),
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the query took longer than it may")]
    TooLong,
    #[error("{0}")]
    Failed(String),
}

/// Runs one statement on a connection that cannot write.
///
/// # Errors
/// [`QueryError::TooLong`] past `limit`; whatever SQLite says otherwise.
pub fn query(ledger: &Ledger, sql: &str, params: &[Cell], limit: Duration) -> Result<Vec<Vec<Cell>>, QueryError> {
    let failed = |error: &dyn std::fmt::Display| QueryError::Failed(error.to_string());
    let connection = ledger.reader().map_err(|error| failed(&error))?;
    let deadline = Instant::now() + limit;
    connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline)).map_err(|error| failed(&error))?;
    let run = || -> rusqlite::Result<Vec<Vec<Cell>>> {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter(params), |row| {
            (0..columns).map(|column| row.get_ref(column).map(Cell::from)).collect()
        })?;
        rows.collect()
    };
    run().map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => QueryError::TooLong,
        _ => failed(&error),
    })
}
