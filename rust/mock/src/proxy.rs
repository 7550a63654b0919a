//! The bare reverse proxy: hyper's server, hyper-util's pooling client, bodies passed through as they come. What a
//! gateway costs beyond this is the gateway's own work.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Either;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lexopt::{Arg, Parser};

use crate::Error;
use crate::cli::{self, Outcome};
use crate::runtime::{self, Place};

const HELP: &str = "\
Usage: ailink-mock proxy --upstream http://HOST:PORT [OPTIONS]

Serves until it is killed. The first line on standard output is {\"listening\":\"proxy\",\"port\":N,\"address\":\"…\"}.

  --upstream URL     where requests go; the path is kept
  --host HOST        address to bind [127.0.0.1]
  --port N           TCP port, 0 for a free one [0]
  --runtime KIND     per_core (one runtime and one SO_REUSEPORT socket per thread) or work_stealing [per_core]
  --threads N        [1]
";

/// Headers that belong to one hop only (RFC 9110, section 7.6.1).
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Runs the command.
pub fn command(mut parser: Parser) -> Result<Outcome, Error> {
    let mut place = Place::default();
    let mut upstream = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("upstream") => upstream = Some(cli::value::<Uri>(&mut parser)?),
            Arg::Long("host") => place.host = cli::string(&mut parser)?,
            Arg::Long("port") => place.port = cli::value(&mut parser)?,
            Arg::Long("runtime") => place.kind = cli::value(&mut parser)?,
            Arg::Long("threads") => place.threads = cli::value(&mut parser)?,
            Arg::Short('h') | Arg::Long("help") => return Ok(Outcome::Help(HELP)),
            other => return Err(other.unexpected().into()),
        }
    }
    let authority = upstream
        .filter(|upstream| upstream.scheme() == Some(&Scheme::HTTP))
        .and_then(|upstream| upstream.into_parts().authority)
        .ok_or_else(|| Error::usage("--upstream http://HOST:PORT is needed"))?;
    let announce = |address: std::net::SocketAddr| cli::announce("proxy", Some(address.port()), &address.to_string());
    runtime::serve(&place, announce, move || {
        let proxy = Arc::new(Proxy::new(authority.clone()));
        move |stream| {
            let proxy = Arc::clone(&proxy);
            let service = service_fn(move |request| Arc::clone(&proxy).forward(request));
            async move {
                // An error is a caller that left.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
    })?;
    Ok(Outcome::Done)
}

/// The client of one runtime; its pool is shared by the runtime's connections only.
struct Proxy {
    client: Client<HttpConnector, Incoming>,
    authority: Authority,
    host: Option<HeaderValue>,
}

impl Proxy {
    fn new(authority: Authority) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(usize::MAX).build(connector);
        Self { client, host: HeaderValue::from_str(authority.as_str()).ok(), authority }
    }

    async fn forward(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_11;
        strip(request.headers_mut());
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        match self.client.request(request).await {
            Ok(mut response) => {
                strip(response.headers_mut());
                Ok(response.map(Either::Left))
            }
            Err(error) => {
                let mut response = Response::new(Either::Right(Full::from(error.to_string())));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                Ok(response)
            }
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
