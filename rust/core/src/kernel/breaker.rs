//! The health of one deployment: a circuit breaker fed by what really happens to requests.
//!
//! Closed, everything goes through. It opens when failures come in a row, when too large a share of the last requests
//! failed, or at once when the provider says so (429, a credential refused). While it is open nothing goes through; after
//! that a few requests at a time may try (half-open): a success closes it, a failure opens it again for twice as long.
//! Once closed the deployment gets its share back slowly.
//!
//! All threads share one breaker through atomics; a closed one costs a request two loads and one addition.

mod sign;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

pub use sign::{Cause, Sign};

/// Parts of the window in which successes and failures are counted.
const SLOTS: u64 = 8;
const MS: u64 = 1_000_000;
/// A recovering deployment gets at least this part of its weight, in 1/1024.
const FLOOR: u64 = 102;
/// Kinds of failures that are counted apart where somebody asks for it.
pub const KINDS: usize = 4;
/// Rest of a full deployment that others stand in for.
const SPILLED_MS: u64 = 1_000;
/// Weights are scaled by this.
pub const WHOLE: u64 = 1024;

/// When it opens and for how long. A count of 0 turns a rule off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// Share of failures in the window, in percent, and how many requests the window must hold for it to count.
    pub percent: u32,
    pub minimum: u32,
    pub window_ms: u64,
    /// More failures than this in the window open it (LiteLLM's `allowed_fails`).
    pub allowed_fails: Option<u32>,
    /// More failures of a kind than this within a window open it, and fewer do not (LiteLLM's `allowed_fails_policy`): those
    /// of [`Sign::kind`].
    pub allowed_of: [Option<u32>; KINDS],
    /// First and longest time it stays open; the first 0: it never opens.
    pub open_ms: u64,
    pub open_max_ms: u64,
    /// After a 429 that does not say how long.
    pub limited_ms: u64,
    /// Requests at a time that may try a half-open deployment.
    pub probes: u32,
    pub slow_start_ms: u64,
    /// The model has no other deployment: only what looks like an outage opens it.
    pub alone: bool,
}

impl Settings {
    /// Those of a deployment whose load spills over to others: what is paid for anyhow is looked at again soon.
    pub fn spilling(self, spills: bool) -> Settings {
        if spills { Settings { limited_ms: self.open_ms.min(SPILLED_MS), ..self } } else { self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// For so many nanoseconds more.
    Open {
        left_ns: u64,
    },
    HalfOpen,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Opened { cause: Cause, ms: u64 },
    Closed,
}

/// How a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Usual,
    /// It tries a half-open deployment; [`Breaker::leave`] gives the place back.
    Probe,
}

#[derive(Debug, Default)]
pub struct Breaker {
    /// Open until then, half-open after it; 0: closed.
    until: AtomicU64,
    /// When it closed again; 0: long ago.
    closed_at: AtomicU64,
    streak: AtomicU32,
    /// Openings without a success between them.
    opened: AtomicU32,
    probes: AtomicU32,
    cause: AtomicU8,
    changes: AtomicU64,
    window: [AtomicU64; SLOTS as usize],
    /// Failures by kind within the current window: its number, and how many.
    kinds: [AtomicU64; KINDS],
}

impl Breaker {
    pub fn state(&self, now: u64) -> State {
        match self.until.load(Relaxed) {
            0 => State::Closed,
            until if now < until => State::Open { left_ns: until - now },
            _ => State::HalfOpen,
        }
    }

    /// As it nearly always is; what time it is does not matter then.
    pub fn is_closed(&self) -> bool {
        self.until.load(Relaxed) == 0
    }

    /// Closed, and not just recovered: it gets all of its weight.
    pub fn is_at_ease(&self) -> bool {
        self.is_closed() && self.closed_at.load(Relaxed) == 0
    }

    pub fn cause(&self) -> Cause {
        Cause::of(self.cause.load(Relaxed))
    }

    /// How often it opened or closed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// The part of its weight, of [`WHOLE`], that a deployment gets now: nothing while open, little at first after that.
    pub fn share(&self, now: u64, settings: &Settings) -> u64 {
        match self.state(now) {
            State::Open { .. } => 0,
            State::HalfOpen => FLOOR,
            State::Closed => {
                let since = self.closed_at.load(Relaxed);
                if since == 0 {
                    return WHOLE;
                }
                let ramp = settings.slow_start_ms.saturating_mul(MS);
                let passed = now.saturating_sub(since);
                if passed >= ramp {
                    self.closed_at.store(0, Relaxed);
                    return WHOLE;
                }
                (u128::from(passed) * u128::from(WHOLE) / u128::from(ramp)).try_into().unwrap_or(WHOLE).max(FLOOR)
            }
        }
    }

