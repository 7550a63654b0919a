//! Speech, and recordings written down, at models of Google: OpenAI's requests as conversations with sound in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::reading::{Members, document};
use super::{Fault, Pair, Recall, Request};
use crate::dialect::gemini;
use crate::endpoint::Operation as Op;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// OpenAI's voices, and whom they are spoken by at Google. Other names are Google's own.
const VOICES: [(&str, &str); 11] = [
    ("alloy", "Kore"),
    ("ash", "Orus"),
    ("ballad", "Umbriel"),
    ("coral", "Aoede"),
    ("echo", "Puck"),
    ("fable", "Charon"),
    ("nova", "Leda"),
    ("onyx", "Fenrir"),
    ("sage", "Sulafat"),
    ("shimmer", "Zephyr"),
    ("verse", "Iapetus"),
];
/// Samples a second, where the answer does not say.
const RATE: u32 = 24_000;
const WAV: &str = "wav";

/// Whether a model that holds conversations serves this one.
pub fn fits(asked: Op, model: &str) -> bool {
    let speaks = model.contains("tts");
    model.contains("gemini")
        && match asked {
            Op::AudioSpeech => speaks,
            _ => !speaks && !["image", "embed", "live"].iter().any(|kind| model.contains(kind)),
        }
}

pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    let body = document(body)?;
    let (body, dropped) = if pair.asked == Op::AudioSpeech { spoken(&body)? } else { written(pair.asked, &body)? };
    Ok(Request { body: body.to_string().into_bytes(), dropped })
}

type Written = (Value, Vec<Box<str>>);

fn spoken(body: &Value) -> Result<Written, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let input = members.text("input")?.ok_or_else(|| Fault::invalid("input", "a string is expected"))?;
    let voice = match members.take("voice") {
        Some(Value::Object(voice)) => voice.get("id").and_then(Value::as_str),
        Some(voice) => voice.as_str(),
        None => None,
    };
    let voice = voice.ok_or_else(|| Fault::invalid("voice", "the name of a voice is expected"))?;
    let voice = VOICES.iter().find(|(name, _)| *name == voice).map_or(voice, |(_, own)| own);
    let format = members.text("response_format")?;
    if !matches!(format, None | Some(WAV | "pcm")) {
        let (what, instead) = ("this format of sound", "Ask for wav or pcm");
        return Err(Fault::Unsupported { parameter: "response_format", what, instead });
    }
    if members.take("speed").is_some_and(|speed| speed.as_f64() != Some(1.0)) {
        let (what, instead) = ("another speed", "Say in `instructions` how it is to be spoken");
        return Err(Fault::Unsupported { parameter: "speed", what, instead });
    }
    if members.text("stream_format")? == Some("sse") {
        let (what, instead) = ("events of sound", "Leave `stream_format` out");
        return Err(Fault::Unsupported { parameter: "stream_format", what, instead });
    }
    let text = match members.text("instructions")? {
        Some(how) => format!("{how}:\n\n{input}"),
        None => input.to_string(),
    };
    let mut dropped = members.rest();
    // Clients that say nothing mean MP3.
    dropped.extend(format.is_none().then(|| Box::from("response_format")));
    let voice = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}});
    let config = json!({"responseModalities": ["AUDIO"], "speechConfig": voice});
    Ok((json!({"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}), dropped))
}

fn written(asked: Op, body: &Value) -> Result<Written, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let recording = members.take("file").and_then(|file| Some((file.get("data")?, file.get("type")?.as_str()?)));
    let (data, kind) = recording.ok_or_else(|| Fault::invalid("file", "a recording is expected"))?;
    if !matches!(members.text("response_format")?, None | Some("json" | "text")) {
        let (what, instead) = ("this format of transcripts", "Ask for json or text");
        return Err(Fault::Unsupported { parameter: "response_format", what, instead });
    }
    if members.bool("stream")? == Some(true) {
        let (what, instead) = ("streams of transcripts", "Ask for the whole answer");
        return Err(Fault::Unsupported { parameter: "stream", what, instead });
    }
    if members.take("timestamp_granularities").is_some() {
        let (what, instead) = ("timestamps", "Leave them out, or ask a model of OpenAI's");
        return Err(Fault::Unsupported { parameter: "timestamp_granularities", what, instead });
    }
    let into = if asked == Op::AudioTranslations { "in English" } else { "in its own language" };
    let mut text = format!("Write down what is said in this recording, word for word, {into}.");
    if let Some(language) = members.text("language")? {
        text.push_str(&format!(" It is spoken in the language '{language}'."));
    }
    if let Some(prompt) = members.text("prompt")? {
        text.push_str(&format!(" What came before it, for names and spelling: {prompt}"));
    }
    text.push_str(" Answer with that text and nothing else.");
    let mut config = Map::new();
    if let Some(temperature) = members.text("temperature")? {
        let number = temperature.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| Fault::invalid("temperature", "a number is expected"))?;
        config.insert("temperature".to_string(), number.into());
    }
    let parts = json!([{"inlineData": {"mimeType": kind, "data": data}}, {"text": text}]);
    let body = json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": config});
    Ok((body, members.rest()))
}

/// What an answer is, by what was asked for.
pub fn kind(recall: &Recall) -> &'static str {
    match (recall.asked, format_of(recall).as_deref()) {
        (Op::AudioSpeech, Some("pcm")) => "audio/pcm",
        (Op::AudioSpeech, _) => "audio/wav",
        (_, Some("text")) => "text/plain; charset=utf-8",
        _ => "application/json",
    }
}

