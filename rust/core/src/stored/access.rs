//! What is kept, wherever that is: in this node's file, or in the store of all nodes, which the shell is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::store::{self, Conversation, Response, unavailable};
use super::write::{Packed, Write};
use super::{background, later};
use crate::approval::wire::Blob;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shell;

/// An answer of the shell; it gives its own up before.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// What is large gets more time: this much a second.
const BYTES_A_SECOND: usize = 16 << 20;
/// After a failure, how long nothing is tried with an answer that somebody waits for.
const AWAY: Duration = Duration::from_secs(1);
const RESPONSES: [&str; 3] = ["response", "end", "lose"];

/// A response, and whether another node is at it.
#[derive(Debug)]
pub struct Found {
    pub response: Response,
    pub made: bool,
}

#[derive(Serialize)]
struct Which<'a> {
    kind: &'a str,
    owner: &'a str,
    id: &'a str,
}

#[derive(Deserialize)]
struct Row {
    document: Blob,
    made: bool,
    items: Vec<Blob>,
}

/// Why something was not done.
enum Fault {
    /// It may be tried again.
    Away(String),
    Refused(String),
}

/// # Errors
/// 503 when it cannot be known.
pub async fn response(shard: &Shard, owner: &str, id: &str) -> Result<Option<Found>> {
    let stored = &shard.shared.stored;
    let (whose, wanted) = (owner.to_string(), id.to_string());
    if !stored.shared {
        let found = stored.ask(move |db| store::response(db, &whose, &wanted)).await?;
        return Ok(found.map(|response| Found { response, made: false }));
    }
    let document = match not_moved(shard, owner, id, &RESPONSES).await? {
        Some(document) => Some((document, false)),
        None => read(shard, "response", owner, id).await?.map(|row| (row.document, row.made)),
    };
    let Some((document, made)) = document else { return Ok(None) };
    let response = opened(&document)?;
    Ok(Some(Found { response, made }))
}

/// # Errors
/// 503 when it cannot be known.
pub async fn events(shard: &Shard, owner: &str, id: &str) -> Result<Option<Vec<u8>>> {
    let stored = &shard.shared.stored;
    let (whose, wanted) = (owner.to_string(), id.to_string());
    if !stored.shared {
        return stored.ask(move |db| store::events(db, &whose, &wanted)).await;
    }
    if let Some(document) = not_moved(shard, owner, id, &["events"]).await? {
        return Ok(Some(document.0.to_vec()));
    }
    Ok(read(shard, "events", owner, id).await?.map(|row| row.document.0.to_vec()))
}

/// # Errors
/// 503 when it cannot be known.
pub async fn conversation(shard: &Shard, owner: &str, id: &str) -> Result<Option<Conversation>> {
    let stored = &shard.shared.stored;
    let (whose, wanted) = (owner.to_string(), id.to_string());
    if !stored.shared {
        return stored.ask(move |db| store::conversation(db, &whose, &wanted)).await;
    }
    settled(shard, owner, id).await?;
    match read(shard, "conversation", owner, id).await? {
        Some(row) => opened(&row.document).map(Some),
        None => Ok(None),
    }
}

/// The items of a conversation as JSON, in their order.
///
/// # Errors
/// 503 when it cannot be known.
pub async fn items(shard: &Shard, owner: &str, id: &str) -> Result<Option<Vec<String>>> {
    let stored = &shard.shared.stored;
    let (whose, wanted) = (owner.to_string(), id.to_string());
    if !stored.shared {
        let found = stored.ask(move |db| {
            if store::conversation(db, &whose, &wanted)?.is_none() {
                return Ok(None);
            }
            store::items(db, &whose, &wanted).map(Some)
        });
        return found.await;
    }
    settled(shard, owner, id).await?;
    let row = read(shard, "items", owner, id).await?;
    let text = |item: Blob| String::from_utf8_lossy(&item.0).into_owned();
    Ok(row.map(|row| row.items.into_iter().map(text).collect()))
}

