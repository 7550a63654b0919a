//! Bodies of any kind, as they come.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::collect::Collect;
use super::upstream::{Heard, Upstream};
use crate::account::Ending;
use crate::body::{Broken, Source};
use crate::dialect;
use crate::endpoint::{Dialect, Operation};
use crate::exchange::Exchange;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::metrics::Outcome;

/// Plain bytes. Of JSON, head and tail are kept, where providers put the usage.
pub struct Raw {
    upstream: Upstream,
    dialect: Dialect,
    operation: Operation,
    head: BytesMut,
    tail: BytesMut,
    collect: Collect,
    content_type: Option<HeaderValue>,
    /// What the head of the answer told.
    pub told: Option<Usage>,
    ended: bool,
}

/// How much of head and tail of a long answer is kept.
const KEPT: usize = 8 * 1024;

impl Raw {
    pub fn new(exchange: &mut Exchange, upstream: Upstream, content_type: Option<HeaderValue>) -> Self {
        let collect = Collect::new(exchange);
        let (dialect, operation) = (exchange.endpoint.dialect, exchange.endpoint.operation);
        Raw {
            upstream,
            dialect,
            operation,
            head: BytesMut::new(),
            tail: BytesMut::new(),
            collect,
            content_type,
            told: None,
            ended: false,
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.collect.keep(data);
        if self.operation == Operation::AudioSpeech {
            return;
        }
        let room = KEPT.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..room]);
        self.tail.extend_from_slice(&data[data.len().saturating_sub(KEPT)..]);
        if self.tail.len() > 2 * KEPT {
            let _ = self.tail.split_to(self.tail.len() - KEPT);
        }
    }

    /// All of it has come.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.settle();
        if let Some(kind) = self.content_type.take() {
            let Upstream { shard, worth, .. } = &self.upstream;
            self.collect.put_whole(&shard.shared.state, kind, *worth);
        }
    }

    fn settle(&mut self) {
        let name = dialect::usage_name(self.dialect, self.operation);
        let member = dialect::usage_member(&self.tail, name).or_else(|| dialect::usage_member(&self.head, name));
        match self.told.or_else(|| dialect::usage(self.dialect, self.operation, member)) {
            Some(usage) => {
                let tier = dialect::tier_member(&self.tail).or_else(|| dialect::tier_member(&self.head));
                let usage = Usage { service: tier.map_or(usage.service, Service::parse), ..usage };
                self.upstream.close(Ending::Reported { status: self.upstream.status, usage });
            }
            None => self.upstream.estimated(Outcome::Success),
        }
    }
}

impl Source for Raw {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match std::task::ready!(self.upstream.poll(cx)) {
                Heard::Data(data) if !data.is_empty() => {
                    self.keep(&data);
                    // Nobody asks for more of a body whose announced length has come.
                    if self.remaining() == Some(0) && matches!(self.upstream.poll(cx), Poll::Ready(Heard::End)) {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Heard::Data(_) | Heard::Quiet => {}
                Heard::Stop(stop) => {
                    let (outcome, error) = self.upstream.describe(&stop);
                    self.upstream.estimated(outcome);
                    self.upstream.shard.metrics.error(error.code);
                    return Poll::Ready(Some(Err(Broken(error.to_string()))));
                }
                Heard::End => {
                    self.end();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        let rest = self.upstream.decoder.remaining().filter(|_| self.upstream.inflate.is_none())?;
        Some(rest + self.upstream.start.len() as u64)
    }
}
