//! Limits as Python sends them, and as they are counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::line::Exhausted;
use super::line::{Line, Priority};
use super::scope::{Aim, Each, Scope};
use super::wording::Words;
use crate::kernel::budget::{Budget, Span, Unit, Zone};
use crate::kernel::window::{Grant, Refusal, Window};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Metric {
    Requests,
    /// Requests in flight.
    Parallel,
    InputTokens,
    OutputTokens,
    /// Input and output.
    Tokens,
    /// Pico-USD.
    Spend,
}

impl Metric {
    pub const COUNT: usize = 6;
    /// What is known when a request arrives.
    pub const ARRIVAL: u8 = Metric::Requests.bit() | Metric::Parallel.bit();
    /// What is known when a deployment is chosen.
    pub const USAGE: u8 =
        Metric::InputTokens.bit() | Metric::OutputTokens.bit() | Metric::Tokens.bit() | Metric::Spend.bit();

    /// Limits that are asked about when a deployment is chosen, whatever they count, because they are about some providers
    /// alone; a bit beside those of the metrics.
    pub const PLACED: u8 = 1 << 6;
    /// Limits that hold for each of something by itself.
    pub const PARTED: u8 = 1 << 7;

    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Amounts by metric.
pub type Amounts = [u64; Metric::COUNT];

/// The window of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WindowRow {
    /// The last `length_ms`, wherever one looks.
    Sliding { length_ms: u64 },
    /// Periods of the civil calendar. What was used before `since_us` does not count.
    Calendar { unit: Unit, offset_s: i64, shift_us: i64, shifted_offset_s: i64, since_us: i64 },
    /// Periods of one length, one of which begins at `start_us`.
    Anchored { start_us: i64, length_ms: u64, since_us: i64 },
    /// For ever; counted from `since_us`.
    Lifetime { since_us: i64 },
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// What people call it, for messages; may be empty.
    pub name: String,
    pub metric: Metric,
    pub max: u64,
    /// Null for `parallel` alone.
    pub window: Option<WindowRow>,
    /// Names or globs of the models it is about, all counted together; null: all models.
    pub models: Option<Vec<String>>,
    /// Operations it is about; null: all.
    pub endpoints: Option<Vec<String>>,
    /// Names or globs of providers; null: all.
    pub providers: Option<Vec<String>>,
    /// It holds for each of these by itself.
    pub each: Option<Each>,
    /// Passing it is told, and nothing refused.
    pub soft: bool,
    pub on_exhausted: Exhausted,
    /// Percent of it that only requests of normal or high priority may use, and only those of high priority.
    pub reserved: [u8; 2],
}

/// Someone or something with limits of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectRow {
    pub kind: super::subjects::Kind,
    pub id: String,
    pub alias: Option<String>,
    /// Whose spend it shares: a member's team and user.
    pub parents: Vec<(super::subjects::Kind, String)>,
    pub blocked: bool,
    pub limits: Vec<LimitRule>,
}

/// Some limit asks for the priority of requests.
static RANKED: AtomicBool = AtomicBool::new(false);

/// Whether the priority of requests matters to any limit.
#[inline]
pub fn are_ranked() -> bool {
    RANKED.load(Ordering::Relaxed)
}

/// A limit, checked and compiled.
#[derive(Debug)]
pub struct Rule {
    pub row: LimitRule,
    /// Who waits for room.
    pub line: Option<Line>,
    /// When the next request is due where they are paced.
    next_ns: AtomicU64,
    scope: Scope,
    /// `requests per minute`, `tokens per day`, `USD`, …
    pub words: String,
    /// What follows `words` where the operator gave the limit a name.
    pub named: String,
}

impl Rule {
    /// # Errors
    /// Says what is wrong with it.
    pub fn compile(row: LimitRule) -> Result<Rule, String> {
        let fail = |what: &str| Err(format!("limit on {:?}: {what}", row.metric));
        match (&row.window, row.metric) {
            (None, Metric::Parallel) => {}
            (Some(_), Metric::Parallel) => return fail("what is in flight has no window"),
            (None, _) => return fail("a window is needed"),
            (Some(WindowRow::Sliding { length_ms } | WindowRow::Anchored { length_ms, .. }), _)
                if !(1..=MAX_LENGTH_MS).contains(length_ms) =>
            {
                return fail("a window has from 1 ms to 400 days");
            }
            (Some(WindowRow::Calendar { offset_s, shifted_offset_s, .. }), _)
                if offset_s.abs() > 86_400 || shifted_offset_s.abs() > 86_400 =>
            {
                return fail("a zone is at most a day from UTC");
            }
            _ => {}
        }
        if row.each.is_some() && matches!(row.window, Some(WindowRow::Lifetime { .. })) {
            return fail("what holds for each of many has a window that ends");
        }
        if row.reserved.iter().map(|part| u32::from(*part)).sum::<u32>() > 100 {
            return fail("at most all of it can be reserved");
        }
        let line = matches!(row.on_exhausted, Exhausted::Queue { .. } | Exhausted::Throttle { .. }).then(Line::default);
        if line.is_some() || row.reserved != [0; 2] {
            RANKED.store(true, Ordering::Relaxed);
        }
        let words = Words(&row).to_string();
        let named = if row.name.is_empty() { String::new() } else { format!(" (limit '{}')", row.name) };
        Ok(Rule { scope: Scope::new(&row), row, line, next_ns: AtomicU64::new(0), words, named })
    }

