//! What the provider sends. Each response is a stream of its own; sound waits until what it says has been looked at.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Hearing, Out, Plans};
use crate::endpoint::Dialect;
use crate::error::{Code, Error, Result};
use crate::guard::output::unlookable;
use crate::guard::stream::{Teller, Watch};
use crate::guard::unseen::Unscannable;
use crate::guard::{Finding, Mode};
use crate::wire::json::{self, Kind, Value, scan_object, scan_value_object};

/// Responses under way, and utterances that are being written down.
const AT_ONCE: usize = 32;
/// Most bytes that wait for the end of a response, and of an utterance.
const HELD: usize = 32 * 1024 * 1024;
const UTTERED: usize = 1024 * 1024;

pub struct Said {
    plans: Plans,
    /// Of what the caller has said.
    asked: Teller,
    said: Teller,
    hearing: Arc<Hearing>,
    /// What happens to the caller's sound, and to that of answers.
    level: Unscannable,
    sound: Unscannable,
    replies: Vec<Reply>,
    utterances: Vec<Utterance>,
}

/// A response under way.
struct Reply {
    id: String,
    /// By plan.
    watches: SmallVec<[Watch; 2]>,
    /// From its first sound on.
    held: Vec<Event>,
    bytes: usize,
}

/// What the caller says, while it is written down.
struct Utterance {
    item: String,
    held: Vec<Utf8Bytes>,
    bytes: usize,
}

struct Event {
    text: Utf8Bytes,
    sound: bool,
}

impl Said {
    pub(super) fn new(plans: Plans, asked: Teller, said: Teller, hearing: Arc<Hearing>) -> Self {
        let level = plans.unscannable(false);
        // Rules that only tell hold nothing up.
        let sound = match plans.unscannable(true) {
            Unscannable::Whole if !plans.insists(true) => Unscannable::Allow,
            sound => sound,
        };
        Said { plans, asked, said, hearing, level, sound, replies: Vec::new(), utterances: Vec::new() }
    }

    /// Takes an event; what may go to the caller is put `out`, also when the session ends here.
    ///
    /// # Errors
    /// The refusal that ends the session.
    pub fn look(&mut self, text: Utf8Bytes, out: &mut Out) -> Result<()> {
        let members = ["type", "response_id", "item_id", "item", "response"];
        let Ok(scan) = scan_object(text.as_bytes(), &members) else {
            if self.plans.fails_closed(true) || self.plans.fails_closed(false) {
                return Err(unlookable("an event is not JSON"));
            }
            out.push(text);
            return Ok(());
        };
        let [kind, response, item, object, whole] = scan.fields;
        let read = |value: Option<Value>| value.and_then(|value| json::string(text.as_bytes(), value));
        let kind = read(kind).unwrap_or_default();
        match &*kind {
            "session.created" | "transcription_session.created" => self.hearing.learn(text.as_bytes(), false),
            "session.updated" | "transcription_session.updated" => self.hearing.learn(text.as_bytes(), true),
            "error" => self.hearing.doubt(),
            "input_audio_buffer.committed" => {
                if self.level >= Unscannable::Whole && !self.hearing.is_written() {
                    return Err(unlookable("what is said is not written down"));
                }
            }
            "rate_limits.updated" => {}
            kind if kind.starts_with("input_audio_buffer.") => {}
            kind if kind.contains("input_audio_transcription") => {
                let (kind, item) = (kind.rsplit('.').next().unwrap_or_default().to_string(), read(item));
                let item = item.unwrap_or_default().into_owned();
                return self.spoken(&kind, item, text, out);
            }
            kind if kind.starts_with("response.") => {
                let inner = whole.filter(|value| value.kind == Kind::Object);
                let inner = inner.and_then(|value| scan_value_object(text.as_bytes(), value, &["id"]).ok());
                let id = read(response).or_else(|| read(inner.and_then(|scan| scan.fields[0])));
                let id = id.unwrap_or_default().into_owned();
                let sound = matches!(kind, "response.output_audio.delta" | "response.audio.delta");
                let over = kind == "response.done";
                return self.answered(id, Event { text, sound }, over, out);
            }
            _ => {
                // What the caller said himself was told when he said it.
                let output = object.is_none_or(|item| is_said(text.as_bytes(), item));
                let teller = output.then_some(&mut self.said);
                out.push(self.plans.through(output, teller, text)?.0);
                return Ok(());
            }
        }
        out.push(text);
        Ok(())
    }

