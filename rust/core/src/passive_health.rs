//! Passive health: what happens to real requests feeds the breakers of deployments, and changes are told.

use std::time::{Duration, Instant};

use crate::account::Ending;
use crate::clock::{monotonic_ns, ns_at};
use crate::event::Event;
use crate::kernel::breaker::{Cause, Change, Settings, Sign};
use crate::metrics::Outcome;
use crate::shard::{Shard, Shared};
use crate::snapshot::Snapshot;
use crate::state::DeploymentState;
use crate::state::credentials::PooledKey;

/// What the end of an attempt says about its deployment. A success was told when the answer began.
pub fn sign(ending: &Ending) -> Option<Sign> {
    match ending {
        Ending::Refused { outcome: Outcome::RateLimited, wait, .. } => {
            Some(Sign::RateLimited { wait_ms: wait.and_then(|wait| u64::try_from(wait.as_millis()).ok()) })
        }
        Ending::Refused { outcome: Outcome::ServerError, .. } => Some(Sign::Failure),
        Ending::Refused { status: 401..=403, .. } => Some(Sign::Credential),
        // The caller's mistake, and the deployment was there to say so.
        Ending::Refused { .. } => Some(Sign::Refusal),
        Ending::Unanswered { outcome: Outcome::ClientGone } | Ending::Reported { .. } => None,
        Ending::Unanswered { .. } => Some(Sign::Outage),
        Ending::Estimated { outcome, .. } => match outcome {
            Outcome::ConnectionLost | Outcome::Timeout | Outcome::InvalidResponse | Outcome::ServerError => {
                Some(Sign::Failure)
            }
            _ => None,
        },
    }
}

/// Feeds the breaker of a deployment.
pub fn tell(shard: &Shard, deployment: &DeploymentState, settings: &Settings, sign: Sign, now: Instant) {
    if let Some(change) = deployment.health.record(sign, ns_at(now), settings) {
        if change == Change::Closed {
            // How much it bears now is to be found anew.
            deployment.limiter.restart();
        }
        report(&shard.shared, deployment, change);
    }
}

/// Says that a deployment is left out, or is back.
pub fn report(shared: &Shared, deployment: &DeploymentState, change: Change) {
    let (level, message) = match change {
        Change::Opened { cause, ms } => {
            let text = format!("deployment is left out for {:?}: {}", Duration::from_millis(ms), cause.name());
            ("warning", text)
        }
        Change::Closed => ("info", "deployment is back".to_string()),
    };
    shared.events.push(Event {
        kind: "deployment_state",
        level,
        message,
        model: Some(deployment.model.clone()),
        deployment: Some(deployment.id.clone()),
        ..Event::default()
    });
}

/// Says that one of several credentials of a deployment is not used for a while.
pub fn key_rests(shared: &Shared, deployment: &DeploymentState, key: &PooledKey) {
    let Some(slot) = key.slot() else { return };
    let left = Duration::from_nanos(slot.rest(monotonic_ns()));
    shared.events.push(Event {
        kind: "credential_state",
        level: "warning",
        message: format!("key {} of the deployment rests for {left:.1?}: {}", key.number(), slot.cause()),
        model: Some(deployment.model.clone()),
        deployment: Some(deployment.id.clone()),
        ..Event::default()
    });
}

/// Leaves out deployments that fail far more often than the others of their model. Never so many that too few are left.
pub fn eject_outliers(shared: &Shared, snapshot: &Snapshot) {
    let now = monotonic_ns();
    for model in snapshot.models.iter().filter(|model| model.deployments.len() > 1) {
        let rules = &model.routing.outliers;
        if rules.percent == 0 {
            continue;
        }
        let settings = &model.routing.breaker;
        let group: Vec<_> = model.deployments.iter().filter_map(|i| snapshot.deployments.get(*i as usize)).collect();
        let counts: Vec<_> = group.iter().map(|deployment| deployment.state.health.counts(now, settings)).collect();
        let (total, failed) = counts.iter().fold((0, 0), |(total, failed), (t, f)| (total + t, failed + f));
        let mut usable = group.iter().filter(|d| d.state.health.share(now, settings) > 0).count();
        let ejectable = (group.len() * rules.ejected_percent.min(100) as usize / 100).max(1);
        for (deployment, (own_total, own_failed)) in group.iter().zip(counts) {
            let others = (total - own_total, failed - own_failed);
            let out = group.len() - usable;
            if own_total < settings.minimum.max(1)
                || others.0 < settings.minimum.max(1)
                || usable < 2
                || out >= ejectable
                || deployment.state.health.share(now, settings) == 0
            {
                continue;
            }
            let percent = |(total, failed): (u32, u32)| u64::from(failed) * 100 / u64::from(total.max(1));
            if percent((own_total, own_failed)) >= percent(others) + u64::from(rules.percent)
                && let Some(change) = deployment.state.health.eject(Cause::Outlier, now, settings)
            {
                usable -= 1;
                report(shared, &deployment.state, change);
            }
        }
    }
}
