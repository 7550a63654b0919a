//! A request before it is known whose it is, and its caller once that is known.

use std::sync::Arc;
use std::time::Instant;

use crate::connection::Connection;
use crate::endpoint::Dialect;
use crate::exchange::RequestId;
use crate::shard::Shard;
use crate::sigv4::Claim;
use crate::state::draw::Quotas;
use crate::state::keys::Key;

/// What is known of every request.
pub struct Arrival {
    pub started: Instant,
    pub wall_us: i64,
    pub request_id: RequestId,
    /// What errors are told in.
    pub dialect: Dialect,
    pub shard: Arc<Shard>,
    pub connection: Arc<Connection>,
}

/// Who asks, as far as the head of a request tells.
pub struct Caller {
    pub key: Arc<Key>,
    /// A signature that is verified when the body is there.
    pub signed: Option<Box<Signed>>,
    /// How the tightest limits stand.
    pub quotas: Quotas,
}

/// Who says he signed the request.
pub struct Signed {
    pub claim: Claim,
    pub secret: String,
}
