//! What traces are made of: which requests are traced, and what is kept of them for Python, which tells a collector.
//!
//! A traced request leaves a [`Done`] when it is answered; its attempts are seen on their way into the ledger. Both wait in
//! bounded queues: what finds one full is lost and counted, and nobody waits. Where nothing is traced, a request costs one look
//! at a number.
//!
//! Identifiers follow from the request's id, so that whoever tells of a request twice tells the same.

mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::endpoint::Endpoint;
use crate::error::Code;
use crate::exchange::{CacheUse, Exchange, RequestId, marks};
use crate::shard::SnapshotRef;
use crate::spool::Row;
use crate::state::keys::Key;

/// The caller's trace, and ours on the way to the provider (<https://www.w3.org/TR/trace-context/>).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Requests of one I/O thread, and attempts of all, that may wait.
const MOST_DONE: usize = 8_192;
const MOST_ROWS: usize = 65_536;
/// Whether a trace is kept is decided by the last 56 bits of its id, as OpenTelemetry's samplers do.
const RANDOM: u64 = 1 << 56;
const MILLION: u32 = 1_000_000;

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub trace_id: [u8; 16],
    /// The caller's span; all zero: there is none.
    pub parent: [u8; 8],
    /// Spans are made of the request.
    pub traced: bool,
}

impl Context {
    /// The caller's trace if there is one, else one with the request's id. Whoever began it says whether it is kept.
    #[inline]
    pub fn of(traces: &Traces, headers: &HeaderMap, id: &RequestId) -> Context {
        match traces.rule.load(Ordering::Relaxed) {
            0 => Context::default(),
            rule => Context::by(rule, headers, id),
        }
    }

    fn by(rule: u64, headers: &HeaderMap, id: &RequestId) -> Context {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none());
        if let Some(context) = value.and_then(|value| Context::parse(value.as_bytes())) {
            return context;
        }
        let [.., a, b, c, d, e, f, g] = id.0;
        let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        Context { trace_id: id.0, parent: [0; 8], traced: random >= rule - 1 }
    }

    /// `00-{trace}-{span}-{flags}`; a later version may have more behind it.
    fn parse(text: &[u8]) -> Option<Context> {
        let (head, rest) = text.split_at_checked(55)?;
        let version = hex::<1>(head.get(..2)?)?[0];
        let fits = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|byte| *byte == b'-') };
        if version == 0xff || !fits || [2, 35, 52].iter().any(|at| head.get(*at) != Some(&b'-')) {
            return None;
        }
        let (trace_id, parent) = (hex(head.get(3..35)?)?, hex(head.get(36..52)?)?);
        let traced = hex::<1>(head.get(53..55)?)?[0] & 1 == 1;
        (trace_id != [0; 16] && parent != [0; 8]).then_some(Context { trace_id, parent, traced })
    }

    /// What a provider is told: the span of the attempt is its parent.
    pub fn header(&self, id: &RequestId, attempt: u8) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        put_hex(&mut text[3..35], &self.trace_id);
        put_hex(&mut text[36..52], &span(id, attempt));
        text
    }
}

/// The span of a request's attempt, numbered from 1; 0 is the request itself.
pub fn span(id: &RequestId, attempt: u8) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = id.0;
    let own = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let number = own ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number.max(1).to_be_bytes()
}

/// Lower-case digits, as the specification wants them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

fn put_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

/// Which requests are traced, and attempts of theirs that are rows by now.
#[derive(Debug, Default)]
pub struct Traces {
    /// 0: none. Else one more than the least random number whose request is.
    rule: AtomicU64,
    rows: Mutex<Vec<Row>>,
    /// Requests and attempts, for want of room.
    dropped: AtomicU64,
}

impl Traces {
    /// So many of a million requests whose callers do not say; `None`: none at all, whatever callers say.
    pub fn set(&self, share: Option<u32>) {
        let rule = share.map_or(0, |share| {
            let kept = u128::from(RANDOM) * u128::from(share.min(MILLION)) / u128::from(MILLION);
            RANDOM - u64::try_from(kept).unwrap_or(RANDOM) + 1
        });
        self.rule.store(rule, Ordering::Relaxed);
        if rule == 0 {
            self.rows.lock().clear();
        }
    }

