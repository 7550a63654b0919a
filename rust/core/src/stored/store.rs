//! The file that responses and conversations stand in: `SQLite` on a thread of its own, opened when it is first needed.
//! Jobs are done in the order they were given, so what was written before a question is part of its answer.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use super::background::Running;
use super::{KEPT_SECONDS, later};
use crate::error::{Code, Error, Result};

/// Jobs that may wait.
const QUEUE: usize = 1024;
/// What is too old goes this often.
const PURGE: Duration = Duration::from_secs(600);

pub const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864;
    CREATE TABLE IF NOT EXISTS response (
        owner TEXT NOT NULL, id TEXT NOT NULL, model TEXT NOT NULL, deployment TEXT, input TEXT NOT NULL,
        body TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (owner, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS event (
        owner TEXT NOT NULL, id TEXT NOT NULL, events BLOB NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY (owner, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS conversation (
        owner TEXT NOT NULL, id TEXT NOT NULL, created INTEGER NOT NULL, metadata TEXT NOT NULL,
        expires INTEGER NOT NULL, PRIMARY KEY (owner, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS item (
        number INTEGER PRIMARY KEY, owner TEXT NOT NULL, conversation TEXT NOT NULL, id TEXT NOT NULL,
        body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS item_of ON item (owner, conversation, number);";

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// One response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub id: String,
    pub model: String,
    /// The deployment that keeps it; `None`: the gateway does, input and all.
    pub deployment: Option<String>,
    /// A JSON array.
    pub input: String,
    pub body: String,
}

/// One conversation, without its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: String,
    pub created: i64,
    /// A JSON object.
    pub metadata: String,
}

pub struct Store {
    /// Responses in the background.
    pub running: Running,
    /// The nodes have a store together; this file has what that could not take yet.
    pub shared: bool,
    /// How many changes are to be moved there; one, as long as nobody has looked.
    pub pending: Arc<AtomicU32>,
    /// Whoever moves them, or must not meet them on their way.
    pub moving: tokio::sync::Mutex<()>,
    /// Until when the other store is not tried with what somebody waits for.
    pub away_until: Mutex<Option<Instant>>,
    /// Who looks after all this at a time.
    pub turns: Arc<Semaphore>,
    path: PathBuf,
    jobs: OnceLock<Option<SyncSender<Job>>>,
}

impl Store {
    pub fn new(data_dir: &Path, shared: bool) -> Self {
        let path = data_dir.join("stored.db");
        Store {
            running: Running::default(),
            shared,
            pending: Arc::new(AtomicU32::new(u32::from(shared && path.exists()))),
            moving: tokio::sync::Mutex::default(),
            away_until: Mutex::default(),
            turns: Arc::new(Semaphore::new(1)),
            path,
            jobs: OnceLock::new(),
        }
    }

    fn jobs(&self) -> Result<&SyncSender<Job>> {
        let jobs = self.jobs.get_or_init(|| match open(&self.path) {
            Ok(connection) => {
                let (jobs, work) = sync_channel(QUEUE);
                let thread = std::thread::Builder::new().name("ailink-stored".to_string());
                let shared = self.shared;
                thread.spawn(move || serve(&connection, &work, shared)).ok().map(|_| jobs)
            }
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "stored responses cannot be opened");
                None
            }
        });
        jobs.as_ref().ok_or_else(unavailable)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// 503 when the file cannot be used.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = answer.send(question(connection));
        });
        self.jobs()?.try_send(job).map_err(|_| unavailable())?;
        match answered.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(%error, "stored responses cannot be read or written");
                Err(unavailable())
            }
            Err(_) => Err(unavailable()),
        }
    }

    /// Writes, sooner or later; before every question that is asked behind it.
    pub fn tell(&self, write: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static) {
        let job: Job = Box::new(move |connection| {
            if let Err(error) = write(connection) {
                tracing::error!(%error, "a response cannot be stored");
            }
        });
        if self.jobs().is_ok_and(|jobs| jobs.try_send(job).is_err()) {
            tracing::warn!("a response is not stored: too many wait for it");
        }
    }
}

