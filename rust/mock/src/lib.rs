//! What AILink is tested and measured with: a scriptable mock provider, an open-loop load generator, and the bare
//! hyper proxy and static server that benches compare with. No product code is in here and none uses it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails shall say where"))]

mod cli;
mod clock;
mod duration;
mod error;
pub mod load;
mod net;
pub mod provider;
mod proxy;
mod runtime;
mod static_server;

pub use cli::main_with;
pub use error::Error;
