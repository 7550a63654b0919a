//! A response that another node makes, as a stream: what was said of it is kept when it has ended, and told then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{access, background, told};
use crate::body::{Body, Broken, Source};
use crate::shard::Shard;

/// How often is looked for the end.
const OFTEN: Duration = Duration::from_millis(500);
/// How long the store may be away meanwhile.
const AWAY: Duration = Duration::from_secs(60);
/// What was said comes a moment after the response itself.
const BEHIND: Duration = Duration::from_secs(3);

/// The events from number `first` on. `said`: those that are known.
pub fn follow(shard: &Arc<Shard>, owner: &str, id: &str, first: usize, said: Vec<u8>) -> Body {
    let (shard, owner, id) = (shard.clone(), owner.to_string(), id.to_string());
    let (count, over) = told::heard(&said);
    let known = told::again(&said, first, None);
    let rest: Rest = match over {
        true => Box::pin(async { Ok(Vec::new()) }),
        false => Box::pin(async move { rest(&shard, &owner, &id, first.max(count)).await }),
    };
    Body::stream(Elsewhere { known: (!known.is_empty()).then(|| known.into()), rest: Some(rest) })
}

/// The events that are kept in the end.
async fn rest(shard: &Arc<Shard>, owner: &str, id: &str, first: usize) -> Result<Vec<u8>, Broken> {
    let (mut heard, mut ended) = (Instant::now(), None);
    loop {
        match access::response(shard, owner, id).await {
            // Removed: there is nothing more to be said.
            Ok(None) => return Ok(Vec::new()),
            Ok(Some(found)) => {
                heard = Instant::now();
                let body = background::look(shard, owner, &found, false);
                if !background::is_pending(&body) {
                    let events = access::events(shard, owner, id).await.ok().flatten().unwrap_or_default();
                    let over = told::heard(&events).1;
                    if over || ended.get_or_insert(heard).elapsed() > BEHIND {
                        return Ok(told::again(&events, first, (!over).then_some(&body)));
                    }
                }
            }
            Err(error) if heard.elapsed() > AWAY => return Err(Broken(error.to_string())),
            Err(_) => {}
        }
        tokio::time::sleep(OFTEN).await;
    }
}

type Rest = Pin<Box<dyn Future<Output = Result<Vec<u8>, Broken>> + Send>>;

struct Elsewhere {
    known: Option<Bytes>,
    rest: Option<Rest>,
}

impl Source for Elsewhere {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(known) = self.known.take() {
            return Poll::Ready(Some(Ok(known)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let told = std::task::ready!(rest.as_mut().poll(cx));
        self.rest = None;
        match told {
            Ok(events) if events.is_empty() => Poll::Ready(None),
            told => Poll::Ready(Some(told.map(Into::into))),
        }
    }
}
