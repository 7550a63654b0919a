use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings {
    consecutive: 3,
    percent: 50,
    minimum: 10,
    window_ms: 8_000,
    allowed_fails: None,
    allowed_of: [None; KINDS],
    open_ms: 1_000,
    open_max_ms: 4_000,
    limited_ms: 1_000,
    probes: 1,
    slow_start_ms: 10_000,
    alone: false,
};
const S: u64 = 1_000 * MS;

#[test]
fn opens_after_failures_in_a_row_and_closes_after_a_probe() {
    let breaker = Breaker::default();
    assert_eq!(breaker.record(Sign::Failure, S, &SETTINGS), None);
    assert_eq!(breaker.record(Sign::Success, S, &SETTINGS), None);
    assert_eq!(breaker.record(Sign::Outage, S, &SETTINGS), None);
    assert_eq!(breaker.record(Sign::Failure, S, &SETTINGS), None);
    let opened = breaker.record(Sign::Failure, S, &SETTINGS);
    assert_eq!(opened, Some(Change::Opened { cause: Cause::Consecutive, ms: 1_000 }));
    assert_eq!(breaker.enter(S, &SETTINGS, true), None);
    assert_eq!(breaker.share(S, &SETTINGS), 0);
    // Late answers of what was sent before change nothing.
    assert_eq!(breaker.record(Sign::Success, S, &SETTINGS), None);
    assert_eq!(breaker.state(S + S / 2), State::Open { left_ns: S / 2 });
    // One probe at a time.
    assert_eq!(breaker.enter(2 * S, &SETTINGS, false), Some(Pass::Probe));
    assert_eq!(breaker.enter(2 * S, &SETTINGS, false), None);
    breaker.leave();
    assert_eq!(breaker.enter(2 * S, &SETTINGS, false), Some(Pass::Probe));
    assert_eq!(breaker.record(Sign::Success, 2 * S, &SETTINGS), Some(Change::Closed));
    assert_eq!(breaker.enter(2 * S, &SETTINGS, false), Some(Pass::Usual));
    // Slowly back to its share.
    assert_eq!(breaker.share(2 * S, &SETTINGS), FLOOR);
    assert_eq!(breaker.share(7 * S, &SETTINGS), WHOLE / 2);
    assert_eq!(breaker.share(12 * S, &SETTINGS), WHOLE);
    assert_eq!(breaker.changes(), 2);
}

#[test]
fn a_failed_probe_opens_for_twice_as_long_up_to_the_longest() {
    let breaker = Breaker::default();
    let mut now = S;
    for _ in 0..3 {
        breaker.record(Sign::Outage, now, &SETTINGS);
    }
    for ms in [2_000, 4_000, 4_000] {
        let State::Open { left_ns } = breaker.state(now) else { panic!("open") };
        now += left_ns;
        assert_eq!(breaker.enter(now, &SETTINGS, false), Some(Pass::Probe));
        breaker.leave();
        let change = breaker.record(Sign::Failure, now, &SETTINGS);
        assert_eq!(change, Some(Change::Opened { cause: Cause::Consecutive, ms }));
    }
}

#[test]
fn opens_at_a_share_of_failures_and_stays_usable() {
    let breaker = Breaker::default();
    for round in 0..4 {
        for sign in [Sign::Success, Sign::Failure] {
            assert_eq!(breaker.record(sign, S + round, &SETTINGS), None);
        }
    }
    breaker.record(Sign::Success, S, &SETTINGS);
    let change = breaker.record(Sign::Failure, S, &SETTINGS);
    assert_eq!(change, Some(Change::Opened { cause: Cause::Share, ms: 1_000 }));
    assert_eq!(breaker.enter(S, &SETTINGS, false), None);
    assert_eq!(breaker.enter(S, &SETTINGS, true), Some(Pass::Usual));
}

