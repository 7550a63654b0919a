//! Places where a test may stop or kill the process: between every two writes of the drain.

use std::fmt;
use std::sync::Arc;

/// A place between two writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Rows are collected, the database does not know.
    Collected,
    /// Rows are inserted, nothing is committed.
    Inserted,
    /// Sums are written, nothing is committed.
    Summed,
    /// All is committed, the spool does not know.
    Committed,
    /// Half of a segment's slots are emptied.
    Confirming,
    /// All slots are emptied.
    Confirmed,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Collected, Self::Inserted, Self::Summed, Self::Committed, Self::Confirming, Self::Confirmed];
}

/// Is told when the drain passes a [`Point`]. Does nothing by default.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<dyn Fn(Point) + Send + Sync>>);

impl Probe {
    /// Calls `probe` at every point, on the thread that drains.
    pub fn new(probe: impl Fn(Point) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(probe)))
    }

    pub(super) fn at(&self, point: Point) {
        if let Some(probe) = &self.0 {
            probe(point);
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Probe(set)" } else { "Probe(none)" })
    }
}
