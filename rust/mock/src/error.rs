//! The one error type of the crate.

use thiserror::Error;

/// What can go wrong while starting or steering the mock, the generator or the yardsticks.
#[derive(Debug, Error)]
pub enum Error {
    /// A command-line argument, option or target that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A per-request script that does not parse.
    #[error("mock script: {0}")]
    Script(String),
    /// The operating system refused something; the text says what was tried.
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// An `Io` error with what was being tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// A `Usage` error.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}
