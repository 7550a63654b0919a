//! How requests of one model are routed: compiled from [`wire::Routing`].

use std::collections::HashMap;
use std::time::Duration;

use super::service_tiers::ServiceTiers;
use super::{Deployment, SnapshotError, bad, wire};
use crate::endpoint::Operation;
use crate::kernel::condition::Condition;
use crate::kernel::failure::Retries;
use crate::kernel::{breaker, limiter, quota};
use crate::state::queue::Priority;

/// How long to wait between attempts at the same deployment.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// First and longest wait, before jitter.
    pub first: Duration,
    pub longest: Duration,
    /// A `Retry-After` longer than this is the caller's to wait for.
    pub retry_after: Duration,
}

/// Outliers among the deployments of a model.
#[derive(Clone, Copy, Debug)]
pub struct Outliers {
    /// How many percentage points more failures than the others make an outlier; 0: none is.
    pub percent: u32,
    /// At most this part of the deployments is out at a time, but always one may be.
    pub ejected_percent: u32,
}

/// Another model that gets a part of the requests too.
pub struct Mirror {
    pub model: u32,
    pub percent: u32,
    /// Requests that agree in this stay in that part or out of it; empty: each is drawn.
    pub hash_on: Vec<HashOn>,
    /// Most of them at a time.
    pub in_flight: u32,
    pub bill: bool,
}

/// A second deployment that is asked when the first is slow.
#[derive(Clone, Copy, Debug)]
pub struct Hedge {
    /// None: slower than 95 % of the model's requests.
    pub after: Option<Duration>,
    pub least: Duration,
    pub percent: u32,
}

/// Models asked in place of this one, by what went wrong.
#[derive(Debug, Default)]
pub struct Fallbacks {
    pub general: Vec<u32>,
    pub context_window: Vec<u32>,
    pub content_policy: Vec<u32>,
    pub rate_limit: Vec<u32>,
    pub cost: Vec<u32>,
}

/// How a deployment is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Shuffle,
    RoundRobin,
    LeastBusy,
    LowestLatency {
        per_token: bool,
    },
    LowestCost,
    Usage,
    ConsistentHash,
    /// By what engines say of their load; `stale` milliseconds old it says nothing.
    EngineLoad {
        stale_ms: u32,
    },
    /// By weights that Python gives; by `otherwise` while there are none.
    Custom {
        otherwise: Plain,
    },
}

/// What takes the place of a strategy of the operator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Shuffle,
    RoundRobin,
    LeastBusy,
}

impl Plain {
    pub fn strategy(self) -> Strategy {
        match self {
            Plain::Shuffle => Strategy::Shuffle,
            Plain::RoundRobin => Strategy::RoundRobin,
            Plain::LeastBusy => Strategy::LeastBusy,
        }
    }
}

impl Strategy {
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Shuffle => "shuffle",
            Strategy::RoundRobin => "round_robin",
            Strategy::LeastBusy => "least_busy",
            Strategy::LowestLatency { .. } => "lowest_latency",
            Strategy::LowestCost => "lowest_cost",
            Strategy::Usage => "usage",
            Strategy::ConsistentHash => "consistent_hash",
            Strategy::EngineLoad { .. } => "engine_load",
            Strategy::Custom { .. } => "custom",
        }
    }

    fn parse(name: &str, routing: &wire::Routing) -> Option<Strategy> {
        let per_token = routing.latency_of == "token";
        Some(match name {
            "shuffle" => Strategy::Shuffle,
            "round_robin" => Strategy::RoundRobin,
            "least_busy" => Strategy::LeastBusy,
            "lowest_latency" => Strategy::LowestLatency { per_token },
            "lowest_cost" => Strategy::LowestCost,
            "usage" => Strategy::Usage,
            "consistent_hash" => Strategy::ConsistentHash,
            "engine_load" => Strategy::EngineLoad { stale_ms: routing.engine_stale_ms },
            "custom" => Strategy::Custom {
                otherwise: match routing.otherwise.as_str() {
                    "shuffle" => Plain::Shuffle,
                    "round_robin" => Plain::RoundRobin,
                    "least_busy" => Plain::LeastBusy,
                    _ => return None,
                },
            },
            _ => return None,
        })
    }
}

/// What ties requests to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOn {
    Session,
    User,
    Prompt,
    Key,
}

/// What is measured of a deployment because its model's strategy asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    pub latency: bool,
    pub usage: bool,
}

/// Where deployments stand that do not speak the caller's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Where their weight and tier put them.
    Equal,
    /// Behind all that speak it.
    Last,
    /// Out.
    Never,
}

