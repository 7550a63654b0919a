//! Transcripts as providers tell them in shapes of their own, told as OpenAI does. Where their answers say what is data of their rows.

use serde_json::Value;

use super::reading::document;
use super::{Fault, Recall};
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// Where an answer says what: JSON pointers.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub text: Box<str>,
    pub language: Option<Box<str>>,
    /// In seconds.
    pub duration: Option<Box<str>>,
    pub words: Option<Timed>,
    pub segments: Option<Timed>,
}

/// A list of what was said when: where it is, and names of its elements' members.
#[derive(Clone, Debug, Default)]
pub struct Timed {
    pub at: Box<str>,
    pub text: Box<str>,
    pub start: Box<str>,
    pub end: Box<str>,
    /// Of its elements only those that have these members.
    pub only: Vec<(Box<str>, Box<str>)>,
}

/// What was said, from when to when in seconds.
struct Piece<'a> {
    text: &'a str,
    start: f64,
    end: f64,
}

impl Reading {
    /// The formats that such an answer can be told in.
    pub fn formats(&self) -> &'static [&'static str] {
        const ALL: [&str; 5] = ["json", "text", "verbose_json", "srt", "vtt"];
        if self.segments.is_some() { &ALL } else { &["json", "text", "verbose_json"] }
    }
}

impl Timed {
    /// # Errors
    /// An element is not as the row says.
    fn pieces<'a>(&self, told: &'a Value) -> Result<Vec<Piece<'a>>, Fault> {
        let list = told.pointer(&self.at).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let is = |piece: &&Value| {
            self.only.iter().all(|(name, value)| piece.get(&**name).and_then(Value::as_str) == Some(&**value))
        };
        let piece = |piece: &'a Value| {
            let time = |name: &str| piece.get(name)?.as_f64().filter(|time| time.is_finite() && *time >= 0.0);
            Some(Piece { text: piece.get(&*self.text)?.as_str()?, start: time(&self.start)?, end: time(&self.end)? })
        };
        let pieces = list.iter().filter(is).map(|one| piece(one).ok_or_else(|| Fault::invalid(&*self.at, "no times")));
        pieces.collect()
    }
}

/// What an answer is, by what was asked for.
pub fn kind(recall: &Recall) -> &'static str {
    match wanted(recall).format.as_str() {
        "text" | "srt" => "text/plain; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        _ => "application/json",
    }
}

/// How the answer is to be told.
struct Wanted {
    format: String,
    /// What is to have times.
    timed: Vec<String>,
    language: String,
}

fn wanted(recall: &Recall) -> Wanted {
    let fields: Value = serde_json::from_slice(&recall.request).unwrap_or_default();
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(|text| text.trim().to_string());
    let timed = match fields.get("timestamp_granularities") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(String::from).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let format = text("response_format").unwrap_or_else(|| "json".to_string());
    Wanted { format, timed, language: text("language").unwrap_or_default() }
}

/// When the last of it ends.
fn last(pieces: &Option<Vec<Piece<'_>>>) -> Option<f64> {
    pieces.as_ref()?.iter().map(|piece| piece.end).reduce(f64::max)
}

