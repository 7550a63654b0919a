//! Keeps what an answer says while it passes to its caller.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response as Answer;
use http::header::CONTENT_TYPE;
use memchr::memmem;
use serde_json::{Map, Value};

use super::items;
use super::store::{self, Response};
use crate::body::{Body, Broken, Source};
use crate::exchange::Exchange;
use crate::shard::Shared;
use crate::wire::sse::{self, Framer};

/// Longest answer that is kept.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;

/// What becomes of the answer to one request.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub owner: String,
    pub model: String,
    /// The response itself is kept, not only as part of a conversation.
    pub store: bool,
    pub previous: Option<String>,
    pub conversation: Option<String>,
    /// What the request added to what was there before.
    pub fresh: Vec<Value>,
    /// The request as it was sent: the whole input.
    pub request: Bytes,
    /// The id that the caller was told, of a response that is made in the background.
    pub background: Option<String>,
    /// The deployment that keeps the response itself.
    pub deployment: Option<String>,
}

impl Kept {
    /// The request goes on from something.
    pub fn goes_on(&self) -> bool {
        self.previous.is_some() || self.conversation.is_some()
    }

    /// What a response of the gateway's own making says about being kept: the inside of an object.
    pub fn said(&self) -> String {
        let previous = self.previous.as_ref().map_or(Value::Null, |id| id.as_str().into());
        let conversation = self.conversation.as_ref().map_or(Value::Null, |id| serde_json::json!({"id": id}));
        format!("\"previous_response_id\":{previous},\"conversation\":{conversation},\"store\":{}", self.store)
    }

    /// Keeps a response.
    fn note(self, response: &Value, shared: &Shared) {
        let known = self.background.as_deref();
        let Some(id) = known.or_else(|| response.get("id").and_then(Value::as_str)) else { return };
        let id = id.to_string();
        let Kept { background, owner, model, store, conversation, fresh, request, deployment, .. } = self;
        let output = response.get("output").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut kept = Response { id: id.clone(), model, deployment, ..Response::default() };
        if kept.deployment.is_none() {
            let mut members: Map<String, Value> = serde_json::from_slice(&request).unwrap_or_default();
            let input = items::of_input(members.remove("input")).unwrap_or_default();
            kept.input = Value::Array(input.into_iter().map(|item| items::named(item).1).collect()).to_string();
            kept.body = match background {
                None => response.to_string(),
                Some(_) => {
                    let mut response = response.clone();
                    response["id"] = id.into();
                    response["background"] = true.into();
                    response.to_string()
                }
            };
        }
        let told: Vec<(String, String)> = match &conversation {
            Some(_) => {
                fresh.into_iter().chain(output).map(items::named).map(|(id, item)| (id, item.to_string())).collect()
            }
            None => Vec::new(),
        };
        shared.stored.tell(move |db| {
            if store {
                store::put_response(db, &owner, &kept)?;
            }
            conversation.map_or(Ok(()), |conversation| store::append(db, &owner, &conversation, &told))
        });
    }
}

/// Looks at the answer to a request whose answer is to be kept.
pub fn watch(exchange: &mut Exchange, answer: Answer<Body>) -> Answer<Body> {
    let Some(mut kept) = exchange.kept.take().filter(|_| answer.status().is_success()) else { return answer };
    if exchange.translation.is_none() && kept.background.is_none() {
        let served = exchange.served.and_then(|index| exchange.deployment(index));
        kept.deployment = served.map(|deployment| deployment.id.to_string());
    }
    let shared = exchange.shard.shared.clone();
    let kind = answer.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let reading = if kind.starts_with(b"text/event-stream") {
        Reading::Events(Framer::new(LONGEST))
    } else {
        Reading::Whole(BytesMut::new())
    };
    let mut eye = Eye { kept: Some(*kept), shared, reading };
    answer.map(|body| match body.into_source() {
        Ok(source) => Body::stream(Watched { source, eye }),
        Err(bytes) => {
            eye.see(&bytes);
            eye.end();
            Body::full(bytes)
        }
    })
}

enum Reading {
    Events(Framer),
    Whole(BytesMut),
}

struct Eye {
    kept: Option<Kept>,
    shared: Arc<Shared>,
    reading: Reading,
}

impl Eye {
    fn see(&mut self, data: &Bytes) {
        if self.kept.is_none() {
            return;
        }
        match &mut self.reading {
            Reading::Whole(whole) if whole.len() + data.len() <= LONGEST => whole.extend_from_slice(data),
            Reading::Whole(_) => self.kept = None,
            Reading::Events(framer) => match framer.push(data.clone()) {
                Ok(batch) => batch.events().for_each(|event| self.event(event)),
                Err(_) => self.kept = None,
            },
        }
    }

    /// A provider's own response is remembered as soon as it has an id, the gateway's when it is complete.
    fn event(&mut self, event: &[u8]) {
        let early = self.kept.as_ref().is_some_and(|kept| kept.deployment.is_some() && kept.conversation.is_none());
        let ends: &[&[u8]] = match early {
            true => &[b"response.created"],
            false => &[b"response.completed", b"response.incomplete", b"response.failed"],
        };
        if !ends.iter().any(|end| memmem::find(event, end).is_some()) {
            return;
        }
        let event: Value = serde_json::from_slice(&sse::data(event)).unwrap_or_default();
        let named = event.get("type").and_then(Value::as_str);
        if named.is_some_and(|named| ends.contains(&named.as_bytes()))
            && let (Some(response), Some(kept)) = (event.get("response"), self.kept.take())
        {
            kept.note(response, &self.shared);
        }
    }

    fn end(&mut self) {
        if let Reading::Whole(whole) = &self.reading
            && let Some(kept) = self.kept.take()
            && let Ok(response) = serde_json::from_slice(whole)
        {
            kept.note(&response, &self.shared);
        }
    }
}

struct Watched {
    source: Box<dyn Source>,
    eye: Eye,
}

impl Source for Watched {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let data = std::task::ready!(self.source.poll_data(cx));
        match &data {
            Some(Ok(data)) => self.eye.see(data),
            // Broken: what has not ended is not kept.
            Some(Err(_)) => self.eye.kept = None,
            None => self.eye.end(),
        }
        Poll::Ready(data)
    }

    fn remaining(&self) -> Option<u64> {
        self.source.remaining()
    }
}
