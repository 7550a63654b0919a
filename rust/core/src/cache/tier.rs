//! The thread of the second tier: what it asks Redis, and what it writes there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use tokio::sync::mpsc;

use super::key::CacheKey;
use super::purge::{Purge, hex};
use super::remote::{Ask, Counts, Got, Memory, Write};
use super::sealed::Sealer;
use crate::clock::wall_us;

/// How long one node may take for an answer that others wait for.
const LEASE_MS: u64 = 15_000;
/// How often purges of other nodes are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Keys of one step of a purge.
const STEP: usize = 200;

/// The thread's side.
pub struct Tier {
    pub sealer: Sealer,
    pub prefix: String,
    pub counts: Arc<Counts>,
    pub memory: Memory,
}

pub async fn run(
    tier: Arc<Tier>,
    connection: ConnectionManager,
    mut asked: mpsc::Receiver<Ask>,
    mut written: mpsc::Receiver<Write>,
) {
    let (writer, mut writing) = (tier.clone(), connection.clone());
    let writes = tokio::spawn(async move {
        while let Some(write) = written.recv().await {
            writer.write(&mut writing, write).await;
        }
    });
    let (watcher, mut watching) = (tier.clone(), connection.clone());
    let watch = tokio::spawn(async move {
        let mut known = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let purges: Result<Option<u64>, _> = watching.get(format!("{}purges", watcher.prefix)).await;
            if let Ok(purges) = purges {
                let purges = purges.unwrap_or(0);
                if known.is_some_and(|known| known != purges) {
                    (watcher.memory.flush)();
                }
                known = Some(purges);
            }
        }
    });
    // Every question in a task of its own: the connection puts them into one pipeline.
    while let Some(ask) = asked.recv().await {
        let (tier, mut connection) = (tier.clone(), connection.clone());
        tokio::spawn(async move { tier.answer(&mut connection, ask).await });
    }
    watch.abort();
    let _ = writes.await;
}

impl Tier {
    fn entry_name(&self, key: &CacheKey) -> String {
        format!("{}e:{}", self.prefix, hex(key))
    }

    fn lease_name(&self, key: &CacheKey) -> String {
        format!("{}l:{}", self.prefix, hex(key))
    }

    async fn answer(&self, connection: &mut ConnectionManager, ask: Ask) {
        match ask {
            Ask::Get(key, reply) => {
                let found: Result<Option<Vec<u8>>, _> = connection.get(self.entry_name(&key)).await;
                let got = match found {
                    Err(_) => Got::Failed,
                    Ok(None) => Got::Nothing,
                    Ok(Some(bytes)) => self.opened(&key, &bytes),
                };
                let _ = reply.send(got);
            }
            Ask::Lease(key, reply) => {
                let mut command = redis::cmd("SET");
                command.arg(self.lease_name(&key)).arg(1).arg("NX").arg("PX").arg(LEASE_MS);
                let taken: Result<Option<String>, _> = command.query_async(connection).await;
                let _ = reply.send(match taken {
                    Ok(Some(_)) => Got::Taken,
                    Ok(None) => Got::Nothing,
                    Err(_) => Got::Failed,
                });
            }
            Ask::Info(reply) => {
                let info: Result<String, _> = redis::cmd("INFO").query_async(connection).await;
                let _ = reply.send(info.ok());
            }
        }
    }

    fn opened(&self, key: &CacheKey, bytes: &[u8]) -> Got {
        match self.sealer.open(key, bytes) {
            Some(entry) if entry.expires_us > wall_us() => Got::Entry(Box::new(entry)),
            Some(_) => Got::Nothing,
            None => {
                self.counts.foreign.fetch_add(1, Ordering::Relaxed);
                Got::Nothing
            }
        }
    }

    async fn write(&self, connection: &mut ConnectionManager, write: Write) {
        let done = match write {
            Write::Put(key, entry, epoch) => {
                // What was purged meanwhile does not come back.
                let ms = u64::try_from((entry.expires_us - wall_us()) / 1000).unwrap_or(0);
                if self.memory.epoch.load(Ordering::Acquire) != epoch || ms == 0 {
                    return;
                }
                let Some(sealed) = self.sealer.seal(&key, &entry) else { return };
                connection.pset_ex::<_, _, ()>(self.entry_name(&key), sealed, ms).await
            }
            Write::Release(key) => connection.unlink::<_, ()>(self.lease_name(&key)).await,
            Write::Purge(purge, reply) => match self.purge(connection, &purge).await {
                Ok(gone) => {
                    let _ = reply.send(gone);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(()) => self.counts.writes.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.counts.errors.fetch_add(1, Ordering::Relaxed),
        };
    }

    async fn purge(&self, connection: &mut ConnectionManager, purge: &Purge) -> redis::RedisResult<u64> {
        connection.incr::<_, _, ()>(format!("{}purges", self.prefix), 1).await?;
        let (mut cursor, mut gone) = (0u64, 0u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}e:*", self.prefix)).arg("COUNT").arg(STEP);
            let (next, names): (u64, Vec<String>) = scan.query_async(connection).await?;
            let mut going = Vec::new();
            for name in names {
                let value: Option<Vec<u8>> = connection.get(&name).await?;
                let key = name.rsplit_once(':').and_then(|(_, key)| super::report::parse_key(key));
                let entry = key.zip(value).and_then(|(key, value)| Some((key, self.sealer.open(&key, &value)?)));
                // What is not ours under our name goes as well.
                if entry.is_none_or(|(key, entry)| purge.fits(&key, &entry.about)) {
                    going.push(name);
                }
            }
            if !going.is_empty() {
                gone += connection.unlink::<_, u64>(&going).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(gone);
            }
        }
    }
}
