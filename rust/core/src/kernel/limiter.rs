//! How many requests at a time a deployment bears, found by what concurrency does to its latency.
//!
//! While nobody is held back, the time to the first byte is what it takes at ease: the baseline. When requests use up what is
//! allowed, the limit grows as long as the latency stays near the baseline, and shrinks in proportion when it does not (the
//! gradient of Netflix's concurrency-limits). A load that never lets up hides the baseline, so from time to time the limit is
//! lowered for a moment and the baseline measured again, as BBR does for round trips. Streams and whole answers have baselines
//! of their own: their first bytes mean different things.
//!
//! All of it is atomics. A request that meets no congestion costs two loads at its start and three additions at its end.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

const MS: u64 = 1_000_000;
/// Shortest time that is looked at as one.
const WINDOW_NS: u64 = 100 * MS;
/// Fewest answers in it.
const ANSWERS: u32 = 8;
/// So long a baseline holds while requests are held back.
const FRESH_NS: u64 = 15_000 * MS;
/// A probe that finds the latency lower by this part goes on, in percent.
const BETTER: u64 = 80;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub initial: u32,
    pub least: u32,
    /// 0: no limit is sought, and nothing measured.
    pub most: u32,
    /// Latency may be so many percent above the baseline.
    pub tolerance: u32,
}

/// What is measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Whole = 0,
    Stream = 1,
}

#[derive(Debug, Default)]
struct Sample {
    count: AtomicU32,
    sum_us: AtomicU64,
    baseline_us: AtomicU64,
}

#[derive(Debug, Default)]
pub struct Limiter {
    /// 0: not begun.
    limit: AtomicU32,
    samples: [Sample; 2],
    left: AtomicU32,
    window_at: AtomicU64,
    /// Requests have used up what is allowed since the window began.
    tight: AtomicBool,
    /// It failed under load since the window began.
    failed: AtomicBool,
    /// It never was slower than at ease.
    young: AtomicBool,
    measured_at: AtomicU64,
    /// While the baseline is measured: the limit that comes back.
    saved: AtomicU32,
    probe_at: AtomicU64,
    /// Requests that end in a million seconds.
    rate: AtomicU64,
}

impl Limiter {
    /// The limit in force.
    pub fn limit(&self, settings: &Settings) -> u32 {
        match self.limit.load(Relaxed) {
            0 => settings.initial.clamp(settings.least.max(1), settings.most.max(1)),
            limit => limit.min(settings.most),
        }
    }

