//! What callers are told about limits: the refusal of one that has no room, and the headers that say how the tightest
//! ones stand.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Code, Error};
use crate::number;
use crate::state::draw::{Passed, Quota, Quotas, Refused};
use crate::state::rules::Metric;

/// Official SDKs do not honour a longer wait. The granularity of a one-minute window may ask for a second more.
const LONGEST_MINUTE: Duration = Duration::from_millis(61_100);
const MINUTE: Duration = Duration::from_secs(60);

const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");

/// The refusal in words.
pub fn error(refused: &Refused, budget_status: u16) -> Error {
    let Refused { who, rule, used, asked, refusal, .. } = refused;
    let metric = rule.row.metric;
    let (words, limit) = (rule.words.as_str(), rule.named.as_str());
    // A flood of refusals should not cost more than it must: one text, put together without the machinery of formatting.
    let mut text = String::with_capacity(192);
    let mut digits = itoa::Buffer::new();
    let max = digits.format(rule.row.max);
    match metric {
        Metric::Requests => text.extend([who, " may make ", max, " ", words, limit, "."]),
        Metric::Parallel => text.extend([who, " has ", max, " ", words, ", as many as it may", limit, "."]),
        Metric::InputTokens | Metric::OutputTokens | Metric::Tokens => {
            let [used, asked] = [used, asked].map(u64::to_string);
            text.extend([who, " may use ", max, " ", words, limit, ": ", &used]);
            text.extend([" are used or reserved, this request may use ", &asked, "."]);
        }
        Metric::Spend => {
            let [max, used, asked] = [rule.row.max, *used, *asked].map(usd);
            let span = words.strip_prefix("USD").unwrap_or_default();
            text.extend(["Budget has been exceeded! ", who, " may spend $", &max, span, limit, ": $", &used]);
            text.extend([" are spent or reserved, this request may cost $", &asked, "."]);
        }
    }
    let code = match metric {
        Metric::Parallel => Code::ConcurrencyLimited,
        Metric::Spend => Code::BudgetExceeded,
        _ => Code::RateLimited,
    };
    if refusal.retry_after_ns == u64::MAX {
        return with_status(Error::new(code, text), budget_status);
    }
    let wait = Duration::from_nanos(refusal.retry_after_ns);
    let wait = if wait <= LONGEST_MINUTE { wait.min(MINUTE) } else { wait };
    match metric {
        Metric::Parallel => {}
        Metric::Spend => text.extend([" It is renewed in ", &reset(refusal.retry_after_ns), "."]),
        _ => {
            let tenths = u64::try_from(wait.as_millis().div_ceil(100)).unwrap_or(u64::MAX);
            let mut tenth = itoa::Buffer::new();
            text.extend([" Retry in ", digits.format(tenths / 10), ".", tenth.format(tenths % 10), " s."]);
        }
    }
    with_status(Error::new(code, text).retry_after(wait), budget_status)
}

/// A soft limit that was passed, in words.
pub fn passed(passed: &Passed) -> String {
    let Passed { who, rule, used } = passed;
    let (max, words, limit) = (rule.row.max, &rule.words, &rule.named);
    if rule.row.metric == Metric::Spend {
        let span = words.strip_prefix("USD").unwrap_or_default();
        return format!("{who} passed ${}{span}{limit}: ${} are spent or reserved.", usd(max), usd(*used));
    }
    format!("{who} passed {max} {words}{limit}: {used} are used or reserved.")
}

fn with_status(error: Error, budget_status: u16) -> Error {
    if error.code == Code::BudgetExceeded { error.status(budget_status) } else { error }
}

/// Pico-USD as a decimal number of USD, exact.
fn usd(pico: u64) -> String {
    const USD: u64 = 1_000_000_000_000;
    let text = format!("{}.{:012}", pico / USD, pico % USD);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// How the tightest limits stand, in OpenAI's headers.
pub fn tell(quotas: &Quotas, headers: &mut HeaderMap) {
    let [requests, tokens] = quotas.told();
    if let Some(quota) = &requests {
        put(headers, [LIMIT_REQUESTS, REMAINING_REQUESTS, RESET_REQUESTS], quota);
    }
    if let Some(quota) = &tokens {
        put(headers, [LIMIT_TOKENS, REMAINING_TOKENS, RESET_TOKENS], quota);
    }
}

fn put(headers: &mut HeaderMap, [limit, remaining, until]: [HeaderName; 3], quota: &Quota) {
    headers.insert(limit, number::header(quota.limit));
    headers.insert(remaining, number::header(quota.remaining));
    if quota.reset_ns != u64::MAX
        && let Ok(text) = HeaderValue::try_from(reset(quota.reset_ns))
    {
        headers.insert(until, text);
    }
}

/// `120ms`, `59s`, `6m0s`, `23h59m1s`: as OpenAI writes it, rounded up.
fn reset(ns: u64) -> String {
    let ms = ns.div_ceil(1_000_000);
    let s = ms.div_ceil(1_000);
    // Without the machinery of formatting: every answer says it.
    let mut text = String::with_capacity(16);
    let mut add = |count: u64, unit: &str| {
        text.push_str(itoa::Buffer::new().format(count));
        text.push_str(unit);
    };
    match s {
        _ if ms < 1_000 => add(ms, "ms"),
        0..60 => add(s, "s"),
        60..3_600 => {
            add(s / 60, "m");
            add(s % 60, "s");
        }
        _ => {
            add(s / 3_600, "h");
            add(s / 60 % 60, "m");
            add(s % 60, "s");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_written_as_openai_does() {
        for (ns, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (999_000_000, "999ms"),
            (999_000_001, "1s"),
            (59_000_000_001, "1m0s"),
            (3_599_000_000_000, "59m59s"),
            (86_400_000_000_000, "24h0m0s"),
        ] {
            assert_eq!(reset(ns), text);
        }
    }

    #[test]
    fn amounts_are_exact_decimals() {
        assert_eq!([0, 1, 10_000_000_000, 1_500_000_000_000].map(usd), ["0", "0.000000000001", "0.01", "1.5"]);
    }
}
