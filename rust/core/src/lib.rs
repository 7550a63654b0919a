//! The data plane of AILink.
//!
//! A request enters at [`front`], runs through [`pipeline`] stage by stage ([`stage`]) against an immutable [`snapshot`],
//! and leaves a record of what it cost in the [`spool`]. Nothing on that path takes a lock that all requests share, reads a
//! database or knows of Python.
//!
//! Reading order: [`listener`] → [`front`] → [`endpoint`] → [`exchange`] → [`pipeline`] → [`stage`] → [`stream`] →
//! [`account`]. Below them, in layers that only look down: [`upstream`] ← [`dialect`] ← [`wire`] ← [`kernel`].

pub mod account;
pub mod aead;
pub mod alarms;
pub mod approval;
mod arrival;
pub mod batch;
pub mod bill;
pub mod body;
mod bytes32;
pub mod cache;
mod cache_plane;
pub mod clock;
pub mod connection;
pub mod decision;
pub mod deployment_health;
pub mod dialect;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod exchange;
pub mod facts;
pub mod front;
pub mod guard;
mod head;
mod health;
pub mod hold;
pub mod invoke;
pub mod janitor;
pub mod kernel;
mod late;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod mirror;
mod models;
pub mod needs;
mod number;
pub mod options;
mod outbox;
mod outgoing;
pub mod pass_through;
pub mod passive_health;
mod patience;
pub mod pipeline;
pub mod plane;
pub mod policy;
pub mod portkey;
mod pressure;
pub mod probe;
mod progress;
pub mod prompt;
pub mod query;
pub mod realtime;
mod refusal;
pub mod repeat;
mod request_id;
pub mod rules;
pub mod runtime;
mod serving;
pub mod shard;
mod shell;
pub mod sigv4;
mod slice;
pub mod snapshot;
pub mod spool;
pub mod stage;
pub mod state;
pub mod static_model;
pub mod stored;
pub mod stream;
mod tags;
mod tenants;
pub mod tls;
pub mod trace;
pub mod turns;
mod unattended;
mod unavailable;
mod unread;
pub mod upstream;
mod webhook;
pub mod wire;
pub mod worded;
