//! Actions are compiled when they are published: everything that can be wrong with one is said then.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::action::{Action, Assignment, Op, RequireApproval, Share, Split, ToolScope};
use super::op::ops;
use super::{Phase, wire};
use crate::kernel::condition::{Field, Holder, Scope};
use crate::kernel::nearest::nearest;
use crate::kernel::schema::Schema;
use crate::state::pattern::Pattern;
use crate::upstream::origin::BaseUrl;

/// Longest pause, and window of a rate.
const DELAY_MAX_MS: u64 = 60_000;
const WINDOW_MAX_MS: u64 = 31 * 86_400_000;

/// Where in the action, and what is wrong.
pub(super) type Fault = (String, String);

pub(super) fn wrong<T>(place: impl Into<String>, text: impl Into<String>) -> Result<T, Fault> {
    Err((place.into(), text.into()))
}

impl Action {
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
            wire::Action::Deny(told) => deny(told)?,
            wire::Action::Redact(told) => {
                let some = !told.guardrails.is_empty();
                let plan = if some { Some(planned(&told.guardrails, "redact")?) } else { None };
                redact(&told, plan)?
            }
            wire::Action::Transform(told) => Action::Transform(ops(told.ops, phase)?),
            wire::Action::Override(fields) => Action::Override(assignments(&fields.set, "override.set")?),
            wire::Action::Route(told) => route(told)?,
            wire::Action::Split(told) => Action::Split(split(told)?),
            wire::Action::RateLimit(rule) => rate_limit(rule)?,
            wire::Action::Throttle(told) if !(1..=DELAY_MAX_MS).contains(&told.delay_ms) => {
                return wrong("throttle.delay", "expected 1 ms to 60 s");
            }
            wire::Action::Throttle(told) => Action::Throttle(told.delay_ms),
            wire::Action::Cache(told) => Action::Cache(told.enabled),
            wire::Action::Tag(told) if told.tags.is_empty() => return wrong("tag.tags", "names no tag"),
            wire::Action::Tag(told) => Action::Tag(told.tags),
            wire::Action::Log(told) => log(told, scope)?,
            wire::Action::Webhook(told) => {
                BaseUrl::parse(&told.url).map_err(|error| ("webhook.url".to_string(), error))?;
                Action::Webhook(Arc::new(told))
            }
            wire::Action::ToolScope(told) => Action::ToolScope(tools(told)?),
            wire::Action::ValidateSchema(told) => validate_schema(told)?,
            wire::Action::Guardrail(told) if told.guardrails.is_empty() => {
                return wrong("guardrail.guardrails", "names no guardrail");
            }
            wire::Action::Guardrail(told) => Action::Guardrail(planned(&told.guardrails, "guardrail")?),
            wire::Action::SpendCap(rule) => spend_cap(rule)?,
            wire::Action::Alert(told) => {
                let parsed = told.url.as_deref().map(BaseUrl::parse).transpose();
                parsed.map_err(|error| ("alert.url".to_string(), error))?;
                Action::Alert(Arc::new(told))
            }
            wire::Action::RequireApproval(told) => Action::RequireApproval(Arc::new(RequireApproval::compile(told))),
        };
        compiled.suits(phase)?;
        Ok(compiled)
    }

    /// # Errors
    /// It can do nothing in that phase, or not with these parameters.
    fn suits(&self, phase: Phase) -> Result<(), Fault> {
        if !self.fits(phase) {
            return wrong(self.name(), format!("`{}` has no effect in the phase `{}`", self.name(), phase.name()));
        }
        if phase == Phase::Stream
            && let Action::Transform(ops) = self
            && ops.iter().any(|op| !matches!(op, Op::SetHeader(..) | Op::RemoveHeader(_)))
        {
            return wrong("transform", "only headers of a stream can be changed; `redact` changes its text");
        }
        if phase == Phase::Stream && matches!(self, Action::Redact { fields, .. } if !fields.is_empty()) {
            return wrong("redact.fields", "a stream has no fields; give presets, words or patterns");
        }
        Ok(())
    }
}

fn deny(told: wire::Deny) -> Result<Action, Fault> {
    if (400..=599).contains(&told.status) {
        return Ok(Action::Deny(told));
    }
    wrong("deny.status", "expected a status from 400 to 599")
}

fn redact(told: &wire::Redact, plan: Option<u32>) -> Result<Action, Fault> {
    let fields: Vec<Vec<String>> = told.fields.iter().map(|path| steps(path)).collect();
    if plan.is_none() && fields.is_empty() {
        return wrong("redact", "redacts nothing");
    }
    Ok(Action::Redact { plan, fields })
}

fn route(told: wire::Route) -> Result<Action, Fault> {
    if told.model.is_none() && told.provider.is_none() {
        return wrong("route", "names neither a model nor a provider");
    }
    Ok(Action::Route(told))
}

fn rate_limit(rule: wire::RateLimit) -> Result<Action, Fault> {
    if rule.requests == 0 || !(1..=WINDOW_MAX_MS).contains(&rule.window_ms) {
        return wrong("rate_limit", "expected at least one request and a window of at most 31 days");
    }
    let by = share(&rule.by, "rate_limit.by")?;
    Ok(Action::RateLimit { rule, by })
}

fn spend_cap(rule: wire::SpendCap) -> Result<Action, Fault> {
    if rule.usd.is_nan() || rule.usd <= 0.0 || !(1..=WINDOW_MAX_MS).contains(&rule.window_ms) {
        return wrong("spend_cap", "expected an amount above 0 and a window of at most 31 days");
    }
    let by = Holder::parse(&rule.by);
    let by = by.ok_or_else(|| ("spend_cap.by".to_string(), format!("{:?} spends nothing", rule.by)))?;
    Ok(Action::SpendCap { rule, by })
}

fn log(told: wire::Log, scope: Scope) -> Result<Action, Fault> {
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
    Ok(Action::Log { told, fields })
}

fn validate_schema(told: wire::ValidateSchema) -> Result<Action, Fault> {
    let schema =
        Schema::compile(&told.schema).map_err(|(place, text)| (dotted("validate_schema.schema", &place), text))?;
    let field = told.field.as_deref().map(steps);
    Ok(Action::ValidateSchema { schema: Box::new(schema), not: told.not, field, message: told.message })
}

pub(super) fn dotted(place: &str, rest: &str) -> String {
    if rest.is_empty() { place.to_string() } else { format!("{place}.{rest}") }
}

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
