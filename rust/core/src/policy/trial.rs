//! Trying policies on requests, made up or kept, without sending or counting anything.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::{Action, Op};
use super::record::Kept;
use super::{Phase, Policies, edit, wire};
use crate::endpoint::Dialect;
use crate::facts::{Almanac, Reply, RequestFacts, tools};
use crate::guard;
use crate::kernel::civil::Offsets;
use crate::kernel::condition::Memo;
use crate::snapshot::wire::Guardrail;

/// What is tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub policies: wire::Policies,
    pub guardrails: Vec<Guardrail>,
    /// JSON of the request.
    pub scene: String,
}

/// A policy that holds.
#[derive(Debug, Serialize)]
pub struct Held {
    pub policy: String,
    pub phase: &'static str,
    pub shadow: bool,
    pub actions: Vec<&'static str>,
}

/// What would become of a request.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub request_id: String,
    pub time_us: i64,
    pub model: String,
    pub key: Option<String>,
    pub matched: Vec<Held>,
    /// `allow`, `deny`, and with which status and message.
    pub outcome: &'static str,
    pub status: Option<u16>,
    pub message: Option<String>,
    /// The policy that decided.
    pub by: Option<String>,
    /// The body as it would be sent, where it differs.
    pub body: Option<String>,
}

pub fn almanac(told: &wire::Policies) -> Almanac {
    Almanac {
        zones: told.zones.iter().map(|zone| Offsets(zone.clone())).collect(),
        calendars: told.calendars.iter().map(|(name, days)| (name.clone(), days.iter().copied().collect())).collect(),
    }
}

/// Compiled policies of a trial.
pub struct Tried {
    policies: Policies,
    almanac: Almanac,
    plans: Vec<guard::Plan>,
}

impl Tried {
    /// # Errors
    /// Which policy cannot be used, and why.
    pub fn compile(told: &wire::Policies, guardrails: &[Guardrail]) -> Result<Tried, String> {
        let record = guard::record::Record::default();
        let mut plans = Vec::new();
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let policies = Policies::compile(
            told,
            |name| record.rule(name),
            |rules| {
                if let Some(plan) = known.get(rules) {
                    return Ok(*plan);
                }
                let place = plans.len() as u32;
                plans.push(guard::compile(guardrails, rules, &record, 400)?);
                known.insert(rules.to_vec(), place);
                Ok(place)
            },
        )?;
        Ok(Tried { policies, almanac: almanac(told), plans })
    }

    /// What would become of a request. All policies of the trial are taken to hold for it.
    pub fn run(&self, kept: &Kept) -> Outcome {
        let mut kept = kept.clone();
        let before = kept.body.clone();
        let mut outcome = Outcome {
            request_id: kept.request_id.clone(),
            time_us: kept.time_us,
            model: kept.model.clone(),
            key: kept.who.key_id.clone(),
            matched: Vec::new(),
            outcome: "allow",
            status: None,
            message: None,
            by: None,
            body: None,
        };
        let all: Vec<u32> = (0..self.policies.list.len() as u32).collect();
        let reply = kept.reply.as_ref().map(Reply::from);
        for phase in [Phase::Pre, Phase::Stream, Phase::Post, Phase::Async] {
            let there = match phase {
                Phase::Pre => true,
                Phase::Stream => kept.stream && reply.is_some(),
                Phase::Post | Phase::Async => reply.is_some(),
            };
            if there && self.phase(&all, phase, &mut kept, reply.as_ref(), &mut outcome) {
                break;
            }
        }
        if kept.body != before {
            outcome.body = Some(String::from_utf8_lossy(&kept.body).into_owned());
        }
        outcome
    }

    /// Whether it ends here.
    fn phase(&self, all: &[u32], phase: Phase, kept: &mut Kept, reply: Option<&Reply>, outcome: &mut Outcome) -> bool {
        let chosen = self.policies.of(all, phase);
        let mut left = chosen.as_slice();
        loop {
            let next = {
                let facts = RequestFacts::of(kept.scene(&self.almanac, if phase == Phase::Pre { None } else { reply }));
                let memo = Memo::new(&self.policies.fields, &facts);
                self.policies.first(&memo, left)
            };
            let Some(at) = next else { return false };
            let (before, rest) = left.split_at(at + 1);
            left = rest;
            let Some(policy) = before.last().and_then(|place| self.policies.get(*place)) else { continue };
            outcome.matched.push(Held {
                policy: policy.name.to_string(),
                phase: phase.name(),
                shadow: policy.shadow,
                actions: policy.actions.iter().map(Action::name).collect(),
            });
            if policy.shadow {
                continue;
            }
            for action in &policy.actions {
                if matches!(action, Action::Allow) {
                    return false;
                }
                if let Some((status, message)) = self.one(action, phase, kept, reply) {
                    (outcome.outcome, outcome.status) = ("deny", Some(status));
                    (outcome.message, outcome.by) = (Some(message), Some(policy.name.to_string()));
                    return true;
                }
            }
        }
    }

