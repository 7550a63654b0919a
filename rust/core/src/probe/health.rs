//! Active health checks: a cheap question now and then, whose answers leave a deployment out or take it back before a caller
//! has to find out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Due;
use super::call::{self, Fault};
use crate::clock::{monotonic_ns, wall_us};
use crate::dialect;
use crate::endpoint::Operation;
use crate::event::Event;
use crate::exchange::{RequestId, marks};
use crate::kernel::breaker::Cause;
use crate::kernel::cost::{Usage, cost};
use crate::metrics::Outcome;
use crate::outgoing::adapted;
use crate::passive_health::report;
use crate::shard::{Shard, Shared, SnapshotRef};
use crate::snapshot::{Deployment, Model, RequestTemplate};
use crate::spool::{Intent, Settle, Slot, Source};

/// How a deployment is checked.
#[derive(Debug)]
pub struct Check {
    pub ask: Ask,
    pub every: Duration,
    pub timeout: Duration,
    /// So many in a row leave it out, and take it back.
    pub failing: u32,
    pub passing: u32,
}

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// Nothing: only a connection.
    Connect,
    Get(RequestTemplate),
    /// A request of the smallest size, which costs what such a request costs.
    Request {
        operation: Operation,
        body: Bytes,
    },
}

/// What checks have found, across snapshots.
#[derive(Debug, Default)]
pub struct Checked {
    pub due: Due,
    found: Mutex<Found>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Unknown,
    Passing,
    Failing,
}

