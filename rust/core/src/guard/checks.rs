//! Guardrails with checks along a request: on its way in, beside the provider, and on the answer.

mod answer;
mod results;
mod spoken;
mod teller;
mod view;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::Response;
use serde_json::json;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use super::check::{Change, View};
use super::documents::Documents;
use super::hook::{self, Hook, Ran, Run};
use super::{Action, Plan, Then, output};
use crate::body::Body;
use crate::error::{Code, Error, Result};
use crate::exchange::{CacheUse, Exchange};
use crate::kernel::failure::Class;
use crate::policy::apply::rewrite;
use crate::stage::attempt::fall_back;
use crate::stage::{Flow, Stage};
pub use answer::answer;
pub use results::told;
use teller::Teller;

/// Portkey's statuses of a request that checks refuse, and of an answer that some of them failed.
const DENIED: u16 = 446;
const FAILED: u16 = 246;

/// How often a guardrail asks for another answer.
const RETRIES: u32 = 2;

/// What guardrails with checks know about a request on its way.
#[derive(Default)]
pub struct Checks {
    /// Sets whose checks were made, or wait to be.
    pub done: SmallVec<[u32; 4]>,
    /// Steps of a config object whose checks were.
    pub steps: SmallVec<[usize; 2]>,
    /// Documents of the request, which patterns look at.
    pub documents: Documents,
    /// What follows on the refusal that was just given.
    pub then: Then,
    retries: u32,
    waiting: Vec<Arc<Hook>>,
    beside: Vec<Beside>,
    /// Of the config's step that is under way: those that look at the answer.
    pub after: Vec<Arc<Hook>>,
    /// What came of them, of those whose callers are told.
    told: [Vec<serde_json::Value>; 2],
    failed: bool,
}

