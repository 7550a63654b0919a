//! What the provider's events mean to the gateway; the bytes themselves are not changed.

pub mod live;

use serde::Deserialize;

use crate::kernel::cost::Usage;
use crate::wire::json::{self, Kind, Value, scan_object, scan_value_object};

/// One event of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The model begins to answer.
    Begun,
    /// So many bytes of generated text.
    Text(u32),
    /// The model has answered; what it used, if that is told.
    Done(Option<Usage>),
    /// The model's turn is over; what it used may follow.
    Turned,
    /// What the caller said was written down, which is paid for apart.
    Transcribed(Usage),
    Nothing,
}

/// Counts in OpenAI's form.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    /// Of transcriptions that are paid by their length.
    seconds: Option<f64>,
    input_token_details: Details,
    output_token_details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    audio_tokens: u64,
    image_tokens: u64,
    cached_tokens: u64,
    cached_tokens_details: Modalities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modalities {
    audio_tokens: u64,
    image_tokens: u64,
}

/// Takes up to `wanted` tokens out of what is `left` of a total.
fn part(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

/// Counts that are parts of another are taken out of it, so that each token is priced once.
fn usage(raw: &[u8]) -> Option<Usage> {
    let counts: Counts = serde_json::from_slice(raw).ok()?;
    let (input, output) = (&counts.input_token_details, &counts.output_token_details);
    let mut fresh = counts.input_tokens;
    let mut cache_read = part(&mut fresh, input.cached_tokens);
    let cache_read_audio = part(&mut cache_read, input.cached_tokens_details.audio_tokens);
    let cache_read_image = part(&mut cache_read, input.cached_tokens_details.image_tokens);
    let audio_input = part(&mut fresh, input.audio_tokens.saturating_sub(cache_read_audio));
    let image_input = part(&mut fresh, input.image_tokens.saturating_sub(cache_read_image));
    let mut answered = counts.output_tokens;
    let audio_output = part(&mut answered, output.audio_tokens);
    Some(Usage {
        input: fresh,
        output: answered,
        cache_read,
        cache_read_audio,
        cache_read_image,
        audio_input,
        image_input,
        audio_output,
        // Longer than 136 years it is not.
        seconds: counts.seconds.map_or(0, |seconds| seconds.ceil().clamp(0.0, f64::from(u32::MAX)) as u32),
        ..Usage::default()
    })
}

fn object(value: Option<Value>) -> Option<Value> {
    value.filter(|value| value.kind == Kind::Object)
}

/// Reads one event. What is not JSON means nothing.
pub fn heard(event: &[u8]) -> Heard {
    let Ok(scan) = scan_object(event, &["type", "delta", "response", "usage"]) else { return Heard::Nothing };
    let [kind, delta, response, counted] = scan.fields;
    let Some(kind) = kind.and_then(|kind| json::string(event, kind)) else { return Heard::Nothing };
    match &*kind {
        "response.created" => Heard::Begun,
        "response.done" => {
            let inner = object(response).and_then(|response| scan_value_object(event, response, &["usage"]).ok());
            let counted = inner.and_then(|inner| object(inner.fields[0]));
            Heard::Done(counted.and_then(|counted| usage(counted.raw(event))))
        }
        "conversation.item.input_audio_transcription.completed" => {
            let usage = object(counted).and_then(|counted| usage(counted.raw(event)));
            usage.map_or(Heard::Nothing, Heard::Transcribed)
        }
        kind if kind.ends_with(".delta") && !kind.ends_with("audio.delta") => {
            delta.map_or(Heard::Nothing, |delta| Heard::Text(delta.end - delta.start))
        }
        _ => Heard::Nothing,
    }
}

/// Where a client's event names the session's model: the model of a session is the one that it was opened with, under the
/// name that the provider knows.
pub fn named_model(event: &[u8]) -> Option<Value> {
    // Sound is most of what clients send.
    memchr::memmem::find(event, b"session.update")?;
    let scan = scan_object(event, &["type", "session"]).ok()?;
    let [kind, session] = scan.fields;
    kind.and_then(|kind| json::string(event, kind)).filter(|kind| kind == "session.update")?;
    let inner = scan_value_object(event, object(session)?, &["model"]).ok()?;
    inner.fields[0].filter(|model| model.kind == Kind::String)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_counted_once() {
        let event = br#"{"type":"response.done","event_id":"e","response":{"id":"r","usage":{"total_tokens":253,
            "input_tokens":132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":13,
            "image_tokens":0,"cached_tokens":64,"cached_tokens_details":{"text_tokens":60,"audio_tokens":4}},
            "output_token_details":{"text_tokens":30,"audio_tokens":91}}}}"#;
        let Heard::Done(Some(usage)) = heard(event) else { panic!("no usage") };
        let expected = Usage {
            input: 59,
            audio_input: 9,
            cache_read: 60,
            cache_read_audio: 4,
            output: 30,
            audio_output: 91,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!((usage.prompt(), usage.answer()), (132, 121));
    }

    #[test]
    fn other_events_are_told_apart() {
        for (event, expected) in [
            (r#"{"type":"response.created","response":{}}"#, Heard::Begun),
            (r#"{"type":"response.output_text.delta","delta":"four"}"#, Heard::Text(6)),
            (r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#, Heard::Nothing),
            (r#"{"type":"response.done","response":{"usage":null}}"#, Heard::Done(None)),
            (r#"{"event_id":"response.done"}"#, Heard::Nothing),
            ("response.done", Heard::Nothing),
            ("", Heard::Nothing),
        ] {
            assert_eq!(heard(event.as_bytes()), expected, "{event}");
        }
        let text = r#"{"type":"conversation.item.input_audio_transcription.completed","transcript":"a",
            "usage":{"type":"duration","seconds":3.2}}"#;
        assert_eq!(heard(text.as_bytes()), Heard::Transcribed(Usage { seconds: 4, ..Usage::default() }));
    }

    #[test]
    fn the_model_of_a_session_is_found() {
        let event = br#"{"type":"session.update","session":{"voice":"a","model":"x"}}"#;
        assert_eq!(named_model(event).map(|model| model.raw(event)), Some(&br#""x""#[..]));
        assert_eq!(named_model(br#"{"type":"session.update","session":{}}"#), None);
        assert_eq!(named_model(br#"{"type":"response.create","session":{"model":"session.update"}}"#), None);
    }
}
