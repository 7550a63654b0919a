//! Whether and when a request is sent again: full jitter, the provider's own wish, a budget.

use std::time::Duration;

use super::failed::Failed;
use crate::clock::monotonic_ns;
use crate::exchange::Exchange;
use crate::kernel::retry_budget::RetryBudget;

/// First and longest wait between attempts at the same deployment, before jitter.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// A `Retry-After` longer than this is the caller's to wait for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Waits as long as is due before the next attempt; false when there should be none.
pub async fn may_retry(
    exchange: &mut Exchange,
    last: &Failed,
    round: u32,
    candidates: usize,
    budget: &RetryBudget,
) -> bool {
    // Another deployment has done nothing wrong yet: no wait for it.
    let same = round as usize >= candidates;
    let ceiling = BACKOFF.saturating_mul(1 << (round as usize / candidates.max(1)).min(8)).min(BACKOFF_MAX);
    let jitter = Duration::from_nanos(fastrand::u64(..=u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX)));
    let wait = if same { last.wait.unwrap_or(jitter) } else { Duration::ZERO };
    if wait > RETRY_AFTER_MAX || !budget.withdraw(monotonic_ns()) {
        return false;
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
        exchange.waited += wait;
    }
    true
}

/// How long a provider asks to be left alone.
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = text("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| text("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}
