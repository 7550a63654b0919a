//! How an attempt failed, as far as the next decision needs it.

use std::time::Duration;

use crate::error::Error;

/// A failed attempt, and whether it makes sense to try again.
pub struct Failed {
    pub error: Error,
    pub retry: bool,
    /// The provider asked for this much patience.
    pub wait: Option<Duration>,
}

impl Failed {
    pub fn last(error: Error) -> Self {
        Failed { error, retry: false, wait: None }
    }

    pub fn again(error: Error) -> Self {
        Failed { error, retry: true, wait: None }
    }
}
