//! Where requests come in: one HTTP/1.1 or HTTP/2 request becomes an exchange, or is answered or handed over at once.
//!
//! The reading order of the product begins here and goes on in `pipeline`. Listeners and the life of connections are in
//! `listener`.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, UPGRADE};
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
use crate::head::{check_coding, check_host, check_size, client_address, decode};
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
        let headers = std::mem::take(request.headers_mut());
        discard(&mut error, request.body_mut(), &headers).await;
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
        let headers = std::mem::take(request.headers_mut());
        discard(&mut error, request.body_mut(), &headers).await;
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
            guards: smallvec::SmallVec::new(),
            policed: None,
            policies_told: Vec::new(),
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

fn shortened(path: &str) -> &str {
    match path.char_indices().nth(200) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}
