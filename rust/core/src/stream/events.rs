//! Streams of server-sent events.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::collect::Collect;
use super::frames::Frames;
use super::upstream::{Heard, Upstream};
use crate::account::Ending;
use crate::body::{Broken, Source};
use crate::dialect::{self, Seen, Tap};
use crate::endpoint::Dialect;
use crate::error::{Code, Error};
use crate::exchange::{Exchange, RequestId};
use crate::late;
use crate::metrics::Outcome;
use crate::wire::json::scan_object;
use crate::wire::sse::Batch;

/// Server-sent events: whole events only, byte for byte, less the usage event that only the gateway asked for.
pub struct Events {
    upstream: Upstream,
    framer: Frames,
    tap: Tap,
    dialect: Dialect,
    request_id: RequestId,
    hide_usage: bool,
    has_terminator: bool,
    restamp: Option<Bytes>,
    collect: Collect,
    terminated: bool,
    finished: bool,
    failed: bool,
    done: bool,
}

impl Events {
    pub fn new(exchange: &mut Exchange, mut upstream: Upstream) -> Self {
        let collect = Collect::new(exchange);
        let patience = exchange.snapshot.settings.keepalive_comment_ms;
        upstream.comments =
            (patience > 0 && exchange.endpoint.dialect.takes_comments()).then(|| Duration::from_millis(patience));
        let deployment = exchange.served.and_then(|index| exchange.deployment(index));
        let dialect = exchange.endpoint.dialect;
        Events {
            framer: Frames::new(dialect == Dialect::Bedrock),
            tap: Tap::new(dialect),
            dialect,
            request_id: exchange.request_id,
            hide_usage: deployment.is_some_and(|deployment| exchange.asks_for_usage(deployment)),
            has_terminator: exchange.endpoint.operation.generates(),
            restamp: exchange
                .model()
                .filter(|_| exchange.snapshot.settings.restamp_model)
                .map(|model| model.name_json.clone()),
            collect,
            upstream,
            terminated: false,
            finished: false,
            failed: false,
            done: false,
        }
    }

    /// Looks at the events of one read and gives what may be passed on of them.
    fn pass(&mut self, batch: &Batch) -> Bytes {
        let mut start = 0;
        // As long as nothing is left out, the bytes read are the bytes sent.
        let mut edited: Option<BytesMut> = None;
        for end in &batch.ends {
            let range = start..*end as usize;
            let event = batch.bytes.get(range.clone()).unwrap_or_default();
            let seen = self.tap.event(event);
            self.note(&seen);
            let hidden = self.hide_usage && seen.usage_only;
            let replaced = if hidden { None } else { self.restamp(event) };
            if self.hide_usage {
                // Who asks for the same with its usage shall get it.
                self.collect.keep(replaced.as_deref().unwrap_or(event));
            }
            if (hidden || replaced.is_some()) && edited.is_none() {
                edited = Some(BytesMut::from(batch.bytes.get(..start).unwrap_or_default()));
            }
            if let Some(edited) = edited.as_mut().filter(|_| !hidden) {
                edited.extend_from_slice(replaced.as_deref().unwrap_or(event));
            }
            start = range.end;
        }
        edited.map_or_else(|| batch.bytes.clone(), BytesMut::freeze)
    }

    fn note(&mut self, seen: &Seen) {
        if seen.text > 0 {
            self.upstream.attempt.progress.content(seen.text);
        }
        self.finished |= seen.finished;
        self.failed |= seen.error;
        if seen.terminal && !self.terminated {
            self.terminated = true;
            self.settle();
        }
    }

    fn settle(&mut self) {
        let status = self.upstream.status;
        match self.tap.usage() {
            Some(usage) => self.upstream.close(Ending::Reported { status, usage }),
            None if self.failed => self.upstream.estimated(Outcome::ServerError),
            None => self.upstream.estimated(Outcome::Success),
        }
    }

    fn restamp(&self, event: &[u8]) -> Option<Vec<u8>> {
        let name = self.restamp.as_ref()?;
        let data = event.strip_prefix(b"data: ")?;
        let scan = scan_object(data.trim_ascii_end(), &["model"]).ok()?;
        let model = scan.fields[0]?;
        let offset = event.len() - data.len();
        let before = event.get(..offset + model.start as usize)?;
        Some([before, name, event.get(offset + model.end as usize..)?].concat())
    }

    /// Gives a whole stream to the cache, where it was kept for it.
    fn store(&mut self) {
        if !self.failed {
            let kind = match self.dialect {
                Dialect::Bedrock => dialect::bedrock_converse::STREAM_TYPE,
                _ => "text/event-stream",
            };
            let kind = HeaderValue::from_static(kind);
            let Upstream { shard, worth, .. } = &self.upstream;
            self.collect.put(&shard.shared.state, self.dialect, kind, *worth);
        }
    }

    /// The provider has ended the stream.
    fn end(&mut self) -> Poll<Option<Result<Bytes, Broken>>> {
        self.done = true;
        if self.terminated {
            self.store();
            return Poll::Ready(None);
        }
        // An event without its blank line would be dropped by every reader: it is not passed on.
        if self.finished && self.framer.pending() == 0 && self.dialect == Dialect::OpenAi {
            // Some providers leave the terminator out; the answer itself is complete.
            self.settle();
            let last = Bytes::from_static(b"data: [DONE]\n\n");
            self.collect.keep(&last);
            self.store();
            return Poll::Ready(Some(Ok(last)));
        }
        if self.finished && self.framer.pending() == 0 && self.dialect == Dialect::Gemini {
            // Google's streams have no terminator.
            self.settle();
            self.store();
            return Poll::Ready(None);
        }
        if self.failed || !self.has_terminator {
            self.settle();
            return Poll::Ready(None);
        }
        let text = format!("The stream of provider '{}' ended before its last event.", self.upstream.provider);
        self.fail(Outcome::ConnectionLost, &Error::new(Code::UpstreamReset, text))
    }

    /// Ends the stream with the dialect's error event.
    fn fail(&mut self, outcome: Outcome, error: &Error) -> Poll<Option<Result<Bytes, Broken>>> {
        self.done = true;
        self.upstream.conn = None;
        if self.terminated {
            return Poll::Ready(None);
        }
        self.upstream.attempt.progress.told = self.tap.early_input();
        self.upstream.estimated(outcome);
        self.upstream.shard.metrics.error(error.code);
        let event = dialect::error_event(self.dialect, error, &self.request_id.to_string());
        Poll::Ready(Some(Ok(event)))
    }
}

impl Source for Events {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
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
            let batch = match self.framer.push(data) {
                Ok(batch) => batch,
                Err(error) => {
                    let error =
                        Error::new(Code::UpstreamInvalid, format!("The provider's stream is not valid: {error}."));
                    return self.fail(Outcome::InvalidResponse, &error);
                }
            };
            let bytes = self.pass(&batch);
            if !bytes.is_empty() {
                if !self.hide_usage {
                    self.collect.keep(&bytes);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The attempt settles itself; what the provider told about the input makes the estimate better.
        self.upstream.attempt.progress.told = self.tap.early_input();
    }
}
