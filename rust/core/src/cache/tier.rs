//! The thread of the second tier: what it asks Redis, and what it writes there.

mod follow;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::entry::About;
use super::gate::{Counts, Got};
use super::key::CacheKey;
use super::lease::{self, Leases};
use super::link::{Link, Node};
use super::purge::{Purge, hex};
use super::remote::{Ask, Memory, Write};
use super::sealed::Sealer;
use super::semantic::Record;
use crate::clock::wall_us;

/// How often purges of other nodes are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Keys of one step of a purge.
const STEP: usize = 200;

/// The thread's side.
pub struct Tier {
    pub sealer: Sealer,
    pub prefix: String,
    pub counts: Arc<Counts>,
    pub leases: Leases,
    pub memory: Memory,
}

pub async fn run(
    tier: Arc<Tier>,
    connection: Link,
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
            let purges = watching.query::<Option<u64>>(&command("GET", format!("{}purges", watcher.prefix))).await;
            if let Ok(purges) = purges {
                let purges = purges.unwrap_or(0);
                if known.is_some_and(|known| known != purges) {
                    (watcher.memory.flush)();
                }
                known = Some(purges);
            }
        }
    });
    let follow = tokio::spawn(follow::run(tier.clone(), connection.clone()));
    let prolong = tokio::spawn(prolong(tier.clone(), connection.clone()));
    // Every question in a task of its own: the connection puts them into one pipeline.
    while let Some(ask) = asked.recv().await {
        let (tier, mut connection) = (tier.clone(), connection.clone());
        tokio::spawn(async move { tier.answer(&mut connection, ask).await });
    }
    watch.abort();
    follow.abort();
    prolong.abort();
    let _ = writes.await;
}

/// As long as an answer is on its way, the right to ask for it stays this node's.
async fn prolong(tier: Arc<Tier>, connection: Link) {
    loop {
        tokio::time::sleep(lease::EVERY).await;
        let old = tier.leases.old();
        let asked = old.iter().map(|(number, key)| {
            let (mut connection, command) = (connection.clone(), tier.leases.prolong(&tier.lease_name(key), *number));
            async move { connection.query::<i64>(&command).await }
        });
        // What fails is counted where requests ask the tier; what is not prolonged ends by its time.
        join_all(asked).await;
    }
}

impl Tier {
    fn entry_name(&self, key: &CacheKey) -> String {
        format!("{}e:{}", self.prefix, hex(key))
    }

    fn question_name(&self, key: &CacheKey) -> String {
        format!("{}q:{}", self.prefix, hex(key))
    }

    fn lease_name(&self, key: &CacheKey) -> String {
        format!("{}l:{}", self.prefix, hex(key))
    }

    async fn answer(&self, connection: &mut Link, ask: Ask) {
        match ask {
            Ask::Get(key, reply) => {
                let found = connection.query::<Option<Vec<u8>>>(&command("GET", self.entry_name(&key))).await;
                let got = match found {
                    Err(error) => self.failed(error),
                    Ok(None) => Got::Nothing,
                    Ok(Some(bytes)) => self.sealer.got(&key, &bytes, &self.counts),
                };
                let _ = reply.send(got);
            }
            Ask::Lease(key, reply) => {
                let (lease, set) = self.leases.ask(&key, &self.lease_name(&key));
                let taken = connection.query::<Option<String>>(&set).await;
                // One that nobody waits for any more is given back as it is dropped.
                let _ = reply.send(match taken {
                    Ok(Some(_)) => {
                        self.leases.given(&lease);
                        Got::Taken(lease)
                    }
                    Ok(None) => {
                        lease.refused();
                        Got::Nothing
                    }
                    Err(error) => self.failed(error),
                });
            }
            Ask::Info(reply) => {
                let _ = reply.send(connection.info().await.ok());
            }
        }
    }

    /// Whose an entry or a question is.
    fn about(&self, kind: Kind, key: &CacheKey, value: &[u8]) -> Option<About> {
        match kind {
            Kind::Entry => self.sealer.open(key, value).map(|entry| entry.about),
            Kind::Question => Record::open(&self.sealer, key, value).map(|record| record.about),
        }
    }

