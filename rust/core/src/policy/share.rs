//! Who shares what, and what values are judged by.

use super::action::{Share, Split};
use super::apply::denied;
use super::{Policy, wire};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::kernel::condition::{Fact, Facts, Field, Holder};
use crate::state::sessions;

/// The name that shares a rate or a side of a split.
pub(super) fn who(exchange: &Exchange, by: Share) -> String {
    let key = exchange.key.as_deref();
    let own = || key.map(|key| key.id.to_string()).unwrap_or_default();
    match by {
        Share::Holder(Holder::Session) => sessions::own(&own(), &exchange.headers).unwrap_or_else(own),
        // A key without a team is by itself.
        Share::Holder(holder) => {
            let found = key.and_then(|key| holder.of(key)).map(|subject| subject.id.to_string());
            found.unwrap_or_else(|| format!("key/{}", own()))
        }
        Share::Ip => exchange.client.to_string(),
        Share::Model => exchange.call.model.clone(),
        Share::EndUser => {
            let facts = RequestFacts::new(exchange);
            match facts.fact(&Field::User) {
                // Named by the caller: only within his key.
                Fact::Text(user) => format!("{}/{user}", own()),
                _ => own(),
            }
        }
        Share::Everyone => String::new(),
        Share::Request => exchange.request_id.to_string(),
    }
}

type Set = [(Vec<String>, Vec<u8>)];

/// The side that a request falls to: always the same for the same name.
pub(super) fn drawn<'s>(
    exchange: &Exchange,
    policy: &Policy,
    split: &'s Split,
) -> Option<(&'s wire::Variant, &'s Set)> {
    use sha2::Digest;
    let who = who(exchange, split.by);
    let digest = sha2::Sha256::digest(format!("{}\n{who}", policy.name).as_bytes());
    let head = digest.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
    let mut ticket = head % split.total.max(1);
    for (variant, set) in &split.variants {
        if ticket < u64::from(variant.weight) {
            return Some((variant, set));
        }
        ticket -= u64::from(variant.weight);
    }
    None
}

/// A value by its path, without `*`.
pub fn value_at<'v>(value: &'v serde_json::Value, path: &[String]) -> Option<&'v serde_json::Value> {
    path.iter().try_fold(value, |value, step| match value {
        serde_json::Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// # Errors
/// The value is not as the schema says, or is, with `not`.
pub fn judge_schema(
    policy: &Policy,
    schema: &crate::kernel::schema::Schema,
    not: bool,
    value: Option<&serde_json::Value>,
    message: &str,
) -> Result<()> {
    let judged = match value {
        Some(value) => schema.validate(value),
        None => Err((String::new(), "is missing".to_string())),
    };
    let fault = match (judged, not) {
        (Ok(()), false) | (Err(_), true) => return Ok(()),
        (Ok(()), true) => "it is what it must not be".to_string(),
        (Err((place, text)), false) if place.is_empty() => format!("it {text}"),
        (Err((place, text)), false) => format!("`{place}` {text}"),
    };
    let text = match message {
        "" => format!("The policy '{}' found what does not fit its schema: {fault}.", policy.name),
        message => message.to_string(),
    };
    Err(denied(policy, 422, &text))
}
