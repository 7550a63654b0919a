//! One thread of the generator: an event loop over its connections and a timer. Latencies count from when a request
//! was due, never from when the loop got round to it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};

use mio::{Events, Poll, Token};
use serde_json::json;

use super::connection::{Connection, Progress};
use super::exchange::Exchange;
use super::plan::{LeaveAfter, Plan};
use super::report::Stats;
use super::schedule::{Schedule, nanoseconds};
use super::timer::Timer;
use crate::Error;
use crate::clock::{monotonic_ns, thread_cpu_ns};

const TIMER: Token = Token(usize::MAX);
/// How often requests that take too long are looked for.
const SWEEP_NS: u64 = 100_000_000;
/// How long a closed loop waits after a refused connection.
const REFUSED_NS: u64 = 10_000_000;
/// How often a slow reader reads.
const SLOW_TICK_NS: u64 = 20_000_000;

/// Something to do later for the request with this number, if it is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Read {
        connection: usize,
        seq: u64,
    },
    Leave {
        connection: usize,
        seq: u64,
    },
    /// A closed loop goes on after its connection was refused.
    Send,
}

/// A thread's share of a run.
pub struct Engine<'a> {
    plan: &'a Plan,
    schedule: Schedule<'a>,
    start_ns: u64,
    poll: Poll,
    timer: Timer,
    connections: Vec<Connection>,
    most_connections: usize,
    /// Open and free, the last used one last.
    idle: Vec<usize>,
    /// Without a socket.
    closed: Vec<usize>,
    in_use: usize,
    /// Due, but all connections are in use.
    waiting: VecDeque<Exchange>,
    alarms: BinaryHeap<Reverse<(u64, Alarm)>>,
    next_sweep_ns: u64,
    buffer: Vec<u8>,
    stats: Stats,
    log: Option<BufWriter<File>>,
}