/// Changes what is kept, now; whether the last of the changes changed something.
///
/// # Errors
/// 503 when that cannot be done: nothing has changed then, as far as is known.
pub async fn write(shard: &Shard, writes: Vec<Write>) -> Result<bool> {
    let stored = &shard.shared.stored;
    if !stored.shared {
        return stored.ask(move |db| writes.iter().try_fold(false, |_, write| write.apply(db))).await;
    }
    let changes: Vec<Packed> = writes.iter().map(Write::packed).collect();
    let mut moving = None;
    if stored.pending.load(Acquire) > 0 {
        // What is on its way there has arrived before, or stays here.
        moving = Some(tokio::time::timeout(PATIENCE, stored.moving.lock()).await.map_err(|_| unavailable())?);
    }
    let changed = send(shard, &changes).await.map_err(refused)?;
    if moving.is_some()
        && let Some(Write::RemoveResponse { owner, id } | Write::RemoveConversation { owner, id }) = writes.first()
    {
        let (whose, wanted) = (owner.clone(), id.clone());
        let here = here(shard, move |db| {
            let here = later::is_of(db, &whose, &wanted)?;
            later::forget(db, &whose, &wanted)?;
            Ok(here)
        });
        return Ok(here.await? || changed > 0);
    }
    Ok(changed > 0)
}

/// Keeps what was answered. Whoever is told of it waits for what comes back, if anything does; it is done all the same when
/// he is gone.
pub fn keep(shard: &Arc<Shard>, writes: Vec<Write>) -> Option<JoinHandle<()>> {
    let stored = &shard.shared.stored;
    if !stored.shared {
        stored.tell(move |db| writes.iter().try_for_each(|write| write.apply(db).map(|_| ())));
        return None;
    }
    let shard = shard.clone();
    Some(tokio::spawn(async move { keep_for_all(&shard, &writes).await }))
}

/// In the store of all nodes; while it is away, here.
async fn keep_for_all(shard: &Shard, writes: &[Write]) {
    let stored = &shard.shared.stored;
    let changes: Vec<Packed> = writes.iter().map(Write::packed).collect();
    let away = stored.away_until.lock().is_some_and(|until| until > Instant::now());
    let mut behind = false;
    for change in &changes {
        // What is said of a thing later must not arrive before.
        behind |= is_here(shard, &change.owner, &change.id).await.unwrap_or(false);
    }
    if !away && !behind {
        match send(shard, &changes).await {
            Ok(_) => return,
            Err(Fault::Refused(why)) => return tracing::error!(why, "a response is not stored"),
            Err(Fault::Away(why)) => {
                tracing::warn!(why, "a response is stored here, until the store of all nodes can be used");
                *stored.away_until.lock() = Some(Instant::now() + AWAY);
            }
        }
    }
    if here(shard, move |db| later::put(db, &changes)).await.is_err() {
        tracing::error!("a response is not stored");
    }
}

/// Does something with what is to be moved.
async fn here<T: Send + 'static>(
    shard: &Shard,
    what: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T> {
    let pending = shard.shared.stored.pending.clone();
    let asked = shard.shared.stored.ask(move |db| {
        let done = what(db)?;
        pending.store(later::count(db)?, Release);
        Ok(done)
    });
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| unavailable())?
}

async fn is_here(shard: &Shard, owner: &str, id: &str) -> Result<bool> {
    if shard.shared.stored.pending.load(Acquire) == 0 {
        return Ok(false);
    }
    let (whose, wanted) = (owner.to_string(), id.to_string());
    here(shard, move |db| later::is_of(db, &whose, &wanted)).await
}

/// The last document of one of these kinds that was not moved yet.
async fn not_moved(shard: &Shard, owner: &str, id: &str, kinds: &'static [&str]) -> Result<Option<Blob>> {
    if shard.shared.stored.pending.load(Acquire) == 0 {
        return Ok(None);
    }
    let (whose, wanted) = (owner.to_string(), id.to_string());
    let found = here(shard, move |db| later::last(db, &whose, &wanted, kinds)).await?;
    Ok(found.map(|wire| wire.document))
}

/// All that is to be said of it has been.
async fn settled(shard: &Shard, owner: &str, id: &str) -> Result<()> {
    if is_here(shard, owner, id).await? {
        let _ = tokio::time::timeout(PATIENCE, move_over(shard)).await;
        if is_here(shard, owner, id).await? {
            return Err(unavailable());
        }
    }
    Ok(())
}

fn opened<T: for<'a> Deserialize<'a>>(document: &Blob) -> Result<T> {
    rmp_serde::from_slice(&document.0).map_err(|error| refused(Fault::Refused(error.to_string())))
}

