//! Policies: conditions on requests and answers, and what is done when they hold.
//!
//! The policies of a snapshot are compiled once: their conditions share one table of fields, their actions are checked
//! against the phase they run in, their order is settled. A request asks which of them are attached to it ([`Policies::chosen`]),
//! looks up only the fields that their conditions ask for, and acts ([`apply`] before it is sent, [`answer`] behind). A
//! snapshot without policies costs a request one branch.

pub mod action;
pub mod answer;
pub mod apply;
mod compile;
pub mod edit;
mod op;
pub mod pending;
pub mod record;
pub mod report;
mod select;
mod share;
pub mod tail;
mod tool_watch;
pub mod trial;
mod whole;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

use crate::guard::record::RuleCell;
use crate::kernel::condition::{Field, Fields, Holder, Memo, Rule, Scope};
use action::Action;
use select::Attached;

/// Most policies of a snapshot, and actions of one.
const POLICIES: usize = 10_000;
const ACTIONS: usize = 32;

/// When a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the request is sent.
    Pre,
    /// Behind a complete answer, before the caller has it.
    Post,
    /// At the beginning of a streamed answer.
    Stream,
    /// Behind the answer, when the caller has it.
    Async,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pre => "pre",
            Phase::Post => "post",
            Phase::Stream => "stream",
            Phase::Async => "async",
        }
    }

    fn parse(name: &str) -> Option<Phase> {
        [Phase::Pre, Phase::Post, Phase::Stream, Phase::Async].into_iter().find(|phase| phase.name() == name)
    }
}

/// One policy.
#[derive(Debug)]
pub struct Policy {
    pub name: Arc<str>,
    pub version: u32,
    pub phase: Phase,
    /// Evaluated and recorded, without effect.
    pub shadow: bool,
    pub rule: Rule,
    pub actions: Vec<Action>,
    pub cell: Arc<RuleCell>,
}

impl Policy {
    /// What it does, in a word each.
    pub fn told(&self) -> String {
        self.actions.iter().map(Action::name).collect::<Vec<_>>().join("+")
    }
}

/// All policies of a snapshot, in the order they run.
#[derive(Debug, Default)]
pub struct Policies {
    pub list: Vec<Policy>,
    pub fields: Fields,
    attached: Attached,
    /// Requests kept for replay; 0: none.
    pub keep: usize,
    /// A request may have to wait for people before it is sent.
    pub holds: bool,
    /// Something is counted by session.
    pub sessions: bool,
}

/// Places of policies in [`Policies::list`].
pub type Chosen = SmallVec<[u32; 16]>;

impl Policies {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.keep == 0
    }

    /// Whether any has a say.
    pub fn govern(&self) -> bool {
        !self.list.is_empty()
    }

    pub fn get(&self, place: u32) -> Option<&Policy> {
        self.list.get(place as usize)
    }

    /// Of `chosen` those of a phase.
    pub fn of(&self, chosen: &[u32], phase: Phase) -> Chosen {
        let wanted = |place: &&u32| self.get(**place).is_some_and(|policy| policy.phase == phase);
        chosen.iter().filter(wanted).copied().collect()
    }

    /// The first of `chosen` whose condition holds: its place there.
    pub fn first(&self, memo: &Memo<'_>, chosen: &[u32]) -> Option<usize> {
        chosen.iter().position(|place| self.get(*place).is_some_and(|policy| memo.holds(&policy.rule)))
    }

    /// Compiles policies. `cell`: the counters of a name; `plan`: compiles guardrails by number into a plan.
    ///
    /// # Errors
    /// Which policy cannot be used, where in it and why.
    pub fn compile(
        wire: &wire::Policies,
        cell: impl Fn(&str) -> Arc<RuleCell>,
        mut plan: impl FnMut(&[u32]) -> Result<u32, String>,
    ) -> Result<Policies, String> {
        if wire.policies.len() > POLICIES {
            return Err(format!("more than {POLICIES} policies"));
        }
        let mut order: Vec<usize> = (0..wire.policies.len()).collect();
        order.sort_by_key(|place| wire.policies.get(*place).map(|policy| policy.priority));
        let mut fields = Fields::default();
        let mut list = Vec::with_capacity(order.len());
        let mut places = HashMap::new();
        for place in order {
            let Some(policy) = wire.policies.get(place) else { continue };
            places.insert(place as u32, list.len() as u32);
            list.push(one(policy, &mut fields, &cell, &mut plan)?);
        }
        let attached = Attached::compile(&wire.attachments, &places)?;
        let asks = |policy: &Policy| {
            policy.phase == Phase::Pre
                && policy.actions.iter().any(|action| matches!(action, Action::RequireApproval(_)))
        };
        let holds = list.iter().any(asks);
        let by_session = |action: &Action| matches!(action, Action::SpendCap { by: Holder::Session, .. });
        let sessions = fields.iter().any(|field| matches!(field, Field::History(Holder::Session, ..)))
            || list.iter().any(|policy| policy.actions.iter().any(by_session));
        Ok(Policies { list, fields, attached, keep: wire.keep as usize, holds, sessions })
    }
}

fn one(
    policy: &wire::Policy,
    fields: &mut Fields,
    cell: &impl Fn(&str) -> Arc<RuleCell>,
    plan: &mut impl FnMut(&[u32]) -> Result<u32, String>,
) -> Result<Policy, String> {
    let fail = |place: &str, text: &str| {
        let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
        format!("policy {:?}: {place}{text}", policy.name)
    };
    let phase =
        Phase::parse(&policy.phase).ok_or_else(|| fail("phase", &format!("{:?} is not known", policy.phase)))?;
    let scope = Scope { zone: policy.zone, answer: phase != Phase::Pre };
    let rule = match &policy.when {
        None => Rule::always(),
        Some(text) => {
            // A text that is no JSON is an expression.
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
            Rule::compile(&value, scope, fields).map_err(|fault| {
                let place = if fault.path.is_empty() { "when".to_string() } else { format!("when.{}", fault.path) };
                fail(&place, &fault.message)
            })?
        }
    };
    let told: Vec<wire::Action> =
        serde_json::from_str(&policy.then).map_err(|error| fail("then", &error.to_string()))?;
    if told.is_empty() || told.len() > ACTIONS {
        return Err(fail("then", &format!("expected 1 to {ACTIONS} actions")));
    }
    let actions = told.into_iter().enumerate().map(|(at, action)| {
        Action::compile(action, phase, scope, plan).map_err(|(place, text)| fail(&format!("then[{at}].{place}"), &text))
    });
    Ok(Policy {
        name: policy.name.as_str().into(),
        version: policy.version,
        phase,
        shadow: policy.shadow,
        rule,
        actions: actions.collect::<Result<_, _>>()?,
        cell: cell(&policy.name),
    })
}

#[cfg(test)]
mod tests;