impl<'a> Engine<'a> {
    /// Thread `index` of `plan.threads`, to start at `start_ns`.
    pub fn new(plan: &'a Plan, index: usize, start_ns: u64) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::io("epoll"))?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let log = match &plan.log {
            Some(path) => {
                let path = if plan.threads > 1 { path.with_extension(index.to_string()) } else { path.clone() };
                Some(BufWriter::new(File::create(&path).map_err(Error::io(path.display().to_string()))?))
            }
            None => None,
        };
        Ok(Self {
            plan,
            schedule: Schedule::new(plan, index, start_ns),
            start_ns,
            poll,
            timer,
            connections: Vec::new(),
            most_connections: (plan.max_connections / plan.threads.max(1)).max(1),
            idle: Vec::new(),
            closed: Vec::new(),
            in_use: 0,
            waiting: VecDeque::new(),
            alarms: BinaryHeap::new(),
            next_sweep_ns: start_ns + SWEEP_NS,
            buffer: vec![0; 64 * 1024],
            stats: Stats::new()?,
            log,
        })
    }

    /// Runs to the end: until all that was sent is answered or has timed out.
    pub fn run(mut self) -> Result<Stats, Error> {
        let cpu_start = thread_cpu_ns();
        let mut events = Events::with_capacity(256);
        while monotonic_ns() < self.start_ns {
            self.timer.arm(self.start_ns)?;
            self.wait(&mut events)?;
        }
        loop {
            let now = monotonic_ns();
            self.ring_alarms(now);
            self.sweep(now);
            self.send_due(now);
            if self.in_use == 0 && self.waiting.is_empty() && self.schedule.is_over(now) {
                break;
            }
            let alarm = self.alarms.peek().map(|Reverse((due, _))| *due);
            let next = [self.schedule.due(now), alarm].into_iter().flatten().fold(self.next_sweep_ns, u64::min);
            self.timer.arm(next)?;
            self.wait(&mut events)?;
            for event in &events {
                if event.token() != TIMER {
                    self.drive(event.token().0, event.is_read_closed());
                    // What is due meanwhile shall not wait for the rest of the events.
                    self.send_due(monotonic_ns());
                }
            }
        }
        self.stats.cpu_ns = thread_cpu_ns() - cpu_start;
        if let Some(log) = &mut self.log {
            log.flush().map_err(Error::io("write the log"))?;
        }
        Ok(self.stats)
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), Error> {
        match self.poll.poll(events, None) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => Err(Error::io("epoll")(error)),
            _ => Ok(()),
        }
    }

    /// Sends what is due, what had to wait first.
    fn send_due(&mut self, now: u64) {
        while let Some(exchange) = self.waiting.pop_front() {
            if let Some(exchange) = self.dispatch(exchange) {
                self.waiting.push_front(exchange);
                break;
            }
        }
        while let Some(exchange) = self.schedule.next(now) {
            self.stats.sent += u64::from(exchange.measured);
            if let Some(exchange) = self.dispatch(exchange) {
                self.waiting.push_back(exchange);
            }
        }
    }

    /// Gives a request to a connection: a fresh one to a slow reader, else the one used last, else a new one. Hands it
    /// back when all are in use.
    fn dispatch(&mut self, exchange: Exchange) -> Option<Exchange> {
        let reusable = if exchange.slow.is_none() { self.idle.pop() } else { None };
        let Some(index) = reusable.or_else(|| self.new_connection()) else {
            return Some(exchange);
        };
        let (seq, due_ns, leave, slow) = (exchange.seq, exchange.due_ns, exchange.leave, exchange.slow);
        self.in_use += 1;
        self.stats.connections_most = self.stats.connections_most.max(self.in_use as u64);
        let connection = self.connections.get_mut(index)?;
        self.stats.connections_opened += u64::from(!connection.is_open());
        if let Some(LeaveAfter::Time(time)) = leave {
            self.alarms.push(Reverse((due_ns + nanoseconds(time), Alarm::Leave { connection: index, seq })));
        }
        if slow.is_some() {
            self.alarms.push(Reverse((due_ns + SLOW_TICK_NS, Alarm::Read { connection: index, seq })));
        }
        let progress = connection.start(exchange, self.plan, self.poll.registry(), Token(index));
        self.settle(index, progress);
        None
    }

    fn new_connection(&mut self) -> Option<usize> {
        if let Some(index) = self.closed.pop() {
            return Some(index);
        }
        if self.connections.len() < self.most_connections {
            self.connections.push(Connection::default());
            return Some(self.connections.len() - 1);
        }
        // All are idle or in use; a slow reader takes an idle one over by opening it anew.
        let index = self.idle.pop()?;
        self.connections.get_mut(index)?.close();
        Some(index)
    }

    /// Something happened on a connection.
    fn drive(&mut self, index: usize, read_closed: bool) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let progress = connection.drive(&mut self.buffer, read_closed, &mut self.stats);
        self.settle(index, progress);
    }

    /// Draws the consequences of what a connection did.
    fn settle(&mut self, index: usize, progress: Progress) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        match progress {
            Progress::Going => return,
            Progress::IdleClosed => {
                connection.close();
                self.idle.retain(|idle| *idle != index);
                self.closed.push(index);
                return;
            }
            Progress::Complete => self.finish(index, None),
            Progress::Failed(class) => self.finish(index, Some(class)),
        }
        if progress == Progress::Failed("connect") {
            self.alarms.push(Reverse((monotonic_ns() + REFUSED_NS, Alarm::Send)));
        } else {
            self.schedule.allow();
        }
    }

    /// A request is over: judged, logged, its connection free again.
    fn finish(&mut self, index: usize, failure: Option<&'static str>) {
        let now = monotonic_ns();
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(exchange) = connection.exchange.take() else {
            return;
        };
        self.in_use -= 1;
        let class = match failure {
            None => exchange.complete(&self.plan.expect, &connection.response, now, &mut self.stats),
            Some(class) => {
                self.stats.finished += 1;
                match (exchange.measured, class) {
                    (false, _) => {}
                    (true, "left") => self.stats.left += 1,
                    (true, _) => self.stats.error(class),
                }
                class.into()
            }
        };
        if let Some(log) = &mut self.log {
            let response = &connection.response;
            let line = json!({
                "seq": exchange.seq, "due_ns": exchange.due_ns, "sent_ns": exchange.sent_ns,
                "first_byte_ns": exchange.first_byte_ns, "end_ns": now, "status": response.status,
                "body_bytes": response.body_bytes, "events": response.scan.events, "class": class,
            });
            // A full disk shows when the log is flushed at the end.
            let _ = writeln!(log, "{line}");
        }
        if failure.is_none() && connection.response.keep_alive && exchange.slow.is_none() {
            self.idle.push(index);
        } else {
            connection.close();
            self.closed.push(index);
        }
    }

    fn ring_alarms(&mut self, now: u64) {
        while let Some(Reverse((due, alarm))) = self.alarms.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.alarms.pop();
            let (Alarm::Read { connection: index, seq } | Alarm::Leave { connection: index, seq }) = alarm else {
                self.schedule.allow();
                continue;
            };
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            let Some(exchange) = connection.exchange.as_ref().filter(|exchange| exchange.seq == seq) else {
                continue;
            };
            if matches!(alarm, Alarm::Leave { .. }) {
                self.settle(index, Progress::Failed("left"));
                continue;
            }
            let rate = exchange.slow.map_or(0, |slow| slow.bytes_per_second);
            let quota = usize::try_from(rate * SLOW_TICK_NS / 1_000_000_000).unwrap_or(usize::MAX);
            let size = quota.clamp(1, self.buffer.len());
            self.alarms.push(Reverse((due + SLOW_TICK_NS, alarm)));
            let buffer = self.buffer.get_mut(..size).unwrap_or_default();
            let progress = connection.read_once(buffer, &mut self.stats);
            self.settle(index, progress);
        }
    }

    /// Gives up requests that take too long.
    fn sweep(&mut self, now: u64) {
        if now < self.next_sweep_ns {
            return;
        }
        self.next_sweep_ns = now + SWEEP_NS;
        let oldest = now.saturating_sub(nanoseconds(self.plan.timeout));
        for index in 0..self.connections.len() {
            let exchange = self.connections.get(index).and_then(|connection| connection.exchange.as_ref());
            if exchange.is_some_and(|exchange| exchange.due_ns < oldest) {
                self.settle(index, Progress::Failed("timeout"));
            }
        }
        while self.waiting.front().is_some_and(|exchange| exchange.due_ns < oldest) {
            if self.waiting.pop_front().is_some_and(|exchange| exchange.measured) {
                self.stats.error("no_connection");
            }
        }
    }
}
