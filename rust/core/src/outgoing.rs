//! What is sent to a provider: the head made of the deployment's template, and the caller's own bytes with, at most, two
//! splices.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderName;
use smallvec::SmallVec;

use crate::clock::wall_us;
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::{Call, Exchange};
use crate::pass_through;
use crate::realtime::handshake;
use crate::rules::Refusal;
use crate::sigv4::{Credentials, Signer, Unsigned, payload_hash};
use crate::snapshot::{Auth, Deployment, FORWARDED, RequestTemplate};
use crate::state::CredentialSlot;
use crate::stored::Object;
use crate::trace::TRACEPARENT;
use crate::wire::json::edit::without;
use crate::wire::json::{Kind, Value, scan_object};

/// Headers that say something of one format only: they are not for a provider that is reached by translation.
const FAMILY: [HeaderName; 4] = [
    http::header::ACCEPT,
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
];

/// The request head for this call: the deployment's template, the credential, what the caller's headers add, the length.
pub fn request_head(
    exchange: &Exchange,
    (deployment, template): (&Deployment, &RequestTemplate),
    credential: Option<&Arc<CredentialSlot>>,
    attempt_id: u64,
    body: &[Bytes],
) -> BytesMut {
    let secret = credential.map(|slot| slot.load());
    let secret = secret.as_ref().and_then(|secret| secret.as_ref()).map_or(b"".as_slice(), |secret| secret.expose());
    let mut head = BytesMut::with_capacity(512 + template.block.len() + secret.len());
    let line = exchange.worded.as_ref().map_or(&template.line, |worded| &worded.line);
    match &exchange.object {
        None => head.put_slice(line),
        Some(object) => put_object(&mut head, &template.line, object),
    }
    let mut queried = line.contains(&b'?') || exchange.object.as_ref().is_some_and(|object| object.tail.contains('?'));
    let session = exchange.endpoint.operation.is_session();
    if session {
        queried = handshake::put_query(&mut head, queried, exchange.query.as_deref());
    }
    put_access(&mut head, (deployment, template), secret, queried, body);
    let passing = exchange.endpoint.operation == Operation::PassThrough;
    let content_type = exchange.call.content_type.as_ref().map(|value| value.as_bytes());
    let content_type = match &exchange.worded {
        Some(worded) => Some(worded.content_type.as_bytes()),
        None if exchange.call.boundary.is_some() && exchange.converted.is_none() || passing => content_type,
        None => Some(b"application/json".as_slice()),
    };
    if let Some(content_type) = content_type.filter(|_| !session) {
        put_line(&mut head, b"content-type", content_type);
    }
    let translated = exchange.translation.is_some() || exchange.converted.is_some() || exchange.worded.is_some();
    let forwarded = |name: &HeaderName| match passing {
        true => pass_through::forwards(name) && !deployment.auth.travels_in(name),
        false => FORWARDED.contains(name) && !(translated && FAMILY.contains(name)),
    };
    let traced = exchange.trace.traced;
    let forwarded = |name: &HeaderName| forwarded(name) && !(traced && *name == TRACEPARENT);
    for (name, value) in exchange.headers.iter().filter(|(name, _)| forwarded(name)) {
        put_line(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    let defaults = deployment.defaults.iter().filter(|(name, _)| !(traced && *name == TRACEPARENT));
    for (name, value) in defaults.filter(|(name, _)| !forwarded(name) || !exchange.headers.contains_key(name)) {
        put_line(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    if traced {
        put_line(&mut head, b"traceparent", &exchange.trace.header(&exchange.request_id, exchange.attempts));
    }
    put_line(&mut head, b"x-ailink-attempt", itoa::Buffer::new().format(attempt_id).as_bytes());
    if session {
        handshake::put_offer(&mut head, &exchange.headers, &exchange.request_id);
    } else {
        let length = body.iter().map(Bytes::len).sum::<usize>();
        put_line(&mut head, b"content-length", itoa::Buffer::new().format(length).as_bytes());
    }
    head.put_slice(b"\r\n");
    head
}

/// The rest of the request line, host and fixed headers, and the credential. `queried`: the target has a query already.
pub fn put_access(
    head: &mut BytesMut,
    (deployment, template): (&Deployment, &RequestTemplate),
    secret: &[u8],
    queried: bool,
    body: &[Bytes],
) {
    if let Auth::Query(name) = &deployment.auth {
        head.put_u8(if queried { b'&' } else { b'?' });
        head.put_slice(name.as_bytes());
        head.put_u8(b'=');
        head.put_slice(secret);
    }
    head.put_slice(&template.block);
    match &deployment.auth {
        _ if secret.is_empty() => {}
        Auth::Bearer => put_bearer(head, secret),
        Auth::Token => put_line(head, b"authorization", &[b"Token ", secret].concat()),
        Auth::Header(name) => put_line(head, name.as_bytes(), secret),
        Auth::SigV4(signer) => match Credentials::parse(secret) {
            Some(credentials) => signed(head, signer, &credentials, &template.line, body),
            // An API key of Bedrock.
            None => put_bearer(head, secret),
        },
        Auth::Query(_) | Auth::None => {}
    }
}

/// The line of a request for something beneath an operation's path: what the provider keeps, or whatever it has.
fn put_object(head: &mut BytesMut, line: &[u8], object: &Object) {
    let target = line.strip_prefix(b"POST ").unwrap_or(line);
    let (path, query) = target.split_at(target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()));
    let (tail, more) = object.tail.split_once('?').map_or((object.tail.as_str(), ""), |(tail, more)| (tail, more));
    head.put_slice(object.method.as_str().as_bytes());
    for part in [b" ".as_slice(), path, tail.as_bytes(), query] {
        head.put_slice(part);
    }
    if !more.is_empty() {
        head.put_u8(if query.is_empty() { b'?' } else { b'&' });
        head.put_slice(more.as_bytes());
    }
}

pub fn put_line(head: &mut BytesMut, name: &[u8], value: &[u8]) {
    head.put_slice(name);
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

fn put_bearer(head: &mut BytesMut, secret: &[u8]) {
    head.put_slice(b"authorization: Bearer ");
    head.put_slice(secret);
    head.put_slice(b"\r\n");
}

/// The headers that sign this request. `line` is `POST /target`.
fn signed(head: &mut BytesMut, signer: &Signer, credentials: &Credentials<'_>, line: &[u8], body: &[Bytes]) {
    let target = line.split(|byte| *byte == b' ').nth(1).and_then(|target| std::str::from_utf8(target).ok());
    let payload = payload_hash(body.iter().map(|part| &part[..]));
    let request = Unsigned { method: "POST", target: target.unwrap_or("/"), payload: &payload };
    signer.sign(head, credentials, request, wall_us() / 1_000_000);
}

/// The caller's bytes with the model's name as the deployment knows it, and with the usage of a stream asked for.
///
/// What the provider's rules do to parameters is noted for the answer's headers.
///
/// # Errors
/// 400 for a parameter that the provider refuses or misses.
pub fn request_body(
    exchange: &mut Exchange,
    deployment: &Deployment,
    template: &RequestTemplate,
) -> Result<SmallVec<[Bytes; 5]>> {
    let applied = match (&template.rules, exchange.call.root) {
        (Some(rules), Some(root)) => {
            Some(rules.apply(&exchange.call.body, root).map_err(|refusal| refused(deployment, &refusal))?)
        }
        _ => None,
    };
    let (rule_edits, dropped) = applied.map_or_else(Default::default, |applied| (applied.edits, applied.dropped));
    exchange.dropped = dropped;
    let exchange = &*exchange;
    let call = &exchange.call;
    let mut edits = Edits::new();
    for (start, end) in &call.inner_models {
        edits.push((*start as usize, *end as usize, deployment.resource_json.clone()));
    }
    let inside = call.root.map(|root| root.start as usize + 1);
    match (call.model_span, inside) {
        (_, Some(_)) if deployment.model_in_path && !rule_edits.is_empty() => {}
        (span, Some(_)) if deployment.model_in_path => {
            edits.extend(span.and_then(|(start, end)| without_model(&call.body, start as usize, end as usize)));
        }
        (Some((start, end)), _) => {
            let (start, end) = (start as usize, end as usize);
            let replacement =
                if call.boundary.is_some() { deployment.model_text.clone() } else { deployment.model_json.clone() };
            if call.body.get(start..end) != Some(&replacement[..]) {
                edits.push((start, end, replacement));
            }
        }
        (None, Some(inside)) => {
            let comma = if call.body.get(inside..).is_some_and(is_closing) { "" } else { "," };
            let text = [b"\"model\":", &deployment.model_json[..], comma.as_bytes()].concat();
            edits.push((inside, inside, text.into()));
        }
        (None, None) => edits.extend(call.boundary.as_deref().map(|boundary| (0, 0, model_part(boundary, deployment)))),
    }
    if exchange.asks_for_usage(deployment)
        && let Some(edit) = usage_edit(call, inside)
    {
        edits.push(edit);
    }
    let unsaid = unsaid(deployment, !rule_edits.is_empty() && call.root.is_some());
    edits.extend(rule_edits.into_iter().map(|edit| (edit.start, edit.end, edit.text)));
    Ok(without_members(spliced(&call.body, edits), unsaid))
}

/// What the path says and the body must not. The model's name goes with the splices, unless `ruled`: two that take
/// neighbours out would both take, or leave, the comma between them.
fn unsaid(deployment: &Deployment, ruled: bool) -> &'static [&'static str] {
    match (deployment.model_in_path && ruled, deployment.stream_in_path) {
        (false, false) => &[],
        (true, false) => &["model"],
        (false, true) => &["stream"],
        (true, true) => &["model", "stream"],
    }
}

/// A body without some members of its root.
fn without_members(parts: SmallVec<[Bytes; 5]>, names: &[&str]) -> SmallVec<[Bytes; 5]> {
    if names.is_empty() {
        return parts;
    }
    let whole = parts.concat();
    let Ok(scan) = scan_object(&whole, &["model", "stream"]) else { return parts };
    if scan.fields.iter().all(Option::is_none) {
        return parts;
    }
    let mut out = without(&whole, scan.root, names);
    out.push(b'}');
    SmallVec::from_iter([Bytes::from(out)])
}

type Edits = SmallVec<[(usize, usize, Bytes); 2]>;

/// What the provider's rules make of a body that was translated.
///
/// # Errors
/// 400 for a parameter that the provider refuses or misses.
pub fn translated_body(
    exchange: &mut Exchange,
    deployment: &Deployment,
    template: &RequestTemplate,
    body: Bytes,
) -> Result<SmallVec<[Bytes; 5]>> {
    let (parts, dropped) = adapted(deployment, template, body)?;
    exchange.dropped.extend(dropped);
    Ok(parts)
}

/// A body in pieces, and the parameters that were left out.
type Adapted = (SmallVec<[Bytes; 5]>, SmallVec<[Box<str>; 2]>);

/// A body in the provider's format as this deployment takes it, and what of it was left out.
///
/// # Errors
/// As [`translated_body`].
pub fn adapted(deployment: &Deployment, template: &RequestTemplate, body: Bytes) -> Result<Adapted> {
    let mut dropped = SmallVec::new();
    if template.rules.is_none() && !deployment.model_in_path {
        return Ok((SmallVec::from_iter([body]), dropped));
    }
    let Ok(scan) = scan_object(&body, &["model"]) else {
        return Err(Error::new(Code::Internal, "a translated request is not valid JSON"));
    };
    let mut edits = Edits::new();
    if let Some(rules) = &template.rules {
        let applied = rules.apply(&body, scan.root).map_err(|refusal| refused(deployment, &refusal))?;
        dropped.extend(applied.dropped);
        edits.extend(applied.edits.into_iter().map(|edit| (edit.start, edit.end, edit.text)));
    }
    let unsaid = unsaid(deployment, !edits.is_empty());
    if deployment.model_in_path && edits.is_empty() {
        edits.extend(
            scan.fields[0].and_then(|Value { start, end, .. }| without_model(&body, start as usize, end as usize)),
        );
    }
    Ok((without_members(spliced(&body, edits), unsaid), dropped))
}

fn spliced(body: &Bytes, mut edits: Edits) -> SmallVec<[Bytes; 5]> {
    // Insertions come before what is replaced at the same place.
    edits.sort_by_key(|(start, end, _)| (*start, *end));
    let mut parts = SmallVec::new();
    let mut done = 0;
    for (start, end, replacement) in edits {
        if start > done {
            parts.push(body.slice(done..start));
        }
        if !replacement.is_empty() {
            parts.push(replacement);
        }
        done = end;
    }
    if done < body.len() {
        parts.push(body.slice(done..));
    }
    parts
}

fn refused(deployment: &Deployment, refusal: &Refusal) -> Error {
    let code = match refusal {
        Refusal::Unsupported { .. } => Code::ParameterUnsupported,
        Refusal::Missing { .. } => Code::PayloadMissing,
    };
    Error::new(code, refusal.message(&deployment.provider)).param(refusal.parameter().to_string())
}

/// Takes the member out whose value stands at `start..end`, with its comma.
fn without_model(body: &[u8], start: usize, end: usize) -> Option<(usize, usize, Bytes)> {
    let before = body.get(..start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    // Its name is a string; whatever it was escaped as, it begins behind a comma or the object's brace.
    let name = before.strip_suffix(b"\"")?;
    let name_at = name.iter().rposition(|byte| *byte == b'"')?;
    let after = body.get(end..)?;
    let blank = after.len() - after.trim_ascii_start().len();
    if after.get(blank) == Some(&b',') {
        return Some((name_at, end + blank + 1, Bytes::new()));
    }
    let head = body.get(..name_at)?.trim_ascii_end();
    let from = head.strip_suffix(b",").map_or(name_at, <[u8]>::len);
    Some((from, end, Bytes::new()))
}

/// A form field that names the model, for forms whose path names it.
fn model_part(boundary: &str, deployment: &Deployment) -> Bytes {
    let model = &deployment.model;
    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n").into()
}

fn usage_edit(call: &Call, inside: Option<usize>) -> Option<(usize, usize, Bytes)> {
    const MEMBER: &str = "\"include_usage\":true";
    if let Some(value) = call.include_usage_value {
        return Some((value.start as usize, value.end as usize, Bytes::from_static(b"true")));
    }
    match call.stream_options {
        Some(options) if options.kind == Kind::Object => {
            let at = options.start as usize + 1;
            let comma = if call.body.get(at..).is_some_and(is_closing) { "" } else { "," };
            Some((at, at, format!("{MEMBER}{comma}").into()))
        }
        Some(null) => Some((null.start as usize, null.end as usize, format!("{{{MEMBER}}}").into())),
        // The object has members: a stream was asked for.
        None => inside.map(|at| (at, at, format!("\"stream_options\":{{{MEMBER}}},").into())),
    }
}

/// What follows an opening brace closes the object at once.
fn is_closing(rest: &[u8]) -> bool {
    rest.trim_ascii_start().first() == Some(&b'}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;
    use crate::snapshot::wire;

    #[test]
    fn neighbours_of_the_model_are_left_out_with_their_commas() {
        let rule = wire::Rule {
            parameter: "seed".into(),
            to: None,
            reject: None,
            drop: true,
            set: None,
            min: None,
            max: None,
            default: None,
            require: false,
        };
        let rules = Rules::compile(&[rule]).unwrap().unwrap();
        for (body, expected) in [
            (r#"{"a":1,"model":"x","seed":2}"#, r#"{"a":1}"#),
            (r#"{"a":1,"seed":2,"model":"x"}"#, r#"{"a":1}"#),
            (r#"{"seed":2,"model":"x","a":1}"#, r#"{"a":1}"#),
            (r#"{"model":"x" , "seed":2}"#, r#"{}"#),
            (r#"{"model":"x","a":1,"stream":true,"seed":2}"#, r#"{"a":1}"#),
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            let root = scan_object(body.as_bytes(), &["model"]).unwrap().root;
            let edits = rules.apply(body.as_bytes(), root).unwrap().edits;
            let edits = edits.into_iter().map(|edit| (edit.start, edit.end, edit.text)).collect();
            let made = without_members(spliced(&bytes, edits), &["model", "stream"]).concat();
            assert_eq!(String::from_utf8_lossy(&made), expected, "{body}");
        }
    }
}