    /// How much of it is kept from requests of this priority.
    #[inline]
    pub fn kept_from(&self, priority: Priority) -> u64 {
        let [normal, high] = self.row.reserved.map(u64::from);
        let percent = match priority {
            _ if normal + high == 0 => return 0,
            Priority::Low => normal + high,
            Priority::Normal => high,
            Priority::High => 0,
        };
        (u128::from(self.row.max) * u128::from(percent) / 100) as u64
    }

    /// How long the request that has just been let in waits, where they are paced and so much is left.
    pub fn pace(&self, now_ns: u64, remaining: u64) -> Option<Duration> {
        let (Exhausted::Throttle { from, wait_ms }, Some(WindowRow::Sliding { length_ms })) =
            (&self.row.on_exhausted, &self.row.window)
        else {
            return None;
        };
        let free = u128::from(self.row.max) * u128::from(100_u8.saturating_sub(*from)) / 100;
        if u128::from(remaining) >= free {
            return None;
        }
        let gap = length_ms.saturating_mul(1_000_000) / self.row.max.max(1);
        let latest = now_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
        let due = |next: u64| next.max(now_ns).saturating_add(gap).min(latest);
        let next = self.next_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(due(next)));
        let until = due(next.unwrap_or_default());
        Some(Duration::from_nanos(until.saturating_sub(now_ns))).filter(|wait| !wait.is_zero())
    }

    #[inline]
    pub fn concerns(&self, aim: &Aim<'_>) -> bool {
        self.scope.holds(aim)
    }

    /// When it is asked about: a bit of [`Metric`].
    #[inline]
    pub fn bit(&self) -> u8 {
        if self.row.providers.is_some() { Metric::PLACED } else { self.row.metric.bit() }
    }

    /// Whether the same things are counted over the same window, so that a changed limit goes on from what was used.
    pub fn counts_as(&self, other: &LimitRule) -> bool {
        let ours = &self.row;
        ours.metric == other.metric
            && ours.window == other.window
            && ours.models == other.models
            && ours.endpoints == other.endpoints
            && ours.providers == other.providers
            && ours.each == other.each
    }
}

/// Longest window: what the clock of sliding windows reaches back to.
pub const MAX_LENGTH_MS: u64 = 400 * 86_400_000;

/// The two clocks of limits: one that never goes back for sliding windows, the wall's for the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub ns: u64,
    pub us: i64,
}

impl Now {
    /// So far ahead that a window of the longest kind begins after 0 even in a process that has just started.
    const AHEAD_NS: u64 = 2 * MAX_LENGTH_MS * 1_000_000;

    pub fn at(instant: std::time::Instant, wall_us: i64) -> Now {
        Now { ns: Self::AHEAD_NS.saturating_add(crate::clock::ns_at(instant)), us: wall_us }
    }

    /// An earlier instant of the wall clock on the steady one.
    fn ns_of(&self, at_us: i64) -> u64 {
        let ago = u64::try_from(self.us.saturating_sub(at_us)).unwrap_or(0);
        self.ns.saturating_sub(ago.saturating_mul(1_000))
    }
}

/// The counter behind a rule.
#[derive(Debug)]
pub enum Count {
    Sliding(Window),
    Periods(Budget),
    Held { limit: u64, held: u64 },
}

impl Count {
    pub fn new(rule: &LimitRule) -> Count {
        let us = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let periods = |span, since_us| Count::Periods(Budget::new(rule.max, span, since_us));
        match &rule.window {
            None => Count::Held { limit: rule.max, held: 0 },
            Some(WindowRow::Sliding { length_ms }) => {
                Count::Sliding(Window::new(rule.max, length_ms.saturating_mul(1_000_000)))
            }
            Some(WindowRow::Calendar { unit, offset_s, shift_us, shifted_offset_s, since_us }) => {
                let zone = Zone { offset_s: *offset_s, shift_us: *shift_us, shifted_offset_s: *shifted_offset_s };
                periods(Span::Calendar { unit: *unit, zone }, *since_us)
            }
            Some(WindowRow::Anchored { start_us, length_ms, since_us }) => {
                periods(Span::Anchored { start_us: *start_us, length_us: us(*length_ms) }, *since_us)
            }
            Some(WindowRow::Lifetime { since_us }) => periods(Span::Lifetime, *since_us),
        }
    }

    pub fn set_limit(&mut self, max: u64) {
        match self {
            Count::Sliding(window) => window.set_limit(max),
            Count::Periods(budget) => budget.set_limit(max),
            Count::Held { limit, .. } => *limit = max,
        }
    }

    pub fn limit(&self) -> u64 {
        match self {
            Count::Sliding(window) => window.limit(),
            Count::Periods(budget) => budget.limit(),
            Count::Held { limit, .. } => *limit,
        }
    }