    /// Rows that were written: keeps those of traced requests.
    pub fn wrote(&self, rows: &[Row]) {
        if self.rule.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiting = self.rows.lock();
        for row in rows.iter().filter(|row| row.intent.flags & marks::TRACED != 0) {
            if waiting.len() < MOST_ROWS {
                waiting.push(*row);
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A traced request that was answered. Names are looked up when it is told.
struct Done {
    id: RequestId,
    context: Context,
    start_us: i64,
    duration_us: u64,
    status: u16,
    error: Option<Code>,
    endpoint: &'static Endpoint,
    stream: bool,
    attempts: u8,
    cache: CacheUse,
    key: Option<Arc<Key>>,
    snapshot: SnapshotRef,
    /// The models that were asked, the caller's first.
    models: SmallVec<[u32; 4]>,
    deployment: Option<u32>,
    chosen: u32,
}

/// The answered requests of one I/O thread.
#[derive(Default)]
pub struct Answered(Mutex<Vec<Done>>);

impl Answered {
    /// A request has its answer, or the head of it.
    pub fn put(&self, exchange: &Exchange, status: u16, error: Option<Code>) {
        let mut waiting = self.0.lock();
        if waiting.len() >= MOST_DONE {
            exchange.shard.shared.state.ledger.traces().dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let duration = Instant::now() - exchange.started;
        waiting.push(Done {
            id: exchange.request_id,
            context: exchange.trace,
            start_us: exchange.wall_us,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            status,
            error,
            endpoint: exchange.endpoint,
            stream: exchange.call.stream,
            attempts: exchange.attempts,
            cache: exchange.cache,
            key: exchange.key.clone(),
            snapshot: exchange.snapshot.clone(),
            models: exchange.visited.clone(),
            deployment: exchange.served,
            chosen: exchange.chosen,
        });
    }

    fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Intent;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ID: RequestId = RequestId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

    fn of(traces: &Traces, values: &[&str]) -> Context {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("a header"));
        }
        Context::of(traces, &headers, &ID)
    }

    #[test]
    fn a_callers_trace_is_gone_on_with_and_his_flag_decides() {
        let traces = Traces::default();
        assert_eq!(of(&traces, &[PARENT]), Context::default());
        traces.set(Some(0));
        let context = of(&traces, &[PARENT]);
        assert!(context.traced);
        assert_eq!(context.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(context.parent, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        traces.set(Some(MILLION));
        assert!(!of(&traces, &[&PARENT.replace("-01", "-00")]).traced);
        assert!(of(&traces, &[&format!("cc{}-more", &PARENT[2..])]).traced);
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace_with_the_requests_id() {
        let traces = Traces::default();
        traces.set(Some(MILLION));
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let later = format!("cc{}more", &PARENT[2..]);
        let long = format!("{PARENT}-00");
        let upper = PARENT.to_uppercase();
        let cut = &PARENT[..54];
        let version = PARENT.replacen("00-", "ff-", 1);
        let own = Context { trace_id: ID.0, parent: [0; 8], traced: true };
        for text in ["", &zero_trace, &zero_span, &later, &long, &upper, cut, &version, &PARENT.replace('-', "_")] {
            assert_eq!(of(&traces, &[text]), own, "{text}");
        }
        assert_eq!(of(&traces, &[PARENT, PARENT]), own);
        assert_eq!(of(&traces, &[]), own);
    }

    #[test]
    fn a_share_of_traces_is_kept() {
        let traces = Traces::default();
        for (share, least, most) in [(0, 0, 0), (250_000, 2_200, 2_800), (MILLION, 10_000, 10_000)] {
            traces.set(Some(share));
            let kept = (0..10_000).filter(|_| {
                let id = RequestId::new(1_700_000_000_000_000);
                Context::of(&traces, &HeaderMap::new(), &id).traced
            });
            let kept = kept.count();
            assert!((least..=most).contains(&kept), "{share}: {kept}");
        }
        traces.set(None);
        assert!(!of(&traces, &[]).traced);
    }

    #[test]
    fn spans_differ_and_are_told_to_providers() {
        let spans: std::collections::HashSet<_> = (0..=u8::MAX).map(|attempt| span(&ID, attempt)).collect();
        assert_eq!(spans.len(), 256);
        assert_eq!(span(&ID, 0), [9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(span(&RequestId([0; 16]), 0), [0, 0, 0, 0, 0, 0, 0, 1]);
        let context = Context { trace_id: ID.0, parent: [0; 8], traced: true };
        let header = context.header(&ID, 2);
        let told = Context::parse(&header).expect("a traceparent");
        assert_eq!((told.trace_id, told.parent, told.traced), (ID.0, span(&ID, 2), true));
    }

    #[test]
    fn rows_of_traced_requests_are_kept_as_far_as_there_is_room() {
        let traces = Traces::default();
        let row = |flags| Row::unknown(1, 0, Intent { flags, ..Intent::default() });
        traces.wrote(&[row(marks::TRACED)]);
        assert_eq!(traces.rows.lock().len(), 0);
        traces.set(Some(1));
        traces.wrote(&[row(marks::TRACED), row(marks::STREAM), row(marks::TRACED | marks::STREAM)]);
        assert_eq!(traces.rows.lock().len(), 2);
        traces.wrote(&vec![row(marks::TRACED); MOST_ROWS]);
        assert_eq!((traces.rows.lock().len(), traces.dropped.load(Ordering::Relaxed)), (MOST_ROWS, 2));
        traces.set(None);
        assert!(traces.rows.lock().is_empty());
    }
}
