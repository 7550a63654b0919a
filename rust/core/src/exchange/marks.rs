//! Bits of `flags` in the ledger.

pub const STREAM: u16 = 1;
/// It was sent to a mirror.
pub const MIRROR: u16 = 2;
/// It was sent while another attempt was waited for.
pub const HEDGE: u16 = 4;
/// It was a health check.
pub const CHECK: u16 = 8;
/// It was a line of a batch.
pub const BATCH: u16 = 16;
/// Spans are made of it.
pub const TRACED: u16 = 32;