/// A check that runs beside the provider; it ends with the request.
struct Beside(JoinHandle<Vec<Ran>>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checks {
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Makes the checks of a request that wait for nobody; the others are begun, or noted to be waited for.
///
/// # Errors
/// The refusal of one that blocks.
pub fn request(exchange: &mut Exchange, hooks: &[Arc<Hook>]) -> Result<()> {
    let mut view: Option<Arc<View>> = None;
    let thread = exchange.shard.index;
    for hook in hooks.iter().filter(|hook| hook.input) {
        let seen = match &view {
            Some(view) => view.clone(),
            None => view.insert(Arc::new(View::asked(exchange)?)).clone(),
        };
        match hook.run {
            Run::Async => behind(exchange, hook.clone(), seen),
            Run::During => {
                let hook = hook.clone();
                let task = tokio::spawn(async move { vec![hook::run(hook, &seen, thread).await] });
                exchange.checks.get_or_insert_default().beside.push(Beside(task));
            }
            Run::Before if hook.waits() => exchange.checks.get_or_insert_default().waiting.push(hook.clone()),
            Run::Before => {
                let Some(ran) = hook::run(hook.clone(), &seen, thread).now_or_never() else {
                    return Err(Error::new(Code::Internal, "a check that waits for nobody waited"));
                };
                let changed = ran.change.is_some();
                entered(exchange, vec![ran])?;
                if changed {
                    view = None;
                }
            }
        }
    }
    Ok(())
}

/// Makes the checks that have to be waited for.
///
/// # Errors
/// The refusal of one that blocks.
pub async fn wait(exchange: &mut Exchange) -> Result<()> {
    let Some(checks) = &mut exchange.checks else { return Ok(()) };
    let waiting = std::mem::take(&mut checks.waiting);
    let started = std::time::Instant::now();
    let answer = waited(exchange, waiting).await;
    exchange.waited += started.elapsed();
    answer
}

async fn waited(exchange: &mut Exchange, waiting: Vec<Arc<Hook>>) -> Result<()> {
    let thread = exchange.shard.index;
    // One that may put other words in their places looks at what the one before it left.
    let (one_by_one, together): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|hook| hook.action.replaces());
    let mut again = one_by_one;
    if !together.is_empty() {
        let view = View::asked(exchange)?;
        let mut all = join_all(together.into_iter().map(|hook| hook::run(hook, &view, thread))).await;
        let mut changed = all.iter().position(|ran| ran.change.is_some()).map_or(all.len(), |first| first + 1);
        while changed < all.len() {
            if all.get(changed).is_some_and(|ran| ran.change.is_some() && ran.effect() != Action::Block) {
                again.push(all.remove(changed).hook);
            } else {
                changed += 1;
            }
        }
        entered(exchange, all)?;
    }
    for hook in again {
        let view = View::asked(exchange)?;
        let ran = hook::run(hook, &view, thread).await;
        entered(exchange, vec![ran])?;
    }
    Ok(())
}

/// Takes what came of checks of a request.
fn entered(exchange: &mut Exchange, all: Vec<Ran>) -> Result<()> {
    for ran in &all {
        note(exchange, ran);
    }
    refused(exchange, &all)?;
    for mut ran in all {
        let Some(change) = ran.applied() else { continue };
        match change {
            Change::Document(document) => rewrite(exchange, document)?,
            Change::Pieces(_) => return Err(output::unlookable("texts of a form cannot be changed")),
        }
    }
    Ok(())
}

/// # Errors
/// The refusal of the first that blocks.
fn refused(exchange: &mut Exchange, all: &[Ran]) -> Result<()> {
    match all.iter().find(|ran| ran.effect() == Action::Block) {
        Some(ran) => {
            exchange.goes_on(ran.hook.then);
            Err(refusal(exchange, ran))
        }
        None => Ok(()),
    }
}

impl Exchange {
    /// What follows on the refusal that is about to be given.
    pub fn goes_on(&mut self, then: Then) {
        if then != Then::Refuse {
            self.checks.get_or_insert_default().then = then;
        }
    }
}

fn refusal(exchange: &Exchange, ran: &Ran) -> Error {
    let what = if ran.output { "answer" } else { "request" };
    let (check, why) = ran.why();
    let text = format!("Guardrail '{}' refused this {what}: {check} failed. {why}", ran.hook.name);
    let error = Error::new(Code::GuardrailBlocked, text.trim().to_string());
    if ran.hook.told || exchange.tells_results() {
        let body = json!({
            "error": {
                "message": "The guardrail checks defined in the config failed. You can find more information in the `hook_results` object.",
                "type": "hooks_failed", "param": null, "code": null,
            },
            "hook_results": exchange.results(),
        });
        return Error { body: Some(body.to_string().into()), ..error.status(DENIED) };
    }
    match exchange.snapshot.settings.block_status {
        400 => error,
        status => error.status(status),
    }
}

/// Makes checks that nobody waits for.
fn behind(exchange: &Exchange, hook: Arc<Hook>, view: Arc<View>) {
    let (shard, teller) = (exchange.shard.clone(), Teller::of(exchange));
    tokio::spawn(async move {
        let ran = hook::run(hook, &view, shard.index).await;
        teller.tell(&shard, &ran);
    });
}

/// Counts, keeps and tells what came of a guardrail's checks.
fn note(exchange: &mut Exchange, ran: &Ran) {
    Teller::of(exchange).tell(&exchange.shard, ran);
    let wanted = ran.hook.told || exchange.tells_results();
    if wanted {
        let checks = exchange.checks.get_or_insert_default();
        checks.failed |= !ran.passed;
        if let Some(list) = checks.told.get_mut(usize::from(ran.output)) {
            list.push(ran.json());
        }
    }
    let effect = ran.effect();
    if effect > Action::Log || ran.change.is_some() && !ran.hook.shadow {
        let side = if ran.output { "output" } else { "input" };
        let did = if effect > Action::Log { effect.name() } else { "redact" };
        let told = format!("{};{side}={did}", ran.hook.name);
        if !exchange.guarded.contains(&told) && exchange.guarded.len() < 16 {
            exchange.guarded.push(told);
        }
    }
}

/// Waits for the checks that ran beside the provider.
///
/// # Errors
/// The refusal of one that blocks.
pub async fn joined(exchange: &mut Exchange) -> Result<()> {
    let Some(checks) = &mut exchange.checks else { return Ok(()) };
    let mut all = Vec::new();
    for mut beside in std::mem::take(&mut checks.beside) {
        match (&mut beside.0).await {
            Ok(ran) => all.extend(ran),
            Err(_) => return Err(output::unlookable("a check was given up")),
        }
    }
    for ran in &all {
        note(exchange, ran);
    }
    refused(exchange, &all)
}

/// Whether a guardrail may ask for another answer than the first.
pub fn may_go_on(exchange: &Exchange) -> bool {
    let goes_on = |place: &u32| exchange.snapshot.plans.get(*place as usize).is_some_and(Plan::goes_on);
    exchange.guards.iter().any(goes_on)
}

/// Where to go on when a guardrail refuses: as it says, or as a config object does; the error, where nobody says anything.
///
/// # Errors
/// The same error.
pub fn instead(exchange: &mut Exchange, error: Error) -> Result<Flow> {
    let then = exchange.checks.as_mut().map(|checks| std::mem::take(&mut checks.then));
    // Without the request, nobody can be asked again.
    match then.filter(|_| !exchange.call.body.is_empty()) {
        Some(Then::Fallback) => {
            anew(exchange);
            if let Some(index) = exchange.model.filter(|index| !exchange.visited.contains(index)) {
                exchange.visited.push(index);
            }
            return fall_back(exchange, Some(Class::ContentPolicy).into(), error);
        }
        Some(Then::Retry) => {
            let checks = exchange.checks.get_or_insert_default();
            checks.retries += 1;
            return if checks.retries > RETRIES { Err(error) } else { Ok(again(exchange)) };
        }
        Some(Then::Refuse) | None => {}
    }
    if error.status != Some(DENIED) || !exchange.plan.as_mut().is_some_and(|plan| plan.advance(&[DENIED])) {
        return Err(error);
    }
    Ok(again(exchange))
}

/// The same for an answer that checks failed and did not refuse, where the config names that status.
pub fn or_another(exchange: &mut Exchange, response: Response<Body>) -> Flow {
    let named = response.status().as_u16() == FAILED
        && exchange.plan.as_mut().is_some_and(|plan| plan.names(FAILED) && plan.advance(&[FAILED]));
    if named { again(exchange) } else { Flow::Answer(response) }
}

fn again(exchange: &mut Exchange) -> Flow {
    exchange.visited.clear();
    exchange.shard.metrics.fallbacks.add(1);
    anew(exchange);
    Flow::Again(Stage::Authorize)
}

/// Forgets what came of the attempt that was refused.
fn anew(exchange: &mut Exchange) {
    // What the cache had was not taken.
    (exchange.cache, exchange.hit, exchange.fill) = (CacheUse::Off, None, None);
    if let Some(checks) = &mut exchange.checks {
        checks.told = [Vec::new(), Vec::new()];
        checks.failed = false;
        checks.waiting.clear();
        checks.beside.clear();
        checks.after.clear();
    }
}
