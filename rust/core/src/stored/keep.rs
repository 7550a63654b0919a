//! Keeps what an answer says while it passes to its caller.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response as Answer;
use http::header::CONTENT_TYPE;
use memchr::memmem;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::store::Response;
use super::write::Write;
use super::{access, items};
use crate::body::{Body, Broken, Source};
use crate::exchange::Exchange;
use crate::shard::Shard;
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

    /// Keeps a response; what is to be waited for until other nodes have it.
    fn note(self, response: &Value, shard: &Arc<Shard>) -> Option<JoinHandle<()>> {
        let known = self.background.as_deref();
        let id = known.or_else(|| response.get("id").and_then(Value::as_str))?;
        let id = id.to_string();
        let Kept { background, owner, model, store, conversation, fresh, request, deployment, .. } = self;
        let output = response.get("output").and_then(Value::as_array).cloned().unwrap_or_default();
        let made = background.is_some();
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
        let mut writes = Vec::new();
        if store {
            let owner = owner.clone();
            writes.push(match made {
                true => Write::End { owner, response: kept },
                false => Write::Response { owner, response: kept, making: false },
            });
        }
        if let Some(conversation) = conversation {
            let items = fresh.into_iter().chain(output).map(items::named);
            let items = items.map(|(id, item)| (id, item.to_string())).collect();
            writes.push(Write::Append { owner, conversation, mark: items::fresh("mark"), items });
        }
        access::keep(shard, writes)
    }
}

/// Looks at the answer to a request whose answer is to be kept.
pub fn watch(exchange: &mut Exchange, answer: Answer<Body>) -> Answer<Body> {
    let Some(mut kept) = exchange.kept.take().filter(|_| answer.status().is_success()) else { return answer };
    if exchange.translation.is_none() && kept.background.is_none() {
        let served = exchange.served.and_then(|index| exchange.deployment(index));
        kept.deployment = served.map(|deployment| deployment.id.to_string());
    }
    let shard = exchange.shard.clone();
    let kind = answer.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let reading = if kind.starts_with(b"text/event-stream") {
        Reading::Events(Framer::new(LONGEST))
    } else {
        Reading::Whole(BytesMut::new())
    };
    let mut eye = Eye { kept: Some(*kept), shard, reading, writing: None, over: false };
    answer.map(|body| match body.into_source() {
        Ok(source) => Body::stream(Watched { source: Some(source), held: None, waits: false, eye }),
        Err(bytes) => {
            eye.see(&bytes);
            eye.end();
            match eye.writing {
                Some(_) => Body::stream(Watched { source: None, held: Some(bytes), waits: true, eye }),
                None => Body::full(bytes),
            }
        }
    })
}

enum Reading {
    Events(Framer),
    Whole(BytesMut),
}

struct Eye {
    kept: Option<Kept>,
    shard: Arc<Shard>,
    reading: Reading,
    /// What other nodes do not have yet.
    writing: Option<JoinHandle<()>>,
    /// The last data say that the response is complete.
    over: bool,
}

const ENDS: [&[u8]; 3] = [b"response.completed", b"response.incomplete", b"response.failed"];

impl Eye {
    fn see(&mut self, data: &Bytes) {
        self.over = false;
        if self.kept.is_none() && self.writing.is_none() {
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
        let holds = |names: &[&[u8]]| names.iter().any(|name| memmem::find(event, name).is_some());
        let over = holds(&ENDS);
        self.over |= over;
        let Some(kept) = &self.kept else { return };
        let early = kept.deployment.is_some() && kept.conversation.is_none();
        let ends: &[&[u8]] = if early { &[b"response.created"] } else { &ENDS };
        if !(if early { holds(ends) } else { over }) {
            return;
        }
        let event: Value = serde_json::from_slice(&sse::data(event)).unwrap_or_default();
        let named = event.get("type").and_then(Value::as_str);
        if named.is_some_and(|named| ends.contains(&named.as_bytes()))
            && let (Some(response), Some(kept)) = (event.get("response"), self.kept.take())
        {
            self.writing = kept.note(response, &self.shard);
        }
    }

    fn end(&mut self) {
        if let Reading::Whole(whole) = &self.reading
            && let Some(kept) = self.kept.take()
            && let Ok(response) = serde_json::from_slice(whole)
        {
            self.writing = kept.note(&response, &self.shard);
        }
    }
}

/// The answer on its way. What says that it is complete is held back until other nodes can be asked for it.
struct Watched {
    source: Option<Box<dyn Source>>,
    held: Option<Bytes>,
    waits: bool,
    eye: Eye,
}

impl Source for Watched {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if self.waits {
                if let Some(writing) = &mut self.eye.writing {
                    let _ = std::task::ready!(Pin::new(writing).poll(cx));
                }
                (self.waits, self.eye.writing) = (false, None);
                if let Some(data) = self.held.take() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            let Some(source) = &mut self.source else { return Poll::Ready(None) };
            match std::task::ready!(source.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.eye.see(&data);
                    if matches!(self.eye.reading, Reading::Events(_)) {
                        self.waits = self.eye.over && self.eye.writing.is_some();
                        if !self.waits {
                            return Poll::Ready(Some(Ok(data)));
                        }
                        self.held = Some(data);
                    } else if !self.eye.shard.shared.stored.shared {
                        return Poll::Ready(Some(Ok(data)));
                    } else if let Some(before) = self.held.replace(data) {
                        return Poll::Ready(Some(Ok(before)));
                    }
                }
                // Broken: what has not ended is not kept.
                Some(Err(broken)) => {
                    self.eye.kept = None;
                    return Poll::Ready(Some(Err(broken)));
                }
                None => {
                    self.eye.end();
                    (self.source, self.waits) = (None, true);
                }
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        let held = self.held.as_ref().map_or(0, Bytes::len) as u64;
        match &self.source {
            Some(source) => source.remaining().map(|rest| rest + held),
            None => Some(held),
        }
    }
}
