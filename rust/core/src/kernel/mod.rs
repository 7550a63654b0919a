//! Pure algorithms, no I/O and no clock of their own.

pub mod cost;
pub mod nearest;
pub mod retry_budget;
pub mod window;
