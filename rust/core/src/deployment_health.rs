//! How each deployment is doing, for operators.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::{monotonic_ns, wall_us};
use crate::kernel::breaker::State;
use crate::snapshot::{Deployment, Snapshot};
use crate::state::CredentialSlot;

/// One deployment in one model.
#[derive(Serialize)]
pub struct Row<'s> {
    pub model: &'s str,
    pub deployment: &'s str,
    pub provider: &'s str,
    pub name: &'s str,
    pub dialect: &'static str,
    /// `closed`, `open`, `half_open`.
    pub state: &'static str,
    pub cause: Option<&'static str>,
    /// While open: when it is tried again.
    pub retry_in_ms: Option<u64>,
    pub in_flight: u32,
    /// At other nodes, as they said within the last seconds.
    pub in_flight_elsewhere: u32,
    /// In the breaker's window.
    pub requests: u32,
    pub failures: u32,
    /// Means, where the model's strategy measures them.
    pub first_byte_ms: Option<f64>,
    pub ms_per_token: Option<f64>,
    pub transitions: u64,
    /// Requests at a time that it was found to bear; where the model asks for that.
    pub limit: Option<u32>,
    pub queued: u32,
    /// What health checks found, where there are any.
    pub check: Option<CheckRow>,
    /// What its engine says, where that is asked.
    pub engine: Option<EngineRow>,
    /// Its credentials, where it has several.
    pub keys: Vec<KeyRow>,
}

/// The latest health check.
#[derive(Serialize)]
pub struct CheckRow {
    /// `passing`, `failing`, `unknown`.
    pub state: &'static str,
    pub ago_ms: Option<i64>,
    pub took_ms: u64,
    pub fault: Option<String>,
    pub passed: u64,
    pub failed: u64,
}

/// The load of an engine; what is too old is left out.
#[derive(Serialize)]
pub struct EngineRow {
    pub running: Option<u32>,
    pub waiting: Option<u32>,
    /// The part of its key-value cache that is in use.
    pub cache: Option<f64>,
    pub ago_ms: Option<u64>,
}

fn check(deployment: &Deployment) -> Option<CheckRow> {
    deployment.check.as_ref()?;
    let found = deployment.state.checked.found();
    Some(CheckRow {
        state: found.standing.name(),
        ago_ms: (found.at_us > 0).then(|| (wall_us() - found.at_us) / 1_000),
        took_ms: found.took_ms,
        fault: Some(found.fault).filter(|fault| !fault.is_empty()),
        passed: found.passed,
        failed: found.failed,
    })
}

fn engine(deployment: &Deployment, now: u64) -> Option<EngineRow> {
    let poll = deployment.engine.as_ref()?;
    let load = deployment.state.engine.load(now, poll.stale);
    Some(EngineRow {
        running: load.map(|(load, _)| load.running),
        waiting: load.map(|(load, _)| load.waiting),
        cache: load.map(|(load, _)| f64::from(load.cache) / 1e3),
        ago_ms: load.map(|(_, age)| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// One of several credentials, by its place in the configuration, from 1.
#[derive(Serialize)]
pub struct KeyRow {
    pub key: usize,
    /// `used`, `resting`.
    pub state: &'static str,
    pub cause: Option<&'static str>,
    pub retry_in_ms: Option<u64>,
    pub requests: u64,
    pub refused: u64,
}

fn keys(deployment: &Deployment, now: u64) -> Vec<KeyRow> {
    let slots = deployment.keys.as_ref().map_or(&[][..], |keys| keys.slots());
    let row = |(place, slot): (usize, &Arc<CredentialSlot>)| {
        let rest = slot.rest(now);
        KeyRow {
            key: place + 1,
            state: if rest > 0 { "resting" } else { "used" },
            cause: (rest > 0).then(|| slot.cause()),
            retry_in_ms: (rest > 0 && rest < u64::MAX).then(|| rest.div_ceil(1_000_000)),
            requests: slot.used.get(),
            refused: slot.refused.get(),
        }
    };
    slots.iter().enumerate().map(row).collect()
}

/// Every deployment in the order of the configuration.
pub fn rows(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let now = monotonic_ns();
    let pairs = snapshot.models.iter().flat_map(|model| model.deployments.iter().map(move |index| (model, index)));
    pairs
        .filter_map(|(model, index)| {
            let deployment = snapshot.deployments.get(*index as usize)?;
            let state = &deployment.state;
            let (requests, failures) = state.health.counts(now, &deployment.breaker);
            let at = state.health.state(now);
            Some(Row {
                model: &model.name,
                deployment: &deployment.id,
                provider: &deployment.provider,
                name: &deployment.model,
                dialect: deployment.dialect.name(),
                state: at.name(),
                cause: (at != State::Closed).then(|| state.health.cause().name()),
                retry_in_ms: match at {
                    State::Open { left_ns } => Some(left_ns.div_ceil(1_000_000)),
                    State::Closed | State::HalfOpen => None,
                },
                in_flight: state.in_flight(),
                in_flight_elsewhere: state.elsewhere.load(now).in_flight,
                requests,
                failures,
                first_byte_ms: state.first_byte.read(now).map(|us| us / 1e3),
                ms_per_token: state.per_token.read(now).map(|ns| ns / 1e6),
                transitions: state.health.changes(),
                limit: (deployment.overload.most > 0).then(|| state.limiter.limit(&deployment.overload)),
                queued: state.queue.waiting(),
                check: check(deployment),
                engine: engine(deployment, now),
                keys: keys(deployment, now),
            })
        })
        .collect()
}
