//! What checks see of a request and its answer.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::endpoint::Operation;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::facts::RequestFacts;
use crate::guard::check::View;
use crate::guard::output;
use crate::guard::texts::{self, Piece};
use crate::wire::multipart;

impl View {
    /// What checks see of a request.
    ///
    /// # Errors
    /// It has more texts than can be looked at.
    pub fn asked(exchange: &Exchange) -> Result<View> {
        let body = &exchange.call.body;
        let pieces = match &exchange.call.boundary {
            None => texts::asked(body),
            Some(boundary) => form(body, boundary),
        };
        let Some(pieces) = pieces else { return Err(output::unlookable("it has too many texts")) };
        Ok(View { output: false, ..View::of(exchange, pieces, Bytes::new(), 0) })
    }

    pub fn of(exchange: &Exchange, pieces: Vec<Piece>, answer: Bytes, status: u16) -> View {
        let facts = RequestFacts::new(exchange);
        let key = exchange.key.as_deref();
        let served = exchange.served.and_then(|index| exchange.deployment(index));
        let told = crate::facts::identity_of(exchange);
        View {
            output: true,
            pieces,
            body: exchange.call.body.clone(),
            answer,
            status,
            model: exchange.call.model.clone(),
            provider: served.map(|deployment| deployment.provider.to_string()).unwrap_or_default(),
            kind: kind(exchange.endpoint.operation),
            stream: exchange.call.stream,
            metadata: facts.metadata().clone(),
            headers: exchange.headers.clone(),
            request_id: exchange.request_id.to_string(),
            key: key.map(|key| key.id.to_string()).unwrap_or_default(),
            key_alias: key.and_then(|key| key.alias.as_deref()).unwrap_or_default().to_string(),
            user: told.user.unwrap_or_default(),
            team: told.team.unwrap_or_default(),
            body_value: OnceLock::new(),
            answer_value: OnceLock::new(),
        }
    }

    /// The same once more, for a check that sees what another left.
    pub fn again(&self) -> View {
        View {
            output: self.output,
            pieces: self.pieces.clone(),
            body: self.body.clone(),
            answer: self.answer.clone(),
            status: self.status,
            model: self.model.clone(),
            provider: self.provider.clone(),
            kind: self.kind,
            stream: self.stream,
            metadata: self.metadata.clone(),
            headers: self.headers.clone(),
            request_id: self.request_id.clone(),
            key: self.key.clone(),
            key_alias: self.key_alias.clone(),
            user: self.user.clone(),
            team: self.team.clone(),
            body_value: OnceLock::new(),
            answer_value: OnceLock::new(),
        }
    }
}

/// The text fields of a form.
fn form(body: &[u8], boundary: &str) -> Option<Vec<Piece>> {
    let parts = multipart::parts(body, boundary).ok()?;
    let fields = parts.into_iter().filter(|part| part.filename.is_none() && part.name != "model");
    let texts = fields.filter_map(|part| std::str::from_utf8(body.get(part.content.clone())?).ok().map(str::to_string));
    Some(texts.map(|text| Piece { text, role: "user".into(), speech: true, ..Piece::default() }).collect())
}

/// Portkey's names of requests.
fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::Completions | Operation::Fim => "complete",
        Operation::Embeddings | Operation::EmbedContent | Operation::BatchEmbedContents | Operation::CohereEmbed => {
            "embed"
        }
        Operation::Messages | Operation::MessagesStream => "messages",
        Operation::CountTokens | Operation::GeminiCountTokens | Operation::ResponsesInputTokens => {
            "messagesCountTokens"
        }
        Operation::Responses | Operation::StoredResponse => "createModelResponse",
        Operation::Moderations => "createModeration",
        Operation::ImagesGenerations => "imageGenerate",
        Operation::ImagesEdits | Operation::ImagesVariations => "imageEdit",
        Operation::AudioSpeech => "createSpeech",
        Operation::AudioTranscriptions => "createTranscription",
        Operation::AudioTranslations => "createTranslation",
        Operation::Rerank => "rerank",
        _ => "chatComplete",
    }
}