    /// What the caller said, written down. Its pieces wait for the whole, which rules of requests look at.
    fn spoken(&mut self, kind: &str, item: String, text: Utf8Bytes, out: &mut Out) -> Result<()> {
        if kind == "failed" && self.level >= Unscannable::Whole && self.plans.fails_closed(false) {
            return Err(unlookable("what was said could not be written down"));
        }
        let at = self.utterances.iter().position(|utterance| utterance.item == item);
        if !matches!(kind, "completed" | "failed") {
            if !self.plans.insists(false) {
                out.push(text);
                return Ok(());
            }
            let at = at.unwrap_or_else(|| {
                if self.utterances.len() >= AT_ONCE {
                    // The whole will tell what its pieces would have.
                    self.utterances.remove(0);
                }
                self.utterances.push(Utterance { item, held: Vec::new(), bytes: 0 });
                self.utterances.len() - 1
            });
            if let Some(utterance) = self.utterances.get_mut(at).filter(|one| one.bytes + text.len() <= UTTERED) {
                utterance.bytes += text.len();
                utterance.held.push(text);
            }
            return Ok(());
        }
        let held = at.map(|at| self.utterances.swap_remove(at).held).unwrap_or_default();
        let (text, changed) = self.plans.through(false, Some(&mut self.asked), text)?;
        if !changed && kind == "completed" {
            out.extend(held);
        }
        out.push(text);
        Ok(())
    }

    /// An event of a response.
    fn answered(&mut self, id: String, event: Event, over: bool, out: &mut Out) -> Result<()> {
        if event.sound {
            match self.sound {
                Unscannable::Allow => {
                    out.push(event.text);
                    return Ok(());
                }
                Unscannable::Whole => {}
                Unscannable::Block => {
                    let text = "A guardrail must look at this and cannot look into an answer of sound: ask for text \
                        (output_modalities).";
                    return Err(Error::new(Code::GuardrailBlocked, text).param("output_modalities"));
                }
            }
        }
        let at = self.reply(id)?;
        let Some(reply) = self.replies.get_mut(at) else { return Ok(()) };
        if event.sound || !reply.held.is_empty() {
            reply.bytes += event.text.len();
            if reply.bytes > HELD {
                return Err(unlookable("more than 32 MiB of a response wait for its end"));
            }
            reply.held.push(event);
            if over {
                let reply = self.replies.swap_remove(at);
                self.release(reply, out)?;
            }
            return Ok(());
        }
        let watches = &mut reply.watches;
        fed(&self.plans, watches, &mut self.said, Some(&event.text), out, &mut false)?;
        if over {
            let mut reply = self.replies.swap_remove(at);
            fed(&self.plans, &mut reply.watches, &mut self.said, None, out, &mut false)?;
        }
        Ok(())
    }

    fn reply(&mut self, id: String) -> Result<usize> {
        if let Some(at) = self.replies.iter().position(|reply| reply.id == id) {
            return Ok(at);
        }
        if self.replies.len() >= AT_ONCE {
            return Err(unlookable("too many responses are under way"));
        }
        self.said.forget();
        let watches = self.plans.sides(true).map(|_| Watch::new(Dialect::OpenAi)).collect();
        self.replies.push(Reply { id, watches, held: Vec::new(), bytes: 0 });
        Ok(self.replies.len() - 1)
    }

