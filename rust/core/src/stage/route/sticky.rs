//! What a request is tied to a deployment by: session, user, the start of the prompt, the key.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use crate::exchange::Exchange;
use crate::snapshot::HashOn;
use crate::state::sessions::named;
use crate::wire::json::{members, string};

/// So much of the prompt's start decides; providers cache from about a thousand tokens on.
const PREFIX: usize = 4096;
/// Members of a body that prompts stand in.
const PROMPTS: [&str; 5] = ["messages", "system", "input", "prompt", "contents"];

/// A number that is the same for requests that belong together, on every node. It always depends on the key, so that callers
/// cannot aim at each other's deployment. None: all it has is a prompt of fewer than `least` tokens, of which no provider's cache
/// keeps anything.
pub fn key(exchange: &Exchange, on: &[HashOn], least: u32) -> Option<u64> {
    // The same on every node, whatever it was built with, and fast for long prompts.
    let mut hasher = Xxh3::new();
    let mut short = false;
    exchange.key.as_ref().map_or(0, |key| key.ledger_id).hash(&mut hasher);
    for what in on {
        let found = match what {
            HashOn::Session => named(&exchange.headers).is_some_and(|session| {
                session.hash(&mut hasher);
                true
            }),
            HashOn::User => exchange.call.user.is_some_and(|user| {
                user.raw(&exchange.call.body).hash(&mut hasher);
                true
            }),
            HashOn::Prompt if exchange.call.est_input < least => {
                short = true;
                false
            }
            HashOn::Prompt => prompt(exchange, &mut hasher),
            HashOn::Key => true,
        };
        if found {
            return Some(hasher.finish());
        }
    }
    (!short).then(|| hasher.finish())
}

/// Mixes the start of the prompt in; false when there is none.
fn prompt(exchange: &Exchange, hasher: &mut Xxh3) -> bool {
    let (body, Some(root)) = (&exchange.call.body, exchange.call.root) else { return false };
    let mut found = [None; PROMPTS.len()];
    for member in members(body, root) {
        let name = string(body, member.key);
        if let Some(at) = PROMPTS.iter().position(|prompt| name.as_deref() == Some(prompt)) {
            found[at] = Some(member.value);
        }
    }
    // In the same order whatever the caller's is.
    for value in found.iter().flatten() {
        let raw = value.raw(body);
        raw.get(..PREFIX.min(raw.len())).unwrap_or(raw).hash(hasher);
    }
    found.iter().any(Option::is_some)
}
