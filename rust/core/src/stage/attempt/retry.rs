//! Whether and when a request is sent again: the policy of the failure's class, budgets, the provider's own wish, full jitter.

use std::time::Duration;

use smallvec::SmallVec;

use super::failed::Failure;
use crate::clock::monotonic_ns;
use crate::error::{Code, Error};
use crate::exchange::Exchange;
use crate::kernel::breaker::State;
use crate::kernel::failure::Class;
use crate::snapshot::{Deployment, Model};

/// Where in the order of the candidates the next attempt stands.
pub struct Turn {
    /// Attempts that were made and failed.
    pub tries: u32,
    /// How often all candidates have been asked; 0: the next one was not asked yet.
    pub round: u32,
    /// A connection was found closing and another was taken: once, lest a provider that always hangs up is asked for ever.
    pub renewed: bool,
}

/// Waits as long as is due before the next attempt; false when there should be none.
pub async fn may_retry(exchange: &mut Exchange, model: &Model, last: &Failure, turn: &Turn, next: &Deployment) -> bool {
    let routing = &model.routing;
    let retry = exchange.plan.as_ref().and_then(|plan| plan.step()?.retry.as_ref());
    let allowed = match retry {
        Some(retry) if statuses(&last.error).iter().any(|status| retry.codes.contains(status)) => retry.attempts,
        Some(_) => 0,
        None => routing.retries.of(last.class),
    };
    if turn.tries > allowed {
        return false;
    }
    // Another deployment has done nothing wrong yet: no wait for it, and a budget of its own.
    if turn.round == 0 {
        return model.state.failovers.withdraw(monotonic_ns());
    }
    let backoff = &routing.backoff;
    let ceiling = backoff.first.saturating_mul(1 << turn.round.min(8)).min(backoff.longest);
    let jitter = Duration::from_nanos(fastrand::u64(..=u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX)));
    let wait = last.wait.unwrap_or(jitter);
    if !last.class.repeats() || wait > backoff.retry_after.max(backoff.longest) {
        return false;
    }
    let now = monotonic_ns();
    if let State::Open { left_ns } = next.state.health.state(now)
        && u128::from(left_ns) > wait.as_nanos()
    {
        return false;
    }
    if !model.state.retries.withdraw(now) {
        return false;
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
        exchange.waited += wait;
    }
    true
}

/// The statuses that a failure goes by in a config object: its own, and those by which Portkey knows time-outs and lost
/// connections.
pub fn statuses(error: &Error) -> SmallVec<[u16; 4]> {
    let mut statuses = SmallVec::from_slice(&[error.http_status().as_u16()]);
    match error.code {
        Code::UpstreamTimeout => statuses.push(408),
        Code::UpstreamConnect | Code::UpstreamReset | Code::UpstreamInvalid => statuses.extend([500, 502, 503]),
        _ => {}
    }
    statuses
}

/// The class of a refusal; a bad request may be one that another model can do.
pub fn class_of(status: u16, body: &[u8]) -> Class {
    match Class::of_status(status) {
        Class::BadRequest if status == 400 => refined(body).unwrap_or(Class::BadRequest),
        class => class,
    }
}

/// Words by which providers say that a prompt is too long, or that their filter refused it. Compared in lower case with the
/// first kilobytes of the body: some put them into `code`, some into `type`, some only into the message.
const CONTEXT_WINDOW: [&str; 10] = [
    // OpenAI and those like it.
    "context_length_exceeded",
    "maximum context length",
    "context window",
    // Anthropic.
    "prompt is too long",
    "exceed context limit",
    // Gemini, Bedrock, Cohere, Together, vLLM.
    "exceeds the maximum number of tokens",
    "input is too long",
    "too many tokens",
    "tokens + `max_new_tokens` must be",
    "longer than the maximum model length",
];
const CONTENT_POLICY: [&str; 7] = [
    // OpenAI.
    "content_policy_violation",
    // Azure.
    "content_filter",
    "content management policy",
    "responsibleaipolicyviolation",
    // Anthropic.
    "content filtering policy",
    // Gemini, Bedrock.
    "prohibited_content",
    "blocked by our safety",
];
const LOOKED_AT: usize = 4096;

fn refined(body: &[u8]) -> Option<Class> {
    let head = String::from_utf8_lossy(body.get(..LOOKED_AT.min(body.len()))?).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| head.contains(word));
    if says(&CONTEXT_WINDOW) {
        Some(Class::ContextWindow)
    } else if says(&CONTENT_POLICY) {
        Some(Class::ContentPolicy)
    } else {
        None
    }
}

/// How long a provider asks to be left alone, in seconds (or milliseconds, as OpenAI and Azure also say it).
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number("retry-after-ms").or_else(|| number("x-ms-retry-after-ms"));
    let seconds = millis.map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (status, body, class) in [
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, Class::ContextWindow),
            (400, r#"{"type":"error","error":{"message":"prompt is too long: 210000 tokens"}}"#, Class::ContextWindow),
            (400, r#"{"error":{"code":"content_filter","innererror":{}}}"#, Class::ContentPolicy),
            (400, r#"{"error":{"message":"Output blocked by content filtering policy"}}"#, Class::ContentPolicy),
            (400, r#"{"error":{"message":"temperature must be a number"}}"#, Class::BadRequest),
            (400, "", Class::BadRequest),
            (422, "maximum context length", Class::BadRequest),
            (401, "", Class::Authentication),
            (404, "", Class::NotFound),
            (429, "", Class::RateLimit),
            (504, "", Class::Timeout),
            (529, "", Class::ServerError),
        ] {
            assert_eq!(class_of(status, body.as_bytes()), class, "{status} {body}");
        }
    }
}
