//! Error answers in the shape of the dialect that was spoken.

use super::answer::{Answer, Event};
use super::json::Quoted;
use super::script::Script;

/// Whose error shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Cohere,
    Bedrock,
    ElevenLabs,
    Deepgram,
}

const TOLD: &str = "The mock provider was told to fail this request.";

/// What an error tells.
#[derive(Clone, Debug)]
pub struct Failure {
    pub status: u16,
    pub message: String,
    pub kind: String,
    pub param: Option<String>,
    pub code: Option<String>,
}

impl Failure {
    /// A request that is wrong: status 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Dialect::OpenAi, 400).saying(message)
    }

    /// A required parameter that is missing.
    pub fn missing(param: &str) -> Self {
        let mut failure = Self::bad_request(format!("Missing required parameter: '{param}'."));
        failure.param = Some(param.to_owned());
        failure.code = Some("missing_required_parameter".to_owned());
        failure
    }

    /// What the API in question says with this status.
    pub fn new(dialect: Dialect, status: u16) -> Self {
        let (kind, code, message) = match dialect {
            Dialect::OpenAi => openai(status),
            Dialect::Anthropic => (anthropic(status), None, TOLD),
            Dialect::Gemini => (google(status), None, TOLD),
            Dialect::Cohere | Dialect::ElevenLabs | Dialect::Deepgram => ("", None, TOLD),
            Dialect::Bedrock => (amazon(status), None, TOLD),
        };
        let code = code.map(str::to_owned);
        Self { status, message: message.to_owned(), kind: kind.to_owned(), param: None, code }
    }

    /// What the script asks for.
    pub fn scripted(dialect: Dialect, status: u16, script: &Script) -> Self {
        let mut failure = Self::new(dialect, status);
        if let Some(kind) = &script.error_type {
            failure.kind.clone_from(kind);
        }
        if script.error_code.is_some() {
            failure.code.clone_from(&script.error_code);
        }
        if let Some(message) = &script.error_message {
            failure.message.clone_from(message);
        }
        failure
    }

    /// The same with another text.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The body of the error.
    pub fn body(&self, dialect: Dialect) -> String {
        let null = |value: &Option<String>| value.as_ref().map_or("null".to_owned(), |text| Quoted(text).to_string());
        match dialect {
            Dialect::OpenAi => format!(
                r#"{{"error":{{"message":{},"type":{},"param":{},"code":{}}}}}"#,
                Quoted(&self.message),
                Quoted(&self.kind),
                null(&self.param),
                null(&self.code)
            ),
            Dialect::Anthropic => {
                // Shapes that were made for OpenAI's types keep only what Anthropic has.
                let kind = if self.kind.ends_with("_error") { self.kind.as_str() } else { anthropic(self.status) };
                format!(
                    r#"{{"type":"error","error":{{"type":{},"message":{}}},"request_id":"req_mock"}}"#,
                    Quoted(kind),
                    Quoted(&self.message)
                )
            }
            Dialect::Cohere => format!(r#"{{"id":"mock","message":{}}}"#, Quoted(&self.message)),
            Dialect::Gemini => format!(
                r#"{{"error":{{"code":{},"message":{},"status":"{}"}}}}"#,
                self.status,
                Quoted(&self.message),
                google(self.status)
            ),
            Dialect::Bedrock => format!(r#"{{"message":{}}}"#, Quoted(&self.message)),
            Dialect::ElevenLabs => format!(
                r#"{{"detail":{{"status":{},"message":{}}}}}"#,
                Quoted(self.code.as_deref().unwrap_or("mock")),
                Quoted(&self.message)
            ),
            Dialect::Deepgram => {
                let code = Quoted(self.code.as_deref().unwrap_or("MOCK"));
                format!(r#"{{"err_code":{code},"err_msg":{},"request_id":"mock"}}"#, Quoted(&self.message))
            }
        }
    }

    /// The whole answer.
    pub fn answer(&self, dialect: Dialect) -> Answer {
        let mut answer = Answer::json(self.body(dialect));
        answer.status = self.status;
        answer
    }
}

/// The event that ends a stream with an error.
pub fn stream_error(dialect: Dialect, script: &Script) -> Event {
    let status = script.status.unwrap_or(if dialect == Dialect::Anthropic { 529 } else { 500 });
    let failure = Failure::scripted(dialect, status, script);
    if dialect == Dialect::Cohere {
        let error = Quoted(&failure.message);
        let data = format!(r#"{{"type":"message-end","delta":{{"finish_reason":"ERROR","error":{error}}}}}"#);
        return Event { name: Some("message-end"), data };
    }
    let data = failure.body(dialect);
    if dialect == Dialect::Bedrock {
        return Event { name: Some(exception(status)), data };
    }
    Event { name: (dialect == Dialect::Anthropic).then_some("error"), data }
}

/// The exception of a status, as a header tells it.
pub fn amazon(status: u16) -> &'static str {
    match status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

/// The exception that breaks off a stream.
fn exception(status: u16) -> &'static str {
    match status {
        400 => "validationException",
        429 => "throttlingException",
        503 => "serviceUnavailableException",
        424 => "modelStreamErrorException",
        _ => "internalServerException",
    }
}

/// The canonical name of a status (google.rpc.Code).
fn google(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

fn openai(status: u16) -> (&'static str, Option<&'static str>, &'static str) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided: mock."),
        403 => ("invalid_request_error", Some("unsupported_country_region_territory"), "Not allowed here."),
        404 => ("invalid_request_error", Some("model_not_found"), "The model does not exist or you cannot use it."),
        408 => ("timeout", None, "The request took too long."),
        429 => ("requests", Some("rate_limit_exceeded"), "Rate limit reached for requests."),
        503 => ("server_error", None, "The engine is currently overloaded, please try again later."),
        500.. => ("server_error", None, "The server had an error while processing your request."),
        _ => ("invalid_request_error", None, "The mock provider was told to refuse this request."),
    }
}

fn anthropic(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
