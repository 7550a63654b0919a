//! Values put back into an answer that is there as a whole.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::IgnoredAny;

use super::find::{Finder, next};
use super::stream::Restoring;
use super::{Tokens, keep};
use crate::body::Body;
use crate::endpoint::Dialect;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::guard::apply::{Edit, spliced};
use crate::guard::output::{Once, collect, starts_with};
use crate::guard::walk::{self, Frame, Kind, Visitor};
use crate::wire::json::write::escape;

/// An answer with values in the place of the request's tokens.
///
/// # Errors
/// An answer that is too long to be looked at.
pub async fn answer(exchange: &Exchange, response: Response<Body>) -> Result<Response<Body>> {
    let Some(tokens) = exchange.tokens.clone().filter(|_| response.status().is_success()) else { return Ok(response) };
    let (mut head, body) = response.into_parts();
    let amazon = exchange.endpoint.dialect == Dialect::Bedrock;
    if starts_with(&head.headers, if amazon { b"application/vnd.amazon.eventstream" } else { b"text/event-stream" }) {
        let source = body.into_source().unwrap_or_else(|bytes| Box::new(Once(Some(bytes))));
        return Ok(Response::from_parts(head, Body::stream(Restoring::new(exchange, tokens, source))));
    }
    let kind = head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let text = starts_with(&head.headers, b"text/");
    if !text && memchr::memmem::find(kind, b"json").is_none() {
        return Ok(Response::from_parts(head, body));
    }
    let bytes = match body.into_source() {
        Ok(source) => collect(source).await?,
        Err(bytes) => bytes,
    };
    let tokens = &found(exchange, tokens, &bytes).await;
    let bytes = match restored(tokens, &bytes).or_else(|| if text { plain(tokens, &bytes) } else { None }) {
        None => bytes,
        Some(restored) => {
            head.headers.remove(CONTENT_LENGTH);
            restored.into()
        }
    };
    Ok(Response::from_parts(head, Body::full(bytes)))
}

/// The tokens, with what the store knows of names in an answer that the request did not have.
async fn found(exchange: &Exchange, tokens: Arc<Tokens>, answer: &Bytes) -> Arc<Tokens> {
    if tokens.lasting.is_none() {
        return tokens;
    }
    let mut tokens = tokens;
    let own = Arc::make_mut(&mut tokens);
    Finder::default().push(&String::from_utf8_lossy(answer), |_, name| own.meets(name));
    if own.waits() {
        keep::find(own, &exchange.shard).await;
    }
    tokens
}

/// A JSON document with values in the place of tokens; `None` when it has none of them, or is no JSON.
pub fn restored(tokens: &Tokens, body: &[u8]) -> Option<Vec<u8>> {
    let mut restore = Restore { body, tokens, edits: Vec::new() };
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    walk::walk(body, false, &mut restore).ok()?;
    (!restore.edits.is_empty()).then(|| spliced(body, restore.edits))
}

/// The same for a text that is no JSON.
fn plain(tokens: &Tokens, body: &Bytes) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut edits: Vec<Edit> = Vec::new();
    Finder::default().push(text, |range, name| {
        edits.extend(tokens.value(name).map(|value| (range, value.as_bytes().to_vec())));
    });
    (!edits.is_empty()).then(|| spliced(body, edits))
}

struct Restore<'r> {
    body: &'r [u8],
    tokens: &'r Tokens,
    edits: Vec<Edit>,
}

impl Visitor for Restore<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        let key = path.last().and_then(|frame| self.body.get(frame.key.clone()));
        let nested = kind == Kind::Text && key == Some(b"arguments");
        edits(self.tokens, self.body, nested, raw, &mut self.edits);
    }
}

/// What changes in the string whose content stands at `raw`; `nested`: it may be JSON itself.
pub(super) fn edits(tokens: &Tokens, body: &[u8], nested: bool, raw: Range<usize>, edits: &mut Vec<Edit>) {
    let content = body.get(raw.clone()).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(content) else { return };
    if next(text).is_none() {
        return;
    }
    let mut decoded = String::new();
    walk::decode(content, &mut decoded);
    let json = nested && is_json(&decoded) == Some(true);
    let mut offsets = walk::Offsets::new(content);
    Finder::default().push(&decoded, |range, name| {
        let Some(value) = tokens.value(name) else { return };
        let (start, end) = (offsets.of(range.start), offsets.of(range.end));
        edits.push((raw.start + start..raw.start + end, written(&value, json)));
    });
}

/// A value as it stands in a string's content; `json`: in a string inside that string.
pub(super) fn written(value: &str, json: bool) -> Vec<u8> {
    let escaped = |text: &str| {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        escape(&mut quoted, text);
        quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec()
    };
    let once = escaped(value);
    if json { escaped(&String::from_utf8_lossy(&once)) } else { once }
}

/// Whether a text is JSON, by its first character; `None`: it has none yet.
pub(super) fn is_json(text: &str) -> Option<bool> {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace())?;
    Some(matches!(first, b'{' | b'[' | b'"'))
}
