//! Pure algorithms, no I/O and no clock of their own.

pub mod alike;
pub mod breaker;
pub mod budget;
pub mod choice;
pub mod civil;
pub mod condition;
pub mod cost;
pub mod ewma;
pub mod failure;
pub mod features;
pub mod language;
pub mod lease;
pub mod limiter;
pub mod nearest;
pub mod patterns;
pub mod percentile;
pub mod price;
pub mod quota;
pub mod ratio;
pub mod retry_budget;
pub mod router;
pub mod schema;
pub mod sound;
pub mod tokens;
pub mod vector;
pub mod window;
