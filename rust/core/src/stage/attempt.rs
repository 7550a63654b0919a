//! Asks the candidates in turn until one answers: per-phase time-outs, retries with full jitter under a budget, failover.
//!
//! Everything here happens before the first byte goes to the client, so every failure may be tried again elsewhere. What
//! was sent has a row in the ledger, whatever became of it; what could not be sent has none.

use std::iter;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use smallvec::SmallVec;

use super::{Flow, Stage};
use crate::account::{Attempt, AttemptStart, Ending};
use crate::clock::{monotonic_ns, ns_at, wall_us};
use crate::dialect;
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::metrics::Outcome;
use crate::outgoing::{request_body, request_head};
use crate::snapshot::Deployment;
use crate::spool::Intent;
use crate::upstream::{Conn, IoError, Outgoing};
use crate::wire::http1::WireError;

/// First and longest wait between attempts at the same deployment, before jitter.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// A `Retry-After` longer than this is the caller's to wait for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// Most of an error body that is read and passed on.
const ERROR_BODY_MAX: usize = 64 * 1024;

pub async fn run(exchange: &mut Exchange) -> Result<Flow> {
    let snapshot = exchange.snapshot.clone();
    let Some(model) = exchange.model.and_then(|index| snapshot.models.get(index as usize)) else {
        return Err(Error::new(Code::Internal, "attempt ran before authorize"));
    };
    model.state.retries.deposit(ns_at(exchange.started));
    let candidates = exchange.candidates.clone();
    let mut failure = None;
    for round in 0..=model.retries {
        let Some(index) = candidates.get(round as usize % candidates.len().max(1)) else { break };
        let Some(deployment) = snapshot.deployments.get(*index as usize) else { break };
        if let Some(last) = failure.take() {
            if !may_retry(exchange, &last, round, candidates.len(), &model.state.retries).await {
                failure = Some(last);
                break;
            }
            exchange.shard.metrics.retries.add(1);
        }
        match ask(exchange, deployment, *index).await {
            Ok(answer) => {
                exchange.answer = Some(answer);
                return Ok(Flow::Next);
            }
            Err(failed) if failed.retry => failure = Some(failed),
            Err(failed) => return Err(failed.error),
        }
    }
    let error =
        failure.map_or_else(|| Error::new(Code::NoDeployment, "No deployment could be asked."), |failed| failed.error);
    fall_back(exchange, error)
}

/// A failed attempt, and whether it makes sense to try again.
struct Failed {
    error: Error,
    retry: bool,
    /// The provider asked for this much patience.
    wait: Option<Duration>,
}

impl Failed {
    fn last(error: Error) -> Self {
        Failed { error, retry: false, wait: None }
    }

    fn again(error: Error) -> Self {
        Failed { error, retry: true, wait: None }
    }
}

/// Waits as long as is due before the next attempt; false when there should be none.
async fn may_retry(
    exchange: &mut Exchange,
    last: &Failed,
    round: u32,
    candidates: usize,
    budget: &crate::kernel::retry_budget::RetryBudget,
) -> bool {
    // Another deployment has done nothing wrong yet: no wait for it.
    let same = round as usize >= candidates;
    let ceiling = BACKOFF.saturating_mul(1 << (round as usize / candidates.max(1)).min(8)).min(BACKOFF_MAX);
    let jitter = Duration::from_nanos(fastrand::u64(..=u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX)));
    let wait = if same { last.wait.unwrap_or(jitter) } else { Duration::ZERO };
    if wait > RETRY_AFTER_MAX || !budget.withdraw(monotonic_ns()) {
        return false;
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
        exchange.waited += wait;
    }
    true
}

