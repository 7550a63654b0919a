//! The ledger's `SQLite` file and the dictionary in it.
//!
//! `synchronous = FULL`: a commit is durable when it returns, and that is what allows a slot of the
//! spool to be emptied at once. With NORMAL a commit may vanish in a power loss until the next
//! checkpoint, so slots would have to be kept until then; and a dictionary id given out could be
//! given again, to somebody else. The price is one `fdatasync` per batch, on the ledger's thread.
//!
//! `SQLite`'s locks belong to the process. This file must not be opened by a second copy of the
//! library in the same process (such as Python's `sqlite3`): closing it there drops the locks here,
//! see <https://sqlite.org/howtocorrupt.html>, 2.2.1. Use [`super::Ledger::reader`], or another process.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::{DictKind, LedgerError, schema};
use crate::spool::Drain;

/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_millis(500);
/// Pages of write-ahead log before it is copied into the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4000;

/// The open file.
pub(super) struct Store {
    pub(super) connection: Mutex<Connection>,
    pub(super) path: PathBuf,
    dict: RwLock<Dict>,
}

#[derive(Default)]
struct Dict {
    ids: HashMap<(DictKind, Arc<str>), u32>,
    texts: HashMap<u32, Arc<str>>,
    last: u32,
}

impl Store {
    /// Opens or makes the file, brings its schema up to date, loads the dictionary.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        // SQLite would make the file readable for all; the log takes over its mode.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
        drop(file.map_err(|source| LedgerError::Open { path: path.to_owned(), source })?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(16);
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(LedgerError::Schema(format!("its file system allows no write-ahead log ({mode})")));
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; \
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; \
             PRAGMA mmap_size = 0;"
        ))?;
        schema::migrate(&mut connection)?;
        let dict = load(&connection)?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned(), dict: RwLock::new(dict) })
    }

    /// A connection that cannot write.
    pub(super) fn reader(&self) -> Result<Connection, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    }

    /// The highest attempt number among the rows.
    pub(super) fn last_id(&self) -> Result<u64, LedgerError> {
        let last: Option<i64> =
            self.connection.lock().query_row("SELECT max(attempt_id) FROM attempt", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }

    /// Whether the attempt is a row already.
    pub(super) fn has(&self, attempt_id: u64) -> Result<bool, LedgerError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached("SELECT 1 FROM attempt WHERE attempt_id = ?1")?;
        Ok(statement.query_row([attempt_id.cast_signed()], |_| Ok(())).optional()?.is_some())
    }

    /// The numbers of `names`; unknown ones are numbered in one transaction, durable on return.
    pub(super) fn intern(&self, names: &[(DictKind, &str)]) -> Result<Vec<u32>, LedgerError> {
        if let Some(ids) = self.dict.read().find(names) {
            return Ok(ids);
        }
        // The connection's lock makes this the only place that numbers.
        let mut connection = self.connection.lock();
        let mut added: Vec<(u32, DictKind, Arc<str>)> = Vec::new();
        let mut ids = Vec::with_capacity(names.len());
        {
            let dict = self.dict.read();
            let mut fresh: HashMap<(DictKind, &str), u32> = HashMap::new();
            for &(kind, text) in names {
                let known = dict.id(kind, text).or_else(|| fresh.get(&(kind, text)).copied());
                if let Some(id) = known {
                    ids.push(id);
                    continue;
                }
                let number = u32::try_from(added.len()).ok().and_then(|n| dict.last.checked_add(n + 1));
                let id = number.ok_or(LedgerError::DictFull)?;
                fresh.insert((kind, text), id);
                added.push((id, kind, text.into()));
                ids.push(id);
            }
        }
        write_names(&mut connection, &added)?;
        self.dict.write().extend(added);
        Ok(ids)
    }

    /// The number of a name that has one.
    pub(super) fn lookup(&self, kind: DictKind, text: &str) -> Option<u32> {
        self.dict.read().id(kind, text)
    }

    /// The name with this number.
    pub(super) fn text(&self, id: u32) -> Option<Arc<str>> {
        self.dict.read().texts.get(&id).cloned()
    }

    /// All names of a kind.
    pub(super) fn names(&self, kind: DictKind) -> Vec<(u32, Arc<str>)> {
        let dict = self.dict.read();
        dict.ids.iter().filter(|((of, _), _)| *of == kind).map(|((_, text), id)| (*id, Arc::clone(text))).collect()
    }

    /// Gives every number that attempts in the spool mention, but the dictionary lacks, a name of its own (`#7`).
    ///
    /// This happens when the file was put back to an older state or removed while the spool still
    /// held attempts. Without it the next new name would be charged for them.
    pub(super) fn adopt(&self, drain: &Drain) -> Result<u64, LedgerError> {
        let mut added = Vec::new();
        {
            let dict = self.dict.read();
            let mut seen = HashMap::new();
            drain.visit(|row| {
                let intent = &row.intent;
                for (kind, id) in [
                    (DictKind::Key, intent.key),
                    (DictKind::Org, intent.org),
                    (DictKind::Model, intent.model),
                    (DictKind::Deployment, intent.deployment),
                    (DictKind::Price, intent.price),
                    (DictKind::Team, intent.team),
                    (DictKind::User, intent.user),
                    (DictKind::Project, intent.project),
                    (DictKind::Customer, intent.customer),
                    (DictKind::Tags, intent.tags),
                ] {
                    if id != 0 && !dict.texts.contains_key(&id) {
                        seen.entry(id).or_insert(kind);
                    }
                }
            });
            added.extend(seen.into_iter().map(|(id, kind)| (id, kind, Arc::from(format!("#{id}")))));
        }
        if added.is_empty() {
            return Ok(0);
        }
        write_names(&mut self.connection.lock(), &added)?;
        let count = added.len() as u64;
        self.dict.write().extend(added);
        Ok(count)
    }

    /// Copies the write-ahead log into the file and empties it, if nobody reads.
    pub(super) fn checkpoint(&self) -> Result<(), LedgerError> {
        self.connection.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

impl Dict {
    fn id(&self, kind: DictKind, text: &str) -> Option<u32> {
        // A borrowed pair cannot be looked up in a map of owned ones without an allocation or a
        // second map; this is not a hot path.
        self.ids.get(&(kind, Arc::from(text))).copied()
    }

    fn find(&self, names: &[(DictKind, &str)]) -> Option<Vec<u32>> {
        names.iter().map(|(kind, text)| self.id(*kind, text)).collect()
    }

    fn extend(&mut self, names: Vec<(u32, DictKind, Arc<str>)>) {
        for (id, kind, text) in names {
            self.texts.insert(id, Arc::clone(&text));
            self.ids.insert((kind, text), id);
            self.last = self.last.max(id);
        }
    }
}

fn load(connection: &Connection) -> Result<Dict, LedgerError> {
    let mut statement = connection.prepare("SELECT id, kind, text FROM dict")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
    let mut names = Vec::new();
    for row in rows {
        let (id, code, text): (u32, u8, String) = row?;
        let kind = DictKind::from_code(code)
            .ok_or_else(|| LedgerError::Schema(format!("dict {id} has unknown kind {code}")))?;
        names.push((id, kind, text.into()));
    }
    let mut dict = Dict::default();
    dict.extend(names);
    Ok(dict)
}

fn write_names(connection: &mut Connection, names: &[(u32, DictKind, Arc<str>)]) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached("INSERT INTO dict (id, kind, text) VALUES (?1, ?2, ?3)")?;
        for (id, kind, text) in names {
            statement.execute((id, *kind as u8, &**text))?;
        }
    }
    transaction.commit()?;
    Ok(())
}
