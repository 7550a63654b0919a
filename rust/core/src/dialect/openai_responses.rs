//! OpenAI's Responses format.

mod answer;
mod elements;
mod encode;
mod encoder;
mod features;
mod input;
mod items;
mod remember;
mod request;
mod response;
mod stream;

pub use answer::{decode_answer, encode_answer};
pub use encode::encode_request;
pub use encoder::Encoder;
pub use features::treatment;
pub use remember::remembered;
pub use request::decode_request;
pub use response::error_event;
pub use stream::Decoder;

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::{Seen, openai_chat, text_length};
use crate::kernel::cost::Usage;
use crate::wire::json::{Kind, scan_object, scan_value_object};
use crate::wire::sse;

/// A signature or encrypted reasoning of another provider, as `encrypted_content` that comes back unchanged.
const SIGNATURE: &str = "ailink.signature.";
const ENCRYPTED: &str = "ailink.encrypted.";

/// The member of an event that holds generated text.
static DELTA: LazyLock<[Finder<'static>; 1]> = LazyLock::new(|| [Finder::new("\"delta\":\"")]);

/// Watches the events of a response's stream.
#[derive(Debug, Default)]
pub struct Tap {
    pub usage: Option<Usage>,
}

impl Tap {
    pub fn event(&mut self, event: &[u8]) -> Seen {
        match sse::name(event) {
            Some(b"response.completed" | b"response.incomplete") => {
                self.take_usage(event);
                Seen { terminal: true, finished: true, ..Seen::default() }
            }
            Some(b"response.failed") => {
                self.take_usage(event);
                Seen { terminal: true, error: true, ..Seen::default() }
            }
            Some(b"error") => Seen { error: true, ..Seen::default() },
            Some(name) if memmem::find(name, b".delta").is_some() => {
                Seen { text: text_length(event, &*DELTA), ..Seen::default() }
            }
            _ => Seen::default(),
        }
    }

    fn take_usage(&mut self, event: &[u8]) {
        let data = sse::data(event);
        let Ok(scan) = scan_object(&data, &["response"]) else { return };
        let Some(response) = scan.fields[0].filter(|value| value.kind == Kind::Object) else { return };
        let Ok(inner) = scan_value_object(&data, response, &["usage", "service_tier"]) else { return };
        let [usage, service] = inner.fields;
        let Some(usage) = usage.filter(|value| value.kind == Kind::Object) else { return };
        let Some(parsed) = openai_chat::parse_usage(usage.raw(&data)) else { return };
        self.usage = Some(Usage { service: openai_chat::service_of(&data, service), ..parsed });
    }
}
