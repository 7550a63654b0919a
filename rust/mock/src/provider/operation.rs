//! Which operation a request asks for, and the answer to it.

use super::answer::Answer;
use super::errors::{Dialect, Failure};
use super::fields::{Call, Fields};
use super::multipart::Form;
use super::script::percent_decode;
use super::{anthropic, bedrock, cohere, embeddings, gemini, invoke, media, openai, responses, voices};

/// What the provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Chat,
    Completions,
    Fim,
    Embeddings,
    Moderations,
    Rerank,
    ImagesGenerations,
    ImagesEdits,
    ImagesVariations,
    Speech,
    Transcriptions,
    Translations,
    Responses,
    Messages,
    CountTokens,
    Gemini(gemini::Verb),
    CohereChat,
    CohereEmbed,
    Converse,
    ConverseStream,
    Invoke,
    InputTokens,
    ElevenSpeech,
    ElevenTranscript,
    DeepgramSpeech,
    DeepgramTranscript,
}

/// A path taken apart: the script in a `mock:SCRIPT` segment, and what follows the version (`/v1/`, `/v2/`, `/v1beta/`) if there is
/// one. Whatever a gateway's base URL puts before the version does not matter.
pub fn take_apart(path: &str) -> (Option<&str>, &str) {
    let script = path.split('/').find_map(|segment| segment.strip_prefix("mock:"));
    let versions = ["/v1/", "/v2/", "/v1beta/"];
    let tail = versions.iter().find_map(|version| path.rsplit_once(version)).map(|(_, tail)| tail);
    (script, tail.unwrap_or_else(|| path.trim_start_matches('/')))
}

impl Operation {
    /// The operation that is posted to this tail of a path.
    pub fn of(tail: &str) -> Option<Self> {
        Some(match tail {
            "chat/completions" => Self::Chat,
            "completions" => Self::Completions,
            "fim/completions" => Self::Fim,
            "embeddings" => Self::Embeddings,
            "moderations" => Self::Moderations,
            "rerank" | "ranking" => Self::Rerank,
            "images/generations" => Self::ImagesGenerations,
            "images/edits" => Self::ImagesEdits,
            "images/variations" => Self::ImagesVariations,
            "audio/speech" => Self::Speech,
            "audio/transcriptions" => Self::Transcriptions,
            "audio/translations" => Self::Translations,
            "responses" => Self::Responses,
            "responses/input_tokens" => Self::InputTokens,
            "messages" => Self::Messages,
            "messages/count_tokens" => Self::CountTokens,
            "chat" => Self::CohereChat,
            "embed" => Self::CohereEmbed,
            "speech-to-text" => Self::ElevenTranscript,
            "listen" => Self::DeepgramTranscript,
            "speak" => Self::DeepgramSpeech,
            _ if tail.starts_with("text-to-speech/") => Self::ElevenSpeech,
            _ if tail.starts_with("model/") && tail.ends_with("/converse") => Self::Converse,
            _ if tail.starts_with("model/") && tail.ends_with("/converse-stream") => Self::ConverseStream,
            _ if tail.starts_with("model/") && tail.ends_with("/invoke") => Self::Invoke,
            _ => Self::Gemini(gemini::Verb::of(tail.rsplit_once(':')?.1)?),
        })
    }

    /// The model that a path ending in `models/MODEL:verb` names, with its script.
    pub fn path_model(self, tail: &str) -> Option<String> {
        if self.dialect() == Dialect::Bedrock {
            return tail.split('/').nth(1).map(percent_decode);
        }
        let Self::Gemini(_) = self else { return None };
        let (_, model) = tail.rsplit_once("models/")?;
        Some(percent_decode(model.rsplit_once(':')?.0))
    }

    /// Whose shape its errors have.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Gemini(_) => Dialect::Gemini,
            Self::CohereChat | Self::CohereEmbed => Dialect::Cohere,
            Self::Converse | Self::ConverseStream | Self::Invoke => Dialect::Bedrock,
            Self::ElevenSpeech | Self::ElevenTranscript => Dialect::ElevenLabs,
            Self::DeepgramSpeech | Self::DeepgramTranscript => Dialect::Deepgram,
            _ => Dialect::OpenAi,
        }
    }

    /// Is its body a form?
    pub const fn takes_form(self) -> bool {
        matches!(
            self,
            Self::ImagesEdits
                | Self::ImagesVariations
                | Self::Transcriptions
                | Self::Translations
                | Self::ElevenTranscript
        )
    }

    /// May it be asked without a model?
    const fn model_is_optional(self) -> bool {
        matches!(
            self,
            Self::Moderations
                | Self::ImagesGenerations
                | Self::ImagesEdits
                | Self::ImagesVariations
                | Self::Gemini(_)
                | Self::Converse
                | Self::ConverseStream
                | Self::Invoke
                | Self::Rerank
                | Self::DeepgramSpeech
                | Self::DeepgramTranscript
        )
    }
}

