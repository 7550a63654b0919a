//! One stage per file, one interface: `run(&mut Exchange) -> Result<Flow>`. Stages do not know each other; the order is
//! `pipeline`'s alone.

pub mod admit;
pub mod attempt;
pub mod authorize;
pub mod beneath;
pub mod cache;
pub mod count;
pub mod exhausted;
pub mod identify;
pub mod inspect;
pub mod parse;
pub mod parts;
pub mod refresh;
pub mod relay;
pub mod reserve;
pub mod route;
pub mod settle;
pub mod share;
pub mod similar;
pub mod units;

use http::Response;

use crate::body::Body;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::guard::{checks, documents, vault};

/// What a stage decided.
pub enum Flow {
    /// Go on with the next stage.
    Next,
    /// The request is answered; only `settle` is left.
    Answer(Response<Body>),
    /// Go back to an earlier stage: another model has been chosen.
    Again(Stage),
    /// Something has to be waited for; then the same stage runs again.
    Wait(Wait),
    /// The cache has something to wait for; then the next stage runs, or the request is answered.
    Park,
}

/// What a stage that decides waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The tokens of the request, counted for the model of this deployment.
    Count(u32),
    /// More of a limit that several nodes share.
    Share,
    /// What a trained router says of it.
    Router,
    /// Its turn at a limit without room, or until it is due.
    Turn,
    /// What a policy asks for: a pause, a verdict.
    Policy,
    /// The checks of guardrails.
    Checks,
    /// Documents that have to be read before they can be looked at.
    Documents,
    /// Values that outlive the request, and the store that keeps them.
    Vault,
}

/// The stages in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Identify,
    Parse,
    Authorize,
    Admit,
    Inspect,
    Cache,
    Route,
    Reserve,
    Attempt,
    Relay,
    Settle,
}

impl Stage {
    pub const ORDER: [Stage; 11] = [
        Stage::Identify,
        Stage::Parse,
        Stage::Authorize,
        Stage::Admit,
        Stage::Inspect,
        Stage::Cache,
        Stage::Route,
        Stage::Reserve,
        Stage::Attempt,
        Stage::Relay,
        Stage::Settle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Identify => "identify",
            Stage::Parse => "parse",
            Stage::Authorize => "authorize",
            Stage::Admit => "admit",
            Stage::Inspect => "inspect",
            Stage::Cache => "cache",
            Stage::Route => "route",
            Stage::Reserve => "reserve",
            Stage::Attempt => "attempt",
            Stage::Relay => "relay",
            Stage::Settle => "settle",
        }
    }

    /// The file a reader finds the stage in, from the repository's root.
    pub fn source(self) -> String {
        format!("rust/core/src/stage/{}.rs", self.name())
    }

    pub fn next(self) -> Stage {
        Stage::ORDER.get(self as usize + 1).copied().unwrap_or(Stage::Settle)
    }
}

/// Waits for it.
///
/// # Errors
/// What the stage should answer instead of running again.
pub async fn wait(exchange: &mut Exchange, wait: Wait) -> Result<()> {
    match wait {
        Wait::Count(deployment) => count::run(exchange, deployment).await,
        Wait::Share => share::run(exchange).await,
        Wait::Router => route::auto::wait(exchange).await,
        Wait::Turn => exhausted::wait(exchange).await,
        Wait::Policy => inspect::wait(exchange).await?,
        Wait::Checks => Box::pin(checks::wait(exchange)).await?,
        Wait::Documents => Box::pin(documents::wait(exchange)).await?,
        Wait::Vault => Box::pin(vault::wait(exchange)).await?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_enum_and_the_files_exist() {
        for pair in Stage::ORDER.windows(2) {
            assert!(pair[0] < pair[1]);
            assert_eq!(pair[0].next(), pair[1]);
        }
        for stage in Stage::ORDER {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(stage.source());
            assert!(path.exists(), "{}", path.display());
        }
    }
}
