//! How long a thread may have to wait for the core it shares: the scheduler's time slices.
//!
//! A gateway's I/O thread shares its core with threads that compute for longer (the ledger's, Python's). Linux lets
//! whoever runs end a slice of some milliseconds before one that has just become ready gets its turn, unless that one
//! asks for shorter slices: then its turn comes sooner, for no larger a share of the core (EEVDF, since Linux 6.12).
//! `docs/decisions/006-time-slices.md` has the figures.

/// The slice of an I/O thread, in nanoseconds: the shortest that Linux grants.
#[cfg(target_os = "linux")]
const SHORT_NS: u64 = 100_000;

/// Asks for short slices for the thread that calls. Where the system knows no such thing (an older Linux, a sandbox
/// that forbids the call, threads of another scheduling class), all stays as it is.
#[cfg(target_os = "linux")]
pub fn shorten() {
    let asked = linux::attributes().and_then(|mut attributes| {
        if attributes.has_slices() {
            attributes.runtime_ns = SHORT_NS;
            attributes.set()?;
        }
        Ok(())
    });
    if let Err(error) = asked {
        tracing::debug!(%error, "no short time slices for I/O threads");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn shorten() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    /// `struct sched_attr` of `sched_setattr(2)`, as of its first version.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        pub nice: i32,
        priority: u32,
        /// The slice, in the ordinary classes.
        pub runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }

    const SIZE: u32 = 48;
    const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

    /// Those of the thread that calls.
    pub fn attributes() -> io::Result<Attributes> {
        let mut attributes = Attributes::default();
        // SAFETY: the kernel writes at most `SIZE` bytes to the structure, which has that size.
        #[allow(unsafe_code)]
        let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
        if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
    }

    impl Attributes {
        /// Whether the class shares the core out in slices: not the real-time ones, nor the one for idle times.
        pub fn has_slices(&self) -> bool {
            [libc::SCHED_OTHER, libc::SCHED_BATCH].iter().any(|class| u32::try_from(*class) == Ok(self.policy))
        }

        /// Makes them those of the thread that calls.
        pub fn set(&self) -> io::Result<()> {
            // SAFETY: the kernel reads the structure, which tells its own size, and keeps nothing of it.
            #[allow(unsafe_code)]
            let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(self), 0) };
            if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::attributes;

    /// What the scheduler grants the thread that calls; not every kernel tells.
    fn granted_ns() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        text.lines().find(|line| line.starts_with("se.slice"))?.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn a_thread_gets_short_slices_and_keeps_its_share() {
        let thread = std::thread::spawn(|| {
            let Ok(before) = attributes() else { return };
            super::shorten();
            let after = attributes().expect("told before");
            assert_eq!(after.nice, before.nice);
            if let Some(granted) = granted_ns().filter(|_| before.runtime_ns > 0 && before.has_slices()) {
                assert_eq!((granted, after.runtime_ns), (super::SHORT_NS, super::SHORT_NS));
            }
        });
        assert!(thread.join().is_ok());
    }
}
