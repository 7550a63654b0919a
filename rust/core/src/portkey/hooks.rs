//! Guardrails in a config object: hooks as Portkey writes them, their shorthand, and names of guardrails of the gateway.
//! Documentation: <https://portkey.ai/docs/product/guardrails/creating-raw-guardrails-in-json>.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::guard::check::Scope;
use crate::guard::hook::{Hook, Run};
use crate::guard::record::RuleCell;
use crate::guard::{Action, Then};
use crate::kernel::condition::Fault;

/// Most guardrails of one list.
const MOST: usize = 32;

/// Guardrails of one side.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    pub hooks: Vec<Arc<Hook>>,
    /// Guardrails of the gateway.
    pub named: Vec<Arc<str>>,
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_string(), message: message.into() }
}

/// The guardrails that a target has of one side, of all the keys that can hold them; None when it says nothing.
///
/// # Errors
/// The first fault, with its path.
pub fn read(members: &Map<String, Value>, names: &[&str], output: bool, path: &str) -> Result<Option<Hooks>, Fault> {
    let mut found: Option<Hooks> = None;
    for name in names {
        let Some(value) = members.get(*name).filter(|value| !value.is_null()) else { continue };
        let at = format!("{path}.{name}");
        let Value::Array(items) = value else { return Err(fault(&at, "expected a list of guardrails")) };
        let hooks = found.get_or_insert_default();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{at}[{index}]");
            match item {
                Value::String(name) => hooks.named.push(name.as_str().into()),
                Value::Object(item) => hooks.hooks.push(Arc::new(hook(item, name, output, (&place, index))?)),
                _ => return Err(fault(&place, "expected an object, or the name of a guardrail")),
            }
        }
        if hooks.hooks.len() + hooks.named.len() > MOST {
            return Err(fault(&at, format!("more than {MOST} guardrails")));
        }
    }
    Ok(found)
}

/// What a hook has besides its checks, in the two spellings.
const OWN: [&str; 16] = [
    "id",
    "name",
    "type",
    "checks",
    "deny",
    "async",
    "sequential",
    "on_success",
    "onSuccess",
    "on_fail",
    "onFail",
    "on_error",
    "scope",
    "eventType",
    "guardrail_version_id",
    "guardrailVersionId",
];

fn hook(item: &Map<String, Value>, list: &str, output: bool, place: (&str, usize)) -> Result<Hook, Fault> {
    let (place, index) = place;
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("guardrail");
    if !matches!(kind, "guardrail" | "mutator") {
        return Err(fault(&format!("{place}.type"), "expected `guardrail` or `mutator`"));
    }
    let mut told = item.clone();
    if !told.contains_key("checks") {
        // In the shorthand every other key is a check.
        let checks: Vec<Value> = item
            .iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, given)| {
                let mut parameters = given.clone();
                let own = parameters.as_object_mut().and_then(|given| given.remove("id"));
                let id = own.as_ref().and_then(Value::as_str).unwrap_or(name).to_string();
                json!({"id": if id.contains('.') { id } else { format!("default.{id}") }, "parameters": parameters})
            })
            .collect();
        told.insert("checks".into(), checks.into());
    } else if let Some(odd) = item.keys().find(|name| !OWN.contains(&name.as_str())) {
        return Err(fault(&format!("{place}.{odd}"), "is no key of a hook"));
    }
    let flag = |name: &str, otherwise: bool| match item.get(name) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(fault(&format!("{place}.{name}"), "expected true or false")),
    };
    let deny = flag("deny", false)?;
    let (_, _) = (flag("async", false)?, flag("sequential", false)?);
    if kind == "mutator" {
        told.insert("sequential".into(), true.into());
        told.remove("async");
    }
    let fails_closed = match item.get("on_error").and_then(Value::as_str) {
        None => deny,
        Some("fail") => true,
        Some("skip") => false,
        Some(_) => return Err(fault(&format!("{place}.on_error"), "expected `fail` or `skip`")),
    };
    if item.get("scope").is_some_and(|scope| !matches!(scope.as_str(), Some("all" | "last" | "user"))) {
        return Err(fault(&format!("{place}.scope"), "expected `all`, `last` or `user`"));
    }
    let name = item.get("id").or_else(|| item.get("name")).and_then(Value::as_str);
    let name = name.map_or_else(|| format!("{list}_{index}"), str::to_string);
    let empty = Hook {
        cell: Arc::new(RuleCell::alone(&name)),
        name: name.as_str().into(),
        input: !output,
        output,
        action: if deny { Action::Block } else { Action::Flag },
        then: Then::default(),
        shadow: false,
        fails_closed,
        run: Run::Before,
        sequential: false,
        // As Portkey looks.
        scope: Scope::Last,
        on_success: None,
        on_fail: None,
        checks: Vec::new(),
        told: true,
    };
    // Whoever brings a config may have only public addresses asked.
    empty.read(&told, true).map_err(|(inner, message)| {
        let hint = if message.starts_with("no check") && inner.contains('.') && !message.contains("did you mean") {
            "; a service is set up under `guardrails:` of the gateway, and named here"
        } else {
            ""
        };
        fault(&format!("{place}.{inner}"), format!("{message}{hint}"))
    })
}
