//! Portkey's config objects: a tree of targets with strategies, given with a request or saved under a name.
//!
//! A config chooses among models and providers that are configured here and that the key may use; it brings no credentials and
//! no addresses.

pub mod config;
mod drops;
pub mod headers;
pub mod hooks;
pub mod plan;

pub use config::Config;
pub use headers::{Headers, is_asked};
pub use plan::Plan;
