//! THE DATA FLOW. One request, the stages in order, once.
//!
//! ```text
//! identify → parse → authorize → admit → inspect → cache → route → reserve → attempt → relay → settle
//! ```
//!
//! Every stage reads what earlier ones wrote into the [`Exchange`] and says how to go on ([`Flow`]). An error from any of
//! them is answered in the caller's dialect; `settle` sees every answer. What a request holds (places, reservations, the
//! record of its attempt) is held by guards that settle themselves, so leaving early anywhere is safe.

use std::time::Duration;

use http::{Request, Response};

use crate::approval::Ticket;
use crate::arrival::{Arrival, Caller};
use crate::body::Body;
use crate::clock::wall_us;
use crate::endpoint::{Dialect, Endpoint, Operation};
use crate::error::{Code, Error, Result};
use crate::exchange::{Exchange, RequestId};
use crate::guard::{checks, vault};
use crate::late;
use crate::mirror;
use crate::portkey;
use crate::repeat;
use crate::stage::{self, Flow, Stage};
use crate::stage::{admit, attempt, authorize, cache, identify, inspect, parse, relay, reserve, route, settle};
use crate::state::draw::Quotas;
use crate::stored;
use crate::unread::Unread;

/// Who is calling, and whether his rate is used up. A flood of refusals costs no more than this: there is no exchange yet.
///
/// # Errors
/// The refusal; `quotas` tells how the limits stand all the same.
pub fn enter<B>(arrival: &Arrival, endpoint: &Endpoint, request: &Request<B>, quotas: &mut Quotas) -> Result<Caller> {
    let mut caller = identify::run(arrival, endpoint.dialect == Dialect::Bedrock, request)?;
    let admitted = admit::at_the_door(arrival, request.headers(), &mut caller);
    *quotas = caller.quotas;
    admitted.map(|()| caller)
}

/// Answers a request that is refused before its body was read whole.
pub async fn turn_away(mut exchange: Box<Exchange>, mut error: Error) -> Response<Body> {
    if let Some(body) = exchange.inbound.take().filter(|_| !error.close) {
        error.close = match Unread::new(body, &exchange.headers) {
            Some(unread) => !unread.await,
            None => true,
        };
    }
    settle::run(exchange, Err(error))
}

/// Carries a request that was let in to its answer. Its future lives on the heap with every request that waits, so what
/// is large and rarely waited for is boxed where it stands.
pub async fn run(mut exchange: Box<Exchange>) -> Response<Body> {
    if let Err(error) = parse::run(&mut exchange).await {
        return Box::pin(turn_away(exchange, error)).await;
    }
    if exchange.headers.contains_key(repeat::HEADER) {
        return Box::pin(repeat::run(exchange)).await;
    }
    through(exchange).await
}

/// From a request that has been read to its answer.
pub async fn through(mut exchange: Box<Exchange>) -> Response<Body> {
    if exchange.endpoint.operation == Operation::Responses
        && let Err(error) = Box::pin(stored::resume(&mut exchange)).await
    {
        return settle::run(exchange, Err(error));
    }
    let patience = exchange.snapshot.settings.keepalive_comment_ms;
    let patience = if exchange.call.stream && exchange.endpoint.dialect.takes_comments() { patience } else { 0 };
    let (spoken, id) = ((exchange.endpoint.dialect, exchange.endpoint.operation.format()), exchange.request_id);
    if exchange.snapshot.policies.holds {
        let carried = Box::pin(approved(exchange));
        if patience == 0 {
            return carried.await;
        }
        return Box::pin(late::answer(carried, Duration::from_millis(patience), spoken, id)).await;
    }
    let decided = match decided(&mut exchange, Stage::Authorize).await {
        // A config object may name who is asked where its checks refuse what the cache has.
        Ok(Decided::Answer(response)) if exchange.plan.is_none() && !checks::may_go_on(&exchange) => {
            let answer = guarded(&mut exchange, response).await;
            return settle::run(exchange, answer);
        }
        Ok(decided) => decided,
        Err(error) => return settle::run(exchange, Err(error)),
    };
    if exchange.call.background && !matches!(decided, Decided::Answer(_)) {
        return Box::pin(background(exchange, decided)).await;
    }
    if patience == 0 {
        let answer = ask(&mut exchange, decided).await;
        return settle::run(exchange, answer);
    }
    let answering = Box::pin(async move {
        let answer = ask(&mut exchange, decided).await;
        settle::run(exchange, answer)
    });
    Box::pin(late::answer(answering, Duration::from_millis(patience), spoken, id)).await
}

