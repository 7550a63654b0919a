//! What the caller sends. An event that may not pass is answered with an error; the session goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Hearing, Out, Plans, TRANSCRIPTIONS};
use crate::error::{Code, Error, Result};
use crate::guard::stream::Teller;
use crate::guard::unseen::{self, Unscannable};
use crate::realtime::link::error_text;
use crate::wire::json::{self, scan_object};

/// Most bytes of sound that wait for the provider to say how the session is.
const WAITING: usize = 4 * 1024 * 1024;

pub struct Asked {
    plans: Plans,
    teller: Teller,
    hearing: Arc<Hearing>,
    refusals: mpsc::Sender<Utf8Bytes>,
    id: String,
    level: Unscannable,
    /// Sound, and what came behind it.
    waiting: VecDeque<Utf8Bytes>,
    waiting_bytes: usize,
}

/// What the gateway has to know about an event.
struct Event {
    /// The caller's name for it.
    id: Option<String>,
    sound: bool,
    update: bool,
}

impl Asked {
    pub(super) fn new(
        plans: Plans,
        teller: Teller,
        hearing: Arc<Hearing>,
        refusals: mpsc::Sender<Utf8Bytes>,
        id: String,
    ) -> Self {
        let level = plans.unscannable(false);
        Asked { plans, teller, hearing, refusals, id, level, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Takes an event; `None`: there is news of the session. What may go to the provider is put `out`.
    ///
    /// # Errors
    /// The caller does not take what it is told.
    pub fn look(&mut self, event: Option<Utf8Bytes>, out: &mut Out) -> Result<()> {
        if !self.hearing.is_open() {
            self.go_on(out)?;
        }
        let Some(event) = event else { return Ok(()) };
        let known = known(event.as_bytes());
        let judged = match &known {
            Some(known) => self.judged(known, event),
            None => Err(Error::new(Code::InvalidJson, "The event is not a JSON object with a type.")),
        };
        match judged {
            Ok(event) if !self.waiting.is_empty() || self.is_early(known.as_ref()) => self.wait(event),
            Ok(event) => {
                if known.is_some_and(|known| known.update) {
                    self.hearing.ask();
                }
                out.push(event);
                Ok(())
            }
            Err(error) => self.refuse(&error, known.and_then(|known| known.id).as_deref()),
        }
    }

    /// Sound that the provider may not be writing down yet.
    fn is_early(&self, event: Option<&Event>) -> bool {
        self.level == Unscannable::Whole && event.is_some_and(|event| event.sound) && self.hearing.is_open()
    }

    fn judged(&mut self, known: &Event, event: Utf8Bytes) -> Result<Utf8Bytes> {
        if known.sound {
            self.sound()?;
        } else if self.level > Unscannable::Allow {
            unseen::event(self.level, event.as_bytes())?;
        }
        if known.update && self.level == Unscannable::Whole && self.hearing.is_written() && mutes(event.as_bytes()) {
            let text = "A guardrail looks at what is said by its transcript: transcription cannot be switched off.";
            return Err(Error::new(Code::GuardrailBlocked, text).param("session"));
        }
        Ok(self.plans.through(false, Some(&mut self.teller), event)?.0)
    }

    fn sound(&self) -> Result<()> {
        let text = match self.level {
            Unscannable::Allow => return Ok(()),
            Unscannable::Whole if self.hearing.is_open() || self.hearing.is_written() => return Ok(()),
            Unscannable::Whole => {
                "A guardrail must look at what is said: switch the session's transcription of the input on first \
                 (session.update with audio.input.transcription)."
            }
            Unscannable::Block => "A guardrail must look at this and cannot look into sound.",
        };
        Err(Error::new(Code::GuardrailBlocked, text).param("audio"))
    }

    fn wait(&mut self, event: Utf8Bytes) -> Result<()> {
        self.waiting_bytes += event.len();
        if self.waiting_bytes > WAITING {
            let text = "The provider has not answered `session.update`, and more than 4 MiB wait for it.";
            return Err(Error::new(Code::GuardrailBlocked, text));
        }
        self.waiting.push_back(event);
        Ok(())
    }

    /// What has waited goes on, or is refused.
    fn go_on(&mut self, out: &mut Out) -> Result<()> {
        while let Some(event) = self.waiting.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(event.len());
            let known = known(event.as_bytes());
            let late = match &known {
                Some(known) if known.sound => self.sound(),
                _ => Ok(()),
            };
            match late {
                Ok(()) => {
                    let update = known.is_some_and(|known| known.update);
                    out.push(event);
                    if update {
                        self.hearing.ask();
                        break;
                    }
                }
                Err(error) => self.refuse(&error, known.and_then(|known| known.id).as_deref())?,
            }
        }
        Ok(())
    }

    /// Tells the caller why an event did not pass.
    fn refuse(&self, error: &Error, about: Option<&str>) -> Result<()> {
        let event = Utf8Bytes::from(error_text(error, &self.id, about));
        let full = |_| Error::new(Code::GuardrailBlocked, "Too many events were refused.");
        self.refusals.try_send(event).map_err(full)
    }
}

fn known(event: &[u8]) -> Option<Event> {
    let scan = scan_object(event, &["type", "event_id"]).ok()?;
    let [kind, id] = scan.fields;
    let kind = json::string(event, kind?)?;
    Some(Event {
        id: id.and_then(|id| json::string(event, id)).map(std::borrow::Cow::into_owned),
        sound: matches!(&*kind, "input_audio_buffer.append" | "input_audio_buffer.commit"),
        update: matches!(&*kind, "session.update" | "transcription_session.update"),
    })
}

/// An update that switches the transcription off.
fn mutes(event: &[u8]) -> bool {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    TRANSCRIPTIONS.iter().any(|place| {
        let mut at = Some(&event);
        // Whatever stands there instead of an object leaves no transcription.
        for step in place.split('/').skip(1) {
            match at.map(|value| (value, value.get(step))) {
                Some((Value::Object(_), found)) => at = found,
                Some(_) => return true,
                None => return false,
            }
        }
        at.is_some_and(|value| !value.is_object())
    })
}
