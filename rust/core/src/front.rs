//! Where requests come in: one HTTP/1.1 or HTTP/2 request becomes an exchange, or is answered or handed over at once.
//!
//! The reading order of the product begins here and goes on in `pipeline`. Listeners and the life of connections are in
//! `listener`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;

use crate::arrival::{Arrival, Caller};
use crate::body::Body;
use crate::clock::wall_us;
use crate::connection::Connection;
use crate::decision::Decision;
use crate::endpoint::{self, Dialect, Endpoint, Match, Operation, Owner};
use crate::error::{Code, Error, Result};
use crate::exchange::{Exchange, Opening, RequestId};
use crate::head::{check_coding, check_host, check_size, client_address, decode};
use crate::realtime::{Taker, live};
use crate::serving::{Answering, Serving};
use crate::shard::Shard;
use crate::stage::identify;
use crate::stage::settle::{self, error_response, stamp};
use crate::state::draw::Quotas;
use crate::stream::{as_array, named, wants_id};
use crate::trace::Context;
use crate::{approval, health, invoke, models, pass_through, pipeline, shell, stored, turns};

const ASSISTANTS: &str = "The Assistants API ended on 2026-08-26. Use the Responses API: an assistant is the `instructions` \
    and `tools` of a request to /v1/responses, a thread is a conversation of /v1/conversations, a run is a response. \
    See https://platform.openai.com/docs/assistants/migration.";
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const GOOGLE_CLIENT: HeaderName = HeaderName::from_static("x-goog-api-client");

/// Answers one request. Never fails: whatever goes wrong is an answer.
///
/// As far as nothing has to be waited for it is answered here, so that what hyper moves about stays small.
pub fn serve(shard: &Arc<Shard>, connection: &Arc<Connection>, request: Request<Incoming>) -> Serving {
    let started = Instant::now();
    let wall = wall_us();
    let request_id = RequestId::new(wall);
    let http2 = request.version() == Version::HTTP_2;
    let active = Some(connection.begin());
    if http2 {
        connection.multiplexes();
    }
    let dialect = dialect_of(request.uri().path(), request.headers());
    let arrival =
        Arrival { started, wall_us: wall, request_id, dialect, shard: shard.clone(), connection: connection.clone() };
    let answering = catch_unwind(AssertUnwindSafe(|| arrival.answer(request))).unwrap_or(Answering::Failed);
    Serving { shard: shard.clone(), request_id, dialect, http2, active, answering }
}

impl Arrival {
    fn answer(self, request: Request<Incoming>) -> Answering {
        let (endpoint, captured) = match self.place(&request) {
            Ok(place) => place,
            Err(error) => return self.refuse(request, &error),
        };
        match endpoint.owner {
            Owner::Plane | Owner::Stored | Owner::Approvals | Owner::PassThrough => {
                let mut quotas = Quotas::default();
                let caller = match pipeline::enter(&self, endpoint, &request, &mut quotas) {
                    Ok(caller) => caller,
                    Err(error) => {
                        let response = settle::refused(&self, endpoint, &error, &quotas);
                        return Answering::refusal(request, self.connection.behind_head(), &error, response);
                    }
                };
                let id = self.request_id;
                let method = request.method().clone();
                let (parts, body) = request.into_parts();
                let exchange = self.exchange(endpoint, captured, parts, Some(body), caller);
                if endpoint.owner == Owner::Approvals {
                    return Answering::later(|| approval::serve(exchange));
                }
                if endpoint.owner == Owner::PassThrough {
                    return Answering::later(|| pass_through::serve(exchange, method));
                }
                if endpoint.owner == Owner::Stored {
                    return Answering::later(|| stored::serve(exchange));
                }
                match endpoint.operation {
                    Operation::StreamGenerateContent if !exchange.asks_for_events() => {
                        Answering::later(|| async { as_array(pipeline::run(exchange).await) })
                    }
                    Operation::Invoke | Operation::InvokeStream => {
                        Answering::later(|| async { invoke::wrap(pipeline::run(exchange).await) })
                    }
                    Operation::Embeddings if wants_id(&exchange.headers) => {
                        Answering::later(|| async move { named(pipeline::run(exchange).await, &id) })
                    }
                    _ => Answering::later(|| pipeline::run(exchange)),
                }
            }
            Owner::Turns => Answering::Ready(turns::begin(&self, request).unwrap_or_else(|error| {
                let quotas = Quotas::default();
                settle::refused(&self, endpoint, &error, &quotas)
            })),
            Owner::Live => Answering::Ready(live::begin(&self, endpoint, request).unwrap_or_else(|error| {
                let quotas = Quotas::default();
                settle::refused(&self, endpoint, &error, &quotas)
            })),
            Owner::Models => Answering::Ready(self.models(captured, &request)),
            Owner::Ended => {
                let error = self.ended(&request);
                self.refuse(request, &error)
            }
            Owner::Health => Answering::Ready(health::answer(&self.shard, endpoint.pattern, &self.request_id)),
            Owner::Shell => Answering::later(|| async move { self.hand_over(request).await }),
        }
    }