/// What happens when a deployment has more requests than it bears.
pub struct Overload {
    /// `most` is bounded by each deployment's own.
    pub settings: limiter::Settings,
    /// Longest wait for a place; None: a part of what an answer takes at ease.
    pub wait: Option<Duration>,
    /// Most requests that wait at a deployment; 0: none does.
    pub queue: usize,
    /// Who goes first; the first condition that holds counts.
    pub priorities: Vec<(Condition, Priority)>,
}

pub struct Routing {
    /// Where requests go instead for which a condition holds; the first that does.
    pub conditions: Vec<(Condition, u32)>,
    pub service_tiers: ServiceTiers,
    /// In place of `strategy` for requests for which a condition holds; the first that does.
    pub strategies: Vec<(Condition, Strategy)>,
    pub strategy: Strategy,
    /// Scores within so many percent of the best are as good.
    pub slack: u32,
    /// Of a hundred requests so many go by weight alone, so that no measurement grows old.
    pub explore: u32,
    pub hash_on: Vec<HashOn>,
    /// A shorter prompt ties nothing.
    pub prompt_min_tokens: u32,
    pub translation: Translation,
    pub match_all_tags: bool,
    /// Some deployment has tags, or the tag `default`.
    pub tagged: bool,
    pub has_default_tag: bool,
    /// Its deployments differ in what they can do, or have quotas.
    pub choosy: bool,
    /// A prompt that is too long for all deployments is refused.
    pub refuses_long: bool,
    /// Most that a request may come to by estimate, pico-USD.
    pub max_cost: Option<i64>,
    /// How many of its deployments spill.
    pub spills: usize,
    pub retries: Retries,
    pub backoff: Backoff,
    pub breaker: breaker::Settings,
    pub overload: Overload,
    pub outliers: Outliers,
    pub fallbacks: Fallbacks,
    pub mirror: Option<Mirror>,
    pub hedge: Option<Hedge>,
}

impl Routing {
    /// Whether any request may be routed by such a strategy.
    pub fn any(&self, is: impl Fn(Strategy) -> bool) -> bool {
        is(self.strategy) || self.strategies.iter().any(|(_, strategy)| is(*strategy))
    }
}

