//! What deployments are asked on the gateway's own account: on the wire, and compiled.

use std::time::Duration;

use serde::Deserialize;

use super::RequestTemplate;
use super::template::template;
use crate::endpoint::Operation;
use crate::probe::engine::Poll;
use crate::probe::health::{Ask, Check};
use crate::upstream::origin::BaseUrl;

/// How its health is checked: by a connection, by a GET of `target`, or by a request of `operation` with `body`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckWire {
    pub target: Option<String>,
    pub operation: Option<String>,
    pub body: String,
    pub every_ms: u64,
    pub timeout_ms: u64,
    pub failing: u32,
    pub passing: u32,
}

/// How its engine is asked how busy it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollWire {
    pub target: String,
    pub every_ms: u64,
    pub timeout_ms: u64,
    pub stale_ms: u64,
}

/// # Errors
/// A path that is none, an operation that is not known.
pub fn check(wire: CheckWire, base: &BaseUrl, fixed: &[u8]) -> Result<Check, String> {
    let ask = match (&wire.target, &wire.operation) {
        (Some(target), _) => Ask::Get(get(target, base, fixed)?),
        (None, Some(name)) => {
            let operation = Operation::parse(name).ok_or_else(|| format!("operation {name:?} is not known"))?;
            Ask::Request { operation, body: wire.body.into() }
        }
        (None, None) => Ask::Connect,
    };
    let ms = Duration::from_millis;
    Ok(Check {
        ask,
        every: ms(wire.every_ms),
        timeout: ms(wire.timeout_ms),
        failing: wire.failing,
        passing: wire.passing,
    })
}

/// # Errors
/// A path that is none.
pub fn poll(wire: &PollWire, base: &BaseUrl, fixed: &[u8]) -> Result<Poll, String> {
    let ms = Duration::from_millis;
    Ok(Poll {
        template: get(&wire.target, base, fixed)?,
        every: ms(wire.every_ms),
        timeout: ms(wire.timeout_ms),
        stale: ms(wire.stale_ms),
    })
}

/// A GET of a path of the host, not of the base URL.
fn get(target: &str, base: &BaseUrl, fixed: &[u8]) -> Result<RequestTemplate, String> {
    let host = BaseUrl { prefix: String::new(), ..base.clone() };
    template(&host, "GET", target, fixed)
}
