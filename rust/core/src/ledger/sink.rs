//! Where rows go. `SQLite` is the one place today; another database needs only this trait.

use std::sync::Arc;

use rusqlite::{Connection, Statement, TransactionBehavior};

use super::probe::{Point, Probe};
use super::rollup::{self, Rollup};
use super::store::Store;
use crate::spool::Row;

/// Takes rows and keeps them.
pub trait Sink: Send {
    /// Makes `rows` durable together with their sums, or does nothing. A row whose attempt is
    /// already there must be passed over: after a crash rows come again.
    ///
    /// # Errors
    /// [`SinkError`]; the same rows will come again.
    fn write(&mut self, rows: &[Row]) -> Result<Written, SinkError>;
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New rows.
    pub inserted: u64,
    /// Rows that were already there.
    pub known: u64,
}

/// Why a batch was not written. All of these may pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ledger: {0}")]
pub struct SinkError(pub String);

impl From<rusqlite::Error> for SinkError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// Writes to the ledger's `SQLite` file.
pub(super) struct Sqlite {
    pub(super) store: Arc<Store>,
    pub(super) probe: Probe,
}

const INSERT: &str = "INSERT INTO attempt (attempt_id, node, request_id, trace_id, org_id, key_id, model_id, \
    deployment_id, price_id, operation, attempt_no, flags, source, status, class, input, output, cache_read, \
    cache_write, reasoning, audio_input, audio_output, units, cost_pico, at_us, duration_us, ttft_us, overhead_us, team_id, user_id, project_id, \
    customer_id, tags_id, question, decision) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (attempt_id) DO NOTHING";

const UPSERT: &str = "INSERT INTO rollup (day, key_id, org_id, team_id, user_id, project_id, customer_id, \
    tags_id, model_id, deployment_id, source, requests, errors, \
    input, output, cache_read, cache_write, reasoning, audio_input, audio_output, units, cost_usd, cost_pico) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors, \
    input = input + excluded.input, output = output + excluded.output, \
    cache_read = cache_read + excluded.cache_read, cache_write = cache_write + excluded.cache_write, \
    reasoning = reasoning + excluded.reasoning, audio_input = audio_input + excluded.audio_input, \
    audio_output = audio_output + excluded.audio_output, units = units + excluded.units, \
    cost_usd = cost_usd + excluded.cost_usd + (cost_pico + excluded.cost_pico) / 1000000000000, \
    cost_pico = (cost_pico + excluded.cost_pico) % 1000000000000";

impl Sink for Sqlite {
    fn write(&mut self, rows: &[Row]) -> Result<Written, SinkError> {
        let mut connection = self.store.connection.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut sums = Rollup::new();
        let written = insert(&transaction, rows, &mut sums)?;
        self.probe.at(Point::Inserted);
        upsert(&transaction, &sums)?;
        self.probe.at(Point::Summed);
        transaction.commit()?;
        Ok(written)
    }
}

fn insert(connection: &Connection, rows: &[Row], sums: &mut Rollup) -> rusqlite::Result<Written> {
    let mut statement = connection.prepare_cached(INSERT)?;
    let mut written = Written::default();
    for row in rows {
        bind_row(&mut statement, row)?;
        if statement.raw_execute()? == 1 {
            written.inserted += 1;
            rollup::add(sums, row);
        } else {
            written.known += 1;
        }
    }
    Ok(written)
}

fn bind_row(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
    let (intent, settle) = (&row.intent, &row.settle);
    let [input, output, cache_read, cache_write, reasoning, audio_input, audio_output, units] = rollup::counts(row);
    statement.raw_bind_parameter(1, row.attempt_id.cast_signed())?;
    statement.raw_bind_parameter(2, row.node)?;
    statement.raw_bind_parameter(3, intent.request_id.as_slice())?;
    statement.raw_bind_parameter(4, (intent.trace_id != [0; 16]).then_some(intent.trace_id.as_slice()))?;
    let numbers: [i64; 31] = [
        intent.org.into(),
        intent.key.into(),
        intent.model.into(),
        intent.deployment.into(),
        intent.price.into(),
        intent.operation.into(),
        intent.attempt_no.into(),
        intent.flags.into(),
        (settle.source as u8).into(),
        settle.status.into(),
        settle.class.into(),
        input.into(),
        output.into(),
        cache_read.into(),
        cache_write.into(),
        reasoning.into(),
        audio_input.into(),
        audio_output.into(),
        units.into(),
        settle.cost,
        intent.at_us,
        settle.duration_us.into(),
        settle.ttft_us.into(),
        settle.overhead_us.into(),
        intent.team.into(),
        intent.user.into(),
        intent.project.into(),
        intent.customer.into(),
        intent.tags.into(),
        intent.question.cast_signed(),
        intent.decision.into(),
    ];
    for (index, number) in (5..).zip(numbers) {
        statement.raw_bind_parameter(index, number)?;
    }
    Ok(())
}

fn upsert(connection: &Connection, sums: &Rollup) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(UPSERT)?;
    for (by, sums) in sums {
        let (usd, pico) = rollup::split(sums.cost);
        let head: [i64; 13] = [
            by.day,
            by.key.into(),
            by.org.into(),
            by.team.into(),
            by.user.into(),
            by.project.into(),
            by.customer.into(),
            by.tags.into(),
            by.model.into(),
            by.deployment.into(),
            by.source.into(),
            sums.requests,
            sums.errors,
        ];
        let numbers = head.into_iter().chain(sums.counts).chain([usd, pico]);
        for (index, number) in (1..).zip(numbers) {
            statement.raw_bind_parameter(index, number)?;
        }
        statement.raw_execute()?;
    }
    Ok(())
}
