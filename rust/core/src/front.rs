//! Where requests come in: one HTTP/1.1 or HTTP/2 request becomes an exchange, or is answered or handed over at once.
//!
//! The reading order of the product begins here and goes on in `pipeline`. Listeners and the life of connections are in
//! `listener`.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use smallvec::SmallVec;

use crate::arrival::{Arrival, Caller};
use crate::body::Body;
use crate::clock::wall_us;
use crate::connection::Connection;
use crate::decision::Decision;
use crate::endpoint::{self, Dialect, Endpoint, Match, Operation, Owner};
use crate::error::{Code, Error, Result};
use crate::exchange::{CacheUse, Call, Exchange, RequestId};
use crate::shard::{Phase, Shard};
use crate::stage::parse::discard;
use crate::stage::settle::{self, error_response, stamp};
use crate::state::draw::Quotas;
use crate::stream::as_array;
use crate::{health, models, pipeline, shell, stored};

/// Answers one request. Never fails: whatever goes wrong is an answer.
pub async fn serve(shard: Arc<Shard>, connection: Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let wall = wall_us();
    let request_id = RequestId::new(wall);
    let version = request.version();
    let active = connection.begin();
    if version == Version::HTTP_2 {
        connection.multiplexes();
    }
    let dialect = dialect_of(request.uri().path(), request.headers());
    let arrival = Arrival { started, wall_us: wall, request_id, shard: shard.clone(), connection };
    let answering = pin!(AssertUnwindSafe(arrival.answer(request)).catch_unwind());
    let mut response = match unless_cut(&shard, answering).await {
        Some(Ok(response)) => response,
        Some(Err(_)) => {
            shard.metrics.panics.add(1);
            let text = "The gateway failed on this request. Tell its operator the request id.";
            error_response(dialect, &Error::new(Code::Internal, text), &request_id)
        }
        None => {
            let text = "The gateway is shutting down and its drain time is over. Send the request again.";
            error_response(dialect, &Error::new(Code::Draining, text).retry_after(Duration::from_secs(1)), &request_id)
        }
    };
    if version == Version::HTTP_2 {
        response.headers_mut().remove(CONNECTION);
    } else if shard.shared.phase() >= Phase::LameDuck && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| body.with_active(active))
}

