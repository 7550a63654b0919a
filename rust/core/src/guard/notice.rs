//! Webhooks of guardrails: who is told that a rule found something. Never the text.

use serde_json::json;

use super::record::{RuleCell, Verdict};
use crate::shard::Shard;
use crate::webhook::{self, Message, Sender};

/// Takes a verdict of a rule: counts and keeps it, and tells whoever the rule names.
pub fn note(shard: &Shard, cell: &RuleCell, verdict: Verdict) {
    // Where the operator last said, also for requests that began before.
    if let Some(notice) = shard.snapshot().notices.get(&verdict.rule) {
        let message = json!({
            "type": "guardrail.matched", "guardrail": verdict.rule, "found": verdict.label, "action": verdict.action,
            "shadow": verdict.shadow, "side": verdict.side, "place": verdict.place, "matches": verdict.matches,
            "request_id": verdict.request_id, "model": verdict.model, "key_id": verdict.key,
            "time_us": verdict.time_us,
        });
        let message = Message {
            sender: Sender::Guardrail,
            url: notice.url.clone(),
            secret: notice.secret.clone(),
            guarded: false,
            id: format!("{}.{}", verdict.request_id, verdict.rule),
            body: message.to_string().into_bytes(),
        };
        webhook::send(&shard.shared, message);
    }
    shard.shared.state.guards.note(cell, verdict);
}