/// From a request that may have to wait for people to its answer. What was approved is done to its end, whether or not its
/// caller is still there.
async fn approved(mut exchange: Box<Exchange>) -> Response<Body> {
    let decided = match decided(&mut exchange, Stage::Authorize).await {
        Ok(decided) => decided,
        Err(error) => return settle::run(exchange, Err(error)),
    };
    if exchange.call.background && !matches!(decided, Decided::Answer(_)) {
        exchange.tickets.iter_mut().for_each(Ticket::begin);
        return Box::pin(background(exchange, decided)).await;
    }
    let free = exchange.tickets.is_empty();
    exchange.tickets.iter_mut().for_each(Ticket::begin);
    let answering = async move {
        let answer = match decided {
            Decided::Answer(response) if exchange.plan.is_none() && !checks::may_go_on(&exchange) => {
                guarded(&mut exchange, response).await
            }
            decided => ask(&mut exchange, decided).await,
        };
        settle::run(exchange, answer)
    };
    if free { answering.await } else { detached(answering).await }
}

/// The caller of a response in the background is told its name, and asks for it later.
async fn background(mut exchange: Box<Exchange>, decided: Decided) -> Response<Body> {
    match stored::begin_background(&exchange) {
        Ok(begun) => {
            let work = Box::pin(async move {
                let answer = ask(&mut exchange, decided).await;
                settle::run(exchange, answer)
            });
            begun.go(work).await
        }
        Err(error) => settle::run(exchange, Err(error)),
    }
}

/// Goes on when nobody waits for it any more.
pub async fn detached(answering: impl Future<Output = Response<Body>> + Send + 'static) -> Response<Body> {
    match tokio::spawn(answering).await {
        Ok(response) => response,
        Err(_) => {
            let text = "The gateway failed on this request. Tell its operator the request id.";
            let id = RequestId::new(wall_us());
            settle::error_response(Dialect::OpenAi, &Error::new(Code::Internal, text), &id)
        }
    }
}

/// An answer that was approved, through what policies and guardrails are left.
pub async fn released(mut exchange: Box<Exchange>, response: Response<Body>) -> Response<Body> {
    let answer = match authorize::run(&mut exchange) {
        Ok(_) => {
            let policies = &exchange.snapshot.policies;
            let chosen = policies.chosen(&exchange);
            if let Some(policed) = &mut exchange.policed {
                policed.chosen = chosen;
                policed.body = exchange.call.body.clone();
            }
            guarded(&mut exchange, response).await
        }
        Err(error) => Err(error),
    };
    settle::run(exchange, answer)
}

/// Carries a request without a caller to its answer, which only the cache gets.
pub async fn refresh(mut exchange: Box<Exchange>) {
    let answer = unattended(&mut exchange).await;
    settle::run(exchange, answer).into_body().drain().await;
}

/// The answer to a request without a caller, who was let in, looked at and found no answer in the cache.
///
/// # Errors
/// There is none.
pub async fn unattended(exchange: &mut Exchange) -> Result<Response<Body>> {
    let decided = decided(exchange, Stage::Route).await?;
    ask(exchange, decided).await
}

/// Carries a request of the gateway's own to its answer: nobody's permission is asked, but somebody pays.
pub async fn aside(mut exchange: Box<Exchange>) -> Response<Body> {
    let answer = match decided(&mut exchange, Stage::Cache).await {
        Ok(decided) => ask(&mut exchange, decided).await,
        Err(error) => Err(error),
    };
    settle::run(exchange, answer)
}

/// What the stages before the attempt came to.
enum Decided {
    Ask,
    Answer(Response<Body>),
    /// The cache has something to wait for.
    Park,
}