fn format_of(recall: &Recall) -> Option<String> {
    let asked: Value = serde_json::from_slice(&recall.request).ok()?;
    Some(asked.get("response_format")?.as_str()?.trim().to_string())
}

/// # Errors
/// There is no sound or no text in it; what the provider says about it is told.
pub fn answer(recall: &Recall, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let told = document(body)?;
    let usage = told.get("usageMetadata").and_then(|counts| gemini::parse_usage(counts.to_string().as_bytes()));
    let parts = told.pointer("/candidates/0/content/parts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let none = |what: &str| {
        let places = ["/promptFeedback/blockReason", "/candidates/0/finishMessage", "/candidates/0/finishReason"];
        let reason = places.iter().find_map(|place| told.pointer(place)?.as_str()).unwrap_or("no reason is told");
        Fault::invalid("", format!("there is no {what} in it: {reason}"))
    };
    if recall.asked == Op::AudioSpeech {
        let sound = parts.iter().find_map(|part| part.get("inlineData")).ok_or_else(|| none("sound"))?;
        let data = sound.get("data").and_then(Value::as_str).unwrap_or_default();
        let samples = STANDARD.decode(data).map_err(|_| Fault::invalid("inlineData", "no base64"))?;
        let usage = usage.map(|usage| match usage.audio_output {
            // All that it says is sound.
            0 => Usage { audio_output: usage.output, output: 0, ..usage },
            _ => usage,
        });
        let whole = format_of(recall).as_deref() == Some("pcm");
        return Ok((if whole { samples } else { wav(&samples, rate_of(sound)) }, usage));
    }
    let spoken = parts.iter().filter(|part| part.get("thought") != Some(&Value::Bool(true)));
    let text: String = spoken.filter_map(|part| part.get("text")?.as_str()).collect();
    if text.is_empty() {
        return Err(none("text"));
    }
    if format_of(recall).as_deref() == Some("text") {
        return Ok((format!("{}\n", text.trim()).into_bytes(), usage));
    }
    let mut out = Writer::with_capacity(text.len() + 128);
    out.begin_object().member("text", text.trim());
    if let Some(usage) = &usage {
        let (input, output) = (usage.prompt(), usage.answer());
        out.key("usage").begin_object().member("type", "tokens").key("input_tokens").uint(input);
        out.key("output_tokens").uint(output).key("total_tokens").uint(input + output).end_object();
    }
    out.end_object();
    Ok((out.finish(), usage))
}

/// `audio/L16;codec=pcm;rate=24000`
fn rate_of(sound: &Value) -> u32 {
    let kind = sound.get("mimeType").and_then(Value::as_str).unwrap_or_default();
    let rate = kind.split(';').find_map(|parameter| parameter.trim().strip_prefix("rate=")?.parse().ok());
    rate.filter(|rate| (1..=384_000).contains(rate)).unwrap_or(RATE)
}

/// One channel of 16 bits, with the header that says so.
fn wav(samples: &[u8], rate: u32) -> Vec<u8> {
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX - 36);
    let mut out = Vec::with_capacity(samples.len() + 44);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(length + 36).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(&(rate * 2).to_le_bytes());
    for half in [2_u16, 16] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(samples);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(asked: Op) -> Pair<'static> {
        Pair { asked, by: Op::GenerateContent, model: "gemini-2.5-flash" }
    }

    #[test]
    fn speech_is_a_conversation_with_sound() {
        let body = json!({"model": "m", "input": "hi", "voice": "alloy", "instructions": "Softly"});
        let request = request(pair(Op::AudioSpeech), body.to_string().as_bytes()).expect("a request");
        let sent: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(sent["contents"][0]["parts"][0]["text"], "Softly:\n\nhi");
        let voice = &sent["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"];
        assert_eq!(voice, "Kore");
        assert_eq!(request.dropped, [Box::from("response_format")]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for body in [
            json!({"input": "x", "voice": "a", "response_format": "mp3"}),
            json!({"input": "x", "voice": "a", "speed": 2}),
            json!({"input": "x", "voice": "a", "stream_format": "sse"}),
            json!({"input": "x"}),
            json!({"voice": "a"}),
        ] {
            assert!(request(pair(Op::AudioSpeech), body.to_string().as_bytes()).is_err(), "{body}");
        }
        let file = json!({"data": "AA==", "type": "audio/wav"});
        for body in [
            json!({"file": "x"}),
            json!({"file": file, "response_format": "srt"}),
            json!({"file": file, "stream": true}),
            json!({"file": file, "temperature": "warm"}),
            json!({"file": file, "timestamp_granularities": ["word"]}),
        ] {
            assert!(request(pair(Op::AudioTranscriptions), body.to_string().as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn samples_get_a_header() {
        let made = wav(&[1, 2, 3, 4], 16_000);
        assert_eq!(made.len(), 48);
        assert_eq!(made.get(24..28), Some(16_000_u32.to_le_bytes().as_slice()));
        assert_eq!(rate_of(&json!({"mimeType": "audio/L16;codec=pcm;rate=8000"})), 8_000);
        assert_eq!(rate_of(&json!({"mimeType": "audio/L16;rate=99999999"})), RATE);
    }
}
