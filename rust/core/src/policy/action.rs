//! Actions, compiled: everything that can be wrong with one is said when it is published.

use std::sync::Arc;

use serde_json::{Map, Value};

pub use super::op::Op;
use super::op::ops;
use super::{Phase, wire};
use crate::kernel::condition::{Field, Holder, Scope};
use crate::kernel::nearest::nearest;
use crate::kernel::schema::Schema;
use crate::state::pattern::Pattern;

/// Longest pause, and window of a rate.
const DELAY_MAX_MS: u64 = 60_000;
const WINDOW_MAX_MS: u64 = 31 * 86_400_000;

pub(super) type Fault = (String, String);

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
    fn compile(told: wire::RequireApproval) -> RequireApproval {
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

pub(super) fn wrong<T>(place: impl Into<String>, text: impl Into<String>) -> Result<T, Fault> {
    Err((place.into(), text.into()))
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
    fn fits(&self, phase: Phase) -> bool {
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

    /// # Errors
    /// Where in the action, and what is wrong.
    pub fn compile(
        action: wire::Action,
        phase: Phase,
        scope: Scope,
        plan: &mut impl FnMut(&[u32]) -> Result<u32, String>,
    ) -> Result<Action, Fault> {
        let mut planned = |rules: &[u32], place: &str| plan(rules).map_err(|text| (place.to_string(), text));
        let compiled = match action {
            wire::Action::Allow(_) => Action::Allow,
            wire::Action::Deny(deny) if !(400..=599).contains(&deny.status) => {
                return wrong("deny.status", "expected a status from 400 to 599");
            }
            wire::Action::Deny(deny) => Action::Deny(deny),
            wire::Action::Redact(redact) => {
                let some = !redact.guardrails.is_empty();
                let plan = if some { Some(planned(&redact.guardrails, "redact")?) } else { None };
                let fields: Vec<Vec<String>> = redact.fields.iter().map(|path| steps(path)).collect();
                if plan.is_none() && fields.is_empty() {
                    return wrong("redact", "redacts nothing");
                }
                Action::Redact { plan, fields }
            }
            wire::Action::Transform(transform) => Action::Transform(ops(transform.ops, phase)?),
            wire::Action::Override(fields) => Action::Override(assignments(&fields.set, "override.set")?),
            wire::Action::Route(route) if route.model.is_none() && route.provider.is_none() => {
                return wrong("route", "names neither a model nor a provider");
            }
            wire::Action::Route(route) => Action::Route(route),
            wire::Action::Split(told) => Action::Split(split(told)?),
            wire::Action::RateLimit(rule) => {
                if rule.requests == 0 || !(1..=WINDOW_MAX_MS).contains(&rule.window_ms) {
                    return wrong("rate_limit", "expected at least one request and a window of at most 31 days");
                }
                let by = share(&rule.by, "rate_limit.by")?;
                Action::RateLimit { rule, by }
            }
            wire::Action::Throttle(told) if !(1..=DELAY_MAX_MS).contains(&told.delay_ms) => {
                return wrong("throttle.delay", "expected 1 ms to 60 s");
            }
            wire::Action::Throttle(told) => Action::Throttle(told.delay_ms),
            wire::Action::Cache(told) => Action::Cache(told.enabled),
            wire::Action::Tag(told) if told.tags.is_empty() => return wrong("tag.tags", "names no tag"),
            wire::Action::Tag(told) => Action::Tag(told.tags),
            wire::Action::Log(told) => {
                let fields = told.fields.iter().map(|name| match Field::parse(name, scope.zone) {
                    Some(field) if field.is_of_answer() && !scope.answer => {
                        wrong("log.fields", format!("`{name}` is known when there is an answer"))
                    }
                    Some(field) => Ok((name.clone(), field)),
                    None => {
                        let hint = nearest(name, Field::names());
                        let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
                        wrong("log.fields", format!("unknown field `{name}`{hint}"))
                    }
                });
                let fields = fields.collect::<Result<_, _>>()?;
                Action::Log { told, fields }
            }
            wire::Action::Webhook(told) => {
                crate::upstream::origin::BaseUrl::parse(&told.url)
                    .map_err(|error| ("webhook.url".to_string(), error))?;
                Action::Webhook(Arc::new(told))
            }
            wire::Action::ToolScope(told) => Action::ToolScope(tools(told)?),
            wire::Action::ValidateSchema(told) => {
                let schema = Schema::compile(&told.schema)
                    .map_err(|(place, text)| (dotted("validate_schema.schema", &place), text))?;
                let field = told.field.as_deref().map(steps);
                Action::ValidateSchema { schema: Box::new(schema), not: told.not, field, message: told.message }
            }
            wire::Action::Guardrail(told) if told.guardrails.is_empty() => {
                return wrong("guardrail.guardrails", "names no guardrail");
            }
            wire::Action::Guardrail(told) => Action::Guardrail(planned(&told.guardrails, "guardrail")?),
            wire::Action::SpendCap(rule) => {
                if rule.usd.is_nan() || rule.usd <= 0.0 || !(1..=WINDOW_MAX_MS).contains(&rule.window_ms) {
                    return wrong("spend_cap", "expected an amount above 0 and a window of at most 31 days");
                }
                let by = Holder::parse(&rule.by);
                let by = by.ok_or_else(|| ("spend_cap.by".to_string(), format!("{:?} spends nothing", rule.by)))?;
                Action::SpendCap { rule, by }
            }
            wire::Action::Alert(told) => {
                if let Some(url) = &told.url {
                    crate::upstream::origin::BaseUrl::parse(url).map_err(|error| ("alert.url".to_string(), error))?;
                }
                Action::Alert(Arc::new(told))
            }
            wire::Action::RequireApproval(told) => Action::RequireApproval(Arc::new(RequireApproval::compile(told))),
        };
        if !compiled.fits(phase) {
            let text = format!("`{}` has no effect in the phase `{}`", compiled.name(), phase.name());
            return wrong(compiled.name(), text);
        }
        if phase == Phase::Stream
            && let Action::Transform(ops) = &compiled
            && ops.iter().any(|op| !matches!(op, Op::SetHeader(..) | Op::RemoveHeader(_)))
        {
            return wrong("transform", "only headers of a stream can be changed; `redact` changes its text");
        }
        if phase == Phase::Stream && matches!(&compiled, Action::Redact { fields, .. } if !fields.is_empty()) {
            return wrong("redact.fields", "a stream has no fields; give presets, words or patterns");
        }
        Ok(compiled)
    }
}

pub(super) fn dotted(place: &str, rest: &str) -> String {
    if rest.is_empty() { place.to_string() } else { format!("{place}.{rest}") }
}

/// Where a value goes, and the value as JSON.
pub type Assignment = (Vec<String>, Vec<u8>);

/// A path that may begin with `body.`, as conditions name it.
pub fn steps(path: &str) -> Vec<String> {
    let path = path.strip_prefix("request.").or_else(|| path.strip_prefix("response.")).unwrap_or(path);
    crate::kernel::condition::path(path.strip_prefix("body.").unwrap_or(path))
}

pub(super) fn assignments(set: &Map<String, Value>, place: &str) -> Result<Vec<Assignment>, Fault> {
    let assign = |(name, value): (&String, &Value)| {
        let path = steps(name);
        if path.first().is_none_or(String::is_empty) || path.iter().any(|step| step == "*") {
            return wrong(dotted(place, name), "is no path of one field");
        }
        if path.first().is_some_and(|step| step == "model") {
            return wrong(dotted(place, name), "the model is changed by `route`, so that its permissions are checked");
        }
        if path.first().is_some_and(|step| step == "stream") {
            return wrong(dotted(place, name), "a caller that waits for a stream cannot take anything else");
        }
        Ok((path, serde_json::to_vec(value).unwrap_or_default()))
    };
    if set.is_empty() {
        return wrong(place, "sets nothing");
    }
    set.iter().map(assign).collect()
}

fn share(name: &str, place: &str) -> Result<Share, Fault> {
    const NAMES: [&str; 11] =
        ["key", "user", "team", "project", "organization", "session", "ip", "model", "end_user", "everyone", "request"];
    match name {
        "ip" => Ok(Share::Ip),
        "model" => Ok(Share::Model),
        "end_user" => Ok(Share::EndUser),
        "everyone" => Ok(Share::Everyone),
        "request" => Ok(Share::Request),
        other => Holder::parse(other).map(Share::Holder).ok_or_else(|| {
            let hint = nearest(name, NAMES.into_iter());
            let hint = hint.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            (place.to_string(), format!("`{name}` is none of {}{hint}", NAMES.join(", ")))
        }),
    }
}

fn split(told: wire::Split) -> Result<Split, Fault> {
    let by = share(&told.by, "split.by")?;
    let total = told.variants.iter().map(|variant| u64::from(variant.weight)).sum();
    if total == 0 {
        return wrong("split.variants", "no variant has a weight");
    }
    let variants = told.variants.into_iter().enumerate().map(|(at, variant)| {
        let place = format!("split.variants[{at}].set");
        let set = if variant.set.is_empty() { Vec::new() } else { assignments(&variant.set, &place)? };
        Ok::<_, Fault>((variant, set))
    });
    Ok(Split { by, total, variants: variants.collect::<Result<_, _>>()? })
}

fn tools(told: wire::ToolScope) -> Result<ToolScope, Fault> {
    let patterns = |list: &[String]| list.iter().map(|name| Pattern::new(name)).collect::<Vec<_>>();
    if told.allowed.is_none() && told.blocked.is_empty() && told.arguments.is_empty() {
        return wrong("tool_scope", "allows everything: give `allowed`, `blocked` or `arguments`");
    }
    let schemas = told.arguments.iter().map(|(name, schema)| {
        let compiled = Schema::compile(schema)
            .map_err(|(place, text)| (dotted(&format!("tool_scope.arguments.{name}"), &place), text))?;
        Ok((Pattern::new(name), compiled))
    });
    Ok(ToolScope {
        allowed: told.allowed.as_deref().map(patterns),
        blocked: patterns(&told.blocked),
        remove: told.otherwise == "remove",
        arguments: schemas.collect::<Result<_, Fault>>()?,
        message: told.message,
    })
}
