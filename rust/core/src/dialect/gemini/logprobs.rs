//! Log probabilities: Google's `logprobsResult` and OpenAI's `logprobs`.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::dialect::hub::Json;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Google {
    top_candidates: Vec<Top>,
    chosen_candidates: Vec<Token>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Top {
    candidates: Vec<Token>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Token {
    token: String,
    log_probability: f64,
}

pub fn to_chat<'a>(raw: &RawValue) -> Option<Json<'a>> {
    let google: Google = serde_json::from_str(raw.get()).ok()?;
    let entry = |token: &Token| json!({"token": token.token, "logprob": token.log_probability, "bytes": token.token.as_bytes()});
    let content = google.chosen_candidates.iter().enumerate().map(|(index, chosen)| {
        let mut written = entry(chosen);
        let top = google.top_candidates.get(index).map(|top| top.candidates.iter().map(entry).collect::<Vec<_>>());
        written["top_logprobs"] = top.unwrap_or_default().into();
        written
    });
    let content: Vec<Value> = content.collect();
    to_raw_value(&json!({"content": content, "refusal": null})).ok().map(Json::Owned)
}

#[derive(Deserialize)]
struct Chat {
    content: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Entry>,
}

pub fn from_chat(raw: &RawValue) -> Option<Box<RawValue>> {
    let chat: Chat = serde_json::from_str(raw.get()).ok()?;
    let token = |entry: &Entry| json!({"token": entry.token, "logProbability": entry.logprob});
    let content = chat.content?;
    let chosen: Vec<Value> = content.iter().map(token).collect();
    let top =
        content.iter().map(|entry| json!({"candidates": entry.top_logprobs.iter().map(token).collect::<Vec<_>>()}));
    let top: Vec<Value> = top.collect();
    to_raw_value(&json!({"topCandidates": top, "chosenCandidates": chosen})).ok()
}
