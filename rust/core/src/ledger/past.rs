//! What was used before: for counters that begin in the past.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::LedgerError;
use super::rollup::{DAY_US, PICO};
use super::store::Store;
use crate::spool::{Drain, Row};

/// Attempt numbers are handed to I/O threads in blocks, so neighbours in time may be this far apart.
const DISORDER: i64 = 64 * 1024;

/// One attempt, or one day's sum of attempts that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The attempt's start; for a sum the day's.
    pub at_us: i64,
    /// A whole day's sum.
    pub day: bool,
    /// Dictionary ids.
    pub key: u32,
    pub org: u32,
    pub team: u32,
    pub user: u32,
    pub project: u32,
    pub customer: u32,
    pub tags: u32,
    pub model: u32,
    pub deployment: u32,
    pub attempts: u64,
    /// All tokens in, cached ones and audio too.
    pub input: u64,
    pub output: u64,
    /// Pico-USD.
    pub cost: i128,
}

const IDS: &str = "key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, \
    input + cache_read + cache_write + audio_input, output + audio_output, cost_pico";

/// Shows whole days from `since_us` on, and from `exact_us` on every attempt.
pub(super) fn past(
    store: &Store,
    drain: &Drain,
    since_us: i64,
    exact_us: Option<i64>,
    see: &mut dyn FnMut(&Past),
) -> Result<(), LedgerError> {
    {
        let connection = store.connection.lock();
        let first = since_us.div_euclid(DAY_US);
        let sql = format!("SELECT day, requests, cost_usd, {IDS} FROM rollup WHERE day >= ?1");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([first])?;
        while let Some(row) = rows.next()? {
            let (day, attempts, usd): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut past = read(row, 3)?;
            past.at_us = day.saturating_mul(DAY_US);
            past.day = true;
            past.attempts = attempts.cast_unsigned();
            past.cost += i128::from(usd) * i128::from(PICO);
            see(&past);
        }
        if let Some(exact) = exact_us {
            let from = first_at(&connection, exact)?.saturating_sub(DISORDER);
            let sql = format!("SELECT at_us, {IDS} FROM attempt WHERE attempt_id >= ?1 AND at_us >= ?2");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([from, exact])?;
            while let Some(row) = rows.next()? {
                see(&Past { at_us: row.get(0)?, attempts: 1, ..read(row, 1)? });
            }
        }
    }
    let mut pending = Vec::new();
    drain.visit(|row| pending.push(*row));
    for row in pending {
        // After a crash it may be a row already.
        if store.has(row.attempt_id)? {
            continue;
        }
        let past = of_row(&row);
        if exact_us.is_some_and(|exact| past.at_us >= exact) {
            see(&past);
        }
        let day_us = past.at_us - past.at_us.rem_euclid(DAY_US);
        if day_us >= since_us - since_us.rem_euclid(DAY_US) {
            see(&Past { at_us: day_us, day: true, ..past });
        }
    }
    Ok(())
}

fn read(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Past> {
    let (input, output, cost): (i64, i64, i64) = (row.get(at + 9)?, row.get(at + 10)?, row.get(at + 11)?);
    Ok(Past {
        key: row.get(at)?,
        org: row.get(at + 1)?,
        team: row.get(at + 2)?,
        user: row.get(at + 3)?,
        project: row.get(at + 4)?,
        customer: row.get(at + 5)?,
        tags: row.get(at + 6)?,
        model: row.get(at + 7)?,
        deployment: row.get(at + 8)?,
        input: input.cast_unsigned(),
        output: output.cast_unsigned(),
        cost: i128::from(cost),
        ..Past::default()
    })
}

fn of_row(row: &Row) -> Past {
    let (intent, settle) = (&row.intent, &row.settle);
    Past {
        at_us: intent.at_us,
        day: false,
        key: intent.key,
        org: intent.org,
        team: intent.team,
        user: intent.user,
        project: intent.project,
        customer: intent.customer,
        tags: intent.tags,
        model: intent.model,
        deployment: intent.deployment,
        attempts: 1,
        input: [settle.input, settle.cache_read, settle.cache_write, settle.audio_input].map(u64::from).iter().sum(),
        output: u64::from(settle.output) + u64::from(settle.audio_output),
        cost: i128::from(settle.cost),
    }
}

pub(super) fn forget(store: &Store, before_us: i64, most: u32) -> Result<u64, LedgerError> {
    let connection = store.connection.lock();
    let end = first_at(&connection, before_us)?.saturating_add(DISORDER);
    let sql = "DELETE FROM attempt WHERE attempt_id IN (SELECT attempt_id FROM attempt WHERE attempt_id < ?1 \
        AND attempt_id < (SELECT max(attempt_id) FROM attempt) AND at_us < ?2 ORDER BY attempt_id LIMIT ?3)";
    let gone = connection.execute(sql, (end, before_us, most))? as u64;
    let sql =
        "DELETE FROM verdict WHERE number IN (SELECT number FROM verdict ORDER BY number LIMIT ?2) AND at_us < ?1";
    // Whichever there is more of says whether there may be more.
    Ok(gone.max(connection.execute(sql, (before_us, most))? as u64))
}

pub(super) fn oldest_us(store: &Store) -> Result<Option<i64>, LedgerError> {
    let sql = "SELECT at_us FROM attempt ORDER BY attempt_id LIMIT 1";
    Ok(store.connection.lock().query_row(sql, [], |row| row.get(0)).optional()?)
}

/// The first attempt at or after a time, by halving: numbers grow with time.
fn first_at(connection: &Connection, at_us: i64) -> Result<i64, LedgerError> {
    let ends = "SELECT coalesce(min(attempt_id), 0), coalesce(max(attempt_id), 0) + 1 FROM attempt";
    let (mut low, mut high): (i64, i64) = connection.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statement = connection
        .prepare("SELECT attempt_id, at_us FROM attempt WHERE attempt_id >= ?1 ORDER BY attempt_id LIMIT 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            statement.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((id, at)) if at < at_us => low = id + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
