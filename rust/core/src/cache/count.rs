//! What the cache did and what it saved, by model, virtual key and endpoint; one table per I/O thread, merged when read.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::entry::Worth;
use crate::endpoint::Operation;

/// Most rows of one thread; what is more is counted under empty names.
const ROWS: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Hit,
    Semantic,
    Stale,
    /// Waited for an equal request instead of asking.
    Joined,
    Miss,
    Bypass,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub hits: u64,
    pub semantic_hits: u64,
    pub stale_hits: u64,
    pub joined: u64,
    pub misses: u64,
    pub bypassed: u64,
    pub saved_pico: i64,
    pub saved_input: u64,
    pub saved_output: u64,
    pub saved_us: u64,
}

impl Counts {
    fn add(&mut self, what: What, worth: &Worth) {
        let counter = match what {
            What::Hit => &mut self.hits,
            What::Semantic => &mut self.semantic_hits,
            What::Stale => &mut self.stale_hits,
            What::Joined => &mut self.joined,
            What::Miss => &mut self.misses,
            What::Bypass => &mut self.bypassed,
        };
        *counter += 1;
        if !matches!(what, What::Miss | What::Bypass) {
            self.saved_pico = self.saved_pico.saturating_add(worth.pico);
            self.saved_input += worth.input;
            self.saved_output += worth.output;
            self.saved_us += worth.micros;
        }
    }

    pub fn merge(&mut self, other: &Counts) {
        self.hits += other.hits;
        self.semantic_hits += other.semantic_hits;
        self.stale_hits += other.stale_hits;
        self.joined += other.joined;
        self.misses += other.misses;
        self.bypassed += other.bypassed;
        self.saved_pico = self.saved_pico.saturating_add(other.saved_pico);
        self.saved_input += other.saved_input;
        self.saved_output += other.saved_output;
        self.saved_us += other.saved_us;
    }
}

type Row = (Arc<str>, Arc<str>, Operation);

/// The counters of one thread.
#[derive(Default)]
pub struct Table {
    rows: Mutex<HashMap<Row, Counts>>,
}

impl Table {
    pub fn note(&self, model: &Arc<str>, key: &Arc<str>, operation: Operation, what: What, worth: &Worth) {
        let mut rows = self.rows.lock();
        let row = (model.clone(), key.clone(), operation);
        let full = rows.len() >= ROWS && !rows.contains_key(&row);
        let row = if full { (Arc::from(""), Arc::from(""), operation) } else { row };
        rows.entry(row).or_default().add(what, worth);
    }
}

/// One line of a report.
#[derive(Debug, Serialize)]
pub struct Line {
    pub model: String,
    pub key: String,
    pub endpoint: &'static str,
    #[serde(flatten)]
    pub counts: Counts,
}

/// The counters of all threads.
pub fn merged<'t>(tables: impl Iterator<Item = &'t Table>) -> Vec<Line> {
    let mut all: HashMap<Row, Counts> = HashMap::new();
    for table in tables {
        for (row, counts) in table.rows.lock().iter() {
            all.entry(row.clone()).or_default().merge(counts);
        }
    }
    let mut lines: Vec<Line> = all
        .into_iter()
        .map(|((model, key, operation), counts)| Line {
            model: model.to_string(),
            key: key.to_string(),
            endpoint: operation.name(),
            counts,
        })
        .collect();
    lines.sort_by(|a, b| (&a.model, &a.key, a.endpoint).cmp(&(&b.model, &b.key, b.endpoint)));
    lines
}
