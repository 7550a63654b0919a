//! Embeddings and rerank: numbers that depend on the input alone, so the same text always gets the same vector.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::Answer;
use super::errors::Failure;
use super::fields::{Call, Fields};
use super::json::Quoted;

/// Length of a vector that is not asked for.
const DIMENSIONS: usize = 1536;
/// The longest that is given.
const MOST_DIMENSIONS: usize = 16_384;

/// `POST /v1/embeddings`.
pub fn embeddings(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let input = fields.input.ok_or_else(|| Failure::missing("input"))?;
    let dimensions = fields.dimensions.unwrap_or(DIMENSIONS);
    if dimensions == 0 || dimensions > MOST_DIMENSIONS {
        return Err(Failure::bad_request(format!("Invalid 'dimensions': 1 to {MOST_DIMENSIONS}.")));
    }
    let base64 = fields.encoding_format.as_deref() == Some("base64");
    let items = items(input.get())?;
    let data: Vec<String> = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let vector = vector(item, dimensions);
            let embedding = if base64 { in_base64(&vector) } else { in_floats(&vector) };
            format!(r#"{{"object":"embedding","index":{index},"embedding":{embedding}}}"#)
        })
        .collect();
    let mut usage = call.usage(0);
    usage.told = call.tells_usage();
    let told = if usage.told {
        format!(r#","usage":{{"prompt_tokens":{0},"total_tokens":{0}}}"#, usage.input)
    } else {
        String::new()
    };
    let body = format!(r#"{{"object":"list","data":[{}],"model":{}{told}}}"#, data.join(","), Quoted(call.model));
    Ok(Answer::json(body).with_usage(usage))
}

/// A string or an array of numbers is one input, an array of either is several. Each as the text it came as.
fn items(input: &str) -> Result<Vec<String>, Failure> {
    let value: Value = serde_json::from_str(input).unwrap_or_default();
    match value {
        Value::String(_) => Ok(vec![value.to_string()]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => Ok(vec![Value::Array(items).to_string()]),
        Value::Array(items) if !items.is_empty() => Ok(items.iter().map(Value::to_string).collect()),
        _ => Err(Failure::bad_request("'$.input' is invalid. Please check the API reference.")),
    }
}

/// A unit vector drawn from the hash of the text.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(hash(text));
    let raw: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.iter().map(|x| x / norm).collect()
}

/// FNV-1a: stable over versions of the compiler.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    format!("\"{}\"", STANDARD.encode(bytes))
}

fn in_floats(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// `POST /v1/rerank` (Cohere, Jina, Voyage): sorted by score, best first.
pub fn rerank(fields: &Fields<'_>, call: &Call<'_>) -> Result<Answer, Failure> {
    let query = fields.query.ok_or_else(|| Failure::missing("query"))?;
    let quoted = |text: &String| Quoted(text).to_string();
    let texts: Option<Vec<String>> = fields.texts.as_ref().map(|texts| texts.iter().map(quoted).collect());
    let given = fields.documents.as_ref().or(fields.passages.as_ref());
    let given = given.map(|given| given.iter().map(|raw| raw.get().to_owned()).collect());
    let documents: Vec<String> = texts.clone().or(given).ok_or_else(|| Failure::missing("documents"))?;
    let mut scored: Vec<(usize, f64)> = documents
        .iter()
        .enumerate()
        .map(|(index, document)| {
            let text = format!("{}{document}", query.get());
            (index, (hash(&text) % 10_000) as f64 / 10_000.0)
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(fields.top_n.or(fields.top_k).unwrap_or(usize::MAX));
    let (all, usage) = (scored.as_slice(), call.usage(0));
    if texts.is_some() {
        return Ok(Answer::json(format!("[{}]", lines(all, "score"))).with_usage(usage));
    }
    if fields.passages.is_some() {
        return Ok(Answer::json(format!(r#"{{"rankings":[{}]}}"#, lines(all, "logit"))).with_usage(usage));
    }
    if fields.top_k.is_some() {
        let (data, total) = (lines(all, "relevance_score"), usage.input);
        let body = format!(r#"{{"object":"list","data":[{data}],"usage":{{"total_tokens":{total}}}}}"#);
        return Ok(Answer::json(body).with_usage(usage));
    }
    let results: Vec<String> = scored
        .iter()
        .map(|(index, score)| {
            let document = match documents.get(*index) {
                Some(document) if fields.return_documents == Some(true) => {
                    format!(r#","document":{}"#, as_document(document))
                }
                _ => String::new(),
            };
            format!(r#"{{"index":{index},"relevance_score":{score}{document}}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"id":"rerank-mock{:012x}","model":{},"results":[{}],"meta":{{"api_version":{{"version":"2"}},"billed_units":{{"search_units":1}},"tokens":{{"input_tokens":{}}}}},"usage":{{"total_tokens":{}}}}}"#,
        call.number,
        Quoted(call.model),
        results.join(","),
        usage.input,
        usage.input
    );
    Ok(Answer::json(body).with_usage(usage))
}

/// Scores as those say them who have another shape: text-embeddings-inference, NVIDIA, Voyage.
fn lines(scored: &[(usize, f64)], name: &str) -> String {
    let lines: Vec<String> =
        scored.iter().map(|(index, score)| format!(r#"{{"index":{index},"{name}":{score}}}"#)).collect();
    lines.join(",")
}

/// A plain text becomes `{"text": …}`, as these APIs return it.
fn as_document(raw: &str) -> String {
    if raw.starts_with('"') { format!(r#"{{"text":{raw}}}"#) } else { raw.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::script::Script;

    fn embedded(body: &str) -> Value {
        let script = Script::default();
        let call = Call { script: &script, number: 1, bytes_in: body.len(), model: "m", created: 0, query: "" };
        let answer = embeddings(&Fields::parse(body.as_bytes()).unwrap(), &call).unwrap();
        let super::super::answer::Content::Whole(body) = answer.content else {
            unreachable!("embeddings are no stream")
        };
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn both_encodings_hold_the_same_unit_vector() {
        let floats = embedded(r#"{"input":"a","dimensions":8}"#);
        let coded = embedded(r#"{"input":["a","b"],"dimensions":8,"encoding_format":"base64"}"#);
        let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        let plain: Vec<f32> =
            floats["data"][0]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        assert_eq!(decoded, plain);
        assert!((plain.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(coded["data"].as_array().unwrap().len(), 2);
        assert_eq!(embedded(r#"{"input":[1,2,3],"dimensions":2}"#)["data"].as_array().unwrap().len(), 1);
    }
}
