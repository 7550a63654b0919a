//! The endpoint table: which path belongs to whom, in one place.
//!
//! A request whose method and path are not in [`TABLE`] is a 404 (or 405) here and goes nowhere. Patterns are literal
//! segments, `{model}` for one captured segment, `{rest}` for everything that follows, `{rest}:verb` for everything up to
//! a verb (Google's), and any other name in braces for a segment that does not matter. Aliases that clients really use are
//! rows of their own, so that a grep for a path finds its truth.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

use crate::dialect::Format;

/// Which wire format the caller speaks; decides the shape of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    OpenAi,
    /// OpenAI's Responses: its errors are OpenAI's, its streams have their own.
    Responses,
    Anthropic,
    Gemini,
    Cohere,
    Bedrock,
}

impl Dialect {
    pub fn parse(name: &str) -> Option<Dialect> {
        match name {
            "openai" => Some(Dialect::OpenAi),
            "anthropic" => Some(Dialect::Anthropic),
            "gemini" => Some(Dialect::Gemini),
            "cohere" => Some(Dialect::Cohere),
            "bedrock" => Some(Dialect::Bedrock),
            _ => None,
        }
    }

    /// Clients skip comments in a stream, as the standard says; Google's take every line for data, and frames have no place
    /// for any.
    pub fn takes_comments(self) -> bool {
        !matches!(self, Dialect::Gemini | Dialect::Bedrock)
    }

    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Responses => "openai_responses",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Cohere => "cohere",
            Dialect::Bedrock => "bedrock",
        }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The pipeline: authenticated, limited, accounted, sent to a provider.
    Plane,
    /// The list of models, from the snapshot.
    Models,
    /// Responses over a WebSocket: every message runs through the pipeline.
    Turns,
    /// Google's Live over a WebSocket, whose first message runs through the pipeline.
    Live,
    /// Responses and conversations that are kept.
    Stored,
    /// What came of requests that had to be approved.
    Approvals,
    /// Liveness and readiness, without a key.
    Health,
    /// A provider, whose own path it is beneath its name.
    PassThrough,
    /// Nobody any more: what it was, and what is to be used instead.
    Ended,
    /// Handed over to the Python shell.
    Shell,
}

macro_rules! operations {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// What is asked of a provider. A deployment names the operations it serves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Operation { $($variant),+ }

        impl Operation {
            pub const ALL: &'static [Operation] = &[$(Operation::$variant),+];
            pub const COUNT: usize = Operation::ALL.len();

            pub fn name(self) -> &'static str {
                match self { $(Operation::$variant => $name),+ }
            }

            pub fn parse(name: &str) -> Option<Operation> {
                match name { $($name => Some(Operation::$variant),)+ _ => None }
            }
        }
    };
}

operations! {
    None = "none",
    Chat = "chat",
    Completions = "completions",
    Fim = "fim",
    Embeddings = "embeddings",
    Messages = "messages",
    CountTokens = "count_tokens",
    Moderations = "moderations",
    ImagesGenerations = "images_generations",
    ImagesEdits = "images_edits",
    ImagesVariations = "images_variations",
    AudioSpeech = "audio_speech",
    AudioTranscriptions = "audio_transcriptions",
    AudioTranslations = "audio_translations",
    Rerank = "rerank",
    GenerateContent = "generate_content",
    StreamGenerateContent = "stream_generate_content",
    GeminiCountTokens = "gemini_count_tokens",
    EmbedContent = "embed_content",
    BatchEmbedContents = "batch_embed_contents",
    CohereChat = "cohere_chat",
    CohereEmbed = "cohere_embed",
    Converse = "converse",
    ConverseStream = "converse_stream",
    Responses = "responses",
    ResponsesInputTokens = "responses_input_tokens",
    // Providers' own, which no client asks for by a path
    VoyageRerank = "voyage_rerank",
    TeiRerank = "tei_rerank",
    NimRanking = "nim_ranking",
    Predict = "predict",
    Invoke = "invoke",
    VertexCountTokens = "vertex_count_tokens",
    Realtime = "realtime",
    // A response that its provider keeps, asked for again
    StoredResponse = "stored_response",
    // Messages as a stream, where that has a path of its own
    MessagesStream = "messages_stream",
    // A model's own format, streamed
    InvokeStream = "invoke_stream",
    // Whatever a provider has, by its own path
    PassThrough = "pass_through",
    // Google's Live
    BidiGenerateContent = "bidi_generate_content",
}

