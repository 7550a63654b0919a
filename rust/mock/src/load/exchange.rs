//! One request of the generator and the judgement on its answer.

use std::borrow::Cow;

use super::plan::{Expect, LeaveAfter, Plan, Slow, Terminator};
use super::report::{Latencies, Stats};
use super::response::Response;

/// A request under way.
#[derive(Debug)]
pub struct Exchange {
    pub seq: u64,
    /// When it was due.
    pub due_ns: u64,
    /// When its first byte was written.
    pub sent_ns: u64,
    pub first_byte_ns: u64,
    /// Bytes written.
    pub written: usize,
    /// Is it within the measured time?
    pub measured: bool,
    /// Was the connection used before?
    pub reused: bool,
    pub slow: Option<Slow>,
    pub leave: Option<LeaveAfter>,
}

impl Exchange {
    /// A request that is due; whether it reads slowly or leaves early is drawn from its number, so that every run with
    /// the same seed does the same.
    pub fn new(plan: &Plan, seq: u64, due_ns: u64, measured: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seq);
        let slow = plan.slow.filter(|slow| random.f64() < slow.fraction);
        let leave = plan.leave.filter(|leave| random.f64() < leave.fraction).map(|leave| leave.after);
        Self { seq, due_ns, sent_ns: 0, first_byte_ns: 0, written: 0, measured, reused: false, slow, leave }
    }

    /// What is wrong with a complete answer, if anything.
    pub fn fault(expect: &Expect, response: &Response) -> Option<&'static str> {
        if !response.is_stream {
            let found = memchr::memmem::find(&response.body, &expect.contains).is_some();
            return (!found).then_some("content");
        }
        let scan = &response.scan;
        let ended = match expect.terminator {
            Terminator::Done => scan.done,
            Terminator::MessageStop => scan.message_stop,
            Terminator::Any => true,
        };
        if scan.error {
            Some("error_event")
        } else if scan.disordered {
            Some("disordered")
        } else if scan.events < expect.events {
            Some("missing_events")
        } else if !ended {
            Some("no_terminator")
        } else {
            None
        }
    }

    /// Notes a complete answer; returns the class it is counted as.
    pub fn complete(&self, expect: &Expect, response: &Response, now: u64, stats: &mut Stats) -> Cow<'static, str> {
        stats.finished += 1;
        let class: Cow<'static, str> = if response.status == expect.status {
            Self::fault(expect, response).unwrap_or("ok").into()
        } else {
            Cow::Owned(format!("status_{}", response.status))
        };
        if !self.measured {
            return class;
        }
        if class != "ok" {
            stats.error(&class);
            return class;
        }
        stats.ok += 1;
        stats.body_bytes += response.body_bytes;
        stats.events += response.scan.events;
        stats.total.record(now.saturating_sub(self.due_ns));
        stats.first_byte.record(self.first_byte_ns.saturating_sub(self.due_ns));
        stats.send_lag.record(self.sent_ns.saturating_sub(self.due_ns));
        if let Some(service) = service_ns(response).filter(|_| !response.is_stream) {
            record_added(&mut stats.added, &mut stats.negative, now.saturating_sub(self.due_ns), service);
            record_added(&mut stats.added_since_sent, &mut stats.negative, now.saturating_sub(self.sent_ns), service);
        }
        class
    }
}

/// The mock's own time from its header, or from the body if a gateway keeps upstream headers to itself.
fn service_ns(response: &Response) -> Option<u64> {
    response.service_ns.or_else(|| super::events::number_after(&response.body, b"\"mock_service_ns\":"))
}

fn record_added(latencies: &mut Latencies, negative: &mut u64, whole: u64, part: u64) {
    *negative += u64::from(part > whole);
    latencies.record(whole.saturating_sub(part));
}
