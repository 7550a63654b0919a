//! The clocks: a wall clock for records, a monotonic one for limits, and a coarse one that costs no more than a load.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static COARSE: AtomicU64 = AtomicU64::new(1);

/// Microseconds since 1970, for records; never for limits.
pub fn wall_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}

/// Nanoseconds on a clock that never goes back.
pub fn monotonic_ns() -> u64 {
    ns_at(Instant::now())
}

/// The same clock at an instant that was taken already.
pub fn ns_at(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

/// The monotonic clock as it was at the last tick, a fraction of a second ago; never 0. For time-outs of whole seconds.
pub fn coarse_ns() -> u64 {
    COARSE.load(Ordering::Relaxed)
}

/// Moves the coarse clock on; the janitors do it.
pub fn tick() {
    COARSE.fetch_max(monotonic_ns().max(1), Ordering::Relaxed);
}