/// The stages from `first` on, up to the attempt. They wait for nobody, but for the rare request that a limit makes wait.
async fn decided(exchange: &mut Exchange, first: Stage) -> Result<Decided> {
    let mut stage = first;
    loop {
        let flow = match decide(exchange, &mut stage) {
            Ok(Flow::Wait(wait)) => match Box::pin(stage::wait(exchange, wait)).await {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            other => other,
        };
        match flow.or_else(|error| checks::instead(exchange, error))? {
            Flow::Again(again) => stage = again,
            Flow::Answer(response) => return Ok(Decided::Answer(response)),
            Flow::Park => return Ok(Decided::Park),
            Flow::Next | Flow::Wait(_) => return Ok(Decided::Ask),
        }
    }
}

/// As far as it goes without waiting; `at` is where it stands.
fn decide(exchange: &mut Exchange, at: &mut Stage) -> Result<Flow> {
    let mut stage = *at;
    while stage < Stage::Attempt {
        let flow = match stage {
            Stage::Authorize => {
                if portkey::is_asked(&exchange.headers) {
                    exchange.asked_as_portkey = true;
                    parse::planned(exchange)?;
                }
                authorize::run(exchange)?
            }
            Stage::Admit => admit::run(exchange)?,
            Stage::Inspect => inspect::run(exchange)?,
            // What would happen is not what was cached.
            Stage::Cache if exchange.decision.as_ref().is_some_and(|decision| decision.simulated) => Flow::Next,
            // An id was promised, not an answer.
            Stage::Cache if exchange.call.background => Flow::Next,
            Stage::Cache => cache::run(exchange)?,
            Stage::Route => route::run(exchange)?,
            Stage::Reserve => reserve::run(exchange)?,
            Stage::Identify | Stage::Parse | Stage::Attempt | Stage::Relay | Stage::Settle => {
                return Err(Error::new(Code::Internal, "a stage went back to one that cannot run again"));
            }
        };
        match flow {
            Flow::Next => stage = stage.next(),
            Flow::Again(earlier) => stage = earlier,
            Flow::Answer(response) => return Ok(Flow::Answer(response)),
            Flow::Park => return Ok(Flow::Park),
            Flow::Wait(wait) => {
                *at = stage;
                return Ok(Flow::Wait(wait));
            }
        }
    }
    Ok(Flow::Next)
}

/// An answer as the guardrails of the model that was asked for let it pass.
async fn guarded(exchange: &mut Exchange, response: Response<Body>) -> Result<Response<Body>> {
    let free = exchange.guards.is_empty() && exchange.policed.is_none() && exchange.checks.is_none();
    if free && exchange.tokens.is_none() {
        return Ok(response);
    }
    let answer = Box::pin(inspect::answer(exchange, response)).await;
    if let (Err(_), Some(key)) = (&answer, exchange.hit) {
        exchange.shard.shared.state.cache.remove(&key);
    }
    answer
}

/// The same; where a config object names a target for an answer that its checks refuse, that one is asked instead.
async fn checked(exchange: &mut Exchange, response: Response<Body>) -> Result<Flow> {
    match guarded(exchange, response).await {
        Ok(response) => Ok(checks::or_another(exchange, response)),
        Err(error) => checks::instead(exchange, error),
    }
}

/// The stages that wait, for providers or for equal requests; a fallback goes through the decisions again.
async fn ask(exchange: &mut Exchange, what: Decided) -> Result<Response<Body>> {
    if let Some(kept) = &mut exchange.kept {
        let restored = exchange.tokens.as_ref().and_then(|tokens| vault::restored(tokens, &exchange.call.body));
        kept.request = restored.map_or_else(|| exchange.call.body.clone(), Into::into);
    }
    let answer = asked(exchange, what).await;
    let response = if exchange.mirror.is_some() { mirror::compared(exchange, answer)? } else { answer? };
    Ok(if exchange.kept.is_some() { stored::watch(exchange, response) } else { response })
}

async fn asked(exchange: &mut Exchange, mut what: Decided) -> Result<Response<Body>> {
    loop {
        let flow = match what {
            Decided::Answer(response) => match checked(exchange, response).await? {
                Flow::Answer(response) => return Ok(response),
                other => other,
            },
            Decided::Park => match Box::pin(cache::wait(exchange)).await? {
                Some(response) => match checked(exchange, response).await? {
                    Flow::Answer(response) => return Ok(response),
                    other => other,
                },
                None => Flow::Again(Stage::Route),
            },
            Decided::Ask => {
                if exchange.mirror.is_some() {
                    mirror::begin(exchange);
                }
                match attempt::run(exchange).await? {
                    Flow::Next => relay::run(exchange).await?,
                    other => other,
                }
            }
        };
        what = match flow {
            Flow::Answer(response) => Decided::Answer(response),
            Flow::Again(stage) => decided(exchange, stage).await?,
            Flow::Next | Flow::Wait(_) | Flow::Park => return Err(Error::new(Code::Internal, "no stage answered")),
        };
    }
}
