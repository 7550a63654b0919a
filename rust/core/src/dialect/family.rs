//! Families of operations that providers serve in different shapes: embeddings, reranking, images, counting. One document asks, one answers;
//! there are no streams. A provider that has the caller's own shape gets the caller's bytes and never comes here.
//!
//! [`substitute`] says, once per snapshot, which operation of a deployment stands for one that it does not serve;
//! [`request`] and [`answer`] rewrite the two documents.

mod count;
mod embeddings;
pub mod form;
mod images;
mod purpose;
mod reading;
mod rerank;
mod sound;
mod transcript;
mod vectors;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::endpoint::Operation;
use crate::kernel::cost::Usage;
use crate::kernel::sound::Length;
pub use count::estimate;
pub use rerank::usage as rerank_usage;
pub use transcript::{Reading, Timed};

/// Why a document cannot be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what its shape says.
    Invalid { path: String, reason: String },
    /// The provider has no word for it, and leaving it out would change the meaning.
    Unsupported { parameter: &'static str, what: &'static str, instead: &'static str },
}

impl Fault {
    fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault::Invalid { path: path.into(), reason: reason.into() }
    }
}

/// A request in the provider's shape.
#[derive(Debug, Default)]
pub struct Request {
    pub body: Vec<u8>,
    /// Parameters that the provider has no word for, by the caller's names.
    pub dropped: Vec<Box<str>>,
}

/// What asks, and for which model.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The caller's operation.
    pub asked: Operation,
    /// The provider's.
    pub by: Operation,
    /// The provider's name of the model.
    pub model: &'a str,
}

/// What of the request its answer needs.
#[derive(Clone, Debug)]
pub struct Recall {
    pub asked: Operation,
    pub by: Operation,
    pub model: String,
    /// The name that the caller is told.
    pub named: String,
    /// The request's id.
    pub id: String,
    /// The caller's request.
    pub request: Bytes,
    /// Input tokens, where the provider tells none.
    pub input: u64,
    /// How long the sound in it is.
    pub recording: Length,
    /// Where the answer says what, at a provider with words of its own.
    pub reading: Option<Arc<Reading>>,
}

impl Recall {
    fn pair(&self) -> Pair<'_> {
        Pair { asked: self.asked, by: self.by, model: &self.model }
    }
}

use Operation as Op;

/// Shapes of one family, in the order in which a deployment that has several of them is asked.
const EMBEDDINGS: [Operation; 6] =
    [Op::Embeddings, Op::CohereEmbed, Op::BatchEmbedContents, Op::EmbedContent, Op::Predict, Op::Invoke];
const COUNT: [Operation; 4] = [Op::CountTokens, Op::VertexCountTokens, Op::GeminiCountTokens, Op::ResponsesInputTokens];
const IMAGES: [Operation; 3] = [Op::Predict, Op::GenerateContent, Op::Invoke];
/// Sound and pictures out of forms.
const CONVERSATION: [Operation; 1] = [Op::GenerateContent];
const RERANK: [Operation; 5] = [Op::Rerank, Op::VoyageRerank, Op::TeiRerank, Op::NimRanking, Op::Invoke];

/// The operation that a deployment is asked in place of one that it does not serve.
pub fn substitute(asked: Operation, model: &str, serves: impl Fn(Operation) -> bool) -> Option<Operation> {
    let family: &[Operation] = match asked {
        Op::Embeddings | Op::CohereEmbed | Op::BatchEmbedContents | Op::EmbedContent => &EMBEDDINGS,
        Op::Rerank => &RERANK,
        Op::ImagesGenerations => &IMAGES,
        Op::ImagesEdits | Op::AudioSpeech | Op::AudioTranscriptions | Op::AudioTranslations => &CONVERSATION,
        Op::CountTokens | Op::GeminiCountTokens | Op::ResponsesInputTokens => &COUNT,
        _ => return None,
    };
    family.iter().copied().find(|by| *by != asked && serves(*by) && fits(Pair { asked, by: *by, model }))
}

/// Whether an operation that serves many kinds of models serves this one.
fn fits(pair: Pair<'_>) -> bool {
    match (pair.asked, pair.by) {
        (Op::ImagesGenerations | Op::ImagesEdits, by) => images::fits(by, pair.model),
        (asked @ (Op::AudioSpeech | Op::AudioTranscriptions | Op::AudioTranslations), _) => {
            sound::fits(asked, pair.model)
        }
        (Op::Rerank, Op::Invoke) => pair.model.contains("rerank"),
        (Op::Embeddings | Op::CohereEmbed | Op::BatchEmbedContents | Op::EmbedContent, Op::Invoke | Op::Predict) => {
            pair.model.contains("embed") || pair.model.contains("gecko")
        }
        // Asks for one text alone.
        (Op::Embeddings | Op::CohereEmbed | Op::BatchEmbedContents, Op::EmbedContent) => false,
        _ => true,
    }
}

/// Rewrites a caller's request for a provider.
///
/// # Errors
/// [`Fault`]: the caller's request is at fault in all cases.
pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    match pair.asked {
        Op::Rerank => rerank::request(pair, body),
        Op::ImagesGenerations | Op::ImagesEdits => images::request(pair, body),
        Op::AudioSpeech | Op::AudioTranscriptions | Op::AudioTranslations => sound::request(pair, body),
        asked if asked.counts() => count::request(pair, body),
        _ => embeddings::request(pair, body),
    }
}

/// Rewrites a provider's answer for the caller.
///
/// # Errors
/// [`Fault::Invalid`]: the provider's answer is not what its shape says.
pub fn answer(recall: &Recall, headers: &HeaderMap, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    if let Some(reading) = &recall.reading {
        return transcript::answer(reading, recall, body);
    }
    match recall.asked {
        Op::Rerank => rerank::answer(recall, headers, body),
        Op::ImagesGenerations | Op::ImagesEdits => images::answer(recall, body),
        Op::AudioSpeech | Op::AudioTranscriptions | Op::AudioTranslations => sound::answer(recall, body),
        asked if asked.counts() => count::answer(recall, body),
        _ => vectors::answer(recall, headers, body),
    }
}

/// What an answer is.
pub fn content_type(recall: &Recall) -> &'static str {
    match recall.asked {
        _ if recall.reading.is_some() => transcript::kind(recall),
        Op::AudioSpeech | Op::AudioTranscriptions | Op::AudioTranslations => sound::kind(recall),
        _ => "application/json",
    }
}

/// What Bedrock says about tokens, where the body does not.
pub fn told_by_amazon(headers: &HeaderMap) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    let output = count("x-amzn-bedrock-output-token-count").unwrap_or(0);
    Some(Usage { input: count("x-amzn-bedrock-input-token-count")?, output, ..Usage::default() })
}

#[cfg(test)]
mod tests;
