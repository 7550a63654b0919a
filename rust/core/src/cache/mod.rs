//! Answers kept for requests that are the same, and for those that mean the same.
//!
//! A request's [`key`] covers everything that changes its answer and whose it is; the [`control`] says how the cache takes
//! part in it; the [`store`] holds complete, successful answers, and [`refusals`] where asked for; a [`flight`] lets equal requests wait for one of them;
//! [`replay`] makes of a stored answer what the caller asked for; [`count`] what it saved; [`semantic`] finds answers to
//! questions that mean the same.

mod address;
pub mod control;
pub mod count;
pub mod entry;
pub mod flight;
pub mod gate;
pub mod items;
pub mod key;
pub mod lease;
pub mod link;
pub mod objects;
pub mod probe;
pub mod purge;
pub mod refusals;
pub mod remote;
pub mod replay;
pub mod report;
pub mod sealed;
pub mod semantic;
pub mod series;
pub mod shared;
mod shelf;
pub mod store;
pub mod terms;
mod tier;

pub use entry::{Entry, Fill};
pub use store::Cache;
