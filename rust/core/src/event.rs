//! What flows back to Python: a bounded ring of rare events (state changes, failures), announced through an eventfd.
//!
//! Telemetry only: when the ring is full the newest event is dropped and counted. Money never travels here.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use parking_lot::Mutex;
use serde::Serialize;

const CAPACITY: usize = 4096;

/// One event. Unset fields are left out of the MessagePack map.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event {
    pub kind: &'static str,
    pub level: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Events lost since the last one that was taken.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[derive(Default)]
struct Ring {
    waiting: VecDeque<Event>,
    dropped: u64,
}

/// A descriptor that is readable from a signal until it is drained.
pub struct Wake(OwnedFd);

impl Wake {
    /// # Errors
    /// The system has no file descriptor left.
    #[allow(unsafe_code)]
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd takes no pointer; its result is checked before it is owned.
        let wake = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Wake(wake))
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    #[allow(unsafe_code)]
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes of a live array to a descriptor we own.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    #[allow(unsafe_code)]
    pub fn drain(&self) {
        let mut count = [0u8; 8];
        // SAFETY: reads at most eight bytes into a live array from a descriptor we own.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

pub struct Events {
    ring: Mutex<Ring>,
    wake: Wake,
}

impl Events {
    /// # Errors
    /// The system has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Events { ring: Mutex::default(), wake: Wake::new()? })
    }

    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    pub fn push(&self, mut event: Event) {
        let mut ring = self.ring.lock();
        if ring.waiting.len() >= CAPACITY {
            ring.dropped += 1;
            return;
        }
        event.dropped = std::mem::take(&mut ring.dropped);
        ring.waiting.push_back(event);
        if ring.waiting.len() == 1 {
            self.wake.signal();
        }
    }

    /// All waiting events as one MessagePack list of maps.
    pub fn take(&self) -> Vec<u8> {
        let events = {
            let mut ring = self.ring.lock();
            // Under the lock: a push after it sees an empty ring and signals anew.
            self.wake.drain();
            std::mem::take(&mut ring.waiting)
        };
        rmp_serde::to_vec_named(&events).unwrap_or_else(|_| vec![0x90])
    }
}

impl crate::plane::Plane {
    pub fn event_fd(&self) -> i32 {
        self.shared.events.fd()
    }

    pub fn take_events(&self) -> Vec<u8> {
        self.shared.events.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_counts_what_it_drops() {
        let events = Events::new().expect("eventfd");
        for _ in 0..CAPACITY + 3 {
            events.push(Event { kind: "test", level: "info", ..Event::default() });
        }
        assert!(!events.take().is_empty());
        events.push(Event { kind: "test", level: "info", ..Event::default() });
        assert_eq!(events.ring.lock().waiting.front().map(|event| event.dropped), Some(3));
    }
}
