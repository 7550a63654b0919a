//! Answers on their way to the caller, in the caller's own dialect: whatever provider, translation or cache they come from.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};

use super::record::Verdict;
use super::stream::Guarded;
use super::unseen::{self, Unscannable};
use super::{Finding, Judged, Side, checks, judge};
use crate::body::{Body, Source};
use crate::endpoint::Dialect;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::wire::json::{JsonErrorKind, scan_object};

/// Longest answer that is collected to be looked at.
const WHOLE_MAX: usize = 32 * 1024 * 1024;

/// Looks at an answer.
///
/// # Errors
/// The refusal, when a rule blocks the answer or it cannot be looked at.
pub async fn answer(exchange: &mut Exchange, response: Response<Body>) -> Result<Response<Body>> {
    let mut response = response;
    for plan in exchange.guards.clone() {
        response = through(exchange, plan, response).await?;
    }
    Ok(response)
}

/// An answer as one plan lets it pass.
///
/// # Errors
/// The refusal, when a rule blocks the answer or it cannot be looked at.
pub async fn through(exchange: &mut Exchange, plan: u32, response: Response<Body>) -> Result<Response<Body>> {
    let response = searched(exchange, plan, response).await?;
    let held = exchange.snapshot.clone();
    match held.plans.get(plan as usize) {
        Some(plan) if !plan.hooks.is_empty() => {
            checks::answer(exchange, &plan.hooks, plan.unscannable[1], response).await
        }
        _ => Ok(response),
    }
}

/// An answer as the patterns of one plan let it pass.
async fn searched(exchange: &mut Exchange, plan: u32, response: Response<Body>) -> Result<Response<Body>> {
    let place = plan;
    let held = exchange.snapshot.clone();
    let snapshot = held.clone();
    let plan = snapshot.plans.get(plan as usize);
    let Some(plan) = plan else { return Ok(response) };
    let (Some(side), true) = (&plan.output, response.status().is_success()) else { return Ok(response) };
    let (mut head, body) = response.into_parts();
    let amazon = exchange.endpoint.dialect == Dialect::Bedrock;
    if starts_with(&head.headers, if amazon { b"application/vnd.amazon.eventstream" } else { b"text/event-stream" }) {
        let mut source = body.into_source().unwrap_or_else(|bytes| Box::new(Once(Some(bytes))));
        let whole = if side.goes_on {
            Some(collect(std::mem::replace(&mut source, Box::new(Once(None)))).await?)
        } else {
            None
        };
        let Some(guarded) = Guarded::new(exchange, held, place, source) else {
            return Err(Error::new(Code::Internal, "the guardrails of this answer are gone"));
        };
        let body = match whole {
            None => Body::stream(guarded),
            // Nothing may leave while somebody else may have to answer.
            Some(bytes) => match guarded.whole(bytes) {
                Ok(bytes) => Body::full(bytes),
                Err((error, then)) => {
                    exchange.goes_on(then);
                    return Err(error);
                }
            },
        };
        return Ok(Response::from_parts(head, body));
    }
    let bytes = match body.into_source() {
        Ok(source) => collect(source).await?,
        Err(bytes) => bytes,
    };
    if bytes.is_empty() {
        return Ok(Response::from_parts(head, Body::full(bytes)));
    }
    let judged = match judged(side, &bytes, &head.headers) {
        Some(judged) => judged,
        None if side.fails_closed && plan.unscannable[1] > Unscannable::Allow => {
            return Err(unlookable("the answer is neither JSON nor text"));
        }
        None => return Ok(Response::from_parts(head, Body::full(bytes))),
    };
    unseen::answered(plan, &bytes)?;
    exchange.tell_findings(&judged.findings, "output");
    if judged.failed && side.fails_closed {
        return Err(unlookable("the search was given up"));
    }
    if let Some(finding) = judged.block() {
        exchange.goes_on(finding.rule.then);
        return Err(refusal(finding, "output", plan.block_status));
    }
    let bytes = match judged.rewritten {
        None => bytes,
        Some(rewritten) => {
            head.headers.remove(CONTENT_LENGTH);
            rewritten.into()
        }
    };
    Ok(Response::from_parts(head, Body::full(bytes)))
}

