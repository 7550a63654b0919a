//! Answers with embeddings. Numbers pass as the provider wrote them, unless the caller wants them packed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::reading::told;
use super::{Fault, Recall, told_by_amazon};
use crate::dialect::{cohere, gemini, openai_chat};
use crate::endpoint::Operation as Op;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// What a provider answered, whatever its shape.
struct Vectors<'a> {
    /// By type of number, Cohere's names; each a list of vectors as JSON.
    by_type: Vec<(&'a str, Vec<&'a RawValue>)>,
    usage: Option<Usage>,
}

impl<'a> Vectors<'a> {
    fn floats(vectors: Vec<&'a RawValue>, usage: Option<Usage>) -> Self {
        Vectors { by_type: vec![("float", vectors)], usage }
    }

    fn plain(&self) -> &[&'a RawValue] {
        let floats = self.by_type.iter().find(|(kind, _)| *kind == "float").or(self.by_type.first());
        floats.map_or(&[], |(_, vectors)| vectors.as_slice())
    }
}

pub fn answer(recall: &Recall, headers: &HeaderMap, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let mut vectors = read(recall, body)?;
    vectors.usage = vectors.usage.or_else(|| told_by_amazon(headers));
    if vectors.plain().is_empty() {
        return Err(Fault::invalid("", "there are no embeddings"));
    }
    let mut out = Writer::with_capacity(body.len() + 512);
    let input = vectors.usage.map_or(recall.input, |usage| usage.prompt());
    match recall.asked {
        Op::EmbedContent => {
            out.begin_object().key("embedding").begin_object().key("values");
            put(&mut out, vectors.plain().first().copied(), false)?;
            out.end_object();
            google_usage(&mut out, input);
        }
        Op::BatchEmbedContents => {
            out.begin_object().key("embeddings").begin_array();
            for vector in vectors.plain() {
                out.begin_object().key("values");
                put(&mut out, Some(vector), false)?;
                out.end_object();
            }
            out.end_array();
            google_usage(&mut out, input);
        }
        Op::CohereEmbed => to_cohere(&mut out, recall, &vectors, input)?,
        _ => to_openai(&mut out, recall, &vectors, input)?,
    }
    Ok((out.finish(), vectors.usage))
}

fn google_usage(out: &mut Writer, input: u64) {
    out.key("usageMetadata").begin_object().key("promptTokenCount").uint(input).end_object().end_object();
}

fn to_openai(out: &mut Writer, recall: &Recall, vectors: &Vectors<'_>, input: u64) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(default)]
        encoding_format: Option<&'a str>,
    }
    let asked: Result<Asked<'_>, _> = serde_json::from_slice(&recall.request);
    let packed = asked.is_ok_and(|asked| asked.encoding_format == Some("base64"));
    out.begin_object().member("object", "list").key("data").begin_array();
    for (index, vector) in vectors.plain().iter().enumerate() {
        out.begin_object().member("object", "embedding").key("index").uint(index as u64).key("embedding");
        put(out, Some(vector), packed)?;
        out.end_object();
    }
    out.end_array().member("model", &recall.named).key("usage").begin_object();
    out.key("prompt_tokens").uint(input).key("total_tokens").uint(input).end_object().end_object();
    Ok(())
}

fn to_cohere(out: &mut Writer, recall: &Recall, vectors: &Vectors<'_>, input: u64) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow, default)]
        texts: Option<&'a RawValue>,
    }
    out.begin_object().member("id", &recall.id).key("embeddings").begin_object();
    for (kind, list) in &vectors.by_type {
        out.key(kind).begin_array();
        for vector in list {
            put(out, Some(vector), false)?;
        }
        out.end_array();
    }
    out.end_object();
    let asked: Result<Asked<'_>, _> = serde_json::from_slice(&recall.request);
    match asked.ok().and_then(|asked| asked.texts) {
        Some(texts) => out.key("texts").raw(texts),
        None => out.key("texts").begin_array().end_array(),
    };
    out.key("meta").begin_object().key("api_version").begin_object().member("version", "2").end_object();
    out.key("billed_units").begin_object().key("input_tokens").uint(input).end_object().end_object();
    out.member("response_type", "embeddings_by_type").end_object();
    Ok(())
}

