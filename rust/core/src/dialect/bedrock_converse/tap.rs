//! Watches a Converse stream that passes as it is.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::answer::parse_usage;
use crate::dialect::{Seen, service, text_length};
use crate::endpoint::Dialect;
use crate::kernel::cost::Usage;
use crate::wire::eventstream::Frame;
use crate::wire::json::{Kind, scan_object};

/// Members of a delta that hold generated text.
static GENERATED: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["\"text\":\"", "\"input\":\""].map(Finder::new));

#[derive(Debug, Default)]
pub struct Tap {
    pub usage: Option<Usage>,
}

impl Tap {
    pub fn event(&mut self, event: &[u8]) -> Seen {
        // A damaged frame is the caller's to refuse: he checks it, too.
        let Ok(frame) = Frame::parse(event) else { return Seen::default() };
        if frame.text(":message-type").is_some_and(|kind| kind != "event") {
            return Seen { error: true, ..Seen::default() };
        }
        match frame.text(":event-type") {
            Some("contentBlockDelta") => Seen { text: text_length(frame.payload, &*GENERATED), ..Seen::default() },
            Some("messageStop") => Seen { finished: true, ..Seen::default() },
            Some("metadata") => {
                if memmem::find(frame.payload, b"\"usage\"").is_some()
                    && let Ok(scan) = scan_object(frame.payload, &["usage", "serviceTier"])
                    && let Some(usage) = scan.fields[0].filter(|usage| usage.kind == Kind::Object)
                {
                    let service = service(Dialect::Bedrock, frame.payload, scan.fields[1]);
                    self.usage = parse_usage(usage.raw(frame.payload)).map(|usage| Usage { service, ..usage });
                }
                Seen { terminal: true, ..Seen::default() }
            }
            _ => Seen::default(),
        }
    }
}