pub fn unavailable() -> Error {
    let text = "Stored responses cannot be used now; the gateway's log says why.";
    Error::new(Code::StoreUnavailable, text).retry_after(Duration::from_secs(5))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite would make the file readable for all.
    let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.execute_batch(SCHEMA)?;
    connection.execute_batch(later::SCHEMA)?;
    Ok(connection)
}

fn serve(connection: &Connection, work: &Receiver<Job>, shared: bool) {
    if shared && let Err(error) = later::take_over(connection) {
        tracing::error!(%error, "what this node has kept for itself cannot be moved to the store of all nodes");
    }
    let mut purged: Option<Instant> = None;
    while let Ok(job) = work.recv() {
        job(connection);
        if purged.is_none_or(|at| at.elapsed() > PURGE) {
            purged = Some(Instant::now());
            if let Err(error) = purge(connection, now()) {
                tracing::error!(%error, "old responses cannot be removed");
            }
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    crate::clock::wall_us() / 1_000_000
}

fn purge(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM response WHERE expires < ?1", [now])?;
    connection.execute("DELETE FROM event WHERE expires < ?1", [now])?;
    connection.execute(
        "DELETE FROM item WHERE EXISTS (SELECT 1 FROM conversation c
            WHERE c.owner = item.owner AND c.id = item.conversation AND c.expires < ?1)",
        [now],
    )?;
    connection.execute("DELETE FROM conversation WHERE expires < ?1", [now])?;
    Ok(())
}

pub fn put_response(connection: &Connection, owner: &str, response: &Response) -> rusqlite::Result<()> {
    let Response { id, model, deployment, input, body } = response;
    connection.execute(
        "INSERT OR REPLACE INTO response VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![owner, id, model, deployment, input, body, now() + KEPT_SECONDS],
    )?;
    Ok(())
}

pub fn response(connection: &Connection, owner: &str, id: &str) -> rusqlite::Result<Option<Response>> {
    let mut statement = connection.prepare_cached(
        "SELECT model, deployment, input, body FROM response WHERE owner = ?1 AND id = ?2 AND expires >= ?3",
    )?;
    let found = statement.query_row(params![owner, id, now()], |row| {
        let (model, deployment) = (row.get(0)?, row.get(1)?);
        Ok(Response { id: id.to_string(), model, deployment, input: row.get(2)?, body: row.get(3)? })
    });
    found.optional()
}

/// The events of a response, one behind the other.
pub fn put_events(connection: &Connection, owner: &str, id: &str, events: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO event VALUES (?1, ?2, ?3, ?4)";
    connection.execute(sql, params![owner, id, events, now() + KEPT_SECONDS])?;
    Ok(())
}

pub fn events(connection: &Connection, owner: &str, id: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT events FROM event WHERE owner = ?1 AND id = ?2")?;
    statement.query_row([owner, id], |row| row.get(0)).optional()
}

pub fn remove_response(connection: &Connection, owner: &str, id: &str) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM event WHERE owner = ?1 AND id = ?2", [owner, id])?;
    Ok(connection.execute("DELETE FROM response WHERE owner = ?1 AND id = ?2", [owner, id])? > 0)
}

pub fn put_conversation(connection: &Connection, owner: &str, one: &Conversation) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO conversation VALUES (?1, ?2, ?3, ?4, ?5)",
        params![owner, one.id, one.created, one.metadata, now() + KEPT_SECONDS],
    )?;
    Ok(())
}

pub fn conversation(connection: &Connection, owner: &str, id: &str) -> rusqlite::Result<Option<Conversation>> {
    let mut statement = connection
        .prepare_cached("SELECT created, metadata FROM conversation WHERE owner = ?1 AND id = ?2 AND expires >= ?3")?;
    let found = statement.query_row(params![owner, id, now()], |row| {
        Ok(Conversation { id: id.to_string(), created: row.get(0)?, metadata: row.get(1)? })
    });
    found.optional()
}