/// # Errors
/// There is no transcript where there should be one.
pub fn answer(reading: &Reading, recall: &Recall, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let told = document(body)?;
    let text = told.pointer(&reading.text).and_then(Value::as_str);
    let text = text.ok_or_else(|| Fault::invalid(&*reading.text, "a transcript is expected"))?.trim();
    let at = |place: &Option<Box<str>>| told.pointer(place.as_deref()?);
    let duration = at(&reading.duration).and_then(Value::as_f64).filter(|time| time.is_finite() && *time >= 0.0);
    let pieces = |of: &Option<Timed>| of.as_ref().map(|timed| timed.pieces(&told)).transpose();
    let most = recall.recording.seconds;
    let duration = match duration {
        // Neither says it: until the last word, and no longer than so many bytes can be.
        None if !recall.recording.told => last(&pieces(&reading.words)?).map(|end| end.min(f64::from(most))),
        told => told,
    };
    let usage = duration.map(|time| Usage { seconds: time.ceil() as u32, ..Usage::default() });
    let seconds = usage.map_or(most, |usage| usage.seconds);
    let Wanted { format, timed, language } = wanted(recall);
    if format == "text" {
        return Ok((format!("{text}\n").into_bytes(), usage));
    }
    if matches!(format.as_str(), "srt" | "vtt") {
        return Ok((subtitles(&pieces(&reading.segments)?.unwrap_or_default(), format == "vtt"), usage));
    }
    let mut out = Writer::with_capacity(body.len().min(64 << 10) + 256);
    out.begin_object();
    if format == "verbose_json" {
        let found = at(&reading.language).and_then(Value::as_str).unwrap_or(&language);
        out.member("task", "transcribe").member("language", found);
        out.key("duration").json(&number(duration.unwrap_or_else(|| f64::from(most))));
    }
    out.member("text", text);
    if format == "verbose_json" {
        let times_of = |what: &str| timed.iter().any(|one| one == what);
        if times_of("word") {
            list(&mut out, ("words", "word"), &pieces(&reading.words)?.unwrap_or_default());
        }
        if (timed.is_empty() || times_of("segment"))
            && let Some(segments) = pieces(&reading.segments)?
        {
            list(&mut out, ("segments", "text"), &segments);
        }
    }
    out.key("usage").begin_object().member("type", "duration").key("seconds").uint(u64::from(seconds)).end_object();
    out.end_object();
    Ok((out.finish(), usage))
}

fn number(value: f64) -> String {
    serde_json::Number::from_f64(value).map_or_else(|| "0".to_string(), |number| number.to_string())
}

