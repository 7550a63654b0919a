//! What the store of all nodes does not have yet, because it was away: kept in this node's file, in its order.

use rusqlite::{Connection, OptionalExtension, params};

use super::items;
use super::store::{self, Conversation, Response};
use super::write::{Packed, Wire, Write};

/// Changes that are moved at a time, and about how many bytes of them.
const AT_ONCE: u32 = 20;
const BYTES: usize = 4 << 20;

pub const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS later (
        number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, id TEXT NOT NULL, change BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS later_of ON later (owner, id);";

pub fn put(db: &Connection, changes: &[Packed]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT INTO later (owner, id, change) VALUES (?1, ?2, ?3)")?;
    for change in changes {
        statement.execute(params![change.owner, change.id, change.bytes])?;
    }
    Ok(())
}

pub fn count(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("SELECT count(*) FROM later", [], |row| row.get(0))
}

pub fn is_of(db: &Connection, owner: &str, id: &str) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached("SELECT 1 FROM later WHERE owner = ?1 AND id = ?2 LIMIT 1")?;
    statement.exists([owner, id])
}

/// The last change of one of these kinds.
pub fn last(db: &Connection, owner: &str, id: &str, kinds: &[&str]) -> rusqlite::Result<Option<Wire>> {
    let mut statement =
        db.prepare_cached("SELECT change FROM later WHERE owner = ?1 AND id = ?2 ORDER BY number DESC")?;
    let changes = statement.query_map([owner, id], |row| row.get::<_, Vec<u8>>(0))?;
    for change in changes {
        if let Ok(wire) = rmp_serde::from_slice::<Wire>(&change?)
            && kinds.contains(&wire.op.as_str())
        {
            return Ok(Some(wire));
        }
    }
    Ok(None)
}

/// The first of them, at most so many.
pub fn first(db: &Connection, most: u32) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
    let mut statement = db.prepare_cached("SELECT number, change FROM later ORDER BY number LIMIT ?1")?;
    let mut rows = statement.query([most.min(AT_ONCE)])?;
    let (mut found, mut bytes): (Vec<(i64, Vec<u8>)>, usize) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let change: Vec<u8> = row.get(1)?;
        bytes += change.len();
        if bytes > BYTES && !found.is_empty() {
            break;
        }
        found.push((row.get(0)?, change));
    }
    Ok(found)
}

/// They have been moved.
pub fn done(db: &Connection, last: i64) -> rusqlite::Result<()> {
    db.execute("DELETE FROM later WHERE number <= ?1", [last]).map(|_| ())
}

pub fn forget(db: &Connection, owner: &str, id: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM later WHERE owner = ?1 AND id = ?2", [owner, id]).map(|_| ())
}

/// What the node has kept for itself, before it shared a store, is to be moved too.
pub fn take_over(db: &Connection) -> rusqlite::Result<()> {
    let now = store::now();
    while let Some((write, expires)) = response(db)? {
        moved(db, &write, expires, now, &["DELETE FROM response WHERE owner = ?1 AND id = ?2"])?;
    }
    while let Some((write, expires)) = events(db)? {
        moved(db, &write, expires, now, &["DELETE FROM event WHERE owner = ?1 AND id = ?2"])?;
    }
    while let Some((owner, one, expires)) = conversation(db)? {
        let bodies = store::items(db, &owner, &one.id)?;
        let named = bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).map(items::named);
        let append = Write::Append {
            owner: owner.clone(),
            conversation: one.id.clone(),
            mark: items::fresh("mark"),
            items: named.map(|(id, item)| (id, item.to_string())).collect(),
        };
        let change = Write::Conversation { owner, one };
        let all = [
            "DELETE FROM item WHERE owner = ?1 AND conversation = ?2",
            "DELETE FROM conversation WHERE owner = ?1 AND id = ?2",
        ];
        let transaction = db.unchecked_transaction()?;
        if expires >= now {
            put(db, &[change.packed_until(expires), append.packed_until(expires)])?;
        }
        let of = change.packed();
        all.iter().try_for_each(|sql| db.execute(sql, [&of.owner, &of.id]).map(|_| ()))?;
        transaction.commit()?;
    }
    Ok(())
}