/// Hands the request to the first fallback model that was not tried and that the key may use.
fn fall_back(exchange: &mut Exchange, error: Error) -> Result<Flow> {
    let next = exchange.model().and_then(|model| {
        let mut fallbacks = model.fallbacks.iter().filter(|index| !exchange.visited.contains(index));
        fallbacks.find_map(|index| {
            let fallback = exchange.snapshot.models.get(*index as usize)?;
            let allowed = exchange.key.as_ref().is_some_and(|key| key.may_use(&fallback.name));
            let serves =
                fallback.deployments.iter().filter_map(|index| exchange.deployment(*index)).any(|deployment| {
                    deployment.dialect == exchange.endpoint.dialect
                        && deployment.template(exchange.endpoint.operation).is_some()
                });
            (allowed && serves).then(|| fallback.name.to_string())
        })
    });
    match next {
        Some(name) => {
            exchange.shard.metrics.fallbacks.add(1);
            exchange.call.model = name;
            Ok(Flow::Again(Stage::Authorize))
        }
        None => Err(error),
    }
}

/// One attempt at one deployment, up to the head of a successful answer.
async fn ask(exchange: &mut Exchange, deployment: &Deployment, index: u32) -> Result<Answer, Failed> {
    let Some(template) = deployment.template(exchange.endpoint.operation) else {
        return Err(Failed::last(Error::new(Code::Internal, "the deployment does not serve the operation")));
    };
    let Some(place) = deployment.state.enter(deployment.max_connections) else {
        let text = format!("The deployment has {} connections open, as many as it may.", deployment.max_connections);
        return Err(Failed::again(Error::new(Code::Overloaded, text).retry_after(Duration::from_secs(1))));
    };
    let conn = connect(exchange, deployment).await.map_err(Failed::again)?;
    exchange.attempts = exchange.attempts.saturating_add(1);
    let intent = intent(exchange, deployment);
    let slot = exchange.shard.intent(&intent).map_err(|_| {
        let text = "The record of spending cannot be written (disk full?), so nothing was sent.";
        Failed::last(Error::new(Code::LedgerUnavailable, text).retry_after(Duration::from_secs(5)))
    })?;
    let body = request_body(exchange, deployment);
    let length = body.iter().map(Bytes::len).sum();
    let head = request_head(exchange, deployment, template, slot.id().0, length);
    let parts: SmallVec<[&[u8]; 6]> = iter::once(&head[..]).chain(body.iter().map(|part| &part[..])).collect();
    let sent = Instant::now();
    let mut attempt = Attempt::new(AttemptStart {
        slot,
        shard: exchange.shard.clone(),
        key: exchange.key.clone(),
        deployment: deployment.state.clone(),
        place,
        price: deployment.price,
        est_input: exchange.call.est_input,
        now: sent,
    });
    let (conn, received) = converse(exchange, deployment, conn, &parts, sent).await;
    let now = Instant::now();
    exchange.waited += now - sent;
    match received {
        Ok(head) => {
            attempt.answered(head.status.as_u16(), now);
            let answer = Answer { conn, head, inflate: None, attempt, deployment: index, received: now };
            judge(exchange, deployment, answer).await
        }
        Err(error) => {
            let (outcome, error) = broken(deployment, &error);
            attempt.close(Ending::Unanswered { outcome }, exchange.overhead(now), now);
            Err(Failed::again(error))
        }
    }
}

async fn connect(exchange: &mut Exchange, deployment: &Deployment) -> Result<Conn> {
    if let Some(conn) = deployment.state.pool.take(exchange.shard.index, deployment.pool_idle) {
        return Ok(conn);
    }
    let limit = deployment.timeouts.connect;
    let begun = Instant::now();
    let dialled = tokio::time::timeout(limit, deployment.origin.connect()).await;
    exchange.waited += begun.elapsed();
    let failed = |text: String| {
        let outcome = deployment.state.metrics.of(exchange.shard.index);
        outcome.record(Outcome::ConnectFailed, &crate::kernel::cost::Usage::default(), 0, Duration::ZERO);
        Error::new(Code::UpstreamConnect, format!("No connection to provider '{}': {text}.", deployment.provider))
    };
    match dialled {
        Ok(Ok(stream)) => Ok(Conn::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("not established within {} s", limit.as_secs_f32()))),
    }
}

