//! Streams that are rewritten on their way, event by event.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use super::collect::Collect;
use super::frames::Frames;
use super::upstream::{Heard, Upstream};
use crate::account::Ending;
use crate::body::{Broken, Source};
use crate::dialect::{self, Format, Tap, translate};
use crate::endpoint::Dialect;
use crate::error::{Code, Error};
use crate::exchange::{Exchange, RequestId};
use crate::late;
use crate::metrics::Outcome;
use crate::stage::relay::translated::invalid;
use crate::wire::sse::Batch;

type Data = Poll<Option<Result<Bytes, Broken>>>;

/// Events of one format, made of those of another.
pub struct Translated {
    upstream: Upstream,
    framer: Frames,
    stream: translate::Stream,
    from: Format,
    to: Format,
    dialect: Dialect,
    request_id: RequestId,
    collect: Collect,
    /// The usage is written for the cache alone: the caller did not ask for it.
    hides_usage: bool,
    settled: bool,
    done: bool,
}

impl Translated {
    pub fn new(
        exchange: &mut Exchange,
        mut upstream: Upstream,
        (from, to): (Format, Format),
        mut context: dialect::Context,
    ) -> Self {
        let collect = Collect::new(exchange);
        let hides_usage = collect.is_on() && to == Format::Chat && !context.include_usage;
        context.include_usage |= hides_usage;
        let patience = exchange.snapshot.settings.keepalive_comment_ms;
        upstream.comments =
            (patience > 0 && exchange.endpoint.dialect.takes_comments()).then(|| Duration::from_millis(patience));
        Translated {
            upstream,
            framer: Frames::new(from == Format::Converse),
            stream: translate::Stream::new(from, to, context),
            from,
            to,
            dialect: exchange.endpoint.dialect,
            request_id: exchange.request_id,
            collect,
            hides_usage,
            settled: false,
            done: false,
        }
    }

    /// What the events of one read become.
    fn pass(&mut self, batch: &Batch) -> Result<Vec<u8>, dialect::Fault> {
        let mut out = Vec::with_capacity(batch.bytes.len() + batch.bytes.len() / 2);
        for event in batch.events() {
            if self.stream.progress().over() {
                break;
            }
            let before = out.len();
            let progress = self.stream.event(event, &mut out)?;
            if progress.text > 0 {
                self.upstream.attempt.progress.content(progress.text);
            }
            self.kept(&mut out, before);
        }
        if self.stream.progress().over() {
            self.settle();
        }
        Ok(out)
    }

    /// Gives the cache what was written from `start` on, and takes out what the caller did not ask for.
    fn kept(&mut self, out: &mut Vec<u8>, start: usize) {
        let written = out.get(start..).unwrap_or_default();
        self.collect.keep(written);
        if self.hides_usage
            && self.stream.progress().usage.is_some()
            && let Ok(batch) = Frames::new(false).push(Bytes::copy_from_slice(written))
        {
            let mut tap = Tap::new(Dialect::OpenAi);
            out.truncate(start);
            batch.events().filter(|event| !tap.event(event).usage_only).for_each(|event| out.extend_from_slice(event));
        }
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let progress = self.stream.progress();
        let (usage, early, failed) = (progress.usage, progress.early, progress.failed);
        self.upstream.attempt.progress.told = early;
        match usage {
            Some(usage) if !failed => self.upstream.close(Ending::Reported { status: self.upstream.status, usage }),
            _ if failed => self.upstream.estimated(Outcome::ServerError),
            _ => self.upstream.estimated(Outcome::Success),
        }
    }

    /// The provider has ended the stream.
    fn end(&mut self) -> Data {
        self.done = true;
        let progress = self.stream.progress();
        if progress.failed {
            return Poll::Ready(None);
        }
        let mut last = Vec::new();
        if !progress.ended {
            if !(progress.finished && self.from.may_end_silently() && self.framer.pending() == 0) {
                let text = format!("The stream of provider '{}' ended before its last event.", self.upstream.provider);
                return self.fail(Outcome::ConnectionLost, &Error::new(Code::UpstreamReset, text));
            }
            self.stream.end(&mut last);
            self.settle();
            self.kept(&mut last, 0);
        }
        let kind = HeaderValue::from_static(self.to.stream_type());
        let Upstream { shard, worth, .. } = &self.upstream;
        self.collect.put(&shard.shared.state, self.dialect, kind, *worth);
        Poll::Ready((!last.is_empty()).then(|| Ok(last.into())))
    }

    /// Ends the stream with an error event of the caller's format.
    fn fail(&mut self, outcome: Outcome, error: &Error) -> Data {
        self.done = true;
        self.upstream.conn = None;
        if self.stream.progress().over() {
            return Poll::Ready(None);
        }
        self.settled = true;
        self.upstream.attempt.progress.told = self.stream.progress().early;
        self.upstream.estimated(outcome);
        self.upstream.shard.metrics.error(error.code);
        let event = dialect::error_event(self.dialect, error, &self.request_id.to_string());
        Poll::Ready(Some(Ok(event)))
    }
}

impl Source for Translated {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Data {
        if self.done {
            return Poll::Ready(None);
        }
        loop {
            let data = match std::task::ready!(self.upstream.poll(cx)) {
                Heard::Data(data) => data,
                Heard::Quiet => return Poll::Ready(Some(Ok(late::COMMENT))),
                Heard::Stop(stop) => {
                    let (outcome, error) = self.upstream.describe(&stop);
                    return self.fail(outcome, &error);
                }
                Heard::End => return self.end(),
            };
            let passed = match self.framer.push(data) {
                Ok(batch) => self.pass(&batch).map_err(|fault| invalid(&fault)),
                Err(error) => Err(format!("The provider's stream is not valid: {error}.")),
            };
            match passed {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    return Poll::Ready(Some(Ok(bytes.into())));
                }
                Err(text) => return self.fail(Outcome::InvalidResponse, &Error::new(Code::UpstreamInvalid, text)),
            }
        }
    }
}

impl Drop for Translated {
    fn drop(&mut self) {
        // The attempt settles itself; what the provider told about the input makes the estimate better.
        self.upstream.attempt.progress.told = self.stream.progress().early;
    }
}
