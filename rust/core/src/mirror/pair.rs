//! The two answers to a request and to its mirror, looked at as they pass.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use parking_lot::Mutex;
use serde_json::json;

use super::agreement;
use crate::body::{Body, Broken, Source};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::shard::Shared;
use crate::stream::Framing;

/// Longest answer whose words are compared.
const LONGEST: usize = 256 * 1024;

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Own,
    Mirror,
}

/// What became of one of the two.
struct Outcome {
    status: u16,
    /// Complete, and short enough to be compared.
    body: Option<Bytes>,
    stream: Option<Framing>,
    deployment: Option<String>,
}

/// A request and its mirror.
pub struct Pair {
    shared: Arc<Shared>,
    request_id: String,
    mirror_id: String,
    model: String,
    mirror: String,
    generates: bool,
    /// The one that was complete first.
    first: Mutex<Option<(Outcome, Side)>>,
}

impl Pair {
    pub fn new(own: &Exchange, copy: &Exchange) -> Pair {
        Pair {
            shared: own.shard.shared.clone(),
            request_id: own.request_id.to_string(),
            mirror_id: copy.request_id.to_string(),
            model: own.model().map(|model| model.name.to_string()).unwrap_or_default(),
            mirror: copy.call.model.clone(),
            generates: own.endpoint.operation.generates(),
            first: Mutex::default(),
        }
    }

    /// Looks at an answer as it passes.
    ///
    /// # Errors
    /// Those of the answer.
    pub fn watch(
        self: &Arc<Self>,
        side: Side,
        exchange: &Exchange,
        answer: Result<Response<Body>, Error>,
    ) -> Result<Response<Body>, Error> {
        let served = exchange.served.and_then(|index| exchange.deployment(index));
        let deployment = served.map(|deployment| deployment.id.to_string());
        let mut eye = Eye { pair: self.clone(), side, status: 0, stream: None, deployment, seen: BytesMut::new() };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                eye.status = error.http_status().as_u16();
                eye.end(false);
                return Err(error);
            }
        };
        eye.status = answer.status().as_u16();
        eye.stream = Framing::of(answer.headers());
        Ok(answer.map(|body| match body.into_source() {
            Ok(source) => Body::stream(Watched { source, eye: Some(eye) }),
            Err(bytes) => {
                eye.see(&bytes);
                eye.end(true);
                Body::full(bytes)
            }
        }))
    }

    fn note(self: Arc<Self>, side: Side, outcome: Outcome) {
        let mut waiting = self.first.lock();
        let Some((first, at)) = waiting.take() else {
            *waiting = Some((outcome, side));
            return;
        };
        drop(waiting);
        let (own, other) = if at == Side::Own { (first, outcome) } else { (outcome, first) };
        // Words are counted where nobody waits; a process that ends counts none.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || self.tell(&own, &other));
        }
    }

    /// Tells Python what came of it.
    fn tell(&self, own: &Outcome, other: &Outcome) {
        let said = |side: &Outcome| agreement::said(side.body.clone()?, side.stream);
        let (ours, theirs) = match self.generates {
            true => (said(own), said(other)),
            false => (None, None),
        };
        let agreement = ours.as_ref().zip(theirs.as_ref()).map(|(ours, theirs)| agreement::of(ours, theirs));
        let message = json!({
            "model": self.model, "mirror": self.mirror, "mirror_id": self.mirror_id,
            "status": own.status, "mirror_status": other.status,
            "deployment": own.deployment, "mirror_deployment": other.deployment,
            "length": ours.map(|text| text.chars().count()), "mirror_length": theirs.map(|text| text.chars().count()),
            "agreement": agreement,
        });
        self.shared.events.push(Event {
            kind: "mirrored",
            level: "debug",
            message: message.to_string(),
            request_id: Some(self.request_id.clone()),
            ..Event::default()
        });
    }
}

struct Eye {
    pair: Arc<Pair>,
    side: Side,
    status: u16,
    stream: Option<Framing>,
    deployment: Option<String>,
    seen: BytesMut,
}

impl Eye {
    fn see(&mut self, data: &Bytes) {
        // One byte more than the longest tells that it is longer.
        let room = (LONGEST + 1).saturating_sub(self.seen.len()).min(data.len());
        self.seen.extend_from_slice(data.get(..room).unwrap_or_default());
    }

    fn end(self, complete: bool) {
        let whole = complete && self.seen.len() <= LONGEST && (200..300).contains(&self.status);
        let body = whole.then(|| self.seen.freeze());
        let outcome = Outcome { status: self.status, body, stream: self.stream, deployment: self.deployment };
        self.pair.note(self.side, outcome);
    }
}

struct Watched {
    source: Box<dyn Source>,
    eye: Option<Eye>,
}

impl Source for Watched {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let data = std::task::ready!(self.source.poll_data(cx));
        match (&data, &mut self.eye) {
            (Some(Ok(bytes)), Some(eye)) => eye.see(bytes),
            (Some(Ok(_)), None) => {}
            (ended, _) => {
                let complete = ended.is_none();
                if let Some(eye) = self.eye.take() {
                    eye.end(complete);
                }
            }
        }
        Poll::Ready(data)
    }

    fn remaining(&self) -> Option<u64> {
        self.source.remaining()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(eye) = self.eye.take() {
            // The client went away, or its connection needs no more than it took.
            let complete = self.source.remaining() == Some(0);
            eye.end(complete);
        }
    }
}
