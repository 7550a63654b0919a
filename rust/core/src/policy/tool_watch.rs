//! A stream whose tools are watched while it passes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::Policy;
use super::action::Action;
use super::answer::unreadable;
use super::apply::{denied, tool_text};
use crate::body::{Broken, Source};
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::exchange::{Exchange, RequestId};
use crate::facts::streamed;
use crate::shard::{Shard, SnapshotRef};
use crate::stream::{Frames, Framing};

/// A stream that ends where it calls a tool that may not be called.
pub(super) struct ToolWatch {
    inner: Option<Box<dyn Source>>,
    frames: Frames,
    framing: Framing,
    snapshot: SnapshotRef,
    shard: Arc<Shard>,
    policy: Arc<str>,
    dialect: Dialect,
    operation: Operation,
    request_id: RequestId,
}

impl ToolWatch {
    pub fn new(exchange: &Exchange, policy: &Policy, framing: Framing, inner: Box<dyn Source>) -> ToolWatch {
        ToolWatch {
            inner: Some(inner),
            frames: Frames::new(framing.is_amazon()),
            framing,
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
        let policy = self.snapshot.policies.list.iter().find(|policy| policy.name == self.policy)?;
        let (kind, value) = match streamed::read(event, self.framing) {
            Some(Some(read)) => read,
            Some(None) => return None,
            None => return Some(unreadable(policy)),
        };
        let names = streamed::names(kind.as_deref(), &value);
        let scopes = policy.actions.iter().filter_map(|action| match action {
            Action::ToolScope(scope) => Some(scope),
            _ => None,
        });
        scopes.into_iter().find_map(|scope| {
            let name = names.iter().find(|name| !scope.admits(name))?;
            Some(denied(policy, 403, &tool_text(policy, &scope.message, name)))
        })
    }

    /// What of these events may pass; the stream is over where one may not.
    fn passed(&mut self, events: impl Iterator<Item = Bytes>) -> Bytes {
        let mut passed = BytesMut::new();
        for event in events {
            if let Some(error) = self.judge(&event) {
                self.inner = None;
                self.shard.metrics.error(error.code);
                let id = self.request_id.to_string();
                passed.extend_from_slice(&crate::guard::stream::ended(self.dialect, self.operation, &error, &id));
                break;
            }
            passed.extend_from_slice(&event);
        }
        passed.freeze()
    }
}

impl Source for ToolWatch {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let passed = match std::task::ready!(inner.poll_data(cx)) {
                Some(Ok(data)) => {
                    let Ok(batch) = self.frames.push(data) else {
                        self.inner = None;
                        return Poll::Ready(Some(Err(Broken("an event cannot be read".to_string()))));
                    };
                    let starts = std::iter::once(0).chain(batch.ends.iter().map(|end| *end as usize));
                    let places = starts.zip(batch.ends.iter().map(|end| *end as usize));
                    self.passed(places.map(|(start, end)| batch.bytes.slice(start..end)))
                }
                None => {
                    self.inner = None;
                    // Some readers take an event that no blank line ends.
                    let rest = self.frames.take_rest();
                    self.passed(Some(rest).filter(|rest| !rest.is_empty()).into_iter())
                }
                broken => return Poll::Ready(broken),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(passed)));
            }
        }
    }
}
