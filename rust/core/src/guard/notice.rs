//! Webhooks of guardrails: who is told that a rule found something. Never the text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::record::{RuleCell, Verdict};
use crate::clock::wall_us;
use crate::event::Event;
use crate::shard::{Shard, Shared};
use crate::snapshot::wire;
use crate::upstream::call::Post;

/// Time for one message, and how many may be under way: what is more is dropped, and told.
const TIMEOUT: Duration = Duration::from_secs(10);
const MOST: usize = 1_024;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Takes a verdict of a rule: counts and keeps it, and tells whoever the rule names.
pub fn note(shard: &Shard, cell: &RuleCell, verdict: Verdict) {
    if let Some(notice) = shard.snapshot().notices.get(&verdict.rule) {
        send(&shard.shared, notice, &verdict);
    }
    shard.shared.state.guards.note(cell, verdict);
}

fn send(shared: &Arc<Shared>, notice: &Arc<wire::Notice>, verdict: &Verdict) {
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= MOST {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        unheard(shared, notice, "too many messages are under way");
        return;
    }
    let message = json!({
        "type": "guardrail.matched", "guardrail": verdict.rule, "found": verdict.label, "action": verdict.action,
        "shadow": verdict.shadow, "side": verdict.side, "place": verdict.place, "matches": verdict.matches,
        "request_id": verdict.request_id, "model": verdict.model, "key_id": verdict.key, "time_us": verdict.time_us,
    });
    let (message, id) = (message.to_string().into_bytes(), format!("{}.{}", verdict.request_id, verdict.rule));
    let (shared, notice) = (shared.clone(), notice.clone());
    tokio::spawn(async move {
        let post = Post {
            url: &notice.url,
            body: &message,
            secret: notice.secret.as_deref(),
            id: &id,
            time_s: wall_us() / 1_000_000,
            timeout: TIMEOUT,
            guarded: false,
        };
        let sent = post.send().await;
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        match sent {
            Ok((status, _)) if (200..300).contains(&status) => {}
            Ok((status, _)) => unheard(&shared, &notice, &format!("it answered {status}")),
            Err(error) => unheard(&shared, &notice, &error),
        }
    });
}

fn unheard(shared: &Shared, notice: &wire::Notice, why: &str) {
    let place = notice.url.split('?').next().unwrap_or_default();
    let message = format!("the webhook {place} of a guardrail failed: {why}");
    shared.events.push(Event { kind: "guardrail_webhook", level: "warning", message, ..Event::default() });
}