fn list(out: &mut Writer, (name, text): (&str, &str), pieces: &[Piece<'_>]) {
    out.key(name).begin_array();
    for (index, piece) in pieces.iter().enumerate() {
        out.begin_object();
        if name == "segments" {
            out.key("id").uint(index as u64);
        }
        out.member(text, piece.text).key("start").json(&number(piece.start));
        out.key("end").json(&number(piece.end)).end_object();
    }
    out.end_array();
}

fn subtitles(pieces: &[Piece<'_>], web: bool) -> Vec<u8> {
    let mut out = if web { "WEBVTT\n\n".to_string() } else { String::new() };
    for (index, piece) in pieces.iter().enumerate() {
        if !web {
            out.push_str(&format!("{}\n", index + 1));
        }
        // A line that is empty would end the cue.
        let text = piece.text.split_whitespace().collect::<Vec<_>>().join(" ");
        out.push_str(&format!("{} --> {}\n{text}\n\n", clock(piece.start, web), clock(piece.end, web)));
    }
    out.into_bytes()
}

/// `hours:minutes:seconds,milliseconds`, with a dot for the web.
fn clock(time: f64, web: bool) -> String {
    let ms = (time * 1e3).round() as u64;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{}{:03}", if web { '.' } else { ',' }, ms % 1000)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::endpoint::Operation as Op;
    use crate::kernel::sound::Length;

    fn reading() -> Reading {
        let timed = |at: &str, text: &str, only: &[(&str, &str)]| Timed {
            at: at.into(),
            text: text.into(),
            start: "start".into(),
            end: "end".into(),
            only: only.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        Reading {
            text: "/r/0/said".into(),
            language: Some("/lang".into()),
            duration: Some("/meta/duration".into()),
            words: Some(timed("/words", "text", &[("type", "word")])),
            segments: Some(timed("/parts", "said", &[])),
        }
    }

    fn recall(request: Value) -> Recall {
        Recall {
            asked: Op::AudioTranscriptions,
            by: Op::AudioTranscriptions,
            model: "m".to_string(),
            named: "m".to_string(),
            id: "id".to_string(),
            request: Bytes::from(request.to_string()),
            input: 0,
            recording: Length { seconds: 9, told: true },
            reading: None,
        }
    }

    fn told() -> Value {
        json!({
            "r": [{"said": " Good day. "}],
            "lang": "en",
            "meta": {"duration": 2.25},
            "words": [
                {"text": "Good", "start": 0, "end": 0.5, "type": "word"},
                {"text": " ", "start": 0.5, "end": 0.6, "type": "spacing"},
                {"text": "day.", "start": 0.6, "end": 1, "type": "word"},
            ],
            "parts": [{"said": "Good\n\nday.", "start": 0.0, "end": 3661.5}],
        })
    }

    fn said(request: Value) -> (Vec<u8>, Option<Usage>) {
        answer(&reading(), &recall(request), told().to_string().as_bytes()).expect("a transcript")
    }

    #[test]
    fn transcripts_are_told_in_every_format() {
        let (plain, usage) = said(json!({}));
        let plain: Value = serde_json::from_slice(&plain).expect("JSON");
        assert_eq!(plain, json!({"text": "Good day.", "usage": {"type": "duration", "seconds": 3}}));
        assert_eq!(usage.map(|usage| usage.seconds), Some(3));
        assert_eq!(said(json!({"response_format": "text"})).0, b"Good day.\n");
        let full = said(json!({"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]})).0;
        let full: Value = serde_json::from_slice(&full).expect("JSON");
        assert_eq!(
            full,
            json!({
                "task": "transcribe", "language": "en", "duration": 2.25, "text": "Good day.",
                "words": [
                    {"word": "Good", "start": 0.0, "end": 0.5},
                    {"word": "day.", "start": 0.6, "end": 1.0},
                ],
                "segments": [{"id": 0, "text": "Good\n\nday.", "start": 0.0, "end": 3661.5}],
                "usage": {"type": "duration", "seconds": 3},
            })
        );
        let srt = said(json!({"response_format": "srt"})).0;
        assert_eq!(srt, b"1\n00:00:00,000 --> 01:01:01,500\nGood day.\n\n");
        let vtt = said(json!({"response_format": "vtt"})).0;
        assert_eq!(vtt, b"WEBVTT\n\n00:00:00.000 --> 01:01:01.500\nGood day.\n\n");
        // Where it was told the language, it does not find one.
        let mut named = told();
        named["lang"] = Value::Null;
        let request = json!({"response_format": "verbose_json", "language": "de"});
        let named = answer(&reading(), &recall(request), named.to_string().as_bytes()).expect("a transcript").0;
        assert_eq!(serde_json::from_slice::<Value>(&named).expect("JSON")["language"], "de");
        assert_eq!(kind(&recall(json!({"response_format": "vtt"}))), "text/vtt; charset=utf-8");
    }

    #[test]
    fn what_is_no_transcript_is_told() {
        for body in ["{}", "[]", "{\"r\":[{\"said\":1}]}", "no"] {
            assert!(answer(&reading(), &recall(json!({})), body.as_bytes()).is_err(), "{body}");
        }
        let mut odd = told();
        odd["words"] = json!([{"text": "x", "type": "word"}]);
        let request = json!({"response_format": "verbose_json", "timestamp_granularities": "word"});
        assert!(answer(&reading(), &recall(request), odd.to_string().as_bytes()).is_err());
        // Neither the recording nor the provider says how long it was: the last word does, within what can be.
        let mut silent = told();
        silent["meta"] = json!({});
        for (seconds, billed) in [(9, 1), (0, 0)] {
            let recall = Recall { recording: Length { seconds, told: false }, ..recall(json!({})) };
            let (_, usage) = answer(&reading(), &recall, silent.to_string().as_bytes()).expect("a transcript");
            assert_eq!(usage.map(|usage| usage.seconds), Some(billed));
        }
        // A provider that does not say it: the recording does.
        let short = json!({"r": [{"said": ""}]}).to_string();
        let (said, usage) = answer(&reading(), &recall(json!({})), short.as_bytes()).expect("an empty transcript");
        assert_eq!((said, usage), (br#"{"text":"","usage":{"type":"duration","seconds":9}}"#.to_vec(), None));
    }
}