    /// Status and message of a refusal. Rates, spend and webhooks are not tried: nothing is counted or called.
    fn one(&self, action: &Action, phase: Phase, kept: &mut Kept, reply: Option<&Reply>) -> Option<(u16, String)> {
        match action {
            Action::Deny(deny) => Some((deny.status, deny.message.clone())),
            Action::Override(fields) => {
                kept.body = edit::assigned(fields, &kept.body).ok()?.into();
                None
            }
            Action::Transform(ops) if phase == Phase::Pre => {
                for op in ops {
                    if let Op::SetHeader(name, value) = op {
                        kept.headers.insert(name, value.clone());
                    }
                }
                let dialect = Dialect::parse(&kept.dialect).unwrap_or(Dialect::OpenAi);
                if let Ok(Some(body)) = edit::changed(ops, dialect, &kept.body) {
                    kept.body = body.into();
                }
                None
            }
            Action::Route(route) => {
                if let Some(model) = &route.model {
                    kept.model.clone_from(model);
                }
                None
            }
            Action::Tag(tags) => {
                kept.who.tags.extend(tags.iter().cloned());
                None
            }
            Action::Redact { plan, fields } => {
                if let Some(body) = edit::blanked(fields, &kept.body).filter(|_| phase == Phase::Pre) {
                    kept.body = body.into();
                }
                self.guard((*plan)?, phase, kept, reply)
            }
            Action::Guardrail(plan) => self.guard(*plan, phase, kept, reply),
            Action::ToolScope(scope) => {
                let (body, calls);
                let names: Vec<&str> = match reply.filter(|_| phase != Phase::Pre) {
                    None => {
                        body = serde_json::from_slice::<serde_json::Value>(&kept.body).unwrap_or_default();
                        tools::offered(&body)
                    }
                    Some(reply) => {
                        calls = tools::calls(&serde_json::from_slice(&reply.body).unwrap_or_default());
                        calls.iter().map(|call| call.name.as_str()).collect()
                    }
                };
                let refused = names.into_iter().find(|name| !scope.admits(name))?;
                (phase != Phase::Pre || !scope.remove).then(|| (403, format!("the tool '{refused}' is not allowed")))
            }
            _ => None,
        }
    }

    fn guard(&self, plan: u32, phase: Phase, kept: &mut Kept, reply: Option<&Reply>) -> Option<(u16, String)> {
        let plan = self.plans.get(plan as usize)?;
        let (side, body) = match phase {
            Phase::Pre => (plan.input.as_ref()?, &kept.body),
            _ => (plan.output.as_ref()?, &reply?.body),
        };
        let judged = guard::judge(side, body, false).ok()?;
        if let Some(finding) = judged.block() {
            return Some((plan.block_status, format!("{} in {}", finding.label, finding.place)));
        }
        if let Some(body) = judged.rewritten.filter(|_| phase == Phase::Pre) {
            kept.body = body.into();
        }
        None
    }
}

/// Tries policies on one request; MessagePack in, JSON out.
///
/// # Errors
/// What cannot be used, and why.
pub fn simulate(trial: &[u8]) -> Result<String, String> {
    let trial: Trial = rmp_serde::from_slice(trial).map_err(|error| error.to_string())?;
    let tried = Tried::compile(&trial.policies, &trial.guardrails)?;
    let kept: Kept = serde_json::from_str(&trial.scene).map_err(|error| format!("request: {error}"))?;
    serde_json::to_string(&tried.run(&kept)).map_err(|error| error.to_string())
}

/// What is wrong with policies; `None` when they can be used.
pub fn fault(trial: &[u8]) -> Option<String> {
    let trial: Trial = match rmp_serde::from_slice(trial) {
        Ok(trial) => trial,
        Err(error) => return Some(error.to_string()),
    };
    // Guardrails are looked at when they are published.
    let record = guard::record::Record::default();
    Policies::compile(&trial.policies, |name| record.rule(name), |_| Ok(0)).err()
}

/// Policies compiled once, for measuring.
pub struct Set {
    tried: Arc<Tried>,
    kept: Kept,
}

impl Set {
    /// # Errors
    /// As [`simulate`].
    pub fn new(trial: &[u8]) -> Result<Set, String> {
        let trial: Trial = rmp_serde::from_slice(trial).map_err(|error| error.to_string())?;
        let tried = Arc::new(Tried::compile(&trial.policies, &trial.guardrails)?);
        let kept = serde_json::from_str(&trial.scene).map_err(|error| format!("request: {error}"))?;
        Ok(Set { tried, kept })
    }

    /// Asks all conditions once; how many hold.
    pub fn ask(&self) -> usize {
        let facts = RequestFacts::of(self.kept.scene(&self.tried.almanac, None));
        let memo = Memo::new(&self.tried.policies.fields, &facts);
        self.tried.policies.list.iter().filter(|policy| memo.holds(&policy.rule)).count()
    }
}