impl Standing {
    pub fn name(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Passing => "passing",
            Standing::Failing => "failing",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Found {
    pub standing: Standing,
    /// Of the latest: when, how long it took, what was wrong.
    pub at_us: i64,
    pub took_ms: u64,
    pub fault: String,
    /// It could not be reached at all.
    pub outage: bool,
    /// Equal results in a row.
    row: u32,
    good: bool,
    pub passed: u64,
    pub failed: u64,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail {
        fault: String,
        outage: bool,
    },
    /// It answered that it has no time now: neither good nor bad.
    Neither,
}

impl Checked {
    pub fn found(&self) -> Found {
        self.found.lock().clone()
    }

    /// Takes a result in. What stands after it, and whether that is new.
    fn note(&self, verdict: &Verdict, check: &Check, at_us: i64, took: Duration) -> (Standing, bool) {
        let mut found = self.found.lock();
        (found.at_us, found.took_ms) = (at_us, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let good = match verdict {
            Verdict::Neither => return (found.standing, false),
            Verdict::Pass => true,
            Verdict::Fail { .. } => false,
        };
        found.row = if found.good == good { found.row.saturating_add(1) } else { 1 };
        found.good = good;
        let before = found.standing;
        if let Verdict::Fail { fault, outage } = verdict {
            found.failed += 1;
            (found.fault, found.outage) = (fault.clone(), *outage);
            if found.row >= check.failing.max(1) {
                found.standing = Standing::Failing;
            }
        } else {
            found.passed += 1;
            found.fault.clear();
            // One that was never found failing need not prove itself.
            if before == Standing::Unknown || found.row >= check.passing.max(1) {
                found.standing = Standing::Passing;
            }
        }
        (found.standing, found.standing != before)
    }
}

/// Checks a deployment once.
pub async fn run(shard: Arc<Shard>, snapshot: SnapshotRef, model: usize, index: usize) {
    let (Some(model), Some(deployment)) = (snapshot.models.get(model), snapshot.deployments.get(index)) else { return };
    let Some(check) = &deployment.check else { return };
    let begun = Instant::now();
    let verdict = match &check.ask {
        Ask::Connect => judged(call::connects(deployment, check.timeout).await.map(|()| (200, Bytes::new())), false),
        Ask::Get(template) => judged(call::ask(deployment, template, None, check.timeout).await, false),
        Ask::Request { operation, body } => request(&shard, model, deployment, check, (*operation, body)).await,
    };
    let at_us = wall_us();
    let (standing, new) = deployment.state.checked.note(&verdict, check, at_us, begun.elapsed());
    deployment.state.checked.due.done();
    if new {
        tell(&shard.shared, deployment, standing);
    }
    match verdict {
        Verdict::Fail { outage, .. } if standing == Standing::Failing => hold(&shard.shared, deployment, check, outage),
        Verdict::Pass if standing == Standing::Passing => {
            release(&shard.shared, deployment, matches!(check.ask, Ask::Request { .. }));
        }
        _ => {}
    }
}

/// What an answer says. A request that was refused for what it asks was at least answered.
fn judged(answer: Result<(u16, Bytes), Fault>, asked: bool) -> Verdict {
    match answer {
        Ok((200..=299, _)) => Verdict::Pass,
        Ok((400 | 413 | 422, _)) if asked => Verdict::Pass,
        Ok((429, _)) => Verdict::Neither,
        Ok((status, _)) => Verdict::Fail { fault: format!("status {status}"), outage: false },
        Err(fault) => Verdict::Fail { fault: fault.text().to_string(), outage: true },
    }
}

/// A small request, with a row in the ledger that says what it is.
async fn request(
    shard: &Shard,
    model: &Model,
    deployment: &Deployment,
    check: &Check,
    (operation, body): (Operation, &Bytes),
) -> Verdict {
    let failed = |text: &str| Verdict::Fail { fault: text.to_string(), outage: false };
    let Some(template) = deployment.template(operation) else { return failed("the operation is not served") };
    let Ok((parts, _)) = adapted(deployment, template, body.clone()) else {
        return failed("the provider's rules refuse the request of the check");
    };
    let intent = intent(model, deployment, operation, body.len());
    let Ok(slot) = shard.intent(&intent) else { return Verdict::Neither };
    let begun = Instant::now();
    let answer = call::ask(deployment, template, Some(&parts), check.timeout).await;
    settle(slot, deployment, operation, &answer, begun.elapsed());
    judged(answer, true)
}

fn intent(model: &Model, deployment: &Deployment, operation: Operation, bytes: usize) -> Intent {
    let at_us = wall_us();
    let input = u32::try_from(bytes / 4).unwrap_or(u32::MAX);
    let usage = Usage { input: u64::from(input), output: 16, ..Usage::default() };
    Intent {
        request_id: RequestId::new(at_us).0,
        at_us,
        reserved_cost: deployment.price.as_deref().and_then(|price| cost(price, &usage)).unwrap_or(0),
        model: model.ledger_id,
        deployment: deployment.ledger_id,
        price: deployment.price_id,
        est_input: input,
        operation: operation as u16,
        flags: marks::CHECK,
        attempt_no: 1,
        ..Intent::default()
    }
}

fn settle(
    slot: Slot,
    deployment: &Deployment,
    operation: Operation,
    answer: &Result<(u16, Bytes), Fault>,
    took: Duration,
) {
    let (status, outcome, usage) = match answer {
        Err(Fault::Unreached(_)) => return slot.release(),
        Err(Fault::Lost(_)) => (0, Outcome::ConnectionLost, None),
        Ok((status @ 200..=299, body)) => {
            let member = dialect::usage_member(body, dialect::usage_name(deployment.dialect, operation));
            (*status, Outcome::Success, dialect::usage(deployment.dialect, operation, member))
        }
        Ok((429, _)) => (429, Outcome::RateLimited, None),
        Ok((status @ 500.., _)) => (*status, Outcome::ServerError, None),
        Ok((status, _)) => (*status, Outcome::ClientError, None),
    };
    let told = usage.unwrap_or_default();
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    slot.settle(&Settle {
        source: if usage.is_some() || status >= 300 { Source::Reported } else { Source::Estimated },
        class: outcome as u8,
        status,
        input: narrow(told.input),
        output: narrow(told.output),
        cost: usage.and_then(|usage| cost(deployment.price.as_deref()?, &usage)).unwrap_or(0),
        duration_us: narrow(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        ..Settle::default()
    });
}

/// Leaves it out until a later check is due for long. The only deployment of a model is left out only when it cannot be
/// reached.
fn hold(shared: &Shared, deployment: &Deployment, check: &Check, outage: bool) {
    if deployment.breaker.alone && !outage {
        return;
    }
    let ms = u64::try_from((check.every * 3 + check.timeout).as_millis()).unwrap_or(u64::MAX);
    if let Some(change) = deployment.state.health.hold(Cause::Probe, ms, monotonic_ns(), &deployment.breaker) {
        report(shared, &deployment.state, change);
    }
}

/// Takes it back, if checks had left it out. A real request that is answered counts for more: as one that tries it.
fn release(shared: &Shared, deployment: &Deployment, request: bool) {
    let cause = deployment.state.health.cause();
    let proved = request && matches!(cause, Cause::Consecutive | Cause::Share | Cause::Outlier);
    if (cause == Cause::Probe || proved)
        && let Some(change) = deployment.state.health.close(monotonic_ns())
    {
        deployment.state.limiter.restart();
        report(shared, &deployment.state, change);
    }
}

fn tell(shared: &Shared, deployment: &Deployment, standing: Standing) {
    let found = deployment.state.checked.found();
    let (level, message) = match standing {
        Standing::Failing => ("warning", format!("health checks fail: {}", found.fault)),
        _ => ("info", "health checks pass".to_string()),
    };
    shared.events.push(Event {
        kind: "health_check",
        level,
        message,
        model: Some(deployment.state.model.clone()),
        deployment: Some(deployment.state.id.clone()),
        ..Event::default()
    });
}

/// What one node has found, for the others.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub deployment: String,
    pub standing: Standing,
    pub at_us: i64,
    pub took_ms: u64,
    pub fault: String,
    pub outage: bool,
}

/// What this node has found.
pub fn findings(snapshot: &SnapshotRef) -> Vec<Told> {
    let checked = snapshot.deployments.iter().filter(|deployment| deployment.check.is_some());
    let told = checked.map(|deployment| (deployment, deployment.state.checked.found()));
    told.filter(|(_, found)| found.at_us > 0)
        .map(|(deployment, found)| Told {
            deployment: deployment.id.to_string(),
            standing: found.standing,
            at_us: found.at_us,
            took_ms: found.took_ms,
            fault: found.fault,
            outage: found.outage,
        })
        .collect()
}

/// Takes over what another node has found; what is older than this node's own does not count.
pub fn take_over(shared: &Shared, snapshot: &SnapshotRef, told: Vec<Told>) {
    for one in told {
        let mut known = snapshot.deployments.iter().filter(|deployment| *deployment.id == *one.deployment);
        let Some(deployment) = known.next() else { continue };
        let Some(check) = &deployment.check else { continue };
        let new = {
            let mut found = deployment.state.checked.found.lock();
            if one.at_us <= found.at_us {
                continue;
            }
            let new = found.standing != one.standing;
            (found.standing, found.at_us, found.took_ms) = (one.standing, one.at_us, one.took_ms);
            (found.fault, found.outage, found.good, found.row) =
                (one.fault, one.outage, one.standing != Standing::Failing, 1);
            new
        };
        if new {
            tell(shared, deployment, one.standing);
        }
        match one.standing {
            Standing::Failing => hold(shared, deployment, check, one.outage),
            Standing::Passing => release(shared, deployment, matches!(check.ask, Ask::Request { .. })),
            Standing::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_in_a_row() {
        let check = Check {
            ask: Ask::Connect,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failing: 3,
            passing: 2,
        };
        let checked = Checked::default();
        let fail = Verdict::Fail { fault: "status 500".into(), outage: false };
        let note = |verdict: &Verdict| checked.note(verdict, &check, 1, Duration::ZERO);
        assert_eq!(note(&Verdict::Pass), (Standing::Passing, true));
        for (verdict, expected) in [
            (&fail, (Standing::Passing, false)),
            (&fail, (Standing::Passing, false)),
            (&Verdict::Pass, (Standing::Passing, false)),
            (&fail, (Standing::Passing, false)),
            (&fail, (Standing::Passing, false)),
            (&Verdict::Neither, (Standing::Passing, false)),
            (&fail, (Standing::Failing, true)),
            (&Verdict::Pass, (Standing::Failing, false)),
            (&fail, (Standing::Failing, false)),
            (&Verdict::Pass, (Standing::Failing, false)),
            (&Verdict::Pass, (Standing::Passing, true)),
        ] {
            assert_eq!(note(verdict), expected, "{verdict:?}");
        }
        assert_eq!((checked.found().passed, checked.found().failed), (5, 6));
    }

    #[test]
    fn answers_are_judged() {
        let status = |status| Ok((status, Bytes::new()));
        assert_eq!(judged(status(204), false), Verdict::Pass);
        assert_eq!(judged(status(400), true), Verdict::Pass);
        assert_eq!(judged(status(429), true), Verdict::Neither);
        for (answer, asked) in [(status(400), false), (status(404), true), (status(401), true), (status(503), true)] {
            assert!(matches!(judged(answer, asked), Verdict::Fail { outage: false, .. }));
        }
        assert!(matches!(judged(Err(Fault::Lost("x".into())), true), Verdict::Fail { outage: true, .. }));
    }
}
