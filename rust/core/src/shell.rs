//! Hand-over: what the endpoint table gives to the Python shell goes over its private Unix socket, streamed both ways.
//!
//! The front has identified the caller; the shell trusts the `x-ailink-*` headers because nobody else can reach its socket
//! and because whatever the client sent under such names is taken off here.

pub mod ask;

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::{Body, Broken, Source};
use crate::connection::Connection;
use crate::error::{Code, Error, Result};
use crate::exchange::RequestId;
use crate::shard::Shard;
use crate::stage::{identify, parse};
use crate::state::keys::Role;
use crate::upstream::{Conn, IoError, Outgoing};
use crate::wire::http1::{BodyDecoder, write_chunk_size};

/// The shell closes idle connections after 30 s; ours are given up well before.
pub const POOL_IDLE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(2);
/// The shell bounds its own work; this is for one that hangs.
const ANSWER: Duration = Duration::from_secs(600);

/// Headers between two neighbours only (RFC 9110 section 7.6.1), and those that are written anew.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

pub struct HandOver<'a> {
    pub shard: &'a Arc<Shard>,
    pub connection: &'a Connection,
    pub request_id: RequestId,
    pub client: IpAddr,
}

impl HandOver<'_> {
    /// # Errors
    /// 503 when the shell is busy or gone, 502 or 504 when it fails to answer.
    pub async fn run(self, request: Request<Incoming>) -> Result<Response<Body>> {
        let place = Place::take(self.shard)?;
        let (parts, body) = request.into_parts();
        let length = content_length(&parts.headers);
        let chunked = length.is_none() && !body.is_end_stream();
        let head = self.head(&parts, length, chunked);
        let mut conn = self.connect().await?;
        let broken = |error: IoError| {
            Error::new(Code::ShellUnavailable, format!("The control plane did not answer: {error}."))
                .retry_after(Duration::from_secs(1))
        };
        let idle = Duration::from_millis(self.shard.shared.options.limits.body_idle_ms);
        let exchange = async {
            let mut complete = conn.send(&Outgoing { parts: &[&head] }).await.unwrap_or(false);
            if complete {
                complete = send_body(&mut conn, body, chunked, idle).await?;
            }
            // The shell may refuse before it has read everything, and close: its answer is there all the same.
            let mut head = conn.head(false).await.map_err(broken)?;
            head.keep_alive &= complete;
            Ok(head)
        };
        let head = match tokio::time::timeout(ANSWER, exchange).await {
            Ok(head) => head?,
            Err(_) => {
                return Err(Error::new(Code::ShellUnavailable, "The control plane did not answer in time.").status(504));
            }
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = head.status;
        let mut headers = head.headers;
        for name in &NOT_FORWARDED {
            headers.remove(name);
        }
        headers.insert("x-request-id", self.request_id.header());
        headers.insert("x-ailink-request-id", self.request_id.header());
        *response.headers_mut() = headers;
        let source = Answer { conn: Some(conn), decoder: head.body, keep_alive: head.keep_alive, place };
        *response.body_mut() = Body::stream(source);
        Ok(response)
    }

    async fn connect(&self) -> Result<Conn> {
        let shared = &self.shard.shared;
        if let Some(conn) = shared.shell_pool.take(self.shard.index) {
            return Ok(conn);
        }
        let unavailable = |text: String| {
            Error::new(Code::ShellUnavailable, format!("The control plane is not reachable: {text}."))
                .retry_after(Duration::from_secs(1))
        };
        match tokio::time::timeout(CONNECT, shared.shell.connect()).await {
            Ok(Ok(stream)) => Ok(Conn::new(stream)),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("connecting took too long".to_string())),
        }
    }

    /// The caller as the shell sees him. A key that is unknown, blocked or expired is nobody.
    fn identity(&self, parts: &http::request::Parts) -> (&'static str, Option<Arc<str>>) {
        let keys = &self.shard.shared.state.keys;
        let key = identify::find(keys, &parts.headers, parts.uri.query(), self.connection)
            .and_then(|key| identify::check(&key).map(|()| key));
        match key {
            Ok(key) if key.stands_for.is_some() || !key.may_come_from(self.client) => ("none", None),
            Ok(key) if key.role == Role::Admin => ("admin", Some(key.id.clone())),
            Ok(key) => ("key", Some(key.id.clone())),
            Err(_) => ("none", None),
        }
    }

    fn head(&self, parts: &http::request::Parts, length: Option<u64>, chunked: bool) -> BytesMut {
        let (role, key_id) = self.identity(parts);
        let mut head = BytesMut::with_capacity(1024);
        head.put_slice(parts.method.as_str().as_bytes());
        head.put_u8(b' ');
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        head.put_slice(target.as_bytes());
        head.put_slice(b" HTTP/1.1\r\n");
        let mut line = |name: &str, value: &[u8]| {
            head.put_slice(name.as_bytes());
            head.put_slice(b": ");
            head.put_slice(value);
            head.put_slice(b"\r\n");
        };
        if !parts.headers.contains_key(header::HOST) {
            let authority = parts.uri.authority().map_or("localhost", |authority| authority.as_str());
            line("host", authority.as_bytes());
        }
        let known = role != "none";
        for (name, value) in &parts.headers {
            let secret = known && identify::KEY_HEADERS.contains(name);
            if !secret && !NOT_FORWARDED.contains(name) && !name.as_str().starts_with("x-ailink-") {
                line(name.as_str(), value.as_bytes());
            }
        }
        line("x-ailink-role", role.as_bytes());
        if let Some(id) = key_id {
            line("x-ailink-key-id", id.as_bytes());
        }
        if identify::is_in_query(&parts.headers, parts.uri.query()) {
            line("x-ailink-key-in", b"query");
        }
        line("x-ailink-client-ip", self.client.to_string().as_bytes());
        line("x-ailink-request-id", &self.request_id.text());
        match length {
            Some(length) => line("content-length", itoa::Buffer::new().format(length).as_bytes()),
            None if chunked => line("transfer-encoding", b"chunked"),
            None => {}
        }
        head.put_slice(b"\r\n");
        head
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Passes the request body on as it comes; false when the shell stopped reading it. Errors are the client's.
async fn send_body(conn: &mut Conn, mut body: Incoming, chunked: bool, idle: Duration) -> Result<bool> {
    while let Some(data) = parse::next_data(&mut body, idle).await? {
        if data.is_empty() {
            continue;
        }
        let mut size = BytesMut::new();
        let sent = if chunked {
            write_chunk_size(&mut size, data.len());
            conn.send(&Outgoing { parts: &[&size, &data, b"\r\n"] }).await
        } else {
            conn.send(&Outgoing { parts: &[&data] }).await
        };
        if !sent.unwrap_or(false) {
            return Ok(false);
        }
    }
    Ok(!chunked || conn.send(&Outgoing { parts: &[b"0\r\n\r\n"] }).await.unwrap_or(false))
}

/// One of the requests this thread may have at the shell.
struct Place(Arc<Shard>);

impl Place {
    fn take(shard: &Arc<Shard>) -> Result<Self> {
        let taken = shard.metrics.shell_in_flight.add(1);
        let place = Place(shard.clone());
        if taken > shard.bounds.shell {
            let text = "The control plane has as many requests as it may. Retry shortly.";
            return Err(Error::new(Code::ShellUnavailable, text).retry_after(Duration::from_secs(1)));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.metrics.shell_in_flight.add(-1);
    }
}

struct Answer {
    conn: Option<Conn>,
    decoder: BodyDecoder,
    keep_alive: bool,
    place: Place,
}

impl Source for Answer {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(conn) = self.conn.as_mut() else { return Poll::Ready(None) };
        match std::task::ready!(conn.poll_frame(cx, &mut self.decoder)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(data))),
            Some(Err(error)) => {
                self.conn = None;
                Poll::Ready(Some(Err(Broken(error.to_string()))))
            }
            None => {
                if let Some(conn) = self.conn.take().filter(|_| self.keep_alive) {
                    self.place.0.shared.shell_pool.put(self.place.0.index, conn);
                }
                Poll::Ready(None)
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }
}