    fn failed(&self, error: redis::RedisError) -> Got {
        self.counts.failed(error);
        Got::Failed
    }

    async fn write(&self, connection: &mut Link, write: Write) {
        let done = match write {
            Write::Put(key, entry, epoch) => {
                // What was purged meanwhile does not come back.
                let ms = u64::try_from((entry.expires_us - wall_us()) / 1000).unwrap_or(0);
                if self.memory.epoch.load(Ordering::Acquire) != epoch || ms == 0 {
                    return;
                }
                let Some(sealed) = self.sealer.seal(&key, &entry) else { return };
                let mut set = command("SET", self.entry_name(&key));
                set.arg(sealed).arg("PX").arg(ms);
                connection.query::<()>(&set).await
            }
            Write::Question { record, epoch, most } => {
                let ms = u64::try_from((record.until_us - wall_us()) / 1000).unwrap_or(0);
                if self.memory.epoch.load(Ordering::Acquire) != epoch || ms == 0 {
                    return;
                }
                let Some(sealed) = record.seal(&self.sealer) else { return };
                self.ask_of(connection, &record.key, (sealed, ms, most)).await
            }
            Write::Release(key, number) => {
                connection.query::<()>(&self.leases.release(&self.lease_name(&key), number)).await
            }
            Write::Purge(purge, reply) => {
                let gone = self.purge(connection, &purge).await;
                let _ = reply.send(gone.as_ref().map(|gone| *gone).map_err(ToString::to_string));
                gone.map(|_| ())
            }
        };
        match done {
            Ok(()) => self.counts.writes.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.counts.failed(error);
                self.counts.errors.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Writes a question, and tells those who follow.
    async fn ask_of(
        &self,
        connection: &mut Link,
        key: &CacheKey,
        (sealed, ms, most): (Vec<u8>, u64, usize),
    ) -> redis::RedisResult<()> {
        let mut set = command("SET", self.question_name(key));
        set.arg(sealed).arg("PX").arg(ms);
        connection.query::<()>(&set).await?;
        let mut add = command("XADD", follow::name(&self.prefix));
        add.arg("MAXLEN").arg("~").arg(most).arg("*").arg("k").arg(&key[..]);
        connection.query::<()>(&add).await
    }

    /// Other nodes are told before and behind: one may have read an entry again before it was removed.
    async fn purge(&self, connection: &mut Link, purge: &Purge) -> redis::RedisResult<u64> {
        let told = command("INCR", format!("{}purges", self.prefix));
        connection.query::<()>(&told).await?;
        let mut gone = 0;
        for node in connection.nodes().await? {
            self.purge_at(connection, (&node, Kind::Question), purge).await?;
            gone += self.purge_at(connection, (&node, Kind::Entry), purge).await?;
        }
        connection.query::<()>(&told).await?;
        Ok(gone)
    }

    async fn purge_at(
        &self,
        connection: &mut Link,
        (node, kind): (&Node, Kind),
        purge: &Purge,
    ) -> redis::RedisResult<u64> {
        let (mut cursor, mut gone) = (0u64, 0u64);
        let pattern = format!("{}{}:*", self.prefix, if kind == Kind::Entry { 'e' } else { 'q' });
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
            let (next, names): (u64, Vec<String>) = connection.query_at(node, scan).await?;
            for name in names {
                let value: Option<Vec<u8>> = connection.query(&command("GET", &name)).await?;
                let key = name.rsplit_once(':').and_then(|(_, key)| super::report::parse_key(key));
                let found = key.zip(value).and_then(|(key, value)| Some((key, self.about(kind, &key, &value)?)));
                // What is not ours under our name goes as well. Each by itself: of a cluster they lie in many slots.
                if found.is_none_or(|(key, about)| purge.fits(&key, &about)) {
                    gone += connection.query::<u64>(&command("UNLINK", &name)).await?;
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(gone);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Entry,
    Question,
}

fn command(name: &str, key: impl redis::ToRedisArgs) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}