pub fn remove_conversation(connection: &Connection, owner: &str, id: &str) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM item WHERE owner = ?1 AND conversation = ?2", [owner, id])?;
    Ok(connection.execute("DELETE FROM conversation WHERE owner = ?1 AND id = ?2", [owner, id])? > 0)
}

/// Appends items (id and JSON each) to a conversation that is there, which is kept anew from now on.
pub fn append(
    connection: &Connection,
    owner: &str,
    conversation: &str,
    items: &[(String, String)],
) -> rusqlite::Result<()> {
    let touched = connection.execute(
        "UPDATE conversation SET expires = ?3 WHERE owner = ?1 AND id = ?2",
        params![owner, conversation, now() + KEPT_SECONDS],
    )?;
    if touched == 0 {
        return Ok(());
    }
    for (id, body) in items {
        connection.execute(
            "INSERT INTO item (owner, conversation, id, body) VALUES (?1, ?2, ?3, ?4)",
            [owner, conversation, id, body],
        )?;
    }
    Ok(())
}

/// The items of a conversation as JSON, in their order.
pub fn items(connection: &Connection, owner: &str, conversation: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT body FROM item WHERE owner = ?1 AND conversation = ?2 ORDER BY number")?;
    let rows = statement.query_map([owner, conversation], |row| row.get(0))?;
    rows.collect()
}

pub fn remove_item(connection: &Connection, owner: &str, conversation: &str, id: &str) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM item WHERE owner = ?1 AND conversation = ?2 AND id = ?3";
    Ok(connection.execute(sql, [owner, conversation, id])? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(SCHEMA).expect("a schema");
        connection
    }

    #[test]
    fn what_is_anothers_is_not_there() {
        let db = connection();
        let one = Response { id: "r".into(), model: "m".into(), body: "{}".into(), ..Response::default() };
        put_response(&db, "team:a", &one).expect("written");
        put_response(&db, "team:b", &Response { model: "other".into(), ..one.clone() }).expect("written");
        assert_eq!(response(&db, "team:a", "r").expect("read"), Some(one));
        assert_eq!(response(&db, "team:c", "r").expect("read"), None);
        put_events(&db, "team:a", "r", b"said").expect("written");
        assert_eq!(events(&db, "team:a", "r").expect("read").as_deref(), Some(&b"said"[..]));
        assert_eq!(events(&db, "team:b", "r").expect("read"), None);
        assert!(!remove_response(&db, "team:c", "r").expect("tried"));
        assert!(remove_response(&db, "team:a", "r").expect("removed"));
        assert_eq!(response(&db, "team:a", "r").expect("read"), None);
        assert_eq!(events(&db, "team:a", "r").expect("read"), None);
        assert!(response(&db, "team:b", "r").expect("read").is_some());
    }

    #[test]
    fn conversations_keep_their_order_and_go_with_their_items() {
        let db = connection();
        let one = Conversation { id: "c".into(), created: 1, metadata: "{}".into() };
        put_conversation(&db, "o", &one).expect("written");
        let item = |id: &str| (id.to_string(), format!("\"{id}\""));
        append(&db, "o", "c", &[item("1"), item("2")]).expect("written");
        append(&db, "o", "c", &[item("3")]).expect("written");
        append(&db, "o", "none", &[item("4")]).expect("nothing");
        assert_eq!(items(&db, "o", "c").expect("read"), ["\"1\"", "\"2\"", "\"3\""]);
        assert!(remove_item(&db, "o", "c", "2").expect("removed"));
        assert_eq!(items(&db, "o", "c").expect("read").len(), 2);
        purge(&db, now() + KEPT_SECONDS + 2).expect("purged");
        assert_eq!(conversation(&db, "o", "c").expect("read"), None);
        assert!(items(&db, "o", "c").expect("read").is_empty());
    }
}