/// A request body in the form its operation takes.
pub enum Parsed<'a> {
    Json(Box<Fields<'a>>),
    Gemini(Box<gemini::Fields>),
    Bedrock(Box<bedrock::Fields>),
    Form(Form<'a>),
    /// Nothing but a file.
    File(&'a [u8]),
}

impl<'a> Parsed<'a> {
    /// Reads a body and checks that it names a model.
    pub fn read(operation: Operation, content_type: &str, body: &'a [u8]) -> Result<Self, Failure> {
        let parsed = if operation.takes_form() {
            Self::Form(Form::parse(content_type, body)?)
        } else if operation == Operation::DeepgramTranscript {
            Self::File(body)
        } else if operation.dialect() == Dialect::Gemini {
            Self::Gemini(Box::new(gemini::Fields::parse(body)?))
        } else if operation.dialect() == Dialect::Bedrock {
            Self::Bedrock(Box::new(bedrock::Fields::parse(body)?))
        } else {
            Self::Json(Box::new(Fields::parse(body)?))
        };
        if parsed.model().is_none_or(str::is_empty) && !operation.model_is_optional() {
            return Err(match operation.dialect() {
                Dialect::OpenAi => Failure::bad_request("you must provide a model parameter"),
                _ => Failure::bad_request("model: Field required"),
            });
        }
        Ok(parsed)
    }

    /// The model as the request names it, with its script.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Json(fields) => fields.model.as_deref().or(fields.model_id.as_deref()),
            Self::Gemini(_) | Self::Bedrock(_) | Self::File(_) => None,
            Self::Form(form) => form.text("model").or_else(|| form.text("model_id")),
        }
    }

    /// The proper answer.
    pub fn answer(&self, operation: Operation, call: &Call<'_>) -> Result<Answer, Failure> {
        match (self, operation) {
            (Self::Json(fields), Operation::Chat) => openai::chat(fields, call),
            (Self::Json(fields), Operation::Completions) => openai::completions(fields, call),
            (Self::Json(fields), Operation::Fim) => openai::fim(fields, call),
            (Self::Json(fields), Operation::Embeddings) => embeddings::embeddings(fields, call),
            (Self::Json(fields), Operation::Rerank) => embeddings::rerank(fields, call),
            (Self::Json(fields), Operation::Moderations) => media::moderations(fields, call),
            (Self::Json(fields), Operation::ImagesGenerations) => media::generations(fields, call),
            (Self::Json(fields), Operation::Speech) => media::speech(fields, call),
            (Self::Json(fields), Operation::Responses) => responses::responses(fields, call),
            (Self::Json(fields), Operation::Messages) => anthropic::messages(fields, call),
            (Self::Json(fields), Operation::CountTokens) => anthropic::count_tokens(fields, call),
            (Self::Json(fields), Operation::InputTokens) => responses::input_tokens(fields, call),
            (Self::Json(fields), Operation::CohereChat) => cohere::chat(fields, call),
            (Self::Json(fields), Operation::CohereEmbed) => cohere::embed(fields, call),
            (Self::Gemini(fields), Operation::Gemini(verb)) => gemini::answer(fields, verb, call),
            (Self::Bedrock(fields), Operation::Converse) => bedrock::converse(fields, call, false),
            (Self::Bedrock(fields), Operation::ConverseStream) => bedrock::converse(fields, call, true),
            (Self::Bedrock(fields), Operation::Invoke) => invoke::invoke(fields.body(), call),
            (Self::Form(form), Operation::ImagesEdits) => media::edited(form, call, true),
            (Self::Form(form), Operation::ImagesVariations) => media::edited(form, call, false),
            (Self::Form(form), Operation::Transcriptions) => media::transcription(form, call, "transcribe"),
            (Self::Form(form), Operation::Translations) => media::transcription(form, call, "translate"),
            (Self::Json(fields), Operation::ElevenSpeech) => voices::eleven_speech(fields, call),
            (Self::Json(fields), Operation::DeepgramSpeech) => voices::deepgram_speech(fields, call),
            (Self::Form(form), Operation::ElevenTranscript) => voices::eleven_transcript(form, call),
            (Self::File(sound), Operation::DeepgramTranscript) => voices::deepgram_transcript(sound, call),
            _ => Err(Failure::bad_request("The body does not fit the operation.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_do_not_matter() {
        assert_eq!(take_apart("/v1/chat/completions"), (None, "chat/completions"));
        assert_eq!(
            take_apart("/mock:status=429;retry_after=1/v1/messages"),
            (Some("status=429;retry_after=1"), "messages")
        );
        assert_eq!(take_apart("/api/openai/v1/embeddings"), (None, "embeddings"));
        assert_eq!(take_apart("/embeddings"), (None, "embeddings"));
        assert_eq!(Operation::of(take_apart("/v2/rerank").1), Some(Operation::Rerank));
    }
}
