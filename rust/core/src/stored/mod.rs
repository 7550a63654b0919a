//! What outlives its request: responses of OpenAI's format, and conversations made of their items.
//!
//! A provider that keeps responses itself is asked for them again: the gateway only remembers whose they are and which
//! deployment made them. For every other provider the gateway keeps them, and a request that goes on from one is given the
//! whole input. Conversations are always the gateway's. Everything belongs to a team, a user or a key, in this order;
//! what is another's looks like what is not there. Where nodes share a PostgreSQL all of it stands there, else in a file.

mod access;
mod background;
mod conversations;
mod elsewhere;
mod forward;
mod items;
mod keep;
mod later;
mod resume;
mod serve;
mod store;
mod told;
mod write;

pub use access::tick;
pub use background::begin as begin_background;
pub use forward::Object;
pub use items::of_input;
pub use keep::{Kept, watch};
pub use resume::resume;
pub use serve::serve;
pub use store::Store;

use crate::error::{Code, Error};
use crate::state::keys::Key;
use crate::state::subjects::Kind;

/// How long things are kept, in seconds: 30 days, as OpenAI does.
pub const KEPT_SECONDS: i64 = 30 * 86_400;

/// Whose a thing is.
fn owner(key: &Key) -> String {
    let of = |kind: Kind| key.subjects.iter().find(|subject| subject.kind == kind);
    match of(Kind::Team).or_else(|| of(Kind::User)) {
        Some(subject) => format!("{}:{}", subject.kind.name(), subject.id),
        None => format!("key:{}", key.id),
    }
}

fn missing(what: &str, id: &str) -> Error {
    let id: String = id.chars().take(128).collect();
    Error::new(Code::ObjectNotFound, format!("{what} with id '{id}' not found."))
}
