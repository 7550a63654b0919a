//! One request through hyper: receive, plan, wait, answer.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};

use super::answer::Content;
use super::body::{FedBody, MockBody};
use super::control;
use super::errors::{Dialect, amazon};
use super::feed::Feed;
use super::plan::{Asked, Plan};
use super::raw::RawAnswer;
use super::realtime;
use super::requests::End;
use super::script::BodyKind;
use super::state::{Exchange, Received, Shared};
use crate::clock::monotonic_ns;

/// What a request can do to its connection.
#[derive(Default)]
pub struct Connection {
    pub id: u64,
    /// An answer that shall be written by hand: hyper gives the connection up for it.
    takeover: Mutex<Option<Takeover>>,
    taken: AtomicBool,
    /// Shall the next request be met by a reset?
    hangup: AtomicBool,
    idle: Mutex<Option<Idle>>,
}

/// News about the idle time after which a connection is closed.
#[derive(Clone, Copy, Debug)]
pub enum Idle {
    /// A request came.
    Busy,
    /// The answer is over; close after so long.
    CloseAfter(Duration),
}

/// Tells its connection, when dropped with the body it belongs to, to close when idle.
pub struct IdleClose {
    connection: Arc<Connection>,
    after: Duration,
}

impl Drop for IdleClose {
    fn drop(&mut self) {
        self.connection.set_idle(Idle::CloseAfter(self.after));
    }
}

/// What follows when hyper gave a connection up.
pub enum Takeover {
    Answer(Box<RawAnswer>),
    Session(Box<realtime::Session>),
    Reset,
}

impl Connection {
    pub fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// What to do by hand, once a request has asked for it.
    pub fn take(&self) -> Option<Takeover> {
        if !self.taken.load(Relaxed) {
            return None;
        }
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// News about when to close; told once.
    pub fn take_idle(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_idle(&self, idle: Idle) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
    }

    /// Hands the connection over and waits to be dropped.
    async fn hand_over(&self, takeover: Takeover) -> ! {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
        self.taken.store(true, Relaxed);
        loop {
            std::future::pending::<()>().await;
        }
    }
}

/// Answers one request. An error means that the caller left while it was still sending.
pub async fn handle(
    request: Request<Incoming>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Result<Response<MockBody>, hyper::Error> {
    if connection.hangup.load(Relaxed) {
        connection.hand_over(Takeover::Reset).await;
    }
    connection.set_idle(Idle::Busy);
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received_ns = monotonic_ns();
    if let Some(endpoint) = parts.uri.path().strip_prefix("/mock/") {
        return Ok(control::answer(&shared, &parts.method, endpoint, parts.uri.query(), &body));
    }
    let head = head_text(&parts);
    let attempt = parts.headers.get("x-ailink-attempt").and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    let received = Received { connection: connection.id, received_ns, head: &head, body: &body, path, attempt };
    let mut exchange = Box::new(Exchange::begin(&shared, &received));
    let number = exchange.number;
    let asked =
        Asked { method: &parts.method, path, query: parts.uri.query(), headers: &parts.headers, body: &body, number };
    let planned = if realtime::is_asked(path, &parts.headers) {
        match realtime::plan(&shared, &asked) {
            Ok((script, model)) => {
                exchange.journal_receipt(&model, body.len()).await;
                let session =
                    realtime::Session::new((path, &parts.headers), script, model, exchange, shared.fork_random());
                connection.hand_over(Takeover::Session(Box::new(session))).await;
            }
            Err(refusal) => *refusal,
        }
    } else {
        Plan::make(&shared, &asked)
    };
    let Plan { script, answer, model, dialect } = planned;
    exchange.usage = answer.usage;
    exchange.status = answer.status;
    exchange.journal_receipt(&model, body.len()).await;
    let mut random = shared.fork_random();
    let slots = script.slots.map(|count| shared.slots(if script.id.is_empty() { &model } else { &script.id }, count));
    // A semaphore is never closed here, and is fair.
    let slot = if let Some(slots) = &slots { slots.acquire().await.ok() } else { None };
    if let Some(latency) = script.latency {
        tokio::time::sleep(latency.sample(&mut random)).await;
    }
    drop(slot);

    let mut headers = headers(&script.headers, dialect, number);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if dialect == Dialect::Bedrock && answer.status >= 400 {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(amazon(answer.status)));
    }
    if let Some(after) = script.retry_after.as_deref().and_then(|after| HeaderValue::from_str(after).ok()) {
        headers.insert(RETRY_AFTER, after);
    }
    let by_hand = script.breaks_the_wire() && parts.version != Version::HTTP_2;
    if (script.close || by_hand) && parts.version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Content::Events(stream) = &answer.content {
        exchange.deltas = stream.deltas();
    }
    connection.hangup.store(script.hangup_next, Relaxed);
    let service_ns = monotonic_ns().saturating_sub(received_ns);
    headers.insert("x-mock-service-us", microseconds(service_ns));
    let content = if script.stamp { stamped(answer.content, service_ns) } else { answer.content };
    let content = if script.gzip || script.body == BodyKind::Bomb { gzipped(content, &mut headers) } else { content };
    let feed = Feed::new(content, &script, random);
    if by_hand {
        let raw = RawAnswer::new(answer.status, &headers, &script, feed, exchange);
        connection.hand_over(Takeover::Answer(Box::new(raw))).await;
    }
    if feed.is_over() {
        // Hyper does not ask for an empty body.
        exchange.finish(End::Done);
    }
    let idle_close = script.idle_close.map(|after| IdleClose { connection, after });
    let body = FedBody { feed, exchange, chunked: script.chunked, _idle_close: idle_close };
    let mut response = Response::new(MockBody::Fed(Box::new(body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    *response.headers_mut() = headers;
    Ok(response)
}

/// With one decimal.
fn microseconds(ns: u64) -> HeaderValue {
    let text = format!("{}.{}", ns / 1000, ns % 1000 / 100);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// A whole body compressed, asked for or not; a stream stays as it is.
fn gzipped(content: Content, headers: &mut HeaderMap) -> Content {
    let Content::Whole(body) = content else {
        return content;
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(&body);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Content::Whole(encoder.finish().unwrap_or_default().into())
}

/// A whole JSON object with the service time as its first field, for callers behind a gateway that keeps the header.
fn stamped(content: Content, service_ns: u64) -> Content {
    match content {
        Content::Whole(body) if body.starts_with(b"{\"") => {
            let mut stamped = format!(r#"{{"mock_service_ns":{service_ns},"#).into_bytes();
            stamped.extend_from_slice(body.get(1..).unwrap_or_default());
            Content::Whole(stamped.into())
        }
        other => other,
    }
}

fn headers(scripted: &[(String, String)], dialect: Dialect, number: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = HeaderValue::from_str(&format!("req_mock{number:012x}")).unwrap_or(HeaderValue::from_static("req_mock"));
    match dialect {
        Dialect::OpenAi => {
            headers.insert("x-request-id", id);
            headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            headers.insert("openai-processing-ms", HeaderValue::from_static("1"));
        }
        Dialect::Anthropic => {
            headers.insert("request-id", id);
        }
        Dialect::Gemini | Dialect::Cohere | Dialect::Deepgram => {}
        Dialect::ElevenLabs => _ = headers.insert("request-id", id),
        Dialect::Bedrock => {
            headers.insert("x-amzn-requestid", id);
        }
    }
    for (name, value) in scripted {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The head as it was sent, but for the case of the names and the order of the lines.
fn head_text(parts: &Parts) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    // Writing to a vector cannot fail.
    let _ = write!(head, "{} {} {:?}\r\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head
}