    pub fn used(&mut self, now: Now) -> u64 {
        match self {
            Count::Sliding(window) => window.used(now.ns),
            Count::Periods(budget) => budget.used(now.us),
            Count::Held { held, .. } => *held,
        }
    }

    /// Whether `n` would fit; takes nothing.
    ///
    /// # Errors
    /// Says how long to wait; `u64::MAX` where waiting does not help.
    #[inline]
    pub fn check(&mut self, now: Now, n: u64) -> Result<(), Refusal> {
        match self {
            Count::Sliding(window) => window.check(now.ns, n),
            Count::Periods(budget) => budget.check(now.us, n),
            Count::Held { limit, held } => {
                let remaining = limit.saturating_sub(*held);
                // Nobody knows when a request will end; a second is what clients are told.
                if n <= remaining { Ok(()) } else { Err(Refusal { retry_after_ns: 1_000_000_000, remaining }) }
            }
        }
    }

    #[inline]
    pub fn take(&mut self, now: Now, n: u64) -> Grant {
        match self {
            Count::Sliding(window) => window.take(now.ns, n),
            Count::Periods(budget) => budget.take(now.us, n),
            Count::Held { limit, held } => {
                *held = held.saturating_add(n);
                Grant { slot: 0, remaining: limit.saturating_sub(*held), reset_ns: 0 }
            }
        }
    }

    /// What was reserved becomes what was used. Returns what that added to the count and took from it.
    #[inline]
    pub fn settle(&mut self, slot: u64, reserved: u64, actual: u64) -> (u64, u64) {
        let (more, less) = (actual.saturating_sub(reserved), reserved.saturating_sub(actual));
        match self {
            Count::Sliding(window) if more > 0 => return (window.charge(slot, more), 0),
            Count::Sliding(window) => return (0, window.refund(slot, less)),
            Count::Periods(budget) if more > 0 => budget.charge(slot, more),
            Count::Periods(budget) => budget.refund(slot, less),
            Count::Held { held, .. } => *held = held.saturating_add(more).saturating_sub(less),
        }
        (more, less)
    }

    /// The period that the count is of; 0 where nothing begins anew.
    pub fn period(&mut self, now: Now) -> u64 {
        match self {
            Count::Periods(budget) => budget.period(now.us),
            Count::Sliding(_) | Count::Held { .. } => 0,
        }
    }

    /// What was used in periods that have ended since this was asked last.
    pub fn ended(&mut self) -> u64 {
        match self {
            Count::Periods(budget) => budget.ended(),
            Count::Sliding(_) | Count::Held { .. } => 0,
        }
    }

    /// Counts what was used before this counter was made.
    pub fn seed(&mut self, now: Now, at_us: i64, n: u64) {
        match self {
            Count::Sliding(window) => window.seed(now.ns, now.ns_of(at_us), n),
            Count::Periods(budget) => budget.seed(now.us, at_us, n),
            Count::Held { .. } => {}
        }
    }

    /// Where what counts begins, µs since 1970; `None` where nothing needs to be looked up.
    pub fn begins(&mut self, now: Now) -> Option<i64> {
        match self {
            Count::Sliding(window) => {
                let ago = i64::try_from(window.reach_ns() / 1_000).unwrap_or(i64::MAX);
                Some(now.us.saturating_sub(ago))
            }
            Count::Periods(budget) => Some(budget.begins(now.us)),
            Count::Held { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: Metric, window: Option<WindowRow>) -> LimitRule {
        let (on_exhausted, reserved) = (Exhausted::Refuse, [0; 2]);
        let name = String::new();
        let (models, endpoints, providers, each) = (None, None, None, None);
        LimitRule {
            name,
            metric,
            max: 10,
            window,
            models,
            endpoints,
            providers,
            each,
            soft: false,
            on_exhausted,
            reserved,
        }
    }

    #[test]
    fn rules_say_what_they_are() {
        let minute = Some(WindowRow::Sliding { length_ms: 60_000 });
        let text = |row: LimitRule| Rule::compile(row).map(|rule| rule.words);
        assert_eq!(text(row(Metric::Requests, minute.clone())).as_deref(), Ok("requests per minute"));
        let models = Some(vec!["gpt-*".to_string(), "o3".to_string()]);
        let on_models = LimitRule { models, ..row(Metric::Tokens, Some(WindowRow::Sliding { length_ms: 7_200_000 })) };
        assert_eq!(text(on_models).as_deref(), Ok("tokens per 2 hours on gpt-*, o3"));
        assert_eq!(text(row(Metric::Spend, Some(WindowRow::Lifetime { since_us: 0 }))).as_deref(), Ok("USD in all"));
        assert_eq!(text(row(Metric::Parallel, None)).as_deref(), Ok("requests in flight"));
        for (metric, window) in [
            (Metric::Parallel, minute),
            (Metric::Spend, None),
            (Metric::Requests, Some(WindowRow::Sliding { length_ms: 0 })),
            (Metric::Requests, Some(WindowRow::Anchored { start_us: 0, length_ms: u64::MAX, since_us: 0 })),
        ] {
            assert!(Rule::compile(row(metric, window)).is_err());
        }
    }
}
