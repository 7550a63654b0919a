//! Images, audio and moderations.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::errors::Failure;
use super::fields::{Call, Fields};
use super::multipart::{Form, Part};
use super::requests::hex;
use super::script::Script;
use super::text::Speech;

/// A PNG of one transparent pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// Length of a spoken answer that is not told how long.
const SPEECH_BYTES: usize = 4096;
/// All that a moderation judges.
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// What a form's file looked like when it arrived, so that a test can tell whether its bytes were passed untouched.
fn file_json(part: &Part<'_>) -> Value {
    json!({"name": part.filename, "bytes": part.content.len(), "sha256": hex(&Sha256::digest(part.content))})
}

/// `POST /v1/images/generations`.
pub fn generations(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.prompt.ok_or_else(|| Failure::missing("prompt"))?;
    Ok(images(call, fields.n, fields.response_format_text(), &json!({})))
}

/// `POST /v1/images/edits` and `/v1/images/variations`.
pub fn edited(form: &Form<'_>, call: &Call<'_>, needs_prompt: bool) -> Result<Answer, Failure> {
    let image = form.file("image").ok_or_else(|| Failure::missing("image"))?;
    if needs_prompt && form.text("prompt").is_none() {
        return Err(Failure::missing("prompt"));
    }
    let count = form.text("n").and_then(|n| n.parse().ok());
    let files = json!({"image": file_json(image), "mask": form.file("mask").map(file_json)});
    Ok(images(call, count, form.text("response_format"), &files))
}

fn images(call: &Call<'_>, count: Option<u64>, format: Option<&str>, files: &Value) -> Answer {
    let in_base64 = format == Some("b64_json") || call.model.starts_with("gpt-image");
    let image = |index: u64| {
        if in_base64 {
            json!({"b64_json": PIXEL})
        } else {
            json!({"url": format!("https://mock.invalid/image-{}-{index}.png", call.number), "revised_prompt": "a pixel"})
        }
    };
    let data: Vec<Value> = (0..count.unwrap_or(1).clamp(1, 10)).map(image).collect();
    let mut usage = call.usage(data.len() as u64 * 1056);
    usage.told = call.tells_usage() && in_base64;
    let mut body = json!({"created": call.created, "data": data, "mock_files": files});
    if let (true, Some(object)) = (usage.told, body.as_object_mut()) {
        let details = json!({"text_tokens": usage.input, "image_tokens": 0});
        let told = json!({
            "input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.input + usage.output,
            "input_tokens_details": details,
        });
        object.insert("usage".to_owned(), told);
    }
    Answer::json(body.to_string()).with_usage(usage)
}

/// `POST /v1/audio/speech`: bytes that depend on their position only.
pub fn speech(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    fields.input.ok_or_else(|| Failure::missing("input"))?;
    fields.voice.ok_or_else(|| Failure::missing("voice"))?;
    let (content_type, magic): (_, &[u8]) = match fields.response_format_text() {
        Some("wav") => ("audio/wav", b"RIFF"),
        Some("opus") => ("audio/opus", b"OggS"),
        Some("flac") => ("audio/flac", b"fLaC"),
        Some("aac") => ("audio/aac", b"\xff\xf1"),
        Some("pcm") => ("audio/pcm", b""),
        _ => ("audio/mpeg", b"ID3"),
    };
    Ok(Answer::whole(content_type, noise(magic, call.script)).with_usage(call.usage(0)))
}

/// Sound of a kind that begins with these bytes; the others depend on their position only.
pub fn noise(magic: &[u8], script: &Script) -> Vec<u8> {
    let length = script.bytes.unwrap_or(SPEECH_BYTES);
    let noise = (0..length).map(|index| (index.wrapping_mul(31) >> 3) as u8);
    magic.iter().copied().chain(noise).take(length).collect()
}

/// `POST /v1/audio/transcriptions` and `/v1/audio/translations`.
pub fn transcription(form: &Form<'_>, call: &Call<'_>, task: &str) -> Result<Answer, Failure> {
    let file = form.file("file").ok_or_else(|| Failure::missing("file"))?;
    let text = Speech::plan(call.script, None, None).pieces.joined();
    let mut usage = call.usage(0);
    usage.told = call.tells_usage();
    let seconds = file.content.len().div_ceil(32_000);
    let told = if usage.told { json!({"type": "duration", "seconds": seconds}) } else { Value::Null };
    let answer = match form.text("response_format") {
        Some("text") => Answer::whole("text/plain; charset=utf-8", format!("{text}\n")),
        Some("srt") => {
            Answer::whole("text/plain; charset=utf-8", format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n"))
        }
        Some("vtt") => {
            Answer::whole("text/vtt; charset=utf-8", format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n\n"))
        }
        Some("verbose_json") => {
            let segment = json!({
                "id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": [1, 2], "temperature": 0.0,
                "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0,
            });
            let body = json!({
                "task": task, "language": "english", "duration": seconds, "text": text, "segments": [segment],
                "usage": told, "mock_file": file_json(file),
            });
            Answer::json(body.to_string())
        }
        _ => Answer::json(json!({"text": text, "usage": told, "mock_file": file_json(file)}).to_string()),
    };
    Ok(answer.with_usage(usage))
}

/// `POST /v1/moderations`: flags an input that says "violence".
pub fn moderations(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let input: Value =
        serde_json::from_str(fields.input.ok_or_else(|| Failure::missing("input"))?.get()).unwrap_or_default();
    let inputs = match input {
        Value::Array(inputs) if inputs.first().is_some_and(Value::is_string) => inputs,
        other => vec![other],
    };
    let results: Vec<Value> = inputs.iter().map(judge).collect();
    let body = json!({"id": format!("modr-mock{:012x}", call.number), "model": call.model, "results": results});
    Ok(Answer::json(body.to_string()))
}

fn judge(input: &Value) -> Value {
    let flagged = input.to_string().contains("violence");
    let is = |category: &str| flagged && category == "violence";
    let all = |of: &dyn Fn(&str) -> Value| -> Value {
        CATEGORIES
            .iter()
            .map(|category| ((*category).to_owned(), of(category)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "flagged": flagged,
        "categories": all(&|category| is(category).into()),
        "category_scores": all(&|category| if is(category) { json!(0.98) } else { json!(0.0001) }),
        "category_applied_input_types": all(&|_| json!(["text"])),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_pixel_is_a_png() {
        assert!(STANDARD.decode(PIXEL).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
        assert!(judge(&json!("no violence"))["flagged"].as_bool().unwrap());
    }
}
