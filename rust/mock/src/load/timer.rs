//! A timer in the event loop that is exact to microseconds, where epoll's own time-out is to the millisecond.

use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::Error;

/// A timerfd on CLOCK_MONOTONIC. Each setting rings once; the descriptor need not be read.
pub struct Timer {
    fd: OwnedFd,
    armed_ns: u64,
}

impl Timer {
    /// A timer that rings as `token`.
    pub fn new(registry: &Registry, token: Token) -> Result<Self, Error> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(|error| failed(error.into()))?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE).map_err(failed)?;
        Ok(Self { fd, armed_ns: 0 })
    }

    /// Lets it ring at this time, at once if that is past, and not at the time set before. Setting the same time again
    /// does nothing, so a time at which it has rung must not come up twice.
    pub fn arm(&mut self, at_ns: u64) -> Result<(), Error> {
        if self.armed_ns == at_ns {
            return Ok(());
        }
        self.armed_ns = at_ns;
        let it_value = Timespec { tv_sec: (at_ns / 1_000_000_000) as i64, tv_nsec: (at_ns % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once).map_err(|error| failed(error.into()))?;
        Ok(())
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "timerfd".to_owned(), source }
}
