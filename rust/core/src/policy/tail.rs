//! What policies do besides the request: telling people and systems, and looking at a stream when it is over.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::action::Action;
use super::record::{Answered, Kept};
use super::whole::Whole;
use super::{Chosen, Policy, wire};
use crate::body::{Broken, Source};
use crate::clock::{monotonic_ns, wall_us};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::facts::{Reply, RequestFacts};
use crate::guard::record::Verdict;
use crate::kernel::condition::{Fact, Facts, Memo};
use crate::shard::{Shard, SnapshotRef};
use crate::upstream::call::Post;
use crate::webhook::{self, Message, Sender};

/// Most of a stream that is kept for questions at its end.
const REMEMBERED: usize = 4 * 1024 * 1024;

/// What a message is about.
#[derive(Clone, Debug)]
pub struct Matter {
    pub request_id: String,
    pub model: String,
    pub key: String,
    pub time_us: i64,
}

impl Matter {
    pub fn of(exchange: &Exchange) -> Matter {
        Matter {
            request_id: exchange.request_id.to_string(),
            model: exchange.call.model.clone(),
            key: exchange.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default(),
            time_us: exchange.wall_us,
        }
    }

    /// The message of a webhook.
    pub fn payload(&self, policy: &Policy, request: Option<&Bytes>, reply: Option<&Reply>) -> Vec<u8> {
        let parsed = |bytes: &Bytes| match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => value,
            Err(_) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        };
        let mut message = json!({
            "type": "policy.matched", "policy": &*policy.name, "version": policy.version, "phase": policy.phase.name(),
            "request_id": self.request_id, "model": self.model, "key_id": self.key, "time_us": self.time_us,
        });
        if let Some(map) = message.as_object_mut() {
            if let Some(request) = request.filter(|body| !body.is_empty()) {
                map.insert("request".into(), parsed(request));
            }
            if let Some(reply) = reply {
                let body = if request.is_some() && !reply.body.is_empty() { parsed(&reply.body) } else { Value::Null };
                map.insert("response".into(), json!({"status": reply.status, "body": body}));
            }
        }
        message.to_string().into_bytes()
    }
}

/// Asks a webhook for its verdict: `{"verdict": false, "message": "..."}` refuses, as does `{"allow": false}`.
///
/// # Errors
/// The refusal, or why there is no verdict where that refuses.
pub async fn consult(shard: &Shard, webhook: &wire::Webhook, payload: &[u8], id: &str) -> Result<(), String> {
    let failed = |text: String| match webhook.on_fail.as_str() {
        "deny" => Err(format!("A check of this request could not be made: {text}.")),
        _ => Ok(()),
    };
    let post = Post {
        url: &webhook.url,
        body: payload,
        secret: webhook.secret.as_deref(),
        id,
        time_s: wall_us() / 1_000_000,
        timeout: Duration::from_millis(webhook.timeout_ms),
        guarded: webhook.guarded,
    };
    let (status, body) = match post.send().await {
        Ok(answer) => answer,
        Err(text) => {
            webhook::unheard(&shard.shared, Sender::Policy, &webhook.url, &text);
            return failed("the webhook did not answer".to_string());
        }
    };
    if !(200..300).contains(&status) {
        webhook::unheard(&shard.shared, Sender::Policy, &webhook.url, &format!("it answered {status}"));
        return failed(format!("the webhook answered {status}"));
    }
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let verdict = ["verdict", "allow"].iter().find_map(|name| value.get(*name)?.as_bool());
    match verdict {
        Some(false) => {
            let text = value.get("message").and_then(Value::as_str);
            Err(text.unwrap_or("A check of this request refused it.").chars().take(1_000).collect())
        }
        _ => Ok(()),
    }
}

/// Logs, alerts, and webhooks that nobody waits for.
pub fn tell(shard: &Arc<Shard>, policy: &Policy, action: &Action, facts: &RequestFacts<'_>, matter: &Matter) {
    let event = |kind, level, message| Event {
        kind,
        level,
        message,
        request_id: Some(matter.request_id.clone()),
        model: Some(matter.model.clone()),
        ..Event::default()
    };
    match action {
        Action::Log { told, fields } => {
            let level = match told.level.as_str() {
                "debug" => "debug",
                "warning" => "warning",
                "error" => "error",
                _ => "info",
            };
            let values = fields.iter().map(|(name, field)| format!(" {name}={}", shown(&facts.fact(field))));
            let text = format!("policy {}: {}{}", policy.name, told.message, values.collect::<String>());
            shard.shared.events.push(event("policy_log", level, text));
        }
        Action::Alert(alert) => {
            let past = &shard.shared.state.past;
            let period = alert.every_ms.saturating_mul(1_000_000);
            if !past.first(&policy.name, "alert", period, monotonic_ns()) {
                return;
            }
            let level = if alert.severity == "critical" { "error" } else { "warning" };
            let text = format!("alert of policy {} ({}): {}", policy.name, alert.severity, alert.message);
            shard.shared.events.push(event("policy_alert", level, text));
            if let Some(url) = &alert.url {
                let mut payload: Value =
                    serde_json::from_slice(&matter.payload(policy, None, None)).unwrap_or_default();
                if let Some(map) = payload.as_object_mut() {
                    map.insert("type".into(), "policy.alert".into());
                    map.insert("severity".into(), alert.severity.clone().into());
                    map.insert("message".into(), alert.message.clone().into());
                    // What chat systems show.
                    map.insert(
                        "text".into(),
                        format!("[{}] {}: {}", alert.severity, policy.name, alert.message).into(),
                    );
                }
                send(shard, url, alert.secret.as_deref(), alert.guarded, payload.to_string().into_bytes(), matter);
            }
        }
        Action::Webhook(webhook) => {
            let payload = matter.payload(policy, None, None);
            send(shard, &webhook.url, webhook.secret.as_deref(), webhook.guarded, payload, matter);
        }
        _ => {}
    }
}

