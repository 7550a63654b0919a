//! What nodes tell one another of their deployments, through Redis, every second: requests in flight, the quota they used,
//! and how long a provider wished to be left alone. Failures are not passed on: what one node cannot reach another may.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::clock::monotonic_ns;
use crate::kernel::breaker::{Cause, State};
use crate::passive_health::report;
use crate::plane::{Plane, PlaneError};
use crate::state::elsewhere::Load;

const MS: u64 = 1_000_000;

/// One deployment at one node.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    id: String,
    in_flight: u32,
    requests: u64,
    tokens: u64,
    /// For so long more its provider wishes no requests.
    rest_ms: u64,
    /// Because it refuses the credential.
    refused: bool,
}

impl Plane {
    /// What this node knows of its deployments that others should: a MessagePack list.
    pub fn routing_state(&self) -> Vec<u8> {
        let Some(shard) = self.shards.first() else { return vec![0x90] };
        let snapshot = shard.snapshot();
        let now = monotonic_ns();
        let told = snapshot.deployments.iter().filter_map(|deployment| {
            let state = &deployment.state;
            let (requests, tokens) = state.quota.counted(now);
            let cause = state.health.cause();
            let rest_ms = match state.health.state(now) {
                State::Open { left_ns }
                    if matches!(cause, Cause::RateLimited | Cause::Credential)
                        && state.elsewhere.is_own(state.health.until()) =>
                {
                    left_ns.div_ceil(MS)
                }
                _ => 0,
            };
            let told = Told {
                id: deployment.id.to_string(),
                in_flight: state.in_flight(),
                requests,
                tokens,
                rest_ms,
                refused: cause == Cause::Credential,
            };
            (u64::from(told.in_flight) | requests | tokens | rest_ms > 0).then_some(told)
        });
        rmp_serde::to_vec_named(&told.collect::<Vec<_>>()).unwrap_or_else(|_| vec![0x90])
    }

    /// Takes in what all other nodes told.
    ///
    /// # Errors
    /// One of them is no such list; nothing is taken in then.
    pub fn take_routing_state(&self, nodes: &[Vec<u8>]) -> Result<(), PlaneError> {
        let mut sums: HashMap<String, (Load, u64, bool)> = HashMap::new();
        for bytes in nodes {
            let node: Vec<Told> =
                rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("routing state: {error}")))?;
            for told in node {
                let (load, rest_ms, refused) = sums.entry(told.id).or_default();
                load.in_flight = load.in_flight.saturating_add(told.in_flight);
                load.requests = load.requests.saturating_add(told.requests);
                load.tokens = load.tokens.saturating_add(told.tokens);
                if told.rest_ms > *rest_ms {
                    (*rest_ms, *refused) = (told.rest_ms, told.refused);
                }
            }
        }
        let Some(shard) = self.shards.first() else { return Ok(()) };
        let snapshot = shard.snapshot();
        let now = monotonic_ns();
        for deployment in snapshot.deployments.iter() {
            let state = &deployment.state;
            let (load, rest_ms, refused) = sums.get(&*deployment.id).copied().unwrap_or_default();
            state.elsewhere.told(load, now);
            let settings = &deployment.breaker;
            let longest = settings.open_max_ms.max(settings.open_ms);
            let rest_ms = rest_ms.min(longest);
            if rest_ms == 0 || settings.alone {
                continue;
            }
            state.elsewhere.rests(now.saturating_add(rest_ms.saturating_mul(MS)));
            let cause = if refused { Cause::Credential } else { Cause::RateLimited };
            if matches!(state.health.state(now), State::Closed | State::HalfOpen)
                && let Some(change) = state.health.hold(cause, rest_ms, now, settings)
            {
                report(&self.shared, state, change);
            }
        }
        Ok(())
    }
}