fn refused(fault: Fault) -> Error {
    match fault {
        Fault::Away(why) => tracing::warn!(why, "stored responses cannot be asked for"),
        Fault::Refused(why) => tracing::error!(why, "stored responses cannot be read or written"),
    }
    unavailable()
}

async fn read(shard: &Shard, kind: &str, owner: &str, id: &str) -> Result<Option<Row>> {
    let question = rmp_serde::to_vec_named(&Which { kind, owner, id }).unwrap_or_default();
    let answer = told(shard, "stored/read", &question).await.map_err(refused)?;
    rmp_serde::from_slice(&answer).map_err(|error| refused(Fault::Refused(error.to_string())))
}

async fn send(shard: &Shard, changes: &[Packed]) -> Result<i64, Fault> {
    let body = Packed::together(changes.iter().map(|change| change.bytes.as_slice()));
    sent(shard, &body).await
}

async fn sent(shard: &Shard, body: &[u8]) -> Result<i64, Fault> {
    let answer = told(shard, "stored/write", body).await?;
    rmp_serde::from_slice(&answer).map_err(|error| Fault::Refused(error.to_string()))
}

async fn told(shard: &Shard, what: &str, body: &[u8]) -> Result<BytesMut, Fault> {
    let patience = PATIENCE + Duration::from_secs((body.len() / BYTES_A_SECOND) as u64);
    match tokio::time::timeout(patience, shell::ask::told(shard, what, body)).await {
        Ok(Ok((200, answer))) => Ok(answer),
        Ok(Ok((status, answer))) => {
            let why = String::from_utf8_lossy(&answer).chars().take(500).collect();
            Err(if status == 422 { Fault::Refused(why) } else { Fault::Away(why) })
        }
        Ok(Err(why)) => Err(Fault::Away(why)),
        Err(_) => Err(Fault::Away("no answer in time".to_string())),
    }
}

/// Moves what was kept here to the store of all nodes.
async fn move_over(shard: &Shard) {
    let stored = &shard.shared.stored;
    let _moving = stored.moving.lock().await;
    let mut most = u32::MAX;
    loop {
        let Ok(found) = here(shard, move |db| later::first(db, most)).await else { return };
        let Some(last) = found.last().map(|(number, _)| *number) else { return };
        match sent(shard, &Packed::together(found.iter().map(|(_, change)| change.as_slice()))).await {
            Ok(_) => {}
            Err(Fault::Away(_)) => return,
            Err(Fault::Refused(why)) if found.len() == 1 => tracing::error!(why, "a response is not stored"),
            // One of them: it is found by itself.
            Err(Fault::Refused(_)) => {
                most = 1;
                continue;
            }
        }
        if here(shard, move |db| later::done(db, last)).await.is_err() {
            return;
        }
    }
}

/// Once a second: what this process makes is told to be alive, what was kept here is moved.
pub fn tick(shard: &Arc<Shard>) {
    let stored = &shard.shared.stored;
    let idle = stored.running.is_empty() && stored.pending.load(Acquire) == 0;
    if !stored.shared || idle {
        return;
    }
    let Ok(turn) = stored.turns.clone().try_acquire_owned() else { return };
    let shard = shard.clone();
    tokio::spawn(async move {
        if !shard.shared.stored.running.is_empty() {
            renew(&shard).await;
        }
        if shard.shared.stored.pending.load(Acquire) > 0 {
            move_over(&shard).await;
        }
        drop(turn);
    });
}

#[derive(Serialize)]
struct Nothing {}

/// This process is alive. What another node has cancelled or removed is stopped.
async fn renew(shard: &Arc<Shard>) {
    let begun = shard.shared.stored.running.begun();
    let question = rmp_serde::to_vec_named(&Nothing {}).unwrap_or_default();
    let Ok(answer) = told(shard, "stored/renew", &question).await else { return };
    let Ok(open) = rmp_serde::from_slice::<Vec<String>>(&answer) else { return };
    // How it began may not have been told yet.
    if shard.shared.stored.pending.load(Acquire) > 0 {
        return;
    }
    for (id, owner) in begun {
        if !open.contains(&id)
            && let Ok(found) = response(shard, &owner, &id).await
        {
            background::ended_elsewhere(shard, &owner, &id, found.as_ref()).await;
        }
    }
}