/// The answer, unless the shutdown cuts what is still waited for. The janitor wakes every connection when it does.
async fn unless_cut<F: Future>(shard: &Shard, mut answering: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match answering.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if shard.shared.phase() == Phase::Cut => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Arrival {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (endpoint, captured) = match self.place(&request) {
            Ok(place) => place,
            Err(error) => return self.refuse(request, error).await,
        };
        match endpoint.owner {
            Owner::Plane | Owner::Stored => {
                let mut quotas = Quotas::default();
                let caller = match pipeline::enter(&self, endpoint, &request, &mut quotas) {
                    Ok(caller) => caller,
                    Err(error) => return Box::pin(self.turn_away(endpoint, request, error, quotas)).await,
                };
                let exchange = Box::new(self.exchange(endpoint, captured, request, caller));
                if endpoint.owner == Owner::Stored {
                    return Box::pin(stored::serve(exchange)).await;
                }
                let array = endpoint.operation == Operation::StreamGenerateContent && !exchange.asks_for_events();
                // On the heap: this future is moved by hyper with every request and must stay small.
                let response = Box::pin(pipeline::run(exchange)).await;
                if array { as_array(response) } else { response }
            }
            Owner::Models => self.models(captured, &request),
            Owner::Health => health::answer(&self.shard, endpoint.pattern, &self.request_id),
            Owner::Shell => Box::pin(self.hand_over(request)).await,
        }
    }

    /// Checks what every request must have and finds its row in the endpoint table.
    fn place(&self, request: &Request<Incoming>) -> Result<(&'static Endpoint, Option<String>)> {
        check_host(request)?;
        check_coding(request.headers())?;
        let limits = &self.shard.shared.options.limits;
        check_size(request, limits.header_count, limits.header_bytes)?;
        let path = request.uri().path();
        match endpoint::find(request.method(), path) {
            Match::Found { endpoint, captured } => {
                let captured = captured.map(decode).transpose()?;
                Ok((endpoint, captured))
            }
            // Codex tries a WebSocket first, and sends the request as such when it is told so.
            Match::WrongMethod if path.ends_with("/responses") && request.headers().contains_key(UPGRADE) => {
                let text = "Responses are not served over WebSocket here; POST the request.";
                Err(Error::new(Code::UpgradeRequired, text))
            }
            Match::WrongMethod => {
                let text = format!("{} does not take {}.", shortened(path), request.method());
                Err(Error::new(Code::MethodNotAllowed, text))
            }
            Match::Unknown => {
                let text = format!("There is nothing at {} {}. See /docs.", request.method(), shortened(path));
                Err(Error::new(Code::RouteNotFound, text))
            }
        }
    }

    async fn refuse(&self, mut request: Request<Incoming>, mut error: Error) -> Response<Body> {
        self.shard.metrics.error(error.code);
        let path = request.uri().path();
        let dialect = dialect_of(path, request.headers());
        let methods = endpoint::methods(path).join(", ");
        if !error.close {
            let headers = std::mem::take(request.headers_mut());
            error.close = !discard(request.body_mut(), &headers).await;
        }
        let mut response = error_response(dialect, &error, &self.request_id);
        if error.code == Code::UpgradeRequired {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        }
        if error.code == Code::MethodNotAllowed
            && let Ok(methods) = HeaderValue::from_str(&methods)
        {
            response.headers_mut().insert(ALLOW, methods);
        }
        response
    }

    /// Answers a caller who is refused at the door.
    async fn turn_away(
        self,
        endpoint: &Endpoint,
        mut request: Request<Incoming>,
        mut error: Error,
        quotas: Quotas,
    ) -> Response<Body> {
        if !error.close {
            let headers = std::mem::take(request.headers_mut());
            error.close = !discard(request.body_mut(), &headers).await;
        }
        settle::refused(&self, endpoint, &error, &quotas)
    }

    fn exchange(
        self,
        endpoint: &'static Endpoint,
        path_model: Option<String>,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Exchange {
        let (mut parts, body) = request.into_parts();
        let client = client_address(&self.shard, &self.connection, &parts.headers);
        let snapshot = self.shard.snapshot();
        let decision = Decision::wanted(&snapshot.settings, &parts.headers, endpoint);
        Exchange {
            started: self.started,
            wall_us: self.wall_us,
            request_id: self.request_id,
            snapshot,
            shard: self.shard,
            endpoint,
            query: parts.uri.query().map(str::to_string),
            uri: (endpoint.dialect == Dialect::Bedrock).then(|| Box::new(parts.uri.clone())),
            signed: caller.signed,
            headers: parts.headers,
            path_model,
            client,
            inbound: Some(body),
            connection: self.connection,
            upgrade: if endpoint.operation.is_session() { parts.extensions.remove() } else { None },
            key: Some(caller.key),
            call: Call::default(),
            model: None,
            admission: None,
            admitted: false,
            extra: SmallVec::new(),
            share_until: None,
            customer: 0,
            tags: Vec::new(),
            quotas: caller.quotas,
            cache: CacheUse::Off,
            fill: None,
            follow: None,
            hit: None,
            candidates: SmallVec::new(),
            unavailable: None,
            forced: false,
            decision,
            plan: None,
            provider: None,
            visited: SmallVec::new(),
            reservation: None,
            attempts: 0,
            waited: Duration::ZERO,
            dropped: SmallVec::new(),
            answer: None,
            translation: None,
            converted: None,
            kept: None,
            object: None,
            served: None,
            guards: None,
            guarded: Vec::new(),
            cost_pico: None,
        }
    }

    fn models(&self, name: Option<String>, request: &Request<Incoming>) -> Response<Body> {
        let keys = &self.shard.shared.state.keys;
        let dialect = dialect_of(request.uri().path(), request.headers());
        let client = client_address(&self.shard, &self.connection, request.headers());
        let caller = models::Caller { connection: &self.connection, client, dialect };
        match models::answer(keys, &self.shard.snapshot(), &caller, request, name.as_deref()) {
            Ok(mut response) => {
                stamp(response.headers_mut(), dialect, &self.request_id);
                response
            }
            Err(error) => {
                self.shard.metrics.error(error.code);
                error_response(dialect, &error, &self.request_id)
            }
        }
    }

    async fn hand_over(&self, request: Request<Incoming>) -> Response<Body> {
        let client = client_address(&self.shard, &self.connection, request.headers());
        let handed =
            shell::HandOver { shard: &self.shard, connection: &self.connection, request_id: self.request_id, client };
        handed.run(request).await.unwrap_or_else(|error| {
            self.shard.metrics.error(error.code);
            error_response(Dialect::OpenAi, &error, &self.request_id)
        })
    }
}

/// The dialect of a caller whose path may be unknown: Anthropic's clients say so in a header, Google's by theirs for the key.
fn dialect_of(path: &str, headers: &HeaderMap) -> Dialect {
    let anthropic =
        path.starts_with("/v1/messages") || path.starts_with("/anthropic") || headers.contains_key("anthropic-version");
    let google = || {
        let versions = ["/v1beta/", "/v1beta1/", "/gemini/", "/v1/projects/"];
        versions.iter().any(|version| path.starts_with(version)) && !path.starts_with("/v1beta/openai/")
            || path.starts_with("/v1/models") && headers.contains_key("x-goog-api-client")
    };
    match anthropic {
        true => Dialect::Anthropic,
        false if google() => Dialect::Gemini,
        false if ["/v2/chat", "/v2/embed", "/cohere/"].iter().any(|start| path.starts_with(start)) => Dialect::Cohere,
        false if path.starts_with("/bedrock/") || path.starts_with("/model/") && path.contains("/converse") => {
            Dialect::Bedrock
        }
        false => Dialect::OpenAi,
    }
}

/// Exactly one well-formed Host (or `:authority`), RFC 9112 section 3.2.
fn check_host(request: &Request<Incoming>) -> Result<()> {
    let bad = |text: &'static str| Error::new(Code::BadHost, text).closing();
    if request.version() == Version::HTTP_2 {
        return match request.uri().authority() {
            Some(_) => Ok(()),
            None if request.headers().contains_key(HOST) => Ok(()),
            None => Err(bad("The request has no :authority.")),
        };
    }
    if request.version() < Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Ok(());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad("The request must have exactly one Host header."));
    };
    if is_host(host.as_bytes()) { Ok(()) } else { Err(bad("The Host header is malformed.")) }
}

