//! Checks of answers, whole or streamed.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::teller::Teller;
use super::{behind, note, refused};
use crate::body::{Body, Broken, Source};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::facts::streamed;
use crate::guard::check::{Change, View};
use crate::guard::hook::{self, Hook, Run};
use crate::guard::output;
use crate::guard::texts::{self, Piece};
use crate::shard::Shard;

/// Most of a stream that is looked at behind.
const REMEMBERED: usize = 4 * 1024 * 1024;

/// An answer as the checks of guardrails let it pass.
///
/// # Errors
/// The refusal of one that blocks.
pub async fn answer(exchange: &mut Exchange, hooks: &[Arc<Hook>], response: Response<Body>) -> Result<Response<Body>> {
    let hooks: Vec<Arc<Hook>> = hooks.iter().filter(|hook| hook.output).cloned().collect();
    if hooks.is_empty() || !response.status().is_success() {
        return Ok(response);
    }
    let kind = response.headers().get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let events = kind.starts_with(b"text/event-stream");
    let holds = |hook: &Arc<Hook>| hook.run != Run::Async && !hook.shadow && hook.action.alters();
    let status = response.status().as_u16();
    let (mut head, body) = response.into_parts();
    if events && !hooks.iter().any(holds) {
        return Ok(match body.into_source() {
            Ok(inner) => {
                let view = View::of(exchange, Vec::new(), Bytes::new(), status);
                let later = Some(Later { hooks, view, shard: exchange.shard.clone(), teller: Teller::of(exchange) });
                Response::from_parts(head, Body::stream(Behind { inner, seen: BytesMut::new(), later }))
            }
            Err(bytes) => Response::from_parts(head, Body::full(bytes)),
        });
    }
    let mut bytes = match body.into_source() {
        Ok(source) => output::collect(source).await?,
        Err(bytes) => bytes,
    };
    for hook in hooks {
        let pieces = if events { streamed::said(bytes.clone()).map(|said| spoken(&said)) } else { texts::said(&bytes) };
        let Some(pieces) = pieces else { return Err(output::unlookable("the answer cannot be read")) };
        let whole = if events { Bytes::new() } else { bytes.clone() };
        let view = View::of(exchange, pieces, whole, status);
        if hook.run == Run::Async {
            behind(exchange, hook, Arc::new(view));
            continue;
        }
        let started = std::time::Instant::now();
        let ran = hook::run(hook, &view, exchange.shard.index).await;
        exchange.waited += started.elapsed();
        note(exchange, &ran);
        refused(exchange, std::slice::from_ref(&ran))?;
        match ran.change.filter(|_| !ran.hook.shadow) {
            None => {}
            Some(Change::Document(document)) if !events => {
                head.headers.remove(CONTENT_LENGTH);
                bytes = document.into();
            }
            // What was said in pieces cannot be put together differently without inventing events.
            Some(_) => return Err(output::unlookable("a stream would have to be changed; ask without `stream`")),
        }
    }
    Ok(Response::from_parts(head, Body::full(bytes)))
}

fn spoken(said: &streamed::Said) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if !said.text.is_empty() {
        pieces.push(Piece::streamed(said.text.clone()));
    }
    for call in &said.calls {
        pieces.push(Piece { speech: false, ..Piece::streamed(call.arguments.to_string()) });
    }
    pieces
}

/// What is left to do when a stream is over.
struct Later {
    hooks: Vec<Arc<Hook>>,
    view: View,
    shard: Arc<Shard>,
    teller: Teller,
}

/// A stream that is looked at when it is over.
struct Behind {
    inner: Box<dyn Source>,
    seen: BytesMut,
    later: Option<Later>,
}

impl Behind {
    fn end(&mut self) {
        let Some(Later { hooks, mut view, shard, teller }) = self.later.take() else { return };
        let Some(said) = streamed::said(std::mem::take(&mut self.seen).freeze()) else { return };
        view.pieces = spoken(&said);
        tokio::spawn(async move {
            for hook in hooks {
                let ran = hook::run(hook, &view, shard.index).await;
                teller.tell(&shard, &ran);
            }
        });
    }
}

impl Source for Behind {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Bytes, Broken>>> {
        let data = std::task::ready!(self.inner.poll_data(cx));
        match &data {
            Some(Ok(data)) if self.seen.len() + data.len() <= REMEMBERED => self.seen.extend_from_slice(data),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.end(),
        }
        Poll::Ready(data)
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}
