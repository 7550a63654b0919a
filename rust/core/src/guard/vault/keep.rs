//! Values brought to the store, and asked of it. Before a provider reads a token, the store has its value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::tokens::{Fresh, Lasting, Tokens};
use crate::clock::wall_us;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::shard::Shard;
use crate::shell::ask::ask;

/// What a node knows is asked for again after so long, at the latest.
const TRUSTED_US: i64 = 3_600_000_000;

#[derive(Serialize)]
struct Question<'q> {
    tenant: &'q str,
    keep: &'q [Fresh],
    find: &'q [Box<str>],
}

#[derive(Deserialize)]
struct Found {
    name: String,
    value: String,
    expires_us: i64,
}

/// Keeps what is new in a request and finds what its tokens stand for.
///
/// # Errors
/// 503, when the store cannot be asked and a rule insists.
pub async fn wait(exchange: &mut Exchange) -> Result<()> {
    let (shard, started) = (exchange.shard.clone(), Instant::now());
    let Some(tokens) = &mut exchange.tokens else { return Ok(()) };
    let tokens = Arc::make_mut(tokens);
    let kept = asked(tokens, &shard).await;
    exchange.waited += started.elapsed();
    kept
}

/// Finds what names in an answer stand for that the request did not know; those that are not found stay what they are.
pub async fn find(tokens: &mut Tokens, shard: &Shard) {
    let _ = asked(tokens, shard).await;
}

async fn asked(tokens: &mut Tokens, shard: &Shard) -> Result<()> {
    let Some(lasting) = &mut tokens.lasting else { return Ok(()) };
    let (keep, find) = (std::mem::take(&mut lasting.fresh), std::mem::take(&mut lasting.unknown));
    let Lasting { vault, tenant, fails_closed, .. } = &*lasting;
    let question = Question { tenant, keep: &keep, find: &find };
    let found: Vec<Found> = match ask(shard, "vault/exchange", &question).await {
        Ok(found) => found,
        Err(why) if *fails_closed => {
            tracing::warn!(why, "the vault cannot be asked");
            let text = "Values cannot be kept for now; the gateway's log says why. Nothing was sent.";
            return Err(Error::new(Code::StoreUnavailable, text).retry_after(Duration::from_secs(2)));
        }
        Err(why) => {
            tracing::warn!(why, "the vault cannot be asked: tokens hold for their request");
            return Ok(());
        }
    };
    let now = wall_us();
    for fresh in &keep {
        // The store is told again when half of the time is over, so what is used is kept.
        let until = now + (i64::from(fresh.ttl_s) * 500_000).min(TRUSTED_US);
        vault.put(tenant, &fresh.name, (*fresh.value).into(), until);
    }
    for Found { name, value, expires_us } in found {
        let value: Arc<str> = value.into();
        vault.put(tenant, &name, value.clone(), expires_us.min(now + TRUSTED_US));
        tokens.values.insert(name.into(), value);
    }
    Ok(())
}