/// Sends without anybody waiting.
fn send(shard: &Shard, url: &str, secret: Option<&str>, guarded: bool, body: Vec<u8>, matter: &Matter) {
    let (url, secret, id) = (url.to_string(), secret.map(str::to_string), matter.request_id.clone());
    webhook::send(&shard.shared, Message { sender: Sender::Policy, url, secret, guarded, id, body });
}

fn shown(fact: &Fact<'_>) -> String {
    let text = match fact {
        Fact::Missing => "-".to_string(),
        Fact::Bool(value) => value.to_string(),
        Fact::Number(value) => value.to_string(),
        Fact::Text(text) => text.to_string(),
        Fact::Many(facts) => facts.iter().map(shown).collect::<Vec<_>>().join(","),
    };
    text.chars().take(200).collect()
}

/// What is left to do when an answer is over.
pub struct After {
    pub shard: Arc<Shard>,
    pub snapshot: SnapshotRef,
    pub kept: Kept,
    pub matter: Matter,
    /// Policies that are asked.
    pub chosen: Chosen,
}

impl After {
    /// Asks the policies, tells what they want told, and keeps the request for replay.
    pub fn run(mut self, reply: &Reply) {
        let policies = &self.snapshot.policies;
        {
            let facts = RequestFacts::of(self.kept.scene(&self.snapshot.almanac, Some(reply)));
            let memo = Memo::new(&policies.fields, &facts);
            let held: Vec<&Policy> = self.chosen.iter().filter_map(|place| policies.get(*place)).collect();
            for policy in held.into_iter().filter(|policy| memo.holds(&policy.rule)) {
                self.note(policy);
                if policy.shadow {
                    continue;
                }
                for action in &policy.actions {
                    tell(&self.shard, policy, action, &facts, &self.matter);
                }
                if policy.actions.iter().any(|action| matches!(action, Action::Allow)) {
                    break;
                }
            }
        }
        if policies.keep > 0 {
            self.kept.reply = Some(Answered::from(reply));
            self.shard.shared.state.past.keep(&self.snapshot, self.kept);
        }
    }

    fn note(&self, policy: &Policy) {
        let verdict = Verdict {
            time_us: self.matter.time_us,
            request_id: self.matter.request_id.clone(),
            rule: policy.name.to_string(),
            label: policy.told(),
            action: policy.actions.first().map_or("", Action::name),
            shadow: policy.shadow,
            side: policy.phase.name(),
            place: format!("version {}", policy.version),
            model: self.matter.model.clone(),
            key: self.matter.key.clone(),
            matches: 1,
            length: 0,
        };
        self.shard.shared.state.policies.note(&policy.cell, verdict);
    }
}

/// A stream that is looked at when it is over.
pub struct Tail {
    /// None when it is over.
    pub inner: Option<Box<dyn Source>>,
    pub reply: Reply,
    pub whole: Whole,
    pub started: std::time::Instant,
    /// All of it; None when that is too much.
    pub seen: Option<BytesMut>,
    pub after: Option<After>,
}

impl Tail {
    fn end(&mut self) {
        // Settled with its source, also when the caller has left.
        self.inner = None;
        let Some(after) = self.after.take() else { return };
        let mut reply = std::mem::take(&mut self.reply);
        match self.seen.take() {
            // It has left: of one that cannot be read, what it cost is all that can be told.
            Some(seen) => _ = self.whole.tell(seen.freeze(), &mut reply),
            None => self.whole.tell_cost(&mut reply),
        }
        reply.latency_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        after.run(&reply);
    }
}

impl Source for Tail {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let data = std::task::ready!(inner.poll_data(cx));
        match &data {
            Some(Ok(data)) => match &mut self.seen {
                Some(seen) if seen.len() + data.len() <= REMEMBERED => seen.extend_from_slice(data),
                _ => self.seen = None,
            },
            Some(Err(_)) | None => self.end(),
        }
        Poll::Ready(data)
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.as_ref().and_then(|inner| inner.remaining())
    }
}

impl Drop for Tail {
    /// A caller that leaves has had what he has had.
    fn drop(&mut self) {
        self.end();
    }
}