/// Writes one vector: as numbers, or packed as OpenAI's clients ask for it. Providers may send either.
fn put(out: &mut Writer, vector: Option<&RawValue>, packed: bool) -> Result<(), Fault> {
    let Some(vector) = vector else { return Err(Fault::invalid("", "a vector is missing")) };
    let numbers = vector.get().starts_with('[');
    match (packed, numbers) {
        (true, false) | (false, true) => {
            out.raw(vector);
        }
        (true, true) => {
            let floats: Vec<f32> = told(vector.get().as_bytes())?;
            let bytes: Vec<u8> = floats.iter().flat_map(|number| number.to_le_bytes()).collect();
            out.string(&STANDARD.encode(bytes));
        }
        (false, false) => {
            let text: String = told(vector.get().as_bytes())?;
            let bytes = STANDARD.decode(text).map_err(|_| Fault::invalid("", "a vector is neither list nor base64"))?;
            out.begin_array();
            for number in bytes.as_chunks::<4>().0 {
                out.json(&f32::from_le_bytes(*number).to_string());
            }
            out.end_array();
        }
    }
    Ok(())
}

fn read<'a>(recall: &Recall, body: &'a [u8]) -> Result<Vectors<'a>, Fault> {
    match recall.by {
        Op::BatchEmbedContents => batch(body),
        Op::EmbedContent => google(body),
        Op::CohereEmbed => by_cohere(body),
        Op::Predict => vertex(body),
        Op::Invoke if recall.pair().model.contains("cohere.") => by_cohere(body),
        Op::Invoke => titan(body),
        _ => openai(body),
    }
}

fn openai(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(default)]
        index: u32,
        #[serde(borrow)]
        embedding: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Vec<Item<'a>>,
        #[serde(borrow, default)]
        usage: Option<&'a RawValue>,
    }
    let mut body: Body<'_> = told(body)?;
    body.data.sort_by_key(|item| item.index);
    let usage = body.usage.and_then(|usage| openai_chat::parse_usage(usage.get().as_bytes()));
    Ok(Vectors::floats(body.data.into_iter().map(|item| item.embedding).collect(), usage))
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    token_count: f64,
}

fn google(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        #[serde(borrow)]
        embedding: Values<'a>,
        #[serde(borrow, default)]
        usage_metadata: Option<&'a RawValue>,
    }
    let body: Body<'_> = told(body)?;
    let usage = body.usage_metadata.and_then(|usage| gemini::parse_usage(usage.get().as_bytes()));
    Ok(Vectors::floats(vec![body.embedding.values], usage))
}

fn batch(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        #[serde(borrow)]
        embeddings: Vec<Values<'a>>,
        #[serde(borrow, default)]
        usage_metadata: Option<&'a RawValue>,
    }
    let body: Body<'_> = told(body)?;
    let usage = body.usage_metadata.and_then(|usage| gemini::parse_usage(usage.get().as_bytes()));
    Ok(Vectors::floats(body.embeddings.into_iter().map(|one| one.values).collect(), usage))
}

fn vertex(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    struct Prediction<'a> {
        #[serde(borrow)]
        embeddings: Values<'a>,
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        predictions: Vec<Prediction<'a>>,
    }
    let body: Body<'_> = told(body)?;
    let counts = body.predictions.iter().map(|one| one.embeddings.statistics.as_ref());
    let input: Option<f64> = counts.map(|told| told.map(|told| told.token_count)).sum();
    let usage = input.map(|input| Usage { input: input.max(0.0) as u64, ..Usage::default() });
    Ok(Vectors::floats(body.predictions.into_iter().map(|one| one.embeddings.values).collect(), usage))
}

fn by_cohere(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lists<'a> {
        #[serde(borrow)]
        ByType(BTreeMap<&'a str, Option<Vec<&'a RawValue>>>),
        #[serde(borrow)]
        Floats(Vec<&'a RawValue>),
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        embeddings: &'a RawValue,
        #[serde(borrow, default)]
        meta: Option<&'a RawValue>,
    }
    let body: Body<'_> = told(body)?;
    let usage = body.meta.and_then(|meta| cohere::parse_usage(meta.get().as_bytes()));
    // Borrowed raw values do not pass through an untagged enum: the first byte tells which it is.
    let lists = match body.embeddings.get().as_bytes().first() {
        Some(b'[') => Lists::Floats(told(body.embeddings.get().as_bytes())?),
        _ => Lists::ByType(told(body.embeddings.get().as_bytes())?),
    };
    Ok(match lists {
        Lists::Floats(floats) => Vectors::floats(floats, usage),
        Lists::ByType(lists) => {
            let by_type = lists.into_iter().filter_map(|(kind, list)| Some((kind, list?))).collect();
            Vectors { by_type, usage }
        }
    })
}

fn titan(body: &[u8]) -> Result<Vectors<'_>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
        #[serde(default)]
        input_text_token_count: Option<u64>,
    }
    let body: Body<'_> = told(body)?;
    let usage = body.input_text_token_count.map(|input| Usage { input, ..Usage::default() });
    Ok(Vectors::floats(vec![body.embedding], usage))
}
