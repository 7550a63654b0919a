//! Connections to providers and to the shell: dialling, TLS, pooling, one HTTP/1.1 exchange at a time.

pub mod call;
pub mod conn;
pub mod origin;
pub mod pool;
pub mod tls;

pub use conn::{Conn, IoError, Outgoing};
pub use origin::Origin;
pub use pool::Pool;