impl Operation {
    /// Conversations, in the order in which a deployment that serves several is asked when the caller's is not among them:
    /// formats that lose less stand first.
    pub const CONVERSATIONS: [Operation; 6] = [
        Operation::Messages,
        Operation::Converse,
        Operation::GenerateContent,
        Operation::Chat,
        Operation::Responses,
        Operation::CohereChat,
    ];

    /// The wire format of a conversation; `None` for everything else.
    pub fn format(self) -> Option<Format> {
        match self {
            Operation::Chat => Some(Format::Chat),
            Operation::Messages => Some(Format::Messages),
            Operation::GenerateContent | Operation::StreamGenerateContent => Some(Format::Gemini),
            Operation::CohereChat => Some(Format::Cohere),
            Operation::Converse | Operation::ConverseStream => Some(Format::Converse),
            Operation::Responses => Some(Format::Responses),
            Operation::Completions => Some(Format::Completions),
            _ => None,
        }
    }

    /// The operation that serves a stream, or a whole answer, where they have paths of their own.
    pub fn for_stream(self, stream: bool) -> Operation {
        match self {
            Operation::GenerateContent if stream => Operation::StreamGenerateContent,
            Operation::Converse if stream => Operation::ConverseStream,
            _ => self,
        }
    }

    /// Generates text: the output has a price per token, and a stream has a terminator.
    pub fn generates(self) -> bool {
        matches!(
            self,
            Operation::Chat
                | Operation::Completions
                | Operation::Fim
                | Operation::Messages
                | Operation::Responses
                | Operation::GenerateContent
                | Operation::StreamGenerateContent
                | Operation::CohereChat
                | Operation::Converse
                | Operation::ConverseStream
                | Operation::Realtime
                | Operation::BidiGenerateContent
                | Operation::Invoke
                | Operation::InvokeStream
        )
    }

    /// The request is in an envelope: what it really asks is known when its body is.
    pub fn is_envelope(self) -> bool {
        matches!(self, Operation::Invoke | Operation::InvokeStream)
    }

    /// A conversation over a WebSocket instead of one request with one answer.
    pub fn is_session(self) -> bool {
        matches!(self, Operation::Realtime | Operation::BidiGenerateContent)
    }

    /// What a key must be allowed to ask.
    pub fn permitted_by(self) -> Operation {
        if self == Operation::StoredResponse { Operation::Responses } else { self }
    }

    /// No model runs, none is paid for.
    pub fn is_free(self) -> bool {
        self.counts() || self == Operation::StoredResponse
    }

    /// Counts tokens: no model runs, none is used.
    pub fn counts(self) -> bool {
        matches!(self, Operation::CountTokens | Operation::GeminiCountTokens | Operation::ResponsesInputTokens)
    }
}

/// What the request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    None,
    Json,
    Multipart,
}

/// One row of the table.
#[derive(Debug)]
pub struct Endpoint {
    pub method: Method,
    pub pattern: &'static str,
    pub owner: Owner,
    pub operation: Operation,
    pub dialect: Dialect,
    pub payload: Payload,
}

