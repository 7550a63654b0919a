//! Messages to webhooks that nobody waits for: those of policies and of guardrails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::wall_us;
use crate::event::Event;
use crate::shard::Shared;
use crate::upstream::call::Post;

/// Time for one message, and how many may be under way: what is more is dropped, and told.
const TIMEOUT: Duration = Duration::from_secs(10);
const MOST: usize = 1_024;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// What a message is about: names the events that tell of its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Policy,
    Guardrail,
}

/// One message.
pub struct Message {
    pub sender: Sender,
    pub url: String,
    pub secret: Option<String>,
    /// Only public addresses may be reached.
    pub guarded: bool,
    /// Names the message, the same when it is sent again.
    pub id: String,
    pub body: Vec<u8>,
}

/// Sends without anybody waiting.
pub fn send(shared: &Arc<Shared>, message: Message) {
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= MOST {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        unheard(shared, message.sender, &message.url, "too many messages are under way");
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let sent = message.post().await;
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        if let Err(why) = sent {
            unheard(&shared, message.sender, &message.url, &why);
        }
    });
}

impl Message {
    async fn post(&self) -> Result<(), String> {
        let post = Post {
            url: &self.url,
            body: &self.body,
            secret: self.secret.as_deref(),
            id: &self.id,
            time_s: wall_us() / 1_000_000,
            timeout: TIMEOUT,
            guarded: self.guarded,
        };
        match post.send().await? {
            (200..300, _) => Ok(()),
            (status, _) => Err(format!("it answered {status}")),
        }
    }
}

/// Tells the operator of a webhook that does not do its part.
pub fn unheard(shared: &Shared, sender: Sender, url: &str, why: &str) {
    let (kind, of) = match sender {
        Sender::Policy => ("policy_webhook", "policy"),
        Sender::Guardrail => ("guardrail_webhook", "guardrail"),
    };
    let place = url.split('?').next().unwrap_or_default();
    let message = format!("the webhook {place} of a {of} failed: {why}");
    shared.events.push(Event { kind, level: "warning", message, ..Event::default() });
}
