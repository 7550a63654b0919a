//! One round of the drain: collect, write, confirm, until nothing is left.

use std::sync::Arc;

use super::probe::{Point, Probe};
use super::sink::{Sink, SinkError};
use crate::spool::{Drain, Row};
use crate::trace::Traces;

/// Rows per transaction: bounds how long a commit takes (about 20 ms) and how much is done again
/// after a failure.
const BATCH: usize = 8192;

/// The spool's end and the database's end, joined.
pub(super) struct Engine {
    pub(super) drain: Drain,
    pub(super) sink: Box<dyn Sink>,
    pub(super) probe: Probe,
    /// Gets rows once they are written.
    traces: Arc<Traces>,
    rows: Vec<Row>,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) inserted: u64,
    pub(super) known: u64,
    pub(super) batches: u64,
}

impl Engine {
    pub(super) fn new(drain: Drain, sink: Box<dyn Sink>, probe: Probe, traces: Arc<Traces>) -> Self {
        Self { drain, sink, probe, traces, rows: Vec::new() }
    }

    /// Makes rows of all attempts that were over when it was called.
    ///
    /// # Errors
    /// Of the sink. What was written before stays written; the rest waits in the spool.
    pub(super) fn round(&mut self, done: &mut Round) -> Result<(), SinkError> {
        loop {
            self.rows.clear();
            let more = self.drain.collect(&mut self.rows, BATCH);
            self.probe.at(Point::Collected);
            if !self.rows.is_empty() {
                // Ids grow with time, the spool's slots do not: in order, the table is appended to.
                self.rows.sort_unstable_by_key(|row| row.attempt_id);
                let written = self.sink.write(&self.rows)?;
                done.inserted += written.inserted;
                done.known += written.known;
                done.batches += 1;
                self.traces.wrote(&self.rows);
                self.probe.at(Point::Committed);
            }
            self.drain.confirm(&|| self.probe.at(Point::Confirming));
            self.probe.at(Point::Confirmed);
            if !more {
                return Ok(());
            }
        }
    }
}
