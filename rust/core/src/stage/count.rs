//! Counts the tokens of a request where an estimate is too close to a limit: what the estimate would refuse may fit.
//!
//! Not on the threads that carry requests, unless it is short work.

use super::reserve::exact_encoding;
use crate::exchange::{Counted, Exchange};
use crate::kernel::tokens::of_bytes;

/// Content up to this many bytes is counted at once: half a millisecond.
const SHORT: u32 = 16 << 10;
/// Content beyond this is never counted: the estimate stands.
const MOST: u32 = 8 << 20;

/// Tokens as the model of a deployment counts them.
pub async fn run(exchange: &mut Exchange, deployment: u32) {
    let found =
        exchange.deployment(deployment).and_then(|one| Some((exact_encoding(exchange, one)?, one.model.clone())));
    let Some((encoding, model)) = found.filter(|_| exchange.call.content_bytes <= MOST) else {
        exchange.call.counted = Some(Counted::Not);
        return;
    };
    let body = exchange.call.body.clone();
    let count = move || of_bytes(&model, &body).ok();
    let count = if exchange.call.content_bytes <= SHORT && encoding.is_loaded() {
        count()
    } else {
        tokio::task::spawn_blocking(count).await.ok().flatten()
    };
    let tokens = count.map(|count| u32::try_from(count.tokens).unwrap_or(u32::MAX));
    exchange.call.counted = Some(tokens.map_or(Counted::Not, |tokens| Counted::Exactly(encoding, tokens)));
}