    /// The end of a response with sound. Where something of what it says was cut out, its sound does not leave.
    fn release(&mut self, mut reply: Reply, out: &mut Out) -> Result<()> {
        let mut changed = false;
        let mut leaving: Vec<Event> = Vec::new();
        let mut texts = Out::new();
        let held = std::mem::take(&mut reply.held);
        for event in held.into_iter().map(Some).chain([None]) {
            let text = match event {
                Some(event) if event.sound => {
                    leaving.push(event);
                    continue;
                }
                Some(event) => Some(event.text),
                None => None,
            };
            fed(&self.plans, &mut reply.watches, &mut self.said, text.as_deref(), &mut texts, &mut changed)?;
            leaving.extend(texts.drain(..).map(|text| Event { text, sound: false }));
        }
        out.extend(leaving.into_iter().filter(|event| !(changed && event.sound)).map(|event| event.text));
        Ok(())
    }
}

/// Whether an item of the conversation is the model's.
fn is_said(event: &[u8], item: Value) -> bool {
    let Ok(scan) = scan_value_object(event, item, &["role", "type"]) else { return true };
    let [role, kind] = scan.fields.map(|value| value.and_then(|value| json::string(event, value)));
    match role.as_deref() {
        Some(role) => role == "assistant",
        None => kind.as_deref() != Some("function_call_output"),
    }
}

/// Feeds an event of a response, or its end, to what watches it, one behind the other.
fn fed(
    plans: &Plans,
    watches: &mut [Watch],
    teller: &mut Teller,
    event: Option<&str>,
    out: &mut Out,
    changed: &mut bool,
) -> Result<()> {
    let report = &mut |finding: &Finding| {
        *changed |= finding.rule.effect().replaces() && finding.rule.mode != Mode::Audit;
        teller.found(finding)
    };
    let over = event.is_none();
    let mut data = event.map(framed).unwrap_or_default();
    let mut stop = None;
    let last = watches.len().saturating_sub(1);
    for (number, (side, watch)) in plans.sides(true).zip(watches).enumerate() {
        let mut passed = BytesMut::new();
        if !data.is_empty() {
            let (bytes, error) = watch.push(side, data, report);
            passed.extend_from_slice(&bytes);
            stop = error;
        }
        if over && stop.is_none() {
            let (bytes, error) = watch.end(side, report);
            passed.extend_from_slice(&bytes);
            stop = error;
        }
        data = passed.freeze();
        if stop.is_some() {
            // What those behind it have not looked at does not leave.
            if number < last {
                data = Bytes::new();
            }
            break;
        }
    }
    out.extend(unframed(&data));
    stop.map_or(Ok(()), Err)
}

/// An event as one of a stream. Line breaks between members of JSON are white space.
fn framed(event: &str) -> Bytes {
    let mut data = BytesMut::with_capacity(event.len() + 8);
    data.put_slice(b"data: ");
    data.extend(event.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    data.put_slice(b"\n\n");
    data.freeze()
}

/// The events of a piece of a stream.
fn unframed(data: &Bytes) -> impl Iterator<Item = Utf8Bytes> {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
    lines.filter_map(|line| Utf8Bytes::try_from(data.slice_ref(line)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_of_frames_as_they_went_in() {
        let data = [framed("{\"a\":\n1}"), framed("{\"b\":\"\\n\"}")].concat().into();
        let events: Vec<Utf8Bytes> = unframed(&data).collect();
        assert_eq!(events, ["{\"a\": 1}", "{\"b\":\"\\n\"}"]);
    }

    #[test]
    fn items_are_told_apart() {
        for (item, said) in [
            (r#"{"type":"message","role":"assistant"}"#, true),
            (r#"{"type":"function_call"}"#, true),
            (r#"{"type":"message","role":"user"}"#, false),
            (r#"{"type":"function_call_output"}"#, false),
        ] {
            let event = format!("{{\"item\":{item}}}");
            let scan = scan_object(event.as_bytes(), &["item"]).expect("JSON");
            assert_eq!(is_said(event.as_bytes(), scan.fields[0].expect("an item")), said, "{item}");
        }
    }
}
