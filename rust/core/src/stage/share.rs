//! A limit that several nodes share has room, but this node's part of it is used up: the request waits a little for more.

use std::time::{Duration, Instant};

use crate::exchange::Exchange;
use crate::state::draw::Refused;

/// As long as a request waits at most, all told. Usually it is a few milliseconds; near the end of a limit the last of it
/// has to be called in from the other nodes, of which one may be busy. For nodes that are not heard nobody waits.
const PATIENCE: Duration = Duration::from_secs(4);

/// Whether waiting may help against this refusal.
pub fn may_help(exchange: &mut Exchange, refused: &Refused) -> bool {
    if !refused.short {
        return false;
    }
    let until = *exchange.share_until.get_or_insert_with(|| Instant::now() + PATIENCE);
    let leases = exchange.shard.shared.state.leases.as_ref();
    leases.is_some_and(|leases| leases.is_online()) && Instant::now() < until
}

/// Waits for news of shares.
pub async fn run(exchange: &mut Exchange) {
    if let (Some(leases), Some(until)) = (&exchange.shard.shared.state.leases, exchange.share_until) {
        leases.news(until).await;
    }
}
