//! Streams of events: each text that grows over events is searched as one, and events wait until nothing in them can be
//! the start of a match.
//!
//! Events leave byte for byte as they came unless something in them is cut out; then only their strings change. What a
//! caller gets does not depend on how the provider cut its text into events or its events into packets. [`watch`] does
//! that; what stands here connects it to the request it is for.

mod edit;
mod ending;
mod field;
mod fields;
mod frame;
mod leaving;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

pub use ending::{Caller, Passed};
pub(super) use fields::{Found, Text, texts};
pub(super) use frame::{Data, data as data_of, one_line, sealed};
pub use watch::Watch;

use super::output::refusal;
use super::record::Verdict;
use super::{Action, Finding, Mode, Side, Then};
use crate::body::{Broken, Source};
use crate::clock::wall_us;
use crate::endpoint::{Dialect, Operation};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::shard::{Shard, SnapshotRef};

/// What stands in place of the rest of a stream that is stopped by somebody who has not followed it.
pub fn ended(dialect: Dialect, operation: Operation, error: &Error, id: &str) -> Bytes {
    let caller = Caller { dialect, operation, request_id: id.to_string(), model: String::new(), seconds: 0 };
    Passed::begun().ending(&caller, error)
}

/// A stream under guard.
pub struct Guarded {
    inner: Option<Box<dyn Source>>,
    snapshot: SnapshotRef,
    plan: usize,
    watch: Watch,
    teller: Teller,
    caller: Caller,
}

/// Takes what is found in a stream.
pub struct Teller {
    shard: Arc<Shard>,
    side: &'static str,
    time_us: i64,
    request_id: String,
    model: String,
    key: String,
    told: Vec<(Arc<str>, Arc<str>)>,
    block_status: u16,
}

impl Teller {
    pub fn new(exchange: &Exchange, side: &'static str, block_status: u16) -> Teller {
        Teller {
            shard: exchange.shard.clone(),
            side,
            time_us: exchange.wall_us,
            request_id: exchange.request_id.to_string(),
            model: exchange.model().map(|model| model.name.to_string()).unwrap_or_default(),
            key: exchange.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default(),
            told: Vec::new(),
            block_status,
        }
    }

    /// Another text begins, in which everything counts anew.
    pub fn forget(&mut self) {
        self.told.clear();
        self.time_us = wall_us();
    }

    /// Records a finding, once.
    pub fn note(&mut self, finding: &Finding) {
        let known = self.told.iter().any(|(rule, label)| *rule == finding.rule.name && *label == finding.label);
        if known {
            return;
        }
        self.told.push((finding.rule.name.clone(), finding.label.clone()));
        let verdict = Verdict {
            time_us: self.time_us,
            request_id: self.request_id.clone(),
            side: self.side,
            model: self.model.clone(),
            key: self.key.clone(),
            ..Verdict::of(finding)
        };
        super::notice::note(&self.shard, &finding.rule.cell, verdict);
    }

    /// Records a finding once for the stream; an error when it blocks.
    pub fn found(&mut self, finding: &Finding) -> Result<(), Error> {
        self.note(finding);
        if finding.rule.effect() == Action::Block && finding.rule.mode != Mode::Audit {
            return Err(refusal(finding, "stream", self.block_status));
        }
        Ok(())
    }
}

impl Guarded {
    pub fn new(exchange: &Exchange, snapshot: SnapshotRef, plan: u32, inner: Box<dyn Source>) -> Option<Self> {
        let plan = plan as usize;
        let found = snapshot.plans.get(plan)?;
        found.output.as_ref()?.owner(0)?;
        let teller = Teller::new(exchange, "output", found.block_status);
        let caller = Caller {
            dialect: exchange.endpoint.dialect,
            operation: exchange.endpoint.operation,
            request_id: exchange.request_id.to_string(),
            model: teller.model.clone(),
            seconds: exchange.wall_us / 1_000_000,
        };
        Some(Guarded { inner: Some(inner), watch: Watch::new(caller.dialect), snapshot, plan, teller, caller })
    }

    /// A stream that is there as a whole: what of it may leave, or why it may not and what follows on that.
    pub fn whole(mut self, stream: Bytes) -> Result<Bytes, (Error, Then)> {
        let Guarded { watch, teller, snapshot, plan, .. } = &mut self;
        let side = snapshot.plans.get(*plan).and_then(|plan| plan.output.as_ref());
        let Some(side) = side else { return Ok(stream) };
        let mut then = Then::Refuse;
        let report = &mut |finding: &Finding| {
            let found = teller.found(finding);
            if found.is_err() && then == Then::Refuse {
                then = finding.rule.then;
            }
            found
        };
        let (first, error) = watch.push(side, stream, report);
        let (rest, error) = match error {
            Some(error) => (Bytes::new(), Some(error)),
            None => watch.end(side, report),
        };
        match error {
            Some(error) => Err((error, then)),
            None => Ok([first, rest].concat().into()),
        }
    }

    /// What a read of the provider's stream lets out; the stream is over when it was its last.
    fn step(&mut self, data: Option<Bytes>) -> Bytes {
        let Guarded { watch, teller, snapshot, plan, .. } = self;
        let side = snapshot.plans.get(*plan).and_then(|plan| plan.output.as_ref());
        let Some(side): Option<&Side> = side else { return data.unwrap_or_default() };
        let report = &mut |finding: &Finding| teller.found(finding);
        let (out, error) = match data {
            Some(data) => watch.push(side, data, report),
            None => watch.end(side, report),
        };
        let Some(error) = error else { return out };
        self.inner = None;
        self.teller.shard.metrics.error(error.code);
        let ending = self.watch.ending(&self.caller, &error);
        if out.is_empty() {
            return ending;
        }
        let mut out = BytesMut::from(out);
        out.extend_from_slice(&ending);
        out.freeze()
    }
}

impl Source for Guarded {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let data = match std::task::ready!(inner.poll_data(cx)) {
                Some(Ok(data)) => Some(data),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => None,
            };
            let over = data.is_none();
            let out = self.step(data);
            if over {
                self.inner = None;
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out)));
            }
        }
    }
}
