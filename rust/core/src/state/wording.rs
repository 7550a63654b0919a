//! Limits in words.

use std::fmt;

use super::rules::{LimitRule, Metric, WindowRow};
use crate::kernel::budget::Unit;

/// `requests per minute`, `tokens per day`, `USD`, …
pub(super) struct Words<'r>(pub(super) &'r LimitRule);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.metric {
            Metric::Requests => "requests",
            Metric::Parallel => "requests in flight",
            Metric::InputTokens => "input tokens",
            Metric::OutputTokens => "output tokens",
            Metric::Tokens => "tokens",
            Metric::Spend => "USD",
        })?;
        match &self.0.window {
            Some(WindowRow::Sliding { length_ms } | WindowRow::Anchored { length_ms, .. }) => length(f, *length_ms)?,
            Some(WindowRow::Calendar { unit, .. }) => write!(f, " per calendar {}", unit_name(*unit))?,
            Some(WindowRow::Lifetime { .. }) => f.write_str(" in all")?,
            None => {}
        }
        if let Some(models) = &self.0.models {
            write!(f, " on {}", models.join(", "))?;
        }
        if let Some(providers) = &self.0.providers {
            write!(f, " at {}", providers.join(", "))?;
        }
        if let Some(endpoints) = &self.0.endpoints {
            write!(f, " of {}", endpoints.join(", "))?;
        }
        Ok(())
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Second => "second",
        Unit::Minute => "minute",
        Unit::Hour => "hour",
        Unit::Day => "day",
        Unit::Week => "week",
        Unit::Month => "month",
        Unit::Year => "year",
    }
}

fn length(f: &mut fmt::Formatter<'_>, ms: u64) -> fmt::Result {
    for (unit, length) in [("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000)] {
        if ms == length {
            return write!(f, " per {unit}");
        }
        if ms.is_multiple_of(length) {
            return write!(f, " per {} {unit}s", ms / length);
        }
    }
    write!(f, " per {ms} ms")
}
