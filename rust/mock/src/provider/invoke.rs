//! Amazon Bedrock's InvokeModel: each vendor's own body.

use serde_json::{Value, json};

use super::answer::{Answer, input_tokens};
use super::embeddings::vector;
use super::errors::Failure;
use super::fields::Call;

/// Length of a vector that is not asked for.
const DIMENSIONS: u64 = 1024;

/// `POST /model/{model}/invoke`: Titan's and Cohere's embeddings, rankings.
pub fn invoke(body: &Value, call: &Call<'_>) -> Result<Answer, Failure> {
    let dimensions = |name: &str| body[name].as_u64().unwrap_or(DIMENSIONS).clamp(1, 16_384) as usize;
    let usage = call.usage(0);
    let answer = if let Some(text) = body["inputText"].as_str() {
        json!({"embedding": vector(text, dimensions("dimensions")), "inputTextTokenCount": input_tokens(text.len())})
    } else if let Some(texts) = body["texts"].as_array() {
        if !body["input_type"].is_string() {
            return Err(Failure::bad_request("Malformed input request: #: required key [input_type] not found"));
        }
        let text = |text: &Value| vector(text.as_str().unwrap_or_default(), dimensions("output_dimension"));
        let vectors: Vec<_> = texts.iter().map(text).collect();
        match body["embedding_types"].as_array() {
            Some(_) => json!({"id": "mock", "embeddings": {"float": vectors}, "texts": texts}),
            None => json!({"id": "mock", "embeddings": vectors, "texts": texts}),
        }
    } else if let Some(documents) = body["documents"].as_array() {
        let most = body["top_n"].as_u64().map_or(usize::MAX, |most| most as usize);
        let results: Vec<Value> = (0..documents.len())
            .take(most)
            .map(|index| json!({"index": index, "relevance_score": 1.0 / (index + 1) as f64}))
            .collect();
        json!({"results": results})
    } else {
        return Err(Failure::bad_request("Malformed input request: no known body"));
    };
    Ok(Answer::json(answer.to_string()).with_usage(usage))
}
