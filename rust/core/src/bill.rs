//! What an attempt came to, for those who look at an answer when it is over.

use std::sync::OnceLock;

/// Tokens and cost, as the ledger has them.
#[derive(Clone, Copy, Debug)]
pub struct Billed {
    pub input: u64,
    pub output: u64,
    pub pico: i64,
}

/// Written once, when the attempt is settled.
#[derive(Debug, Default)]
pub struct Bill(OnceLock<Billed>);

impl Bill {
    pub fn put(&self, input: u64, output: u64, pico: i64) {
        _ = self.0.set(Billed { input, output, pico });
    }

    pub fn get(&self) -> Option<Billed> {
        self.0.get().copied()
    }
}