    /// Asks to send a request at `now`. `force` opens the way to a deployment that is open for a soft cause.
    pub fn enter(&self, now: u64, settings: &Settings, force: bool) -> Option<Pass> {
        match self.state(now) {
            State::Closed => Some(Pass::Usual),
            State::Open { .. } => (force && self.cause().is_soft()).then_some(Pass::Usual),
            State::HalfOpen => {
                let limit = settings.probes.max(1);
                let taken = self.probes.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1));
                taken.is_ok().then_some(Pass::Probe)
            }
        }
    }

    /// Gives the place of a probe back.
    pub fn leave(&self) {
        let _none = self.probes.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
    }

    /// Takes in what became of a request.
    pub fn record(&self, sign: Sign, now: u64, settings: &Settings) -> Option<Change> {
        if let Some(kind) = sign.kind()
            && let Some(allowed) = settings.allowed_of.get(kind).copied().flatten()
            && !settings.alone
        {
            return self.counted(sign, (kind, allowed), now, settings);
        }
        match sign {
            Sign::Success => self.success(now, settings),
            Sign::Refusal => {
                if self.state(now) == State::HalfOpen {
                    self.success(now, settings)
                } else {
                    None
                }
            }
            Sign::Failure => {
                self.count(now, settings, 1 << 16);
                if settings.alone { None } else { self.failure(now, settings) }
            }
            Sign::Outage => {
                self.count(now, settings, 1 << 16);
                self.failure(now, settings)
            }
            Sign::RateLimited { .. } | Sign::Credential if settings.alone => None,
            Sign::RateLimited { wait_ms } => {
                let ms =
                    wait_ms.unwrap_or(settings.limited_ms).clamp(1, settings.open_max_ms.max(settings.open_ms).max(1));
                self.open(Cause::RateLimited, ms, now, settings)
            }
            Sign::Credential => self.open(Cause::Credential, settings.open_max_ms, now, settings),
        }
    }

    /// Opens it for the time that is due, from outside: an outlier, a failed health check.
    pub fn eject(&self, cause: Cause, now: u64, settings: &Settings) -> Option<Change> {
        self.open(cause, self.due(settings), now, settings)
    }

    /// Keeps it open for so long from now on, from outside and again and again; one that is open for another cause stays so.
    pub fn hold(&self, cause: Cause, ms: u64, now: u64, settings: &Settings) -> Option<Change> {
        if self.cause() == cause && matches!(self.state(now), State::Open { .. }) {
            self.until.fetch_max(now.saturating_add(ms.saturating_mul(MS)), Relaxed);
            return None;
        }
        self.open(cause, ms, now, settings)
    }

    /// Until when it is open; 0: it is closed.
    pub fn until(&self) -> u64 {
        self.until.load(Relaxed)
    }

    /// Closes it, from outside.
    pub fn close(&self, now: u64) -> Option<Change> {
        self.closed(self.until.load(Relaxed), now)
    }

    /// Requests and failures in the window.
    pub fn counts(&self, now: u64, settings: &Settings) -> (u32, u32) {
        let current = slot_of(now, settings);
        self.window
            .iter()
            .map(|slot| unpack(slot.load(Relaxed)))
            .filter(|(at, ..)| at + SLOTS > current)
            .fold((0, 0), |(total, failed), (_, slot_failed, succeeded)| {
                (total + slot_failed + succeeded, failed + slot_failed)
            })
    }

    fn success(&self, now: u64, settings: &Settings) -> Option<Change> {
        self.count(now, settings, 1);
        if self.streak.load(Relaxed) != 0 {
            self.streak.store(0, Relaxed);
        }
        let until = self.until.load(Relaxed);
        // An answer to what was sent before it opened says nothing new.
        if now < until { None } else { self.closed(until, now) }
    }

    fn closed(&self, until: u64, now: u64) -> Option<Change> {
        if until == 0 || self.until.compare_exchange(until, 0, Relaxed, Relaxed).is_err() {
            return None;
        }
        self.opened.store(0, Relaxed);
        self.cause.store(Cause::None as u8, Relaxed);
        self.window.iter().for_each(|slot| slot.store(0, Relaxed));
        self.closed_at.store(now, Relaxed);
        self.changes.fetch_add(1, Relaxed);
        Some(Change::Closed)
    }

    fn failure(&self, now: u64, settings: &Settings) -> Option<Change> {
        let streak = self.streak.fetch_add(1, Relaxed).saturating_add(1);
        let ms = self.due(settings);
        if self.state(now) == State::HalfOpen {
            let cause = self.cause();
            return self.open(if cause == Cause::None { Cause::Consecutive } else { cause }, ms, now, settings);
        }
        if settings.consecutive > 0 && streak >= settings.consecutive {
            return self.open(Cause::Consecutive, ms, now, settings);
        }
        if settings.alone || (settings.percent == 0 && settings.allowed_fails.is_none()) {
            return None;
        }
        let (total, failed) = self.counts(now, settings);
        let share = settings.percent > 0
            && total >= settings.minimum
            && u64::from(failed) * 100 >= u64::from(settings.percent) * u64::from(total);
        let many = settings.allowed_fails.is_some_and(|allowed| failed > allowed);
        if share || many { self.open(Cause::Share, ms, now, settings) } else { None }
    }

    /// A failure of a kind that may happen so often within a window.
    fn counted(&self, sign: Sign, (kind, allowed): (usize, u32), now: u64, settings: &Settings) -> Option<Change> {
        self.count(now, settings, 1 << 16);
        let window = now / settings.window_ms.max(1).saturating_mul(MS) + 1;
        let add = |packed: u64| {
            let before = if packed >> 32 == window & 0xffff_ffff { packed & 0xffff_ffff } else { 0 };
            Some((window & 0xffff_ffff) << 32 | (before + 1).min(0xffff_ffff))
        };
        let before = self.kinds.get(kind)?.fetch_update(Relaxed, Relaxed, add).ok()?;
        let failed = add(before).unwrap_or_default() & 0xffff_ffff;
        if failed <= u64::from(allowed) && self.state(now) != State::HalfOpen {
            return None;
        }
        let (cause, ms) = match sign {
            Sign::RateLimited { wait_ms } => {
                let longest = settings.open_max_ms.max(settings.open_ms).max(1);
                (Cause::RateLimited, wait_ms.unwrap_or(settings.limited_ms).clamp(1, longest))
            }
            Sign::Credential => (Cause::Credential, settings.open_max_ms),
            _ => (Cause::Share, self.due(settings)),
        };
        self.open(cause, ms, now, settings)
    }

    /// How long it stays open next: twice as long each time in a row.
    fn due(&self, settings: &Settings) -> u64 {
        let times = self.opened.load(Relaxed).min(16);
        settings.open_ms.saturating_mul(1 << times).min(settings.open_max_ms.max(settings.open_ms))
    }

    fn open(&self, cause: Cause, ms: u64, now: u64, settings: &Settings) -> Option<Change> {
        if settings.open_ms == 0 {
            return None;
        }
        let next = now.saturating_add(ms.saturating_mul(MS)).max(1);
        let before = self.until.load(Relaxed);
        if now < before {
            // Open already; only a longer wish of the provider counts.
            if cause == Cause::RateLimited {
                self.until.fetch_max(next, Relaxed);
            }
            return None;
        }
        if self.until.compare_exchange(before, next, Relaxed, Relaxed).is_err() {
            return None;
        }
        self.cause.store(cause as u8, Relaxed);
        self.opened.fetch_update(Relaxed, Relaxed, |n| n.checked_add(1)).ok();
        self.streak.store(0, Relaxed);
        self.changes.fetch_add(1, Relaxed);
        Some(Change::Opened { cause, ms })
    }

    fn count(&self, now: u64, settings: &Settings, what: u64) {
        let current = slot_of(now, settings);
        let Some(slot) = self.window.get((current % SLOTS) as usize) else { return };
        let _full = slot.fetch_update(Relaxed, Relaxed, |packed| {
            let (at, failed, succeeded) = unpack(packed);
            if at != current {
                return Some((current & 0xffff_ffff) << 32 | what);
            }
            // A full half would carry over into the other.
            let room = if what == 1 { succeeded < 0xffff } else { failed < 0xffff };
            room.then(|| packed + what)
        });
    }
}

/// The part of the window a time falls into, counted from 1 so that an untouched slot is old, in 32 bits.
fn slot_of(now: u64, settings: &Settings) -> u64 {
    (now / (settings.window_ms.max(1).saturating_mul(MS) / SLOTS).max(1) + SLOTS) & 0xffff_ffff
}

/// (part of the window, failures, successes)
fn unpack(packed: u64) -> (u64, u32, u32) {
    (packed >> 32, (packed >> 16 & 0xffff) as u32, (packed & 0xffff) as u32)
}

#[cfg(test)]
mod tests;
