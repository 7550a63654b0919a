//! Approvals: what a person has to allow before it happens.
//!
//! A policy that asks for one writes a [`wire::Dossier`] of the request to the store, through the shell ([`desk`]), and
//! waits for the decision ([`gate`]). Whoever goes on with an approved request has claimed it in the store first, so that
//! no two do, on whichever nodes they are; what came of it is told by a [`ticket::Ticket`] however the request ends. A
//! caller who does not wait gets a token, and asks with it for what came of his request ([`serve`]).

pub mod desk;
pub mod dossier;
pub mod gate;
pub mod serve;
pub mod ticket;
pub mod waiting;
pub mod wire;

pub use gate::{after, before};
pub use serve::serve;
pub use ticket::Ticket;
pub use waiting::Waiting;