fn intent(exchange: &Exchange, deployment: &Deployment) -> Intent {
    Intent {
        request_id: exchange.request_id.0,
        at_us: if exchange.attempts > 1 { wall_us() } else { exchange.wall_us },
        reserved_cost: exchange.reserved_pico,
        key: exchange.key.as_ref().map_or(0, |key| key.ledger_id),
        org: exchange.key.as_ref().map_or(0, |key| key.org_ledger_id),
        model: exchange.model().map_or(0, |model| model.ledger_id),
        deployment: deployment.ledger_id,
        price: deployment.price_id,
        est_input: exchange.call.est_input,
        operation: exchange.endpoint.operation as u16,
        flags: u16::from(exchange.call.stream),
        attempt_no: exchange.attempts,
        ..Intent::default()
    }
}

/// Sends the request and waits for the head of the answer.
async fn converse(
    exchange: &Exchange,
    deployment: &Deployment,
    mut conn: Conn,
    parts: &[&[u8]],
    now: Instant,
) -> (Conn, Result<crate::wire::http1::Head, Waited>) {
    let total = deployment.timeouts.total.saturating_sub(now - exchange.started);
    let limit = deployment.timeouts.first_byte.min(total);
    let received = tokio::time::timeout(limit, async {
        let complete = conn.send(&Outgoing { parts }).await?;
        let mut head = conn.head().await?;
        // A provider that answered before it read everything will not find the next request where it looks.
        head.keep_alive &= complete;
        Ok(head)
    })
    .await;
    match received {
        Ok(Ok(head)) => (conn, Ok(head)),
        Ok(Err(error)) => (conn, Err(Waited::Io(error))),
        Err(_) => (conn, Err(Waited::TooLong(limit))),
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

/// A success goes on; a failure by status is settled, and tried again where its class allows.
async fn judge(exchange: &mut Exchange, deployment: &Deployment, mut answer: Answer) -> Result<Answer, Failed> {
    let status = answer.head.status;
    if status.is_success() {
        return Ok(answer);
    }
    let outcome = match status.as_u16() {
        429 => Outcome::RateLimited,
        408 | 500.. => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    let wait = retry_after(&answer.head.headers);
    let body = read_error(deployment, &mut answer).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    answer.attempt.close(Ending::Refused { status: status.as_u16(), outcome }, exchange.overhead(now), now);
    if answer.head.keep_alive && answer.head.body.is_end() {
        deployment.state.pool.put(exchange.shard.index, answer.conn);
    }
    // 401 and 403 mean this deployment's credential: another one may do better.
    let retry = matches!(outcome, Outcome::RateLimited | Outcome::ServerError) || matches!(status.as_u16(), 401 | 403);
    let error = passed_on(exchange, deployment, status, &body, wait);
    Err(Failed { error, retry, wait })
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = text("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| text("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The body of a refusal, as far as it comes within bounds.
async fn read_error(deployment: &Deployment, answer: &mut Answer) -> Bytes {
    let mut body = BytesMut::new();
    let read = async {
        while body.len() < ERROR_BODY_MAX {
            let frame = std::future::poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body)).await;
            match frame {
                Some(Ok(data)) => body.extend_from_slice(&data),
                Some(Err(_)) | None => return,
            }
        }
    };
    let _ = tokio::time::timeout(deployment.timeouts.idle, read).await;
    body.freeze()
}

/// The provider's refusal in the caller's dialect: its own bytes where they have that shape already.
fn passed_on(
    exchange: &Exchange,
    deployment: &Deployment,
    status: StatusCode,
    body: &Bytes,
    wait: Option<Duration>,
) -> Error {
    let same_dialect = deployment.dialect == exchange.endpoint.dialect;
    let text = if same_dialect && dialect::is_error_shape(body) {
        None
    } else {
        let quoted: String = String::from_utf8_lossy(body).chars().take(300).collect();
        Some(format!("Provider '{}' answered {}: {}", deployment.provider, status.as_u16(), quoted.trim()))
    };
    let mut error = Error::new(Code::UpstreamStatus, text.unwrap_or_default()).status(status.as_u16());
    error.retry_after = wait;
    if error.message.is_empty() {
        error.body = Some(body.clone());
    }
    if !(400..600).contains(&status.as_u16()) {
        // A redirect or the like is nothing a caller could follow.
        error.status = None;
    }
    error
}
