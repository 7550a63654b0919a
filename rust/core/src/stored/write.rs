//! What changes in what is kept: done in this node's file, or told to the shell, which has the store of all nodes.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::KEPT_SECONDS;
use super::store::{self, Conversation, Response};
use crate::approval::wire::Blob;

/// One change. What is another's does not change.
#[derive(Clone, Debug)]
pub enum Write {
    /// `making`: this process is at it.
    Response {
        owner: String,
        response: Response,
        making: bool,
    },
    /// How a response ended that was being made; nothing where it is not any more.
    End {
        owner: String,
        response: Response,
    },
    /// A response whose maker is gone.
    Lose {
        owner: String,
        response: Response,
    },
    /// What was said of a response, one event behind the other.
    Events {
        owner: String,
        id: String,
        events: Vec<u8>,
    },
    Conversation {
        owner: String,
        one: Conversation,
    },
    /// Items (id and JSON each) of a conversation; `mark` names them, so that they are added once.
    Append {
        owner: String,
        conversation: String,
        mark: String,
        items: Vec<(String, String)>,
    },
    RemoveResponse {
        owner: String,
        id: String,
    },
    RemoveConversation {
        owner: String,
        id: String,
    },
    RemoveItem {
        owner: String,
        conversation: String,
        item: String,
    },
}

impl Write {
    /// Does it in this node's file; whether there was something to change.
    pub fn apply(&self, db: &Connection) -> rusqlite::Result<bool> {
        match self {
            Write::Response { owner, response, .. }
            | Write::End { owner, response }
            | Write::Lose { owner, response } => {
                store::put_response(db, owner, response)?;
            }
            Write::Events { owner, id, events } => store::put_events(db, owner, id, events)?,
            Write::Conversation { owner, one } => store::put_conversation(db, owner, one)?,
            Write::Append { owner, conversation, items, .. } => store::append(db, owner, conversation, items)?,
            Write::RemoveResponse { owner, id } => return store::remove_response(db, owner, id),
            Write::RemoveConversation { owner, id } => return store::remove_conversation(db, owner, id),
            Write::RemoveItem { owner, conversation, item } => {
                return store::remove_item(db, owner, conversation, item);
            }
        }
        Ok(true)
    }

    pub fn packed(&self) -> Packed {
        self.packed_until(store::now() + KEPT_SECONDS)
    }

    /// `expires`: seconds since 1970.
    pub fn packed_until(&self, expires: i64) -> Packed {
        let (op, owner, id) = match self {
            Write::Response { owner, response, .. } => ("response", owner, &response.id),
            Write::End { owner, response } => ("end", owner, &response.id),
            Write::Lose { owner, response } => ("lose", owner, &response.id),
            Write::Events { owner, id, .. } => ("events", owner, id),
            Write::Conversation { owner, one } => ("conversation", owner, &one.id),
            Write::Append { owner, conversation, .. } => ("append", owner, conversation),
            Write::RemoveResponse { owner, id } => ("remove_response", owner, id),
            Write::RemoveConversation { owner, id } => ("remove_conversation", owner, id),
            Write::RemoveItem { owner, conversation, .. } => ("remove_item", owner, conversation),
        };
        let mut wire = Wire { op: op.into(), owner: owner.clone(), id: id.clone(), expires, ..Wire::default() };
        match self {
            Write::Response { response, making, .. } => {
                (wire.document, wire.making) = (blob(response), *making);
            }
            Write::End { response, .. } | Write::Lose { response, .. } => wire.document = blob(response),
            Write::Events { events, .. } => wire.document = Blob(events.clone().into()),
            Write::Conversation { one, .. } => wire.document = blob(one),
            Write::Append { mark, items, .. } => {
                let item = |(id, body): &(String, String)| Item { id: id.clone(), document: text(body) };
                (wire.mark, wire.items) = (mark.clone(), items.iter().map(item).collect());
            }
            Write::RemoveItem { item, .. } => wire.item.clone_from(item),
            Write::RemoveResponse { .. } | Write::RemoveConversation { .. } => {}
        }
        let bytes = rmp_serde::to_vec_named(&wire).unwrap_or_default();
        Packed { owner: owner.clone(), id: id.clone(), bytes }
    }
}

fn blob(what: &impl Serialize) -> Blob {
    Blob(rmp_serde::to_vec_named(what).unwrap_or_default().into())
}

fn text(text: &str) -> Blob {
    Blob(text.as_bytes().to_vec().into())
}

/// A change as it travels, and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub owner: String,
    pub id: String,
    pub bytes: Vec<u8>,
}

impl Packed {
    /// Several of them as the shell takes them.
    pub fn together<'a>(changes: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
        // A map of one name with an array behind it.
        let mut whole = vec![0x81, 0xa6];
        whole.extend_from_slice(b"writes");
        whole.push(0xdd);
        whole.extend_from_slice(&u32::try_from(changes.len()).unwrap_or(u32::MAX).to_be_bytes());
        changes.for_each(|change| whole.extend_from_slice(change));
        whole
    }
}

/// One change as the shell reads it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wire {
    pub op: String,
    pub owner: String,
    pub id: String,
    pub document: Blob,
    pub making: bool,
    pub items: Vec<Item>,
    pub mark: String,
    pub item: String,
    pub expires: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    pub document: Blob,
}