/// `None` for what is no text.
fn judged(side: &Side, bytes: &Bytes, headers: &HeaderMap) -> Option<Judged> {
    let valid = match scan_object(bytes, &[]) {
        Ok(_) => true,
        Err(error) if error.kind == JsonErrorKind::NotAnObject => {
            serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
        }
        Err(_) => false,
    };
    if valid {
        return judge(side, bytes, false).ok();
    }
    // Subtitles and transcripts: one text, judged as a JSON string would be.
    let text = std::str::from_utf8(bytes).ok().filter(|_| starts_with(headers, b"text/"))?;
    let quoted = serde_json::to_vec(text).ok()?;
    let mut judged = judge(side, &quoted, false).ok()?;
    let rewritten = judged.rewritten.take().and_then(|json| serde_json::from_slice::<String>(&json).ok());
    judged.rewritten = rewritten.map(String::into_bytes);
    Some(judged)
}

pub(super) fn starts_with(headers: &HeaderMap, kind: &[u8]) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    value.get(..kind.len()).is_some_and(|head| head.eq_ignore_ascii_case(kind))
}

/// Bytes that are there already.
pub(crate) struct Once(pub Option<Bytes>);

impl Source for Once {
    fn poll_data(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::result::Result<Bytes, crate::body::Broken>>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// A whole body.
///
/// # Errors
/// It breaks off, or is longer than can be looked at.
pub async fn collect(source: Box<dyn Source>) -> Result<Bytes> {
    let mut source = source;
    let mut all = BytesMut::new();
    while let Some(data) = poll_fn(|cx| source.poll_data(cx)).await {
        let data = data.map_err(|broken| Error::new(Code::UpstreamReset, broken.to_string()))?;
        if all.len() + data.len() > WHOLE_MAX {
            return Err(unlookable("the answer is longer than 32 MiB"));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// What the caller is told when a rule blocks.
pub fn refusal(finding: &Finding, side: &str, status: u16) -> Error {
    let what = if side == "input" { "request" } else { "answer" };
    let Finding { rule, label, place, range, .. } = finding;
    // Of a stream, how long the match would become is not waited for.
    let bytes = match side {
        "stream" => format!("from byte {}", range.start),
        _ => format!("bytes {} to {}", range.start, range.end),
    };
    let text = format!("Guardrail '{}' blocked this {what}: {label} in {place} ({bytes} of the text).", rule.name);
    let error = Error::new(Code::GuardrailBlocked, text);
    let error = if side == "input" { error.param(place.clone()) } else { error };
    if status == 400 { error } else { error.status(status) }
}

/// What the caller is told when a text cannot be looked at and a rule insists.
pub fn unlookable(why: &str) -> Error {
    Error::new(Code::GuardrailBlocked, format!("A guardrail could not look at this: {why}."))
}

impl Exchange {
    /// Counts and keeps what was found, and notes it for the answer's header.
    pub fn tell_findings(&mut self, findings: &[Finding], side: &'static str) {
        for finding in findings {
            super::notice::note(&self.shard, &finding.rule.cell, self.verdict(finding, side));
            if finding.rule.effect() > super::Action::Log {
                let told = format!("{};{}={}", finding.rule.name, side, finding.rule.action.name());
                if !self.guarded.contains(&told) && self.guarded.len() < 16 {
                    self.guarded.push(told);
                }
            }
        }
    }

    pub fn verdict(&self, finding: &Finding, side: &'static str) -> Verdict {
        Verdict {
            time_us: self.wall_us,
            request_id: self.request_id.to_string(),
            side,
            model: self.model().map(|model| model.name.to_string()).unwrap_or_default(),
            key: self.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default(),
            ..Verdict::of(finding)
        }
    }
}
