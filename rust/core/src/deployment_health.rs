//! How each deployment is doing, for operators.

use serde::Serialize;

use crate::clock::monotonic_ns;
use crate::kernel::breaker::State;
use crate::snapshot::Snapshot;

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
                requests,
                failures,
                first_byte_ms: state.first_byte.read(now).map(|us| us / 1e3),
                ms_per_token: state.per_token.read(now).map(|ns| ns / 1e6),
                transitions: state.health.changes(),
                limit: (deployment.overload.most > 0).then(|| state.limiter.limit(&deployment.overload)),
                queued: state.queue.waiting(),
            })
        })
        .collect()
}
