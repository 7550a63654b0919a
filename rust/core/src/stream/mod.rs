//! Bodies that are polled through from the provider's socket: events with a tap, or plain bytes.
//!
//! There is no task and no queue between the two sockets, so back-pressure is the sockets' own, and a client that leaves
//! drops the source: the provider's connection is closed and the attempt settled in the same moment.

mod array;
mod collect;
mod events;
mod frames;
mod named;
mod raw;
mod translated;
mod upstream;

pub use array::{as_array, split};
pub use collect::Collect;
pub use events::Events;
pub use frames::{EVENT_MAX, Frames, Framing};
pub use named::{named, wants_id};
pub use raw::Raw;
pub use translated::Translated;
pub use upstream::Upstream;