    /// Checks what every request must have and finds its row in the endpoint table.
    fn place(&self, request: &Request<Incoming>) -> Result<(&'static Endpoint, Option<String>)> {
        check_host(request)?;
        check_coding(request.headers())?;
        let limits = &self.shard.shared.options.limits;
        check_size(request, limits.header_count, limits.header_bytes)?;
        let path = request.uri().path();
        let found = endpoint::find(request.method(), path);
        if !matches!(found, Match::Found { .. })
            && let Some(endpoint) = pass_through::endpoint(&self.shard.snapshot(), path)
        {
            // As it stands: it is the provider's to decode.
            return Ok((endpoint, Some(path.to_string())));
        }
        match found {
            Match::Found { endpoint, captured } => {
                let captured = captured.map(decode).transpose()?;
                Ok((endpoint, captured))
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

    /// Refuses a request that is none that is served here.
    fn refuse(&self, request: Request<Incoming>, error: &Error) -> Answering {
        self.shard.metrics.error(error.code);
        let mut response = error_response(self.dialect, error, &self.request_id);
        if error.code == Code::MethodNotAllowed
            && let Ok(methods) = HeaderValue::from_str(&endpoint::methods(request.uri().path()).join(", "))
        {
            response.headers_mut().insert(ALLOW, methods);
        }
        Answering::refusal(request, self.connection.behind_head(), error, response)
    }

    /// What is said to somebody with a key who asks for assistants or threads.
    fn ended(&self, request: &Request<Incoming>) -> Error {
        let keys = &self.shard.shared.state.keys;
        let key = identify::find(keys, request.headers(), request.uri().query(), &self.connection);
        match key.and_then(|key| identify::check(&key)) {
            Ok(()) => Error::new(Code::EndpointEnded, ASSISTANTS),
            Err(error) => error,
        }
    }

    /// A request as the pipeline takes it.
    pub fn exchange(
        self,
        endpoint: &'static Endpoint,
        path_model: Option<String>,
        mut parts: http::request::Parts,
        inbound: Option<Incoming>,
        caller: Caller,
    ) -> Box<Exchange> {
        let client = client_address(&self.shard, &self.connection, &parts.headers);
        let snapshot = self.shard.snapshot();
        let decision = Decision::wanted(&snapshot.settings, &parts.headers, endpoint);
        let trace = Context::of(self.shard.shared.state.ledger.traces(), &parts.headers, &self.request_id);
        let place = Box::new_uninit();
        let opening = Opening {
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
            inbound,
            connection: self.connection,
            upgrade: match endpoint.operation.is_session() {
                true => parts.extensions.remove().map(Taker::Upgrade),
                false => None,
            },
            key: Some(caller.key),
            quotas: caller.quotas,
            decision,
            trace,
        };
        // Made where it stays: it is large.
        Box::write(place, Exchange::new(opening))
    }

    fn models(&self, name: Option<String>, request: &Request<Incoming>) -> Response<Body> {
        let keys = &self.shard.shared.state.keys;
        let dialect = self.dialect;
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
        path.starts_with("/v1/messages") || path.starts_with("/anthropic") || headers.contains_key(ANTHROPIC_VERSION);
    let google = || {
        let versions = ["/v1beta/", "/v1beta1/", "/gemini/", "/v1/projects/", "/ws/google."];
        versions.iter().any(|version| path.starts_with(version)) && !path.starts_with("/v1beta/openai/")
            || path.starts_with("/v1/models") && headers.contains_key(GOOGLE_CLIENT)
    };
    match anthropic {
        true => Dialect::Anthropic,
        false if google() => Dialect::Gemini,
        false if ["/v2/chat", "/v2/embed", "/cohere/"].iter().any(|start| path.starts_with(start)) => Dialect::Cohere,
        false
            if path.starts_with("/bedrock/")
                || path.starts_with("/model/") && (path.contains("/converse") || path.contains("/invoke")) =>
        {
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
