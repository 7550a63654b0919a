//! One attempt at one deployment: place, connection, record, request, head of the answer.

use std::iter;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::connect::connect;
use super::failed::{Failed, Failure};
use super::prepare::prepare;
use super::prompt_cache;
use super::refusal::judge;
use crate::account::{Attempt, AttemptStart, Ending};
use crate::clock::{monotonic_ns, ns_at, wall_us};
use crate::dialect;
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange, marks};
use crate::kernel::breaker::{Cause, Pass};
use crate::kernel::cost::Usage;
use crate::kernel::failure::Class;
use crate::metrics::Outcome;
use crate::outgoing::request_head;
use crate::refusal;
use crate::snapshot::Deployment;
use crate::spool::Intent;
use crate::stage::reserve::{self, Reservation};
use crate::stage::units;
use crate::state::credentials::PooledKey;
use crate::state::deployments::{Full, InFlight};
use crate::tags;
use crate::upstream::{Conn, IoError, Outgoing};
use crate::wire::http1::{Head, WireError};

/// One attempt at one deployment, up to the head of a successful answer.
/// `place`: one that it has waited for.
pub async fn ask(
    exchange: &mut Exchange,
    deployment: &Deployment,
    index: u32,
    place: Option<InFlight>,
) -> Result<Box<Answer>, Failed> {
    let asked = exchange.asked(deployment);
    let Some((operation, template)) =
        asked.and_then(|asked| Some((asked, deployment.template_for(asked, exchange.call.stream)?)))
    else {
        return Err(Failed::Last(Error::new(Code::Internal, "the deployment does not serve the operation")));
    };
    let key = deployment.keys.as_ref().map(|keys| keys.next(monotonic_ns()));
    let credential = key.as_ref().map_or(deployment.credential.as_ref(), PooledKey::slot);
    if credential.is_some_and(|slot| slot.is_empty()) {
        let text = format!("The gateway has no valid credential for provider '{}' now.", deployment.provider);
        return Err(Failed::Skipped(Error::new(Code::UpstreamAuth, text)));
    }
    let mut body = prepare(exchange, deployment, operation, template).map_err(Failed::Skipped)?;
    if deployment.prompt_caching {
        body = prompt_cache::mark(exchange, deployment, operation, body);
    }
    let place = enter(exchange, deployment, place).map_err(|failed| *failed)?;
    let reservation = reserve::take(exchange, index).await.map_err(|refused| match reserve::is_place(&refused) {
        true => Failed::Skipped(refusal::error(&refused, exchange.snapshot.settings.budget_status)),
        false => Failed::Last(refusal::error(&refused, exchange.snapshot.settings.budget_status)),
    })?;
    let mut conn = connect(exchange, deployment).await.map_err(|error| Failed::attempt(error, Class::Connection))?;
    exchange.attempts = exchange.attempts.saturating_add(1);
    let tags = tags::number(exchange).await;
    let intent = intent(exchange, deployment, &reservation, tags);
    let slot = exchange.shard.intent(&intent).map_err(|_| {
        let text = "The record of spending cannot be written (disk full?), so nothing was sent.";
        Failed::Last(Error::new(Code::LedgerUnavailable, text).retry_after(Duration::from_secs(5)))
    })?;
    let head = request_head(exchange, (deployment, template), credential, slot.id().0, &body);
    let parts: SmallVec<[&[u8]; 6]> = iter::once(&head[..]).chain(body.iter().map(|part| &part[..])).collect();
    let sent = Instant::now();
    let mut attempt = Attempt::new(AttemptStart {
        slot,
        shard: exchange.shard.clone(),
        hold: reservation.hold,
        deployment: deployment.state.clone(),
        place: Some(place),
        price: deployment.price.clone(),
        breaker: deployment.breaker,
        measures: deployment.measures,
        overload: deployment.overload,
        stream: exchange.call.stream,
        est_input: reservation.input,
        content_bytes: exchange.call.content_bytes,
        race: exchange.race.clone(),
        key,
        now: sent,
    });
    let received = converse(exchange, deployment, &mut conn, &parts, sent).await;
    let now = Instant::now();
    exchange.waited += now - sent;
    match received {
        Ok(head) => {
            attempt.answered(head.status.as_u16(), now);
            attempt.service = dialect::told_by_head(deployment.dialect, &head.headers);
            if head.status.is_success() {
                attempt.progress.told = units_asked(exchange);
            }
            if deployment.measures.usage {
                quota_told(deployment, &head.headers, ns_at(now));
            }
            let (inflate, chunks, begun) = (None, None, Bytes::new());
            let answer =
                Answer { conn, head, inflate, chunks, begun, attempt, deployment: index, received: now, intent };
            let answer = Box::new(answer);
            judge(exchange, deployment, answer).await
        }
        Err(error) => {
            let stale = conn.reused && is_harmless(exchange, &error);
            if stale {
                // Those that rested with it are no fresher, so the next one is new.
                deployment.pool.forget(exchange.shard.index);
            }
            let (outcome, error) = broken(deployment, &error);
            attempt.close(Ending::Unanswered { outcome }, exchange.overhead(now), now);
            let class = if outcome == Outcome::Timeout { Class::Timeout } else { Class::Connection };
            Err(Failed::Attempt(Failure { error, class, wait: None, stale }))
        }
    }
}

