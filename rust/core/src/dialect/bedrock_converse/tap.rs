//! Watches a stream of Bedrock's that passes as it is: Converse, or a model's own format in chunks.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::{self, Finder};

use super::answer::parse_usage;
use crate::dialect::{Seen, service, text_length};
use crate::endpoint::Dialect;
use crate::invoke::METRICS;
use crate::kernel::cost::Usage;
use crate::wire::eventstream::Frame;
use crate::wire::json::{self, Kind, scan_object, scan_value_object};

/// Members of a delta that hold generated text.
static GENERATED: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["\"text\":\"", "\"input\":\""].map(Finder::new));

/// The same in the formats of Llama, Titan and Mistral.
static OWN: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["\"generation\":\"", "\"outputText\":\"", "\"text\":\"", "\"content\":\""].map(Finder::new));

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
            Some("chunk") => self.chunk(frame.payload),
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

    /// A piece in a model's own format; Amazon tells the tokens in the last one.
    fn chunk(&mut self, payload: &[u8]) -> Seen {
        let bytes = scan_object(payload, &["bytes"]).ok().and_then(|scan| json::string(payload, scan.fields[0]?));
        let Some(inner) = bytes.and_then(|bytes| STANDARD.decode(bytes.as_bytes()).ok()) else {
            return Seen::default();
        };
        let Some(metrics) = scan_object(&inner, &[METRICS]).ok().and_then(|scan| scan.fields[0]) else {
            return Seen { text: text_length(&inner, &*OWN), ..Seen::default() };
        };
        if let Ok(told) = scan_value_object(&inner, metrics, &["inputTokenCount", "outputTokenCount"]) {
            let [input, output] = told.fields.map(|count| count.and_then(|count| json::as_u64(&inner, count)));
            self.usage = Some(Usage { input: input.unwrap_or(0), output: output.unwrap_or(0), ..Usage::default() });
        }
        Seen { terminal: true, ..Seen::default() }
    }
}
