//! A stream whose tools are watched while it passes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::Policy;
use super::action::Action;
use super::apply::{denied, tool_text};
use crate::body::{Broken, Source};
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::exchange::{Exchange, RequestId};
use crate::facts::streamed;
use crate::shard::{Shard, SnapshotRef};
use crate::wire::sse::{self, Framer};

/// Longest event of a stream whose tools are watched.
const EVENT: usize = 16 * 1024 * 1024;

/// A stream that ends where it calls a tool that may not be called.
pub(super) struct ToolWatch {
    inner: Option<Box<dyn Source>>,
    framer: Framer,
    snapshot: SnapshotRef,
    shard: Arc<Shard>,
    policy: Arc<str>,
    dialect: Dialect,
    operation: Operation,
    request_id: RequestId,
}

impl ToolWatch {
    pub fn new(exchange: &Exchange, policy: &Policy, inner: Box<dyn Source>) -> ToolWatch {
        ToolWatch {
            inner: Some(inner),
            framer: Framer::new(EVENT),
            snapshot: exchange.snapshot.clone(),
            shard: exchange.shard.clone(),
            policy: policy.name.clone(),
            dialect: exchange.endpoint.dialect,
            operation: exchange.endpoint.operation,
            request_id: exchange.request_id,
        }
    }

    /// The refusal, when an event begins a call that may not be.
    fn judge(&self, event: &Bytes) -> Option<Error> {
        let data = sse::data(event);
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return None;
        }
        let policy = self.snapshot.policies.list.iter().find(|policy| policy.name == self.policy)?;
        let Ok(value) = serde_json::from_slice::<Value>(data) else {
            return Some(denied(policy, 502, "An event of the answer cannot be read."));
        };
        let names = streamed::names(&value);
        let scopes = policy.actions.iter().filter_map(|action| match action {
            Action::ToolScope(scope) => Some(scope),
            _ => None,
        });
        scopes.into_iter().find_map(|scope| {
            let name = names.iter().find(|name| !scope.admits(name))?;
            Some(denied(policy, 403, &tool_text(policy, &scope.message, name)))
        })
    }
}

impl Source for ToolWatch {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let data = match std::task::ready!(inner.poll_data(cx)) {
                Some(Ok(data)) => data,
                other => return Poll::Ready(other),
            };
            let Ok(batch) = self.framer.push(data) else {
                self.inner = None;
                return Poll::Ready(Some(Err(Broken("an event is too long".to_string()))));
            };
            let mut passed = BytesMut::new();
            let mut start = 0;
            for end in &batch.ends {
                let end = *end as usize;
                let event = batch.bytes.slice(start..end);
                start = end;
                if let Some(error) = self.judge(&event) {
                    self.inner = None;
                    self.shard.metrics.error(error.code);
                    let id = self.request_id.to_string();
                    let ending = crate::guard::stream::ended(self.dialect, self.operation, &error, &id);
                    passed.extend_from_slice(&ending);
                    return Poll::Ready(Some(Ok(passed.freeze())));
                }
                passed.extend_from_slice(&event);
            }
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(passed.freeze())));
            }
        }
    }
}
