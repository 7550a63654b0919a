//! How an attempt failed, as far as the next decision needs it.

use std::time::Duration;

use crate::error::Error;
use crate::kernel::failure::Class;

/// An attempt that brought no answer.
pub enum Failed {
    /// It was made, and failed.
    Attempt(Failure),
    /// It was not made: the deployment takes none just now.
    Skipped(Error),
    /// It was not made: the deployment has as many requests as it bears, and one may wait for a place.
    Full,
    /// None can be made at all.
    Last(Error),
}

/// A failed attempt.
pub struct Failure {
    pub error: Error,
    pub class: Class,
    /// The provider asked for this much patience.
    pub wait: Option<Duration>,
    /// It went over a connection that the provider was just closing: asking again is no retry.
    pub stale: bool,
}

impl Failed {
    pub fn attempt(error: Error, class: Class) -> Self {
        Failed::Attempt(Failure { error, class, wait: None, stale: false })
    }
}
