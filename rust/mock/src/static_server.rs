//! A hyper server that reads the whole request and returns a fixed answer: the floor for answers that need no upstream.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lexopt::{Arg, Parser};

use crate::Error;
use crate::cli::{self, Outcome};
use crate::runtime::{self, Place};

const HELP: &str = "\
Usage: ailink-mock static [OPTIONS]

Serves until it is killed. The first line on standard output is {\"listening\":\"static\",\"port\":N,\"address\":\"…\"}.

  --host HOST        address to bind [127.0.0.1]
  --port N           TCP port, 0 for a free one [0]
  --status N         status of the answer [200]
  --bytes N          size of the answer's body, a JSON string [1200]
  --runtime KIND     per_core (one runtime and one SO_REUSEPORT socket per thread) or work_stealing [per_core]
  --threads N        [1]
";

/// Runs the command.
pub fn command(mut parser: Parser) -> Result<Outcome, Error> {
    let mut place = Place::default();
    let mut status = StatusCode::OK;
    let mut bytes = 1200usize;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => place.host = cli::string(&mut parser)?,
            Arg::Long("port") => place.port = cli::value(&mut parser)?,
            Arg::Long("status") => status = cli::value(&mut parser)?,
            Arg::Long("bytes") => bytes = cli::value(&mut parser)?,
            Arg::Long("runtime") => place.kind = cli::value(&mut parser)?,
            Arg::Long("threads") => place.threads = cli::value(&mut parser)?,
            Arg::Short('h') | Arg::Long("help") => return Ok(Outcome::Help(HELP)),
            other => return Err(other.unexpected().into()),
        }
    }
    let body = Bytes::from(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))));
    let announce = |address: std::net::SocketAddr| cli::announce("static", Some(address.port()), &address.to_string());
    runtime::serve(&place, announce, move || {
        let body = body.clone();
        move |stream| {
            let body = body.clone();
            let service = service_fn(move |request| answer(request, status, body.clone()));
            async move {
                // An error is a caller that left.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
    })?;
    Ok(Outcome::Done)
}

async fn answer(
    request: Request<Incoming>,
    status: StatusCode,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        frame?;
    }
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