#[test]
fn a_provider_that_asks_for_time_gets_it() {
    let breaker = Breaker::default();
    let change = breaker.record(Sign::RateLimited { wait_ms: Some(2_500) }, S, &SETTINGS);
    assert_eq!(change, Some(Change::Opened { cause: Cause::RateLimited, ms: 2_500 }));
    assert_eq!(breaker.record(Sign::RateLimited { wait_ms: Some(3_000) }, S, &SETTINGS), None);
    assert_eq!(breaker.state(S), State::Open { left_ns: 3 * S });
    let alone = Settings { alone: true, ..SETTINGS };
    let breaker = Breaker::default();
    for sign in [Sign::RateLimited { wait_ms: None }, Sign::Credential, Sign::Failure, Sign::Failure, Sign::Failure] {
        assert_eq!(breaker.record(sign, S, &alone), None);
    }
    for _ in 0..2 {
        assert_eq!(breaker.record(Sign::Outage, S, &alone), None);
        breaker.record(Sign::Success, S, &alone);
    }
    breaker.record(Sign::Outage, S, &alone);
    breaker.record(Sign::Outage, S, &alone);
    assert!(breaker.record(Sign::Outage, S, &alone).is_some());
}

#[test]
fn allowed_fails_count_within_the_window() {
    let settings = Settings { consecutive: 0, percent: 0, allowed_fails: Some(2), ..SETTINGS };
    let breaker = Breaker::default();
    for at in [1, 2, 20, 21] {
        assert_eq!(breaker.record(Sign::Failure, at * S, &settings), None, "{at}");
    }
    assert!(breaker.record(Sign::Failure, 22 * S, &settings).is_some());
}

#[test]
fn turned_off_it_never_opens() {
    let off = Settings { open_ms: 0, ..SETTINGS };
    let breaker = Breaker::default();
    for _ in 0..100 {
        assert_eq!(breaker.record(Sign::Outage, S, &off), None);
        assert_eq!(breaker.record(Sign::RateLimited { wait_ms: Some(9) }, S, &off), None);
    }
    assert_eq!(breaker.enter(S, &off, false), Some(Pass::Usual));
}

proptest! {
    /// The window agrees with one that keeps every time; probes never exceed their limit; nothing passes while open.
    #[test]
    fn agrees_with_a_list(steps in prop::collection::vec((0_u64..3_000, 0_u8..4), 1..300)) {
        let settings = Settings { consecutive: 0, percent: 0, ..SETTINGS };
        let breaker = Breaker::default();
        let mut seen: Vec<(u64, bool)> = Vec::new();
        let mut now = 0;
        for (step, kind) in steps {
            now += step * MS;
            let failed = kind == 0;
            breaker.record(if failed { Sign::Failure } else { Sign::Success }, now, &settings);
            seen.push((now / S, failed));
            let recent: Vec<_> = seen.iter().filter(|(at, _)| at + SLOTS > now / S).collect();
            let expected = (recent.len() as u32, recent.iter().filter(|(_, failed)| *failed).count() as u32);
            prop_assert_eq!(breaker.counts(now, &settings), expected);
        }
    }
}

#[test]
fn a_kind_of_failure_may_happen_so_often() {
    let settings = Settings { allowed_of: [None, None, Some(2), Some(0)], ..SETTINGS };
    let limited = Sign::RateLimited { wait_ms: Some(3_000) };
    let breaker = Breaker::default();
    for _ in 0..2 {
        assert_eq!(breaker.record(limited, S, &settings), None);
    }
    assert_eq!(breaker.record(limited, S, &settings), Some(Change::Opened { cause: Cause::RateLimited, ms: 3_000 }));
    // In another window they are counted anew, and other kinds have rules of their own.
    let breaker = Breaker::default();
    for window in 1..9 {
        assert_eq!(breaker.record(limited, window * 8 * S, &settings), None);
    }
    let opened = breaker.record(Sign::Credential, 80 * S, &settings);
    assert_eq!(opened, Some(Change::Opened { cause: Cause::Credential, ms: 4_000 }));
}
