//! What a policy waits for before a request is sent.

use std::sync::Arc;
use std::time::Duration;

use super::action::RequireApproval;
use super::apply::denied;
use super::wire;
use crate::approval;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;

/// Something that takes time.
pub enum Pending {
    Delay(Duration),
    Approval(Arc<RequireApproval>),
    Webhook { policy: Arc<str>, webhook: Arc<wire::Webhook>, payload: Vec<u8> },
}

/// Waits for what a policy waits for.
///
/// # Errors
/// What was waited for refuses the request.
pub async fn wait(exchange: &mut Exchange) -> Result<()> {
    let Some(pending) = exchange.policed.as_mut().and_then(|policed| policed.pending.take()) else { return Ok(()) };
    match pending {
        Pending::Delay(delay) => {
            tokio::time::sleep(delay).await;
            exchange.waited += delay;
            Ok(())
        }
        Pending::Approval(rule) => {
            let next = exchange.policed.as_ref().and_then(|policed| policed.resume);
            let Some((place, next)) = next else { return Ok(()) };
            approval::before(exchange, &rule, place, next).await
        }
        Pending::Webhook { policy, webhook, payload } => {
            let started = std::time::Instant::now();
            let verdict =
                super::tail::consult(&exchange.shard, &webhook, &payload, &exchange.request_id.to_string()).await;
            exchange.waited += started.elapsed();
            verdict.map_err(|text| {
                let held = exchange.snapshot.clone();
                let policy = held.policies.list.iter().find(|known| known.name == policy);
                policy.map_or(Error::new(Code::PolicyDenied, text.clone()), |policy| denied(policy, 403, &text))
            })
        }
    }
}