/// A place at the deployment, if its health allows an attempt and it has one left.
fn enter(exchange: &Exchange, deployment: &Deployment, place: Option<InFlight>) -> Result<InFlight, Box<Failed>> {
    let health = &deployment.state.health;
    let pass = match health.is_closed() {
        true => Some(Pass::Usual),
        false => health.enter(monotonic_ns(), &deployment.breaker, exchange.forced),
    };
    let Some(pass) = pass else {
        let text = format!("The deployment at provider '{}' is recovering.", deployment.provider);
        let limited = health.cause() == Cause::RateLimited;
        let code = if limited { Code::RateLimited } else { Code::NoDeployment };
        let error = Error::new(code, text).retry_after(Duration::from_secs(1));
        return Err(Box::new(Failed::Skipped(error)));
    };
    let entered = match place {
        Some(place) => Ok(place.tries(pass)),
        None => deployment.state.enter(deployment.max_connections, &deployment.overload, pass),
    };
    entered.map_err(|full| match full {
        Full::Limit => Box::new(Failed::Full),
        Full::Connections => {
            let most = deployment.max_connections;
            let text = format!("The deployment has {most} connections open, as many as it may.");
            Box::new(Failed::Skipped(Error::new(Code::Overloaded, text).retry_after(Duration::from_secs(1))))
        }
    })
}

/// The connection was lost before an answer, and to ask once more does nothing twice.
fn is_harmless(exchange: &Exchange, waited: &Waited) -> bool {
    let Waited::Io(IoError::Lost { written, seen: false, .. }) = waited else { return false };
    !written || exchange.object.as_ref().is_some_and(|object| object.method.is_idempotent())
}

/// What is left of a provider's rate limits, as OpenAI, Azure, Anthropic and those like them say it.
const LEFT: [(&str, &str); 4] = [
    ("x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-limit-requests"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-limit"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-limit"),
];

fn quota_told(deployment: &Deployment, headers: &http::HeaderMap, now: u64) {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let own = deployment.quota_headers.iter().map(|(left, of)| (left.as_str(), of.as_str()));
    // To look for what hardly anybody sends takes longer than to see that nobody did.
    let says = || headers.keys().any(|name| name.as_str().contains("ratelimit-"));
    let asked = if deployment.quota_headers.is_empty() && says() { &LEFT[..] } else { &[] };
    let common = asked.iter().copied();
    let told = own.chain(common).filter_map(|(left, of)| Some((number(left)?, number(of).filter(|of| *of > 0)?)));
    // The scarcest.
    let scarcest = told.min_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))));
    if let Some((left, of)) = scarcest {
        deployment.state.quota.told(left, of, now);
    }
}