    /// The limit as it was found, 0 before that.
    pub fn found(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Notes that `open` requests are there, of `limit` allowed.
    pub fn entered(&self, open: u32, limit: u32) {
        if u64::from(open) * 8 >= u64::from(limit) * 7 && !self.tight.load(Relaxed) {
            self.tight.store(true, Relaxed);
        }
    }

    /// A request has ended.
    pub fn left(&self) {
        self.left.fetch_add(1, Relaxed);
    }

    /// The deployment timed out, or said that it is overloaded.
    pub fn failed(&self, now: u64, settings: &Settings) {
        self.failed.store(true, Relaxed);
        self.tight.store(true, Relaxed);
        self.look(now, settings);
    }

    /// An answer has begun after `wait_ns`.
    pub fn answered(&self, class: Class, wait_ns: u64, now: u64, settings: &Settings) {
        // What was sent before a probe began says nothing about it.
        if self.saved.load(Relaxed) == 0 || wait_ns <= now.saturating_sub(self.probe_at.load(Relaxed)) {
            let sample = &self.samples[class as usize];
            sample.sum_us.fetch_add(wait_ns / 1_000, Relaxed);
            sample.count.fetch_add(1, Relaxed);
        }
        self.look(now, settings);
    }

    /// Latency at ease in nanoseconds; 0: not known.
    pub fn baseline_ns(&self) -> u64 {
        self.samples.iter().map(|sample| sample.baseline_us.load(Relaxed)).max().unwrap_or(0) * 1_000
    }

    /// Nanoseconds until `count` requests more have ended; None: not known.
    pub fn takes_ns(&self, count: u64) -> Option<u64> {
        let rate = self.rate.load(Relaxed);
        (rate > 0)
            .then(|| u64::try_from(u128::from(count) * 1_000_000_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX))
    }

    /// Starts anew, from a small limit: the deployment was away.
    pub fn restart(&self) {
        self.limit.store(0, Relaxed);
        self.saved.store(0, Relaxed);
        self.young.store(false, Relaxed);
        self.measured_at.store(0, Relaxed);
        for sample in &self.samples {
            sample.baseline_us.store(0, Relaxed);
        }
    }

    /// Ends the window when it is over; one thread does it.
    fn look(&self, now: u64, settings: &Settings) {
        let at = self.window_at.load(Relaxed);
        if at == 0 {
            let _first = self.window_at.compare_exchange(0, now.max(1), Relaxed, Relaxed);
            return;
        }
        let length = self.baseline_ns().max(WINDOW_NS);
        let count: u32 = self.samples.iter().map(|sample| sample.count.load(Relaxed)).sum();
        let over = now.saturating_sub(at) >= length && (count >= ANSWERS || self.failed.load(Relaxed));
        if over && self.window_at.compare_exchange(at, now, Relaxed, Relaxed).is_ok() {
            let left = u64::from(self.left.swap(0, Relaxed));
            self.rate.store(left * 1_000_000_000_000_000 / (now - at).max(1), Relaxed);
            self.settle(now, settings);
        }
    }

    fn settle(&self, now: u64, settings: &Settings) {
        let tight = self.tight.swap(false, Relaxed);
        let failed = self.failed.swap(false, Relaxed);
        let probing = self.saved.load(Relaxed) != 0;
        let (mut counted, mut weighed) = (0, 0);
        for sample in &self.samples {
            let count = u64::from(sample.count.swap(0, Relaxed));
            let sum = sample.sum_us.swap(0, Relaxed);
            if count == 0 {
                continue;
            }
            let mean = (sum / count).max(1);
            let known = sample.baseline_us.load(Relaxed);
            let base = if known == 0 { mean } else { known };
            let next = match (tight, probing) {
                _ if known == 0 => mean,
                // Nobody is held back: whatever it takes is what it takes.
                (false, false) => base / 2 + mean / 2,
                (_, true) => mean,
                (true, false) => base.min(mean),
            };
            sample.baseline_us.store(next, Relaxed);
            counted += count;
            weighed += count * 1_000 * mean / base;
        }
        let limit = self.limit(settings);
        let (least, most) = (settings.least.max(1), settings.most.max(1));
        let set = |limit: u32| self.limit.store(limit.clamp(least.min(most), most), Relaxed);
        // Permille of the baseline.
        let ratio = u64::checked_div(weighed, counted).unwrap_or(1_000);
        if probing {
            if ratio * 100 < BETTER * 1_000 && limit > least {
                self.probe_at.store(now, Relaxed);
                return set(probed(limit));
            }
            set(self.saved.swap(0, Relaxed));
            self.measured_at.store(now, Relaxed);
        } else if failed {
            self.young.store(true, Relaxed);
            set(limit - limit.div_ceil(10));
        } else if !tight {
            self.measured_at.store(now, Relaxed);
        } else if now.saturating_sub(self.measured_at.load(Relaxed)) > FRESH_NS || self.measured_at.load(Relaxed) == 0 {
            self.probe_at.store(now, Relaxed);
            self.saved.store(limit, Relaxed);
            set(probed(limit));
        } else {
            let allowed = 1_000 + u64::from(settings.tolerance) * 10;
            if ratio > allowed {
                self.young.store(true, Relaxed);
                set(u32::try_from(u64::from(limit) * (allowed * 1_000 / ratio).max(500) / 1_000).unwrap_or(most));
            } else if self.young.load(Relaxed) {
                set(limit + (limit / 16).max(1));
            } else {
                // Nothing has been found yet: on in large steps.
                set(limit + (limit / 2).max(1));
            }
        }
    }
}

/// The limit a probe goes down to: below what the latency that is tolerated lets it be too high by, and no further, since
/// places stay empty meanwhile.
fn probed(limit: u32) -> u32 {
    limit - limit.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { initial: 20, least: 2, most: 1_000, tolerance: 20 };

    /// A server with `slots` places that each take `service_ms`, kept as full as the limit allows for `seconds`.
    /// Returns the mean limit and the mean latency in ms of the last half.
    fn run(limiter: &Limiter, slots: u64, service_ms: u64, seconds: u64, demand: u32, from: u64) -> (f64, f64) {
        let mut now = from.max(1);
        let end = from + seconds * 1_000 * MS;
        // When each request in flight began and ends, oldest first.
        let mut flying: std::collections::VecDeque<(u64, u64)> = std::collections::VecDeque::new();
        let mut free = vec![now; slots as usize];
        let (mut limits, mut waits, mut seen) = (0.0, 0.0, 0.0);
        while now < end {
            while flying.front().is_some_and(|(_, ends)| *ends <= now) {
                if let Some((began, ends)) = flying.pop_front() {
                    limiter.left();
                    limiter.answered(Class::Whole, ends - began, now, &SETTINGS);
                    if now > from + (end - from) / 2 {
                        limits += f64::from(limiter.limit(&SETTINGS));
                        waits += (ends - began) as f64 / MS as f64;
                        seen += 1.0;
                    }
                }
            }
            let limit = limiter.limit(&SETTINGS);
            while (flying.len() as u32) < limit.min(demand) {
                let slot = free.iter_mut().min().unwrap();
                let ends = now.max(*slot) + service_ms * MS;
                *slot = ends;
                flying.push_back((now, ends));
                limiter.entered(flying.len() as u32, limit);
            }
            flying.make_contiguous().sort_by_key(|(_, ends)| *ends);
            now += MS;
        }
        (limits / seen, waits / seen)
    }

    #[test]
    fn the_limit_settles_near_what_the_server_bears() {
        for (slots, service) in [(8, 100), (20, 200), (64, 50), (200, 300)] {
            let limiter = Limiter::default();
            let (limit, wait) = run(&limiter, slots, service, 60, 10_000, 0);
            let share = limit / slots as f64;
            assert!((0.9..1.5).contains(&share), "{slots} slots: {limit}");
            assert!(wait < service as f64 * 1.4, "{slots} slots: {wait} ms");
        }
    }

    #[test]
    fn a_slower_workload_is_not_congestion() {
        let limiter = Limiter::default();
        run(&limiter, 500, 100, 20, 100, 0);
        let before = limiter.limit(&SETTINGS);
        // Prompts have become five times as long; there still is room.
        let (limit, _) = run(&limiter, 500, 500, 60, 100, 20_000 * MS);
        assert!(limit >= 90.0 && before >= 90, "{before} {limit}");
    }

    #[test]
    fn a_server_that_loses_half_its_places_gets_half() {
        let limiter = Limiter::default();
        run(&limiter, 64, 100, 30, 10_000, 0);
        let (limit, _) = run(&limiter, 32, 100, 60, 10_000, 30_000 * MS);
        assert!((28.0..48.0).contains(&limit), "{limit}");
    }

    #[test]
    fn failures_shrink_it_and_a_restart_forgets() {
        let limiter = Limiter::default();
        run(&limiter, 64, 100, 20, 10_000, 0);
        let before = limiter.limit(&SETTINGS);
        assert!((5 * MS..50 * MS).contains(&limiter.takes_ns(10).unwrap()), "640 end in a second");
        for step in 1..=20 {
            limiter.failed((20_000 + step * 200) * MS, &SETTINGS);
        }
        assert!(limiter.limit(&SETTINGS) < before / 2);
        limiter.restart();
        assert_eq!(limiter.limit(&SETTINGS), 20);
    }
}
