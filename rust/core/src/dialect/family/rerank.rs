//! Reranking: most providers have Cohere's shape; Voyage, Text Embeddings Inference, NVIDIA and Bedrock have their own.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::reading::{Members, document, told};
use super::{Fault, Pair, Recall, Request, told_by_amazon};
use crate::endpoint::Operation as Op;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    let body = document(body)?;
    let mut members = Members::of(&body)?;
    members.take("model");
    let query = members.text("query")?.ok_or_else(|| Fault::invalid("query", "a string is expected"))?;
    let documents = members.array("documents")?.ok_or_else(|| Fault::invalid("documents", "an array is expected"))?;
    let texts = documents.iter().map(text).collect::<Result<Vec<&str>, Fault>>()?;
    let most = members.number("top_n")?.or(members.number("top_k")?);
    members.take("return_documents");
    let truncation = members.bool("truncation")?;
    let mut out = Map::new();
    match pair.by {
        Op::NimRanking => {
            let passages: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
            out.insert("query".to_string(), json!({"text": query}));
            out.insert("passages".to_string(), passages.into());
        }
        by => {
            out.insert("query".to_string(), query.into());
            let documents = if by == Op::TeiRerank { "texts" } else { "documents" };
            out.insert(documents.to_string(), texts.into());
        }
    }
    if matches!(pair.by, Op::VoyageRerank | Op::NimRanking | Op::Rerank) {
        out.insert("model".to_string(), pair.model.into());
    }
    let mut dropped = members.rest();
    match pair.by {
        Op::VoyageRerank => {
            out.extend(most.map(|most| ("top_k".to_string(), most.into())));
            out.extend(truncation.map(|cut| ("truncation".to_string(), cut.into())));
        }
        Op::TeiRerank => out.extend(truncation.map(|cut| ("truncate".to_string(), cut.into()))),
        Op::NimRanking => {
            let word = truncation.map(|cut| if cut { "END" } else { "NONE" });
            out.extend(word.map(|word| ("truncate".to_string(), word.into())));
        }
        _ => {
            out.extend(most.map(|most| ("top_n".to_string(), most.into())));
            if truncation.is_some() {
                dropped.push("truncation".into());
            }
            if pair.by == Op::Invoke && pair.model.contains("cohere.") {
                out.insert("api_version".to_string(), 2.into());
            }
        }
    }
    Ok(Request { body: Value::Object(out).to_string().into_bytes(), dropped })
}

/// A document as its text; objects have theirs in a member of that name.
fn text(document: &Value) -> Result<&str, Fault> {
    let text = document.as_str().or_else(|| document.get("text").and_then(Value::as_str));
    text.ok_or_else(|| Fault::invalid("documents", "each is a string, or an object with a string `text`"))
}

/// One document with its score.
#[derive(Deserialize)]
struct Scored<'a> {
    index: usize,
    #[serde(borrow, alias = "score", alias = "logit")]
    relevance_score: &'a RawValue,
}

pub fn answer(recall: &Recall, headers: &HeaderMap, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, alias = "data", alias = "rankings")]
        results: Vec<Scored<'a>>,
    }
    let mut results = match body.trim_ascii_start().first() {
        Some(b'[') => told::<Vec<Scored<'_>>>(body)?,
        _ => told::<Body<'_>>(body)?.results,
    };
    let asked = document(&recall.request)?;
    let most = asked.get("top_n").or_else(|| asked.get("top_k")).and_then(Value::as_u64);
    // Providers without such a parameter rank them all.
    results.truncate(most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)));
    let documents = asked.get("documents").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let repeat = asked.get("return_documents").and_then(Value::as_bool) == Some(true);
    let usage = usage(body).or_else(|| told_by_amazon(headers));
    let mut out = Writer::with_capacity(64 * results.len() + 256);
    out.begin_object().member("id", &recall.id).member("model", &recall.named).key("results").begin_array();
    for result in &results {
        out.begin_object().key("index").uint(result.index as u64).key("relevance_score").raw(result.relevance_score);
        if let Some(document) = documents.get(result.index).filter(|_| repeat) {
            out.key("document").begin_object().member("text", text(document)?).end_object();
        }
        out.end_object();
    }
    let input = usage.map_or(recall.input, |usage| usage.prompt());
    out.end_array().key("meta").begin_object().key("tokens").begin_object().key("input_tokens").uint(input);
    out.end_object().end_object().key("usage").begin_object().key("total_tokens").uint(input).end_object();
    out.end_object();
    Ok((out.finish(), usage))
}

/// What an answer says it is paid by: searches (Cohere), or tokens (Jina, Voyage, Together and others).
pub fn usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Units {
        #[serde(default)]
        search_units: Option<f64>,
        #[serde(default)]
        input_tokens: Option<f64>,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default)]
        billed_units: Option<Units>,
        #[serde(default)]
        tokens: Option<Units>,
    }
    #[derive(Deserialize)]
    struct Tokens {
        #[serde(default)]
        prompt_tokens: Option<u64>,
        #[serde(default)]
        total_tokens: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        meta: Option<Meta>,
        #[serde(default)]
        usage: Option<Tokens>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let count = |number: f64| number.max(0.0) as u64;
    let meta = body.meta.as_ref();
    let billed = meta.and_then(|meta| meta.billed_units.as_ref());
    let searches = billed.and_then(|units| units.search_units).map_or(0, count);
    let listed = body.usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens));
    let tokens = || meta.and_then(|meta| meta.tokens.as_ref()?.input_tokens).map(count);
    let input = billed.and_then(|units| units.input_tokens).map(count).or(listed).or_else(tokens);
    if searches == 0 && input.is_none() {
        return None;
    }
    let searches = u32::try_from(searches).unwrap_or(u32::MAX);
    Some(Usage { input: input.unwrap_or(0), searches, ..Usage::default() })
}