/// A body is sent plain or chunked, once (RFC 9112 section 6.1); what else it might be taken for is not guessed.
fn check_coding(headers: &HeaderMap) -> Result<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Error::new(Code::InvalidRequest, "The only Transfer-Encoding understood is chunked, once.").closing()),
    }
}

/// `uri-host [ ":" port ]` with the characters of RFC 3986.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if end > 0 => {
                let inside_ok = rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.%".contains(byte));
                if !inside_ok {
                    return false;
                }
                (&rest[..0], &rest[end + 1..])
            }
            _ => return false,
        },
        _ => {
            let colon = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            if colon == 0 {
                return host.is_empty();
            }
            host.split_at(colon)
        }
    };
    let name_ok = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte));
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit) && digits.len() <= 5,
        _ => false,
    };
    name_ok && port_ok
}

fn check_size(request: &Request<Incoming>, most: usize, bytes: usize) -> Result<()> {
    let headers = request.headers();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if headers.len() > most || size + target > bytes {
        let text = format!("The request head is larger than {most} headers or {bytes} bytes.");
        return Err(Error::new(Code::HeadersTooLarge, text).closing());
    }
    Ok(())
}

/// The address limits and lists apply to: the peer's, or what a trusted proxy says of its own peer.
fn client_address(shard: &Shard, connection: &Connection, headers: &HeaderMap) -> IpAddr {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let trusted = &shard.shared.trusted_proxies;
    let trusts = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if trusted.is_empty() || !trusts(&connection.peer) {
        return connection.peer;
    }
    // From the right: the last entry was written by the proxy that we trust, and so on until the first we do not.
    let mut client = connection.peer;
    let lists: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    for entry in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { return client };
        client = address;
        if !trusts(&address) {
            return client;
        }
    }
    client
}

/// Percent-decodes one captured piece of a path.
pub fn decode(text: &str) -> Result<String> {
    let bad = || Error::new(Code::InvalidRequest, "The path is not valid percent-encoded UTF-8.");
    if !text.contains('%') {
        return Ok(text.to_string());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(bad()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(bad);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn shortened(path: &str) -> &str {
    match path.char_indices().nth(200) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        for good in ["", "localhost", "localhost:4000", "127.0.0.1:80", "[::1]:4000", "[::1]", "a-b.c_d", "x:"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "a@b", "a:b", "[::1", "[]", ":80", "a:123456", "[::1]x", "é"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decode("gpt%2D4o").expect("valid"), "gpt-4o");
        assert_eq!(decode("a%252Fb").expect("valid"), "a%2Fb");
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
