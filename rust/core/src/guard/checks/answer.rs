//! Checks of answers, whole or streamed.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};

use super::spoken::spoken;
use super::teller::Teller;
use super::{behind, note, refused};
use crate::body::{Body, Broken, Source};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::guard::check::{Change, View};
use crate::guard::hook::{self, Hook, Run};
use crate::guard::output;
use crate::guard::texts::{self, Piece};
use crate::guard::unseen::Unscannable;
use crate::shard::Shard;
use crate::stream::Framing;

/// Most of a stream that is looked at behind.
const REMEMBERED: usize = 4 * 1024 * 1024;

/// An answer as the checks of guardrails let it pass.
///
/// # Errors
/// The refusal of one that blocks.
pub async fn answer(
    exchange: &mut Exchange,
    hooks: &[Arc<Hook>],
    unscannable: Unscannable,
    response: Response<Body>,
) -> Result<Response<Body>> {
    let hooks: Vec<Arc<Hook>> = hooks.iter().filter(|hook| hook.output).cloned().collect();
    if hooks.is_empty() || !response.status().is_success() {
        return Ok(response);
    }
    let framing = Framing::of(response.headers());
    let holds = |hook: &Arc<Hook>| hook.run != Run::Async && !hook.shadow && hook.action.alters();
    let status = response.status().as_u16();
    let (mut head, body) = response.into_parts();
    if let Some(framing) = framing
        && !hooks.iter().any(holds)
    {
        return Ok(match body.into_source() {
            Ok(inner) => {
                let view = View::of(exchange, Vec::new(), Bytes::new(), status);
                let (shard, teller) = (exchange.shard.clone(), Teller::of(exchange));
                let later = Some(Later { hooks, framing, view, shard, teller });
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
        let pieces = match framing {
            Some(framing) => spoken(bytes.clone(), framing),
            None => read(&bytes, &head.headers),
        };
        let pieces = match pieces {
            Some(pieces) => pieces,
            None if unscannable == Unscannable::Allow && framing.is_none() => continue,
            None => return Err(output::unlookable("the answer cannot be read")),
        };
        let whole = if framing.is_some() { Bytes::new() } else { bytes.clone() };
        let view = View::of(exchange, pieces, whole, status);
        if hook.run == Run::Async {
            behind(exchange, hook, Arc::new(view));
            continue;
        }
        let started = std::time::Instant::now();
        let mut ran = hook::run(hook, &view, exchange.shard.index).await;
        exchange.waited += started.elapsed();
        note(exchange, &ran);
        refused(exchange, std::slice::from_ref(&ran))?;
        match ran.applied() {
            None => {}
            Some(Change::Document(document)) if framing.is_none() => {
                head.headers.remove(CONTENT_LENGTH);
                bytes = document.into();
            }
            Some(Change::Pieces(texts)) if framing.is_none() && texts.len() == 1 => {
                head.headers.remove(CONTENT_LENGTH);
                bytes = texts.into_iter().next().map(|(_, text)| text.into_bytes()).unwrap_or_default().into();
            }
            // What was said in pieces cannot be put together differently without inventing events.
            Some(_) => return Err(output::unlookable("a stream would have to be changed; ask without `stream`")),
        }
    }
    Ok(Response::from_parts(head, Body::full(bytes)))
}

/// The pieces of a whole answer: of JSON, or of one that is text itself (subtitles, transcripts). `None`: it is neither.
fn read(bytes: &Bytes, headers: &HeaderMap) -> Option<Vec<Piece>> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return texts::said(bytes);
    }
    let text = std::str::from_utf8(bytes).ok().filter(|_| output::starts_with(headers, b"text/"))?;
    Some(vec![Piece::streamed(text.to_string())])
}

/// What is left to do when a stream is over.
struct Later {
    hooks: Vec<Arc<Hook>>,
    framing: Framing,
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
        let Some(Later { hooks, framing, mut view, shard, teller }) = self.later.take() else { return };
        let Some(said) = spoken(std::mem::take(&mut self.seen).freeze(), framing) else { return };
        view.pieces = said;
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