/// What the ledger is told before anything is sent.
fn intent(exchange: &Exchange, deployment: &Deployment, reservation: &Reservation, tags: u32) -> Intent {
    let owners = exchange.key.as_ref().map(|key| key.owners).unwrap_or_default();
    Intent {
        request_id: exchange.request_id.0,
        trace_id: exchange.trace.trace_id,
        at_us: if exchange.attempts > 1 { wall_us() } else { exchange.wall_us },
        reserved_cost: reservation.pico,
        key: exchange.key.as_ref().map_or(0, |key| key.ledger_id),
        org: exchange.key.as_ref().map_or(0, |key| key.org_ledger_id),
        team: owners.team,
        user: owners.user,
        project: owners.project,
        customer: exchange.customer,
        tags,
        question: exchange.question,
        decision: exchange.chosen,
        model: exchange.model().map_or(0, |model| model.ledger_id),
        deployment: deployment.ledger_id,
        price: deployment.price_id,
        est_input: reservation.input,
        operation: exchange.endpoint.operation as u16,
        flags: exchange.marks
            | if exchange.call.stream { marks::STREAM } else { 0 }
            | if exchange.trace.traced { marks::TRACED } else { 0 },
        attempt_no: exchange.attempts,
    }
}

/// What is paid by units that the request itself tells; answers of these operations need not repeat them.
fn units_asked(exchange: &Exchange) -> Option<Usage> {
    let input = u64::from(exchange.call.est_input);
    let usage = Usage { input, image_output: 0, ..units::asked(exchange) };
    (usage.images | usage.characters | usage.seconds > 0).then_some(usage)
}

/// Sends the request and waits for the head of the answer.
async fn converse(
    exchange: &Exchange,
    deployment: &Deployment,
    conn: &mut Conn,
    parts: &[&[u8]],
    now: Instant,
) -> Result<Head, Waited> {
    let total = deployment.timeouts.total.saturating_sub(now - exchange.started);
    let wanted = exchange.plan.as_ref().and_then(|plan| plan.step()?.timeout).unwrap_or(total);
    let limit = deployment.timeouts.first_byte.min(total).min(wanted);
    let received = exchange.shard.alarms.within(now, limit, async {
        let complete = conn.send(&Outgoing { parts }).await?;
        let mut head = conn.head(exchange.endpoint.operation.is_session()).await?;
        // A provider that answered before it read everything will not find the next request where it looks.
        head.keep_alive &= complete;
        Ok(head)
    });
    match received.await {
        Some(Ok(head)) => Ok(head),
        Some(Err(error)) => Err(Waited::Io(error)),
        None => Err(Waited::TooLong(limit)),
    }
}

enum Waited {
    Io(IoError),
    TooLong(Duration),
}

/// The class of a conversation that failed, and what to tell the caller.
fn broken(deployment: &Deployment, waited: &Waited) -> (Outcome, Error) {
    let provider = &deployment.provider;
    match waited {
        Waited::TooLong(limit) => {
            let text = format!("Provider '{provider}' did not answer within {} s.", limit.as_secs_f32());
            (Outcome::Timeout, Error::new(Code::UpstreamTimeout, text))
        }
        Waited::Io(IoError::Wire(error)) if *error != WireError::Truncated => {
            let text = format!("Provider '{provider}' sent an invalid answer: {error}.");
            (Outcome::InvalidResponse, Error::new(Code::UpstreamInvalid, text))
        }
        Waited::Io(error) => {
            let text = format!("The connection to provider '{provider}' was lost before an answer: {error}.");
            (Outcome::ConnectionLost, Error::new(Code::UpstreamReset, text))
        }
    }
}