fn moved(db: &Connection, write: &Write, expires: i64, now: i64, gone: &[&str]) -> rusqlite::Result<()> {
    let change = write.packed_until(expires);
    let transaction = db.unchecked_transaction()?;
    if expires >= now {
        put(db, std::slice::from_ref(&change))?;
    }
    gone.iter().try_for_each(|sql| db.execute(sql, [&change.owner, &change.id]).map(|_| ()))?;
    transaction.commit()
}

fn response(db: &Connection) -> rusqlite::Result<Option<(Write, i64)>> {
    let sql = "SELECT owner, id, model, deployment, input, body, expires FROM response LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let response = Response {
            id: row.get(1)?,
            model: row.get(2)?,
            deployment: row.get(3)?,
            input: row.get(4)?,
            body: row.get(5)?,
        };
        Ok((Write::Response { owner: row.get(0)?, response, making: false }, row.get(6)?))
    };
    db.prepare_cached(sql)?.query_row([], read).optional()
}

fn events(db: &Connection) -> rusqlite::Result<Option<(Write, i64)>> {
    let sql = "SELECT owner, id, events, expires FROM event LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((Write::Events { owner: row.get(0)?, id: row.get(1)?, events: row.get(2)? }, row.get(3)?))
    };
    db.prepare_cached(sql)?.query_row([], read).optional()
}

fn conversation(db: &Connection) -> rusqlite::Result<Option<(String, Conversation, i64)>> {
    let sql = "SELECT owner, id, created, metadata, expires FROM conversation LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let one = Conversation { id: row.get(1)?, created: row.get(2)?, metadata: row.get(3)? };
        Ok((row.get(0)?, one, row.get(4)?))
    };
    db.prepare_cached(sql)?.query_row([], read).optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_the_nodes_own_is_moved_in_its_order() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(store::SCHEMA).expect("a schema");
        db.execute_batch(SCHEMA).expect("a schema");
        let one = Response { id: "r".into(), model: "m".into(), body: "{}".into(), ..Response::default() };
        store::put_response(&db, "team:a", &one).expect("written");
        store::put_events(&db, "team:a", "r", b"said").expect("written");
        let conversation = Conversation { id: "c".into(), created: 1, metadata: "{}".into() };
        store::put_conversation(&db, "o", &conversation).expect("written");
        store::append(&db, "o", "c", &[("1".into(), "{\"id\":\"1\"}".into())]).expect("written");
        take_over(&db).expect("taken over");
        assert_eq!(count(&db).expect("counted"), 4);
        assert_eq!(store::response(&db, "team:a", "r").expect("read"), None);
        let wire = last(&db, "team:a", "r", &["response", "end"]).expect("read").expect("there");
        assert_eq!(rmp_serde::from_slice::<Response>(&wire.document.0).expect("a response"), one);
        assert!(last(&db, "team:b", "r", &["response"]).expect("read").is_none());
        let append = last(&db, "o", "c", &["append"]).expect("read").expect("there");
        assert_eq!((append.items.len(), append.items[0].id.as_str()), (1, "1"));
        let all = first(&db, 20).expect("read");
        done(&db, all[1].0).expect("done");
        assert!(!is_of(&db, "team:a", "r").expect("read") && is_of(&db, "o", "c").expect("read"));
        forget(&db, "o", "c").expect("forgotten");
        assert_eq!(count(&db).expect("counted"), 0);
    }

    #[test]
    fn what_is_too_old_is_not_moved() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(store::SCHEMA).expect("a schema");
        db.execute_batch(SCHEMA).expect("a schema");
        store::put_response(&db, "o", &Response { id: "r".into(), ..Response::default() }).expect("written");
        db.execute("UPDATE response SET expires = 5", []).expect("changed");
        take_over(&db).expect("taken over");
        assert_eq!(count(&db).expect("counted"), 0);
    }
}
