//! Speech and transcripts as ElevenLabs and Deepgram have them.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::errors::Failure;
use super::fields::{Call, Fields};
use super::media::noise;
use super::multipart::Form;
use super::requests::hex;
use super::script::percent_decode;
use super::text::Speech;

/// A value of the query, decoded.
pub fn asked(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| percent_decode(value))
}

/// ElevenLabs: `POST /v1/text-to-speech/{voice}`, also with `/stream` behind it.
pub fn eleven_speech(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.text.ok_or_else(|| Failure::missing("text"))?;
    let format = asked(call.query, "output_format").unwrap_or_else(|| "mp3_44100_128".to_owned());
    let (content_type, magic): (_, &[u8]) = match format.split('_').next() {
        Some("mp3") => ("audio/mpeg", b"ID3"),
        Some("opus") => ("audio/ogg", b"OggS"),
        Some("wav") => ("audio/wav", b"RIFF"),
        Some("pcm") => ("audio/pcm", b""),
        _ => return Err(Failure::bad_request("The output format is not known.")),
    };
    Ok(Answer::whole(content_type, noise(magic, call.script)).with_usage(call.usage(0)))
}

/// Deepgram: `POST /v1/speak`.
pub fn deepgram_speech(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.text.ok_or_else(|| Failure::missing("text"))?;
    let container = asked(call.query, "container");
    let (content_type, magic): (_, &[u8]) = match (asked(call.query, "encoding").as_deref(), container.as_deref()) {
        (None | Some("mp3"), None) => ("audio/mpeg", b"ID3"),
        (Some("aac"), None) => ("audio/aac", b"\xff\xf1"),
        (Some("flac"), None) => ("audio/flac", b"fLaC"),
        (Some("opus"), Some("ogg")) => ("audio/ogg", b"OggS"),
        (Some("linear16"), Some("wav")) => ("audio/wav", b"RIFF"),
        (Some("linear16"), Some("none")) => ("audio/l16;rate=24000;channels=1", b""),
        _ => return Err(Failure::bad_request("Unsupported combination of encoding and container.")),
    };
    Ok(Answer::whole(content_type, noise(magic, call.script)).with_usage(call.usage(0)))
}

/// Words a fifth of a second apart.
fn words(text: &str) -> Vec<(&str, f64, f64)> {
    let time = |index: usize| (index * 2) as f64 / 10.0;
    text.split_whitespace().enumerate().map(|(at, word)| (word, time(at), time(at + 1))).collect()
}

/// ElevenLabs: `POST /v1/speech-to-text`.
pub fn eleven_transcript(form: &Form<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let file = form.file("file").ok_or_else(|| Failure::missing("file"))?;
    let text = Speech::plan(call.script, None, None).pieces.joined();
    let mut listed: Vec<Value> = Vec::new();
    for (word, start, end) in words(&text) {
        if !listed.is_empty() {
            listed.push(json!({"text": " ", "start": start, "end": start, "type": "spacing"}));
        }
        listed.push(json!({"text": word, "start": start, "end": end, "type": "word", "logprob": -0.1}));
    }
    let body = json!({
        "language_code": form.text("language_code").unwrap_or("eng"), "language_probability": 0.98, "text": text,
        "words": listed, "mock_file": {"bytes": file.content.len(), "sha256": hex(&Sha256::digest(file.content))},
    });
    Ok(Answer::json(body.to_string()).with_usage(call.usage(0)))
}

/// Deepgram: `POST /v1/listen`, the sound alone as the body.
pub fn deepgram_transcript(sound: &[u8], call: &Call<'_>) -> Result<Answer, Failure> {
    if sound.is_empty() {
        return Err(Failure::bad_request("Bad Request: failed to process audio: corrupt or unsupported data"));
    }
    let text = Speech::plan(call.script, None, None).pieces.joined();
    let spoken = words(&text);
    let listed: Vec<Value> = spoken
        .iter()
        .map(|(word, start, end)| json!({"word": word, "start": start, "end": end, "confidence": 0.99}))
        .collect();
    let mut channel = json!({"alternatives": [{"transcript": text, "confidence": 0.99, "words": listed}]});
    if asked(call.query, "detect_language").as_deref() == Some("true")
        && let Some(channel) = channel.as_object_mut()
    {
        channel.insert("detected_language".to_owned(), "en".into());
    }
    let mut results = json!({"channels": [channel]});
    if asked(call.query, "utterances").as_deref() == Some("true")
        && let Some(results) = results.as_object_mut()
    {
        let end = spoken.last().map_or(0.0, |(_, _, end)| *end);
        results.insert("utterances".to_owned(), json!([{"start": 0.0, "end": end, "transcript": text, "channel": 0}]));
    }
    let body = json!({
        "metadata": {
            "request_id": format!("mock-{}", call.number), "channels": 1,
            "duration": (sound.len() as f64 / 32_000.0), "sha256": hex(&Sha256::digest(sound)),
        },
        "results": results,
    });
    Ok(Answer::json(body.to_string()).with_usage(call.usage(0)))
}
