//! The load generator: a fixed schedule (open loop) or a fixed number of connections (closed loop), HTTP/1.1 over TCP,
//! whole answers and streams, every answer checked.

mod command;
mod connection;
mod engine;
mod events;
mod exchange;
mod plan;
mod preset;
mod report;
mod response;
mod schedule;
mod timer;

use serde_json::Value;

pub(crate) use self::command::command;
pub use self::command::report;
use self::engine::Engine;
use self::plan::Plan;
use self::report::Stats;
use crate::Error;
use crate::clock::monotonic_ns;

/// Threads get so long to be ready.
const SET_UP_NS: u64 = 20_000_000;

/// Runs a plan and reports what was found.
fn run(plan: &Plan) -> Result<Value, Error> {
    let start_ns = monotonic_ns() + SET_UP_NS;
    let found: Vec<Result<Stats, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..plan.threads).map(|index| scope.spawn(move || Engine::new(plan, index, start_ns)?.run())).collect();
        let lost = || Err(Error::usage("a thread of the generator panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    let end_ns = monotonic_ns();
    let mut stats = Stats::new()?;
    for thread in found {
        stats.add(&thread?);
    }
    let measured_from = start_ns + u64::try_from(plan.warmup.as_nanos()).unwrap_or_default();
    let elapsed = std::time::Duration::from_nanos(end_ns.saturating_sub(measured_from));
    Ok(stats.report(plan, elapsed.min(plan.duration)))
}
