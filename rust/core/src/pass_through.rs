//! A provider's own paths beneath its name: `/openai/v1/files` is `/v1/files` at OpenAI, with the gateway's credential.
//!
//! The provider's base URL bounds where a request can go; what is asked and answered passes as it is. Whoever asks is
//! limited and billed as ever: the model that a request names is a model `pass_through/PROVIDER/NAME` to limits, budgets,
//! reports and lists of keys; one that names none is `-`.

use http::header::{self, HeaderName};
use http::{Method, Response};

use crate::body::Body;
use crate::endpoint::{self, Endpoint};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::head::decode;
use crate::pipeline;
use crate::snapshot::{PassThrough, Snapshot};
use crate::stage::identify::KEY_HEADERS;
use crate::stage::parse;
use crate::stored::Object;
use crate::wire::json::{self, Kind, scan_object};

/// The model of requests that name none.
const NAMELESS: &str = "-";

/// Methods that a provider may be asked by.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Headers of a caller that are for the gateway, or between the caller and the gateway.
const KEPT_BACK: [HeaderName; 17] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::COOKIE,
    header::USER_AGENT,
    header::ACCEPT_ENCODING,
    header::FORWARDED,
    header::PROXY_AUTHORIZATION,
    header::VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("openai-organization"),
];
const KEPT_BACK_PREFIXES: [&str; 7] =
    ["x-ailink-", "x-portkey-", "x-litellm-", "x-forwarded-", "x-real-ip", "x-amz-", "proxy-"];

/// Whether a caller's header reaches the provider.
pub fn forwards(name: &HeaderName) -> bool {
    !KEPT_BACK.contains(name)
        && !KEY_HEADERS.contains(name)
        && !KEPT_BACK_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// The endpoint of a path beneath the name of a provider that may be asked so.
pub fn endpoint(snapshot: &Snapshot, path: &str) -> Option<&'static Endpoint> {
    let (found, _) = find(snapshot, path)?;
    Some(endpoint::pass_through(found.dialect))
}

fn find<'s, 'p>(snapshot: &'s Snapshot, path: &'p str) -> Option<(&'s PassThrough, &'p str)> {
    let (name, rest) = path.strip_prefix('/')?.split_once('/')?;
    Some((snapshot.pass_through.get(name)?, rest))
}

/// Answers a request for a provider's own path.
pub async fn serve(mut exchange: Box<Exchange>, method: Method) -> Response<Body> {
    match read(&mut exchange, method).await {
        Ok(()) => pipeline::through(exchange).await,
        Err(error) => Box::pin(pipeline::turn_away(exchange, error)).await,
    }
}

async fn read(exchange: &mut Exchange, method: Method) -> Result<()> {
    if !METHODS.contains(&method) {
        return Err(Error::new(Code::MethodNotAllowed, format!("A provider's own path does not take {method}.")));
    }
    let path = exchange.path_model.take().unwrap_or_default();
    let snapshot = exchange.snapshot.clone();
    let Some((place, rest)) = find(&snapshot, &path) else {
        return Err(Error::new(Code::RouteNotFound, format!("There is nothing at {path}. See /docs.")));
    };
    let mut tail = beneath(rest, place)?.to_string();
    if let Some(query) = query(exchange.query.as_deref()) {
        tail.push('?');
        tail.push_str(&query);
    }
    let body = parse::read_body(exchange).await?;
    let (named, stream) = said(&body);
    let model = named.or_else(|| in_path(rest)).unwrap_or_else(|| NAMELESS.to_string());
    let counted = if model == NAMELESS { 0 } else { u32::try_from(body.len()).unwrap_or(u32::MAX) };
    exchange.path_model = Some(format!("{}{model}", place.head));
    parse::understand(exchange, body)?;
    exchange.call.stream = stream;
    exchange.call.content_bytes = counted;
    exchange.call.est_input = counted.div_ceil(4);
    exchange.object = Some(Box::new(Object { method, tail }));
    Ok(())
}

/// What follows the provider's base URL.
fn beneath<'p>(rest: &'p str, place: &PassThrough) -> Result<&'p str> {
    let decoded = decode(rest)?;
    // Some servers decode twice.
    let dots = |segment: &str| matches!(&*segment.replace("%2e", ".").replace("%2E", "."), "." | "..");
    if decoded.split(['/', '\\']).any(dots) || decoded.contains(char::is_control) {
        return Err(Error::new(Code::InvalidRequest, "The path has a segment '.' or '..', or a control character."));
    }
    let inside = rest.strip_prefix(place.prefix.as_str()).filter(|_| !rest.starts_with('/'));
    inside.ok_or_else(|| {
        let text = format!("This provider is asked beneath '/{{provider}}/{}' only.", place.prefix);
        Error::new(Code::RouteNotFound, text)
    })
}

/// The caller's query without what names his key.
fn query(query: Option<&str>) -> Option<String> {
    let kept: Vec<&str> = query?.split('&').filter(|pair| !pair.starts_with("key=") && !pair.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// The model that a JSON body names, and whether it asks for a stream.
fn said(body: &[u8]) -> (Option<String>, bool) {
    let Ok(scan) = scan_object(body, &["model", "stream"]) else { return (None, false) };
    let [model, stream] = scan.fields;
    let model = model.filter(|value| value.kind == Kind::String).and_then(|value| json::string(body, value));
    let model = model.filter(|name| !name.is_empty()).map(std::borrow::Cow::into_owned);
    (model, stream.and_then(|value| json::as_bool(body, value)).unwrap_or(false))
}

/// The model that a path of Google's names: `…/models/NAME:verb`.
fn in_path(rest: &str) -> Option<String> {
    let (_, name) = rest.rsplit_once("models/")?;
    let name = name.split(['/', ':']).next().filter(|name| !name.is_empty())?;
    decode(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Dialect;

    #[test]
    fn nothing_leads_out_of_the_base_url() {
        let place = PassThrough { head: "h/".into(), prefix: "v1/".into(), dialect: Dialect::OpenAi };
        assert_eq!(beneath("v1/files/a%2Fb", &place).ok(), Some("files/a%2Fb"));
        for bad in [
            "v1/../x",
            "v1/%2e%2e/x",
            "v1/a/%2E./x",
            "v2/files",
            "/v1/files",
            "v1",
            "v1/..%2fx",
            "v1/..%5cx",
            "v1/%0ax",
            "v1/%252e%252E/x",
            "v1/%zz",
        ] {
            assert!(beneath(bad, &place).is_err(), "{bad}");
        }
    }

    #[test]
    fn models_are_found_in_bodies_and_paths() {
        assert_eq!(said(br#"{"model":"m","stream":true}"#), (Some("m".into()), true));
        assert_eq!(said(b"a,b"), (None, false));
        assert_eq!(in_path("v1beta/models/gemini-x:generateContent"), Some("gemini-x".into()));
        assert_eq!(in_path("v1/files"), None);
        assert_eq!(query(Some("limit=3&key=sk-1")), Some("limit=3".into()));
        assert_eq!(query(Some("key=sk-1")), None);
    }
}