const fn plane(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::OpenAi, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn responses(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::Responses, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn upload(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::OpenAi, Payload::Multipart);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn anthropic(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::Anthropic, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn gemini(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::Gemini, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn bedrock(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::Bedrock, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn cohere(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::Cohere, Payload::Json);
    Endpoint { method: Method::POST, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn get(pattern: &'static str, owner: Owner) -> Endpoint {
    let (operation, dialect, payload) = (Operation::None, Dialect::OpenAi, Payload::None);
    Endpoint { method: Method::GET, pattern, owner, operation, dialect, payload }
}

const fn session(pattern: &'static str, operation: Operation) -> Endpoint {
    let (dialect, payload) = (Dialect::OpenAi, Payload::None);
    Endpoint { method: Method::GET, pattern, owner: Owner::Plane, operation, dialect, payload }
}

const fn live(pattern: &'static str) -> Endpoint {
    let (operation, dialect, payload) = (Operation::BidiGenerateContent, Dialect::Gemini, Payload::None);
    Endpoint { method: Method::GET, pattern, owner: Owner::Live, operation, dialect, payload }
}

const fn turns(pattern: &'static str) -> Endpoint {
    let (operation, dialect, payload) = (Operation::Responses, Dialect::Responses, Payload::None);
    Endpoint { method: Method::GET, pattern, owner: Owner::Turns, operation, dialect, payload }
}

const fn stored(method: Method, pattern: &'static str) -> Endpoint {
    let (operation, dialect, payload) = (Operation::None, Dialect::Responses, Payload::None);
    Endpoint { method, pattern, owner: Owner::Stored, operation, dialect, payload }
}

const fn ended(method: Method, pattern: &'static str) -> Endpoint {
    let (operation, dialect, payload) = (Operation::None, Dialect::OpenAi, Payload::None);
    Endpoint { method, pattern, owner: Owner::Ended, operation, dialect, payload }
}

const fn shell(method: Method, pattern: &'static str) -> Endpoint {
    let (operation, dialect, payload) = (Operation::None, Dialect::OpenAi, Payload::None);
    Endpoint { method, pattern, owner: Owner::Shell, operation, dialect, payload }
}

const fn passed(dialect: Dialect) -> Endpoint {
    let (method, pattern, owner) = (Method::POST, "/{provider}/{rest}", Owner::PassThrough);
    Endpoint { method, pattern, owner, operation: Operation::PassThrough, dialect, payload: Payload::None }
}

static PASSED: [Endpoint; 4] =
    [passed(Dialect::OpenAi), passed(Dialect::Anthropic), passed(Dialect::Gemini), passed(Dialect::Cohere)];

/// What requests to a provider's own paths go through the pipeline as; the table has no row for them.
pub fn pass_through(dialect: Dialect) -> &'static Endpoint {
    PASSED.iter().find(|endpoint| endpoint.dialect == dialect).unwrap_or(&PASSED[0])
}

use Operation as Op;

/// THE table. Order does not matter; a duplicate row fails the tests.
#[rustfmt::skip]
pub static TABLE: &[Endpoint] = &[
    // OpenAI: chat, completions, embeddings
    plane("/v1/chat/completions",                               Op::Chat),
    // What would become of a chat request
    plane("/routing/simulate",                                  Op::Chat),
    plane("/chat/completions",                                  Op::Chat),
    plane("/openai/v1/chat/completions",                        Op::Chat),
    plane("/openai/deployments/{model}/chat/completions",       Op::Chat),
    plane("/engines/{model}/chat/completions",                  Op::Chat),
    plane("/v1beta/openai/chat/completions",                    Op::Chat),
    plane("/v1/completions",                                    Op::Completions),
    plane("/completions",                                       Op::Completions),
    plane("/openai/v1/completions",                             Op::Completions),
    plane("/openai/deployments/{model}/completions",            Op::Completions),
    plane("/engines/{model}/completions",                       Op::Completions),
    plane("/v1/fim/completions",                                Op::Fim),
    plane("/v1/embeddings",                                     Op::Embeddings),
    plane("/embeddings",                                        Op::Embeddings),
    plane("/openai/v1/embeddings",                              Op::Embeddings),
    plane("/v1beta/openai/embeddings",                          Op::Embeddings),
    plane("/openai/deployments/{model}/embeddings",             Op::Embeddings),
    plane("/engines/{model}/embeddings",                        Op::Embeddings),
    responses("/v1/responses",                                  Op::Responses),
    responses("/responses",                                     Op::Responses),
    responses("/openai/v1/responses",                           Op::Responses),
    responses("/openai/responses",                              Op::Responses),
    turns("/v1/responses"),
    turns("/responses"),
    turns("/openai/v1/responses"),
    turns("/openai/responses"),
    responses("/v1/responses/input_tokens",                     Op::ResponsesInputTokens),
    responses("/responses/input_tokens",                        Op::ResponsesInputTokens),
    responses("/openai/v1/responses/input_tokens",              Op::ResponsesInputTokens),
    get("/v1/approvals/results/{rest}", Owner::Approvals),
    stored(Method::GET,    "/v1/responses/{rest}"),
    stored(Method::POST,   "/v1/responses/{rest}"),
    stored(Method::DELETE, "/v1/responses/{rest}"),
    stored(Method::GET,    "/openai/v1/responses/{rest}"),
    stored(Method::POST,   "/openai/v1/responses/{rest}"),
    stored(Method::DELETE, "/openai/v1/responses/{rest}"),
    stored(Method::POST,   "/v1/conversations"),
    stored(Method::GET,    "/v1/conversations/{rest}"),
    stored(Method::POST,   "/v1/conversations/{rest}"),
    stored(Method::DELETE, "/v1/conversations/{rest}"),
    stored(Method::POST,   "/openai/v1/conversations"),
    stored(Method::GET,    "/openai/v1/conversations/{rest}"),
    stored(Method::POST,   "/openai/v1/conversations/{rest}"),
    stored(Method::DELETE, "/openai/v1/conversations/{rest}"),
    // OpenAI: moderations, images, audio, and rerank
    plane("/v1/moderations",                                    Op::Moderations),
    plane("/moderations",                                       Op::Moderations),
    plane("/openai/v1/moderations",                             Op::Moderations),
    plane("/v1/images/generations",                             Op::ImagesGenerations),
    plane("/images/generations",                                Op::ImagesGenerations),
    plane("/openai/v1/images/generations",                      Op::ImagesGenerations),
    plane("/openai/deployments/{model}/images/generations",     Op::ImagesGenerations),
    upload("/v1/images/edits",                                  Op::ImagesEdits),
    upload("/images/edits",                                     Op::ImagesEdits),
    upload("/openai/v1/images/edits",                           Op::ImagesEdits),
    upload("/openai/deployments/{model}/images/edits",          Op::ImagesEdits),
    upload("/v1/images/variations",                             Op::ImagesVariations),
    upload("/images/variations",                                Op::ImagesVariations),
    upload("/openai/v1/images/variations",                      Op::ImagesVariations),
    plane("/v1/audio/speech",                                   Op::AudioSpeech),
    plane("/audio/speech",                                      Op::AudioSpeech),
    plane("/openai/v1/audio/speech",                            Op::AudioSpeech),
    plane("/openai/deployments/{model}/audio/speech",           Op::AudioSpeech),
    upload("/v1/audio/transcriptions",                          Op::AudioTranscriptions),
    upload("/audio/transcriptions",                             Op::AudioTranscriptions),
    upload("/openai/v1/audio/transcriptions",                   Op::AudioTranscriptions),
    upload("/openai/deployments/{model}/audio/transcriptions",  Op::AudioTranscriptions),
    upload("/v1/audio/translations",                            Op::AudioTranslations),
    upload("/audio/translations",                               Op::AudioTranslations),
    upload("/openai/v1/audio/translations",                     Op::AudioTranslations),
    upload("/openai/deployments/{model}/audio/translations",    Op::AudioTranslations),
    plane("/v1/rerank",                                         Op::Rerank),
    plane("/v2/rerank",                                         Op::Rerank),
    plane("/rerank",                                            Op::Rerank),
    // OpenAI: realtime, over a WebSocket
    session("/v1/realtime",                                     Op::Realtime),
    session("/realtime",                                        Op::Realtime),
    session("/openai/v1/realtime",                              Op::Realtime),
    session("/openai/realtime",                                 Op::Realtime),
    // OpenAI: assistants, which ended in August 2026
    ended(Method::POST,   "/assistants"),
    ended(Method::GET,    "/assistants"),
    ended(Method::GET,    "/assistants/{rest}"),
    ended(Method::POST,   "/assistants/{rest}"),
    ended(Method::DELETE, "/assistants/{rest}"),
    ended(Method::POST,   "/threads"),
    ended(Method::GET,    "/threads/{rest}"),
    ended(Method::POST,   "/threads/{rest}"),
    ended(Method::DELETE, "/threads/{rest}"),
    ended(Method::POST,   "/v1/assistants"),
    ended(Method::GET,    "/v1/assistants"),
    ended(Method::GET,    "/v1/assistants/{rest}"),
    ended(Method::POST,   "/v1/assistants/{rest}"),
    ended(Method::DELETE, "/v1/assistants/{rest}"),
    ended(Method::POST,   "/v1/threads"),
    ended(Method::GET,    "/v1/threads/{rest}"),
    ended(Method::POST,   "/v1/threads/{rest}"),
    ended(Method::DELETE, "/v1/threads/{rest}"),
    ended(Method::POST,   "/openai/assistants"),
    ended(Method::GET,    "/openai/assistants"),
    ended(Method::GET,    "/openai/assistants/{rest}"),
    ended(Method::POST,   "/openai/assistants/{rest}"),
    ended(Method::DELETE, "/openai/assistants/{rest}"),
    ended(Method::POST,   "/openai/threads"),
    ended(Method::GET,    "/openai/threads/{rest}"),
    ended(Method::POST,   "/openai/threads/{rest}"),
    ended(Method::DELETE, "/openai/threads/{rest}"),
    ended(Method::POST,   "/openai/v1/assistants"),
    ended(Method::GET,    "/openai/v1/assistants"),
    ended(Method::GET,    "/openai/v1/assistants/{rest}"),
    ended(Method::POST,   "/openai/v1/assistants/{rest}"),
    ended(Method::DELETE, "/openai/v1/assistants/{rest}"),
    ended(Method::POST,   "/openai/v1/threads"),
    ended(Method::GET,    "/openai/v1/threads/{rest}"),
    ended(Method::POST,   "/openai/v1/threads/{rest}"),
    ended(Method::DELETE, "/openai/v1/threads/{rest}"),
    // Anthropic
    anthropic("/v1/messages",                                   Op::Messages),
    anthropic("/anthropic/v1/messages",                         Op::Messages),
    anthropic("/v1/messages/count_tokens",                      Op::CountTokens),
    anthropic("/anthropic/v1/messages/count_tokens",            Op::CountTokens),
    // Google Gemini, and the same under Vertex AI's paths
    gemini("/v1beta/models/{rest}:generateContent",                 Op::GenerateContent),
    gemini("/v1beta/models/{rest}:streamGenerateContent",           Op::StreamGenerateContent),
    gemini("/v1beta/models/{rest}:countTokens",                     Op::GeminiCountTokens),
    gemini("/v1beta/models/{rest}:embedContent",                    Op::EmbedContent),
    gemini("/v1beta/models/{rest}:batchEmbedContents",              Op::BatchEmbedContents),
    gemini("/gemini/v1beta/models/{rest}:generateContent",          Op::GenerateContent),
    gemini("/gemini/v1beta/models/{rest}:streamGenerateContent",    Op::StreamGenerateContent),
    gemini("/gemini/v1beta/models/{rest}:countTokens",              Op::GeminiCountTokens),
    gemini("/gemini/v1beta/models/{rest}:embedContent",             Op::EmbedContent),
    gemini("/gemini/v1beta/models/{rest}:batchEmbedContents",       Op::BatchEmbedContents),
    gemini("/v1/models/{rest}:generateContent",                     Op::GenerateContent),
    gemini("/v1/models/{rest}:streamGenerateContent",               Op::StreamGenerateContent),
    gemini("/v1/models/{rest}:countTokens",                         Op::GeminiCountTokens),
    gemini("/v1/models/{rest}:embedContent",                        Op::EmbedContent),
    gemini("/v1/models/{rest}:batchEmbedContents",                  Op::BatchEmbedContents),
    gemini("/gemini/v1/models/{rest}:generateContent",              Op::GenerateContent),
    gemini("/gemini/v1/models/{rest}:streamGenerateContent",        Op::StreamGenerateContent),
    gemini("/gemini/v1/models/{rest}:countTokens",                  Op::GeminiCountTokens),
    gemini("/gemini/v1/models/{rest}:embedContent",                 Op::EmbedContent),
    gemini("/gemini/v1/models/{rest}:batchEmbedContents",           Op::BatchEmbedContents),
    gemini("/v1/projects/{project}/locations/{region}/publishers/google/models/{rest}:generateContent",Op::GenerateContent),
    gemini("/v1/projects/{project}/locations/{region}/publishers/google/models/{rest}:streamGenerateContent",Op::StreamGenerateContent),
    gemini("/v1/projects/{project}/locations/{region}/publishers/google/models/{rest}:countTokens",Op::GeminiCountTokens),
    gemini("/v1beta1/projects/{project}/locations/{region}/publishers/google/models/{rest}:generateContent",Op::GenerateContent),
    gemini("/v1beta1/projects/{project}/locations/{region}/publishers/google/models/{rest}:streamGenerateContent",Op::StreamGenerateContent),
    gemini("/v1beta1/projects/{project}/locations/{region}/publishers/google/models/{rest}:countTokens",Op::GeminiCountTokens),
    // Google's Live, over a WebSocket
    live("/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"),
    live("/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent"),
    live("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
    live("/gemini/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"),
    live("/gemini/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent"),
    live("/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
    live("/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"),
    live("/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"),
    // Cohere, version 2
    cohere("/v2/chat",                                          Op::CohereChat),
    cohere("/cohere/v2/chat",                                   Op::CohereChat),
    cohere("/v2/embed",                                         Op::CohereEmbed),
    cohere("/cohere/v2/embed",                                  Op::CohereEmbed),
    plane("/cohere/v2/rerank",                                  Op::Rerank),
    // Amazon Bedrock
    bedrock("/model/{model}/converse",                          Op::Converse),
    bedrock("/model/{model}/converse-stream",                   Op::ConverseStream),
    bedrock("/bedrock/model/{model}/converse",                  Op::Converse),
    bedrock("/bedrock/model/{model}/converse-stream",           Op::ConverseStream),
    bedrock("/model/{model}/invoke",                            Op::Invoke),
    bedrock("/model/{model}/invoke-with-response-stream",       Op::InvokeStream),
    bedrock("/bedrock/model/{model}/invoke",                    Op::Invoke),
    bedrock("/bedrock/model/{model}/invoke-with-response-stream",Op::InvokeStream),
    // Models, from the snapshot
    get("/v1beta/models",                                       Owner::Models),
    get("/gemini/v1beta/models",                                Owner::Models),
    get("/gemini/v1/models",                                    Owner::Models),
    get("/v1beta/models/{rest}",                                Owner::Models),
    get("/gemini/v1beta/models/{rest}",                         Owner::Models),
    get("/gemini/v1/models/{rest}",                             Owner::Models),
    get("/v1beta/openai/models",                                Owner::Models),
    get("/v1/models",                                           Owner::Models),
    get("/models",                                              Owner::Models),
    get("/openai/v1/models",                                    Owner::Models),
    get("/anthropic/v1/models",                                 Owner::Models),
    get("/v1/models/{rest}",                                    Owner::Models),
    get("/models/{rest}",                                       Owner::Models),
    get("/openai/v1/models/{rest}",                             Owner::Models),
    // Health, with LiteLLM's names
    get("/health/live",                                         Owner::Health),
    get("/health/ready",                                        Owner::Health),
    get("/health/liveliness",                                   Owner::Health),
    get("/health/liveness",                                     Owner::Health),
    get("/health/readiness",                                    Owner::Health),
    // The shell
    shell(Method::GET,    "/"),
    shell(Method::GET,    "/docs"),
    shell(Method::GET,    "/docs/{rest}"),
    shell(Method::GET,    "/openapi.json"),
    shell(Method::GET,    "/metrics"),
    shell(Method::GET,    "/health/readiness/details"),
    shell(Method::GET,    "/health"),
    shell(Method::GET,    "/health/deployments"),
    shell(Method::GET,    "/routing/explain/{rest}"),
    shell(Method::GET,    "/routing/samples"),
    shell(Method::GET,    "/routing/mirrors"),
    shell(Method::GET,    "/routing/groups"),
    shell(Method::POST,   "/routing/switch"),
    shell(Method::POST,   "/v1/feedback"),
    shell(Method::GET,    "/v1/approvals"),
    shell(Method::GET,    "/v1/approvals/{rest}"),
    shell(Method::POST,   "/v1/approvals/{rest}"),
    shell(Method::GET,    "/key/{rest}"),
    shell(Method::POST,   "/key/{rest}"),
    shell(Method::POST,   "/v2/key/{rest}"),
    shell(Method::GET,    "/user/{rest}"),
    shell(Method::POST,   "/user/{rest}"),
    shell(Method::GET,    "/v2/user/{rest}"),
    shell(Method::GET,    "/team/{rest}"),
    shell(Method::POST,   "/team/{rest}"),
    shell(Method::PATCH,  "/team/{rest}"),
    shell(Method::GET,    "/v2/team/{rest}"),
    shell(Method::GET,    "/organization/{rest}"),
    shell(Method::POST,   "/organization/{rest}"),
    shell(Method::PATCH,  "/organization/{rest}"),
    shell(Method::DELETE, "/organization/{rest}"),
    shell(Method::PATCH,  "/v2/organization/{rest}"),
    shell(Method::GET,    "/project/{rest}"),
    shell(Method::POST,   "/project/{rest}"),
    shell(Method::DELETE, "/project/{rest}"),
    shell(Method::GET,    "/customer/{rest}"),
    shell(Method::POST,   "/customer/{rest}"),
    shell(Method::GET,    "/end_user/{rest}"),
    shell(Method::POST,   "/end_user/{rest}"),
    shell(Method::GET,    "/budget/{rest}"),
    shell(Method::POST,   "/budget/{rest}"),
    shell(Method::GET,    "/tag/{rest}"),
    shell(Method::POST,   "/tag/{rest}"),
    shell(Method::GET,    "/access_group/{rest}"),
    shell(Method::POST,   "/access_group/{rest}"),
    shell(Method::PUT,    "/access_group/{rest}"),
    shell(Method::DELETE, "/access_group/{rest}"),
    shell(Method::GET,    "/v1/access_group"),
    shell(Method::POST,   "/v1/access_group"),
    shell(Method::GET,    "/v1/access_group/{rest}"),
    shell(Method::PUT,    "/v1/access_group/{rest}"),
    shell(Method::DELETE, "/v1/access_group/{rest}"),
    shell(Method::GET,    "/role/{rest}"),
    shell(Method::POST,   "/role/{rest}"),
    shell(Method::DELETE, "/role/{rest}"),
    shell(Method::GET,    "/v1/auth/key"),
    shell(Method::GET,    "/v1/auth/key/{rest}"),
    shell(Method::POST,   "/v1/auth/key/{rest}"),
    shell(Method::PATCH,  "/v1/auth/key/{rest}"),
    shell(Method::DELETE, "/v1/auth/key/{rest}"),
    shell(Method::GET,    "/v1/users"),
    shell(Method::POST,   "/v1/users"),
    shell(Method::GET,    "/v1/users/{rest}"),
    shell(Method::POST,   "/v1/users/{rest}"),
    shell(Method::PATCH,  "/v1/users/{rest}"),
    shell(Method::DELETE, "/v1/users/{rest}"),
    shell(Method::GET,    "/v1/teams"),
    shell(Method::POST,   "/v1/teams"),
    shell(Method::GET,    "/v1/teams/{rest}"),
    shell(Method::POST,   "/v1/teams/{rest}"),
    shell(Method::PATCH,  "/v1/teams/{rest}"),
    shell(Method::DELETE, "/v1/teams/{rest}"),
    shell(Method::GET,    "/v1/providers"),
    shell(Method::POST,   "/v1/providers"),
    shell(Method::GET,    "/v1/providers/{rest}"),
    shell(Method::PATCH,  "/v1/providers/{rest}"),
    shell(Method::DELETE, "/v1/providers/{rest}"),
    shell(Method::GET,    "/model/info"),
    shell(Method::GET,    "/v1/model/info"),
    shell(Method::GET,    "/v2/model/info"),
    shell(Method::GET,    "/model_group/info"),
    shell(Method::POST,   "/model/{rest}"),
    shell(Method::PATCH,  "/model/{rest}"),
    shell(Method::GET,    "/spend/{rest}"),
    shell(Method::GET,    "/v1/limits"),
    shell(Method::POST,   "/v1/limits"),
    shell(Method::GET,    "/v1/limits/{rest}"),
    shell(Method::PATCH,  "/v1/limits/{rest}"),
    shell(Method::DELETE, "/v1/limits/{rest}"),
    shell(Method::GET,    "/v1/spend"),
    shell(Method::GET,    "/v1/bills"),
    shell(Method::POST,   "/v1/bills"),
    shell(Method::POST,   "/spend/{rest}"),
    shell(Method::GET,    "/audit"),
    shell(Method::GET,    "/audit/{rest}"),
    shell(Method::GET,    "/v1/alerts"),
    shell(Method::POST,   "/v1/alerts/test"),
    shell(Method::POST,   "/v1/tokens/count"),
    shell(Method::POST,   "/utils/token_counter"),
    shell(Method::POST,   "/v1/cost/estimate"),
    shell(Method::GET,    "/global/{rest}"),
    shell(Method::GET,    "/cache/{rest}"),
    shell(Method::POST,   "/cache/{rest}"),
    shell(Method::GET,    "/policies"),
    shell(Method::GET,    "/policies/{rest}"),
    shell(Method::POST,   "/policies/{rest}"),
    shell(Method::PUT,    "/policies/{rest}"),
    shell(Method::DELETE, "/policies/{rest}"),
    shell(Method::GET,    "/guardrails"),
    shell(Method::GET,    "/guardrails/{rest}"),
    shell(Method::POST,   "/guardrails/{rest}"),
    // Keys for a while, for sessions
    shell(Method::POST,   "/v1/realtime/client_secrets"),
    shell(Method::POST,   "/v1/realtime/sessions"),
    shell(Method::POST,   "/openai/v1/realtime/client_secrets"),
    // Files and batches
    shell(Method::POST,   "/v1/files"),
    shell(Method::GET,    "/v1/files"),
    shell(Method::GET,    "/v1/files/{rest}"),
    shell(Method::DELETE, "/v1/files/{rest}"),
    shell(Method::POST,   "/v1/batches"),
    shell(Method::GET,    "/v1/batches"),
    shell(Method::GET,    "/v1/batches/{rest}"),
    shell(Method::POST,   "/v1/batches/{rest}"),
    shell(Method::POST,   "/openai/v1/files"),
    shell(Method::GET,    "/openai/v1/files"),
    shell(Method::GET,    "/openai/v1/files/{rest}"),
    shell(Method::DELETE, "/openai/v1/files/{rest}"),
    shell(Method::POST,   "/openai/v1/batches"),
    shell(Method::GET,    "/openai/v1/batches"),
    shell(Method::GET,    "/openai/v1/batches/{rest}"),
    shell(Method::POST,   "/openai/v1/batches/{rest}"),
    shell(Method::GET,    "/credentials"),
    shell(Method::POST,   "/credentials"),
    shell(Method::GET,    "/credentials/{rest}"),
    shell(Method::DELETE, "/credentials/{rest}"),
    shell(Method::PATCH,  "/credentials/{rest}"),
];

/// What a path matched.
pub enum Match<'p> {
    Found {
        endpoint: &'static Endpoint,
        captured: Option<&'p str>,
    },
    /// The path exists, the method does not.
    WrongMethod,
    Unknown,
}

struct Index {
    exact: HashMap<&'static str, Vec<&'static Endpoint>>,
    patterns: Vec<(Vec<&'static str>, &'static Endpoint)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { exact: HashMap::new(), patterns: Vec::new() };
    for endpoint in TABLE {
        if endpoint.pattern.contains('{') {
            index.patterns.push((endpoint.pattern.split('/').skip(1).collect(), endpoint));
        } else {
            index.exact.entry(endpoint.pattern).or_default().push(endpoint);
        }
    }
    index
});

/// Finds the row for a request. Captures are returned as they stand in the path (percent-encoded).
pub fn find<'p>(method: &Method, path: &'p str) -> Match<'p> {
    if let Some(rows) = INDEX.exact.get(path) {
        return match rows.iter().find(|row| row.method == *method) {
            Some(endpoint) => Match::Found { endpoint, captured: None },
            None => Match::WrongMethod,
        };
    }
    let mut wrong_method = false;
    for (segments, endpoint) in &INDEX.patterns {
        if let Some(captured) = capture(segments, path) {
            if endpoint.method == *method {
                return Match::Found { endpoint, captured: Some(captured) };
            }
            wrong_method = true;
        }
    }
    if wrong_method { Match::WrongMethod } else { Match::Unknown }
}

/// The methods that a path takes, for an `Allow` header.
pub fn methods(path: &str) -> Vec<&'static str> {
    let exact = INDEX.exact.get(path).into_iter().flatten().copied();
    let patterns = INDEX.patterns.iter().filter(|(segments, _)| capture(segments, path).is_some()).map(|(_, row)| *row);
    let mut methods: Vec<_> = exact.chain(patterns).map(|row| row.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}

/// The captured part of `path` when it fits `segments`.
fn capture<'p>(segments: &[&str], path: &'p str) -> Option<&'p str> {
    let mut rest = path.strip_prefix('/')?;
    let mut captured = None;
    for (position, segment) in segments.iter().enumerate() {
        if let Some(verb) = segment.strip_prefix("{rest}") {
            return rest.strip_suffix(verb).filter(|rest| !rest.is_empty());
        }
        let (head, tail) = rest.split_once('/').map_or((rest, None), |(head, tail)| (head, Some(tail)));
        if *segment == "{model}" {
            if head.is_empty() {
                return None;
            }
            captured = Some(head);
        } else if head != *segment && !segment.starts_with('{') {
            return None;
        }
        let last = position + 1 == segments.len();
        match tail {
            None if last => return captured,
            Some(tail) if !last => rest = tail,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
