//! One connection of the generator.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::exchange::Exchange;
use super::plan::{LeaveAfter, Plan};
use super::report::Stats;
use super::response::Response;
use crate::clock::monotonic_ns;

/// Receive buffer of a slow reader, so that its slowness reaches the sender soon.
const SLOW_RECEIVE_BUFFER: usize = 4096;

/// What came of letting a connection run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Going,
    /// The answer is complete.
    Complete,
    /// The request failed in this way.
    Failed(&'static str),
    /// The other side closed a connection that was not in use.
    IdleClosed,
}

/// A connection, open or not, in use or not.
#[derive(Debug, Default)]
pub struct Connection {
    stream: Option<TcpStream>,
    connected: bool,
    request: Vec<u8>,
    pub exchange: Option<Exchange>,
    pub response: Response,
}

impl Connection {
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Closes; whatever was under way is forgotten.
    pub fn close(&mut self) {
        self.stream = None;
        self.connected = false;
        self.exchange = None;
    }

    /// Starts a request, on a new connection if there is none.
    pub fn start(&mut self, mut exchange: Exchange, plan: &Plan, registry: &Registry, token: Token) -> Progress {
        plan.template.render(&mut self.request, exchange.seq);
        self.response.reset();
        exchange.reused = self.is_open();
        let slow = exchange.slow.is_some();
        self.exchange = Some(exchange);
        if !self.is_open() && self.open(plan, slow, registry, token).is_err() {
            return Progress::Failed("connect");
        }
        self.write()
    }

    fn open(&mut self, plan: &Plan, slow: bool, registry: &Registry, token: Token) -> std::io::Result<()> {
        let socket = Socket::new(Domain::for_address(plan.target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if slow {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER)?;
        }
        match socket.connect(&plan.target.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.connected = false;
        Ok(())
    }

    /// Goes on as far as it can: writes the request, reads the answer.
    pub fn drive(&mut self, buffer: &mut [u8], read_closed: bool, stats: &mut Stats) -> Progress {
        match &self.exchange {
            None => return self.check_idle(),
            Some(exchange) if exchange.written < self.request.len() => match self.write() {
                Progress::Going => {}
                failed => return failed,
            },
            Some(_) => {}
        }
        // A slow reader reads when its time comes.
        let reads = self.exchange.as_ref().is_some_and(|exchange| exchange.slow.is_none());
        if !self.connected || !reads {
            return Progress::Going;
        }
        loop {
            let (progress, size) = self.read(buffer, stats);
            if progress != Progress::Going {
                // No event will tell again that the other side has closed.
                self.response.keep_alive &= !read_closed;
                return progress;
            }
            if self.has_to_leave() {
                return Progress::Failed("left");
            }
            // A short read has emptied the socket; epoll tells of anything that comes after it.
            if size == 0 || (size < buffer.len() && !read_closed) {
                return Progress::Going;
            }
        }
    }

    /// One read of at most the buffer's size.
    pub fn read_once(&mut self, buffer: &mut [u8], stats: &mut Stats) -> Progress {
        if !self.connected {
            return Progress::Going;
        }
        self.read(buffer, stats).0
    }

    /// The other side has closed a connection that is not in use, or spoken unasked, which ends it as well.
    fn check_idle(&mut self) -> Progress {
        let Some(stream) = &mut self.stream else {
            return Progress::Going;
        };
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Going,
            _ => Progress::IdleClosed,
        }
    }

    fn write(&mut self) -> Progress {
        let (Some(stream), Some(exchange)) = (&mut self.stream, &mut self.exchange) else {
            return Progress::Going;
        };
        if !self.connected {
            if let Ok(Some(_)) = stream.take_error() {
                return Progress::Failed("connect");
            }
            if stream.peer_addr().is_err() {
                return Progress::Going;
            }
            self.connected = true;
        }
        while let Some(rest) = self.request.get(exchange.written..).filter(|rest| !rest.is_empty()) {
            if exchange.written == 0 {
                exchange.sent_ns = monotonic_ns();
            }
            match stream.write(rest) {
                Ok(size) => exchange.written += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Failed(self.broken()),
            }
        }
        Progress::Going
    }

    /// Reads once; also tells how many bytes came.
    fn read(&mut self, buffer: &mut [u8], stats: &mut Stats) -> (Progress, usize) {
        let (Some(stream), Some(exchange)) = (&mut self.stream, &mut self.exchange) else {
            return (Progress::Going, 0);
        };
        let size = match stream.read(buffer) {
            Ok(0) if self.response.end() => return (Progress::Complete, 0),
            Ok(0) => return (Progress::Failed(self.broken()), 0),
            Ok(size) => size,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return (Progress::Going, 0);
            }
            Err(_) => return (Progress::Failed(self.broken_by_reset()), 0),
        };
        let now = monotonic_ns();
        if self.response.is_untouched() {
            exchange.first_byte_ns = now;
        }
        let measured = exchange.measured;
        let fed = self.response.feed(buffer.get(..size).unwrap_or_default(), |sent| {
            if measured {
                stats.negative += u64::from(sent > now);
                stats.event_added.record(now.saturating_sub(sent));
            }
        });
        let progress = match fed {
            Err(_) => Progress::Failed("malformed"),
            Ok(()) if self.response.is_complete() => Progress::Complete,
            Ok(()) => Progress::Going,
        };
        (progress, size)
    }

    fn has_to_leave(&self) -> bool {
        let leave = self.exchange.as_ref().and_then(|exchange| exchange.leave);
        matches!(leave, Some(LeaveAfter::Events(events)) if self.response.scan.events >= events)
    }

    /// How an answer that ended early is counted: without a byte on a used connection it was probably closed before
    /// the request came.
    fn broken(&self) -> &'static str {
        let reused = self.exchange.as_ref().is_some_and(|exchange| exchange.reused);
        match (self.response.is_untouched(), reused) {
            (true, true) => "stale",
            (true, false) => "no_answer",
            (false, _) => "cut",
        }
    }

    fn broken_by_reset(&self) -> &'static str {
        match self.broken() {
            "cut" => "reset",
            other => other,
        }
    }
}
