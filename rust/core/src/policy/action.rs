//! Actions as they are carried out; [`compile`](super::compile) makes them.

use std::sync::Arc;

pub use super::compile::steps;
pub use super::op::Op;
use super::{Phase, wire};
use crate::kernel::condition::{Field, Holder};
use crate::kernel::schema::Schema;
use crate::state::pattern::Pattern;

/// What is done.
#[derive(Debug)]
pub enum Action {
    Allow,
    Deny(wire::Deny),
    /// The plan that cuts out, and paths that are blanked.
    Redact {
        plan: Option<u32>,
        fields: Vec<Vec<String>>,
    },
    Transform(Vec<Op>),
    Override(Vec<(Vec<String>, Vec<u8>)>),
    Route(wire::Route),
    Split(Split),
    RateLimit {
        rule: wire::RateLimit,
        by: Share,
    },
    Throttle(u64),
    Cache(bool),
    Tag(Vec<String>),
    Log {
        told: wire::Log,
        fields: Vec<(String, Field)>,
    },
    Webhook(Arc<wire::Webhook>),
    ToolScope(ToolScope),
    ValidateSchema {
        schema: Box<Schema>,
        not: bool,
        field: Option<Vec<String>>,
        message: String,
    },
    Guardrail(u32),
    SpendCap {
        rule: wire::SpendCap,
        by: Holder,
    },
    Alert(Arc<wire::Alert>),
    RequireApproval(Arc<RequireApproval>),
}

/// Where a value goes, and the value as JSON.
pub type Assignment = (Vec<String>, Vec<u8>);

/// Who shares a rate, or falls to the same side of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Holder(Holder),
    Ip,
    Model,
    /// The end user that the request names.
    EndUser,
    Everyone,
    /// Each request by itself.
    Request,
}

#[derive(Debug)]
pub struct Split {
    pub by: Share,
    pub total: u64,
    pub variants: Vec<(wire::Variant, Vec<Assignment>)>,
}

#[derive(Debug)]
pub struct ToolScope {
    pub allowed: Option<Vec<Pattern>>,
    pub blocked: Vec<Pattern>,
    /// Taken out of the request instead of refused.
    pub remove: bool,
    pub arguments: Vec<(Pattern, Schema)>,
    pub message: String,
}

impl ToolScope {
    pub fn admits(&self, tool: &str) -> bool {
        let allowed = self.allowed.as_ref().is_none_or(|list| list.iter().any(|pattern| pattern.matches(tool)));
        allowed && !self.blocked.iter().any(|pattern| pattern.matches(tool))
    }
}

/// Somebody has to allow it.
#[derive(Debug)]
pub struct RequireApproval {
    pub told: wire::RequireApproval,
    /// The caller does not wait.
    pub accept: bool,
    tools: Vec<Pattern>,
}

impl RequireApproval {
    pub(super) fn compile(told: wire::RequireApproval) -> RequireApproval {
        let tools = told.tools.iter().map(|name| Pattern::new(name)).collect();
        RequireApproval { accept: told.mode == "accept", tools, told }
    }

    pub fn mode(&self) -> &'static str {
        if self.accept { "accept" } else { "hold" }
    }

    /// Whether it is about these calls of tools.
    pub fn concerns(&self, calls: &[crate::facts::tools::Call]) -> bool {
        let named = |call: &crate::facts::tools::Call| self.tools.iter().any(|pattern| pattern.matches(&call.name));
        self.tools.is_empty() || calls.iter().any(named)
    }

    /// Whether it is about some calls of tools only.
    pub fn is_about_tools(&self) -> bool {
        !self.tools.is_empty()
    }
}

impl Action {
    pub fn name(&self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Deny(_) => "deny",
            Action::Redact { .. } => "redact",
            Action::Transform(_) => "transform",
            Action::Override(_) => "override",
            Action::Route(_) => "route",
            Action::Split(_) => "split",
            Action::RateLimit { .. } => "rate_limit",
            Action::Throttle(_) => "throttle",
            Action::Cache(_) => "cache",
            Action::Tag(_) => "tag",
            Action::Log { .. } => "log",
            Action::Webhook(_) => "webhook",
            Action::ToolScope(_) => "tool_scope",
            Action::ValidateSchema { .. } => "validate_schema",
            Action::Guardrail(_) => "guardrail",
            Action::SpendCap { .. } => "spend_cap",
            Action::Alert(_) => "alert",
            Action::RequireApproval(_) => "require_approval",
        }
    }

    /// An answer has to be complete before it can be done.
    pub fn needs_all(&self) -> bool {
        match self {
            Action::Allow | Action::Log { .. } | Action::Alert(_) | Action::Tag(_) => false,
            Action::Webhook(webhook) => webhook.wait,
            _ => true,
        }
    }

    /// Whether it has an effect in a phase.
    pub(super) fn fits(&self, phase: Phase) -> bool {
        match (self, phase) {
            (_, Phase::Pre) | (Action::Allow | Action::Log { .. } | Action::Alert(_) | Action::Webhook(_), _) => true,
            (_, Phase::Async) => false,
            (
                Action::Deny(_)
                | Action::Redact { .. }
                | Action::Guardrail(_)
                | Action::ToolScope(_)
                | Action::Transform(_),
                _,
            ) => true,
            (Action::ValidateSchema { .. } | Action::RequireApproval(_), Phase::Post) => true,
            _ => false,
        }
    }
}