/// # Errors
/// Names the model and what is wrong.
pub fn compile(
    model: &wire::Model,
    names: &HashMap<String, u32>,
    deployments: &[Deployment],
) -> Result<Routing, SnapshotError> {
    let routing = &model.routing;
    let fail = |text: String| bad(format!("model {:?}: {text}", model.name));
    let strategy =
        |name: &str| Strategy::parse(name, routing).ok_or_else(|| fail(format!("strategy {name:?} is not known")));
    let strategies = routing.strategies.iter().map(|rule| {
        let when = Condition::parse(&rule.when);
        let when = when.map_err(|fault| fail(format!("strategies: {}: {}", fault.path, fault.message)))?;
        Ok((when, strategy(&rule.strategy)?))
    });
    let conditions = routing.conditions.iter().map(|rule| {
        let when = Condition::parse(&rule.when);
        let when = when.map_err(|fault| fail(format!("condition: {}: {}", fault.path, fault.message)))?;
        let then = names.get(&rule.then).copied();
        Ok((when, then.ok_or_else(|| fail(format!("no model {:?}", rule.then)))?))
    });
    let mut group = model.deployments.iter().filter_map(|index| deployments.get(*index as usize));
    let models = |fallbacks: &[String]| {
        fallbacks
            .iter()
            .map(|fallback| {
                let index = names.get(fallback).copied();
                index.ok_or_else(|| bad(format!("model {:?}: no fallback model {fallback:?}", model.name)))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let ms = Duration::from_millis;
    let (retries, breaker) = (&routing.retries, &routing.breaker);
    Ok(Routing {
        conditions: conditions.collect::<Result<_, SnapshotError>>()?,
        service_tiers: ServiceTiers::compile(
            &routing.service_tiers,
            group.clone().map(|deployment| &*deployment.service_tier),
        )
        .map_err(fail)?,
        strategies: strategies.collect::<Result<_, SnapshotError>>()?,
        strategy: strategy(&routing.strategy)?,
        slack: routing.slack,
        explore: routing.explore,
        hash_on: hash_on(&routing.hash_on).map_err(fail)?,
        prompt_min_tokens: routing.prompt_min_tokens,
        translation: match routing.translation.as_str() {
            "equal" => Translation::Equal,
            "last" => Translation::Last,
            "never" => Translation::Never,
            other => return Err(fail(format!("translation {other:?} is not equal, last or never"))),
        },
        match_all_tags: routing.match_all_tags,
        has_default_tag: group.clone().any(|deployment| deployment.tags.iter().any(|tag| **tag == *"default")),
        choosy: routing.refuses_long || routing.max_cost_pico.is_some() || choosy(&mut group.clone()),
        refuses_long: routing.refuses_long,
        max_cost: routing.max_cost_pico,
        spills: group.clone().filter(|deployment| deployment.spills).count(),
        tagged: group.any(|deployment| !deployment.tags.is_empty()),
        retries: Retries([
            retries.bad_request,
            retries.authentication,
            retries.not_found,
            retries.timeout,
            retries.rate_limit,
            retries.content_policy,
            retries.context_window,
            retries.server_error,
            retries.connection,
        ]),
        backoff: Backoff {
            first: ms(routing.backoff_ms),
            longest: ms(routing.backoff_max_ms),
            retry_after: ms(routing.retry_after_max_ms),
        },
        breaker: breaker::Settings {
            consecutive: breaker.consecutive,
            percent: breaker.percent,
            minimum: breaker.minimum,
            window_ms: breaker.window_ms,
            allowed_fails: breaker.allowed_fails,
            allowed_of: breaker.allowed_of,
            open_ms: breaker.open_ms,
            open_max_ms: breaker.open_max_ms,
            limited_ms: breaker.open_ms,
            probes: breaker.probes,
            slow_start_ms: breaker.slow_start_ms,
            alone: model.deployments.len() < 2,
        },
        overload: overload(&routing.overload).map_err(fail)?,
        outliers: Outliers { percent: breaker.outlier_percent, ejected_percent: breaker.ejected_percent },
        fallbacks: Fallbacks {
            general: models(&model.fallbacks)?,
            context_window: models(&routing.context_window_fallbacks)?,
            content_policy: models(&routing.content_policy_fallbacks)?,
            rate_limit: models(&routing.rate_limit_fallbacks)?,
            cost: models(&routing.cost_fallbacks)?,
        },
        mirror: routing.mirror.as_ref().map(|wire| mirror(wire, names)).transpose().map_err(fail)?,
        hedge: routing.hedge.filter(|hedge| hedge.percent > 0 && model.deployments.len() > 1).map(|hedge| Hedge {
            after: hedge.after_ms.map(ms),
            least: ms(hedge.least_ms),
            percent: hedge.percent,
        }),
    })
}

/// Whether requests have to be looked at to know which deployments can serve them.
fn choosy<'d>(group: &mut impl Iterator<Item = &'d Deployment>) -> bool {
    let Some(first) = group.next() else { return false };
    let unlike = |other: &Deployment| {
        let what = |one: &Deployment| (one.context_window, one.max_output, one.cannot, one.doubtful, one.elsewhere);
        let same_paths = Operation::ALL.iter().all(|operation| {
            let rules = |one: &Deployment| {
                one.template(*operation).map(|template| template.rules.as_ref().is_some_and(|rules| rules.refuses()))
            };
            rules(first) == rules(other)
        });
        what(first) != what(other) || !same_paths || other.quota != quota::Limits::default()
    };
    let limited = first.elsewhere || first.quota != quota::Limits::default();
    let mut others = group.peekable();
    first.elsewhere || (others.peek().is_some() && (limited || others.any(unlike)))
}

fn hash_on(names: &[String]) -> Result<Vec<HashOn>, String> {
    let parse = |name: &String| match name.as_str() {
        "session" => Ok(HashOn::Session),
        "user" => Ok(HashOn::User),
        "prompt" => Ok(HashOn::Prompt),
        "key" => Ok(HashOn::Key),
        other => Err(format!("hash_on {other:?} is not known")),
    };
    names.iter().map(parse).collect()
}

fn mirror(wire: &wire::Mirror, names: &HashMap<String, u32>) -> Result<Mirror, String> {
    let target = names.get(&wire.model).copied();
    let model = target.ok_or_else(|| format!("mirror: no model {:?}", wire.model))?;
    let &wire::Mirror { percent, in_flight, bill, .. } = wire;
    Ok(Mirror { model, percent, hash_on: hash_on(&wire.hash_on)?, in_flight, bill })
}

fn overload(wire: &wire::Overload) -> Result<Overload, String> {
    let priorities = wire.priorities.iter().map(|rule| {
        let when = Condition::parse(&rule.when);
        let when = when.map_err(|fault| format!("priority: {}: {}", fault.path, fault.message))?;
        let priority = Priority::parse(&rule.priority);
        Ok((when, priority.ok_or_else(|| format!("priority {:?} is not known", rule.priority))?))
    });
    Ok(Overload {
        settings: limiter::Settings {
            initial: wire.initial,
            least: wire.least,
            most: if wire.adaptive { wire.most } else { 0 },
            tolerance: wire.tolerance,
        },
        wait: wire.wait_ms.map(Duration::from_millis),
        queue: wire.queue as usize,
        priorities: priorities.collect::<Result<_, String>>()?,
    })
}
