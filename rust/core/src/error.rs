//! One error type for everything a request can die of.
//!
//! A [`Error`] says what happened ([`Code`]), whose fault it is ([`Source`]) and what to tell the caller. It carries no
//! wire format: `dialect` renders it in the caller's own shape.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

/// Whose fault a failure is: decides log level, metrics and whether a deployment's health may be blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Client,
    Gateway,
    Upstream,
}

/// What happened. The table in [`Code::facts`] holds everything that is fixed per code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    InvalidJson = 1,
    InvalidRequest = 2,
    BadHost = 3,
    MissingKey = 4,
    InvalidKey = 5,
    ExpiredKey = 6,
    BlockedKey = 7,
    ModelDenied = 8,
    EndpointDenied = 9,
    AddressDenied = 10,
    ModelNotFound = 11,
    RouteNotFound = 12,
    MethodNotAllowed = 13,
    BodyTimeout = 14,
    BodyTooLarge = 15,
    UnsupportedEncoding = 16,
    HeadersTooLarge = 17,
    RateLimited = 18,
    ConcurrencyLimited = 19,
    Overloaded = 20,
    LedgerUnavailable = 21,
    ShellUnavailable = 22,
    Draining = 23,
    DialectUnsupported = 24,
    Internal = 25,
    BudgetExceeded = 26,
    UpstreamConnect = 40,
    UpstreamReset = 41,
    UpstreamInvalid = 42,
    UpstreamTimeout = 43,
    UpstreamStatus = 44,
    NoDeployment = 45,
    PayloadMissing = 46,
    ParameterUnsupported = 47,
    FeatureUnsupported = 48,
    UpstreamAuth = 49,
    GuardrailBlocked = 51,
    IdempotencyMismatch = 52,
    UpgradeRequired = 53,
    ObjectNotFound = 54,
    StoreUnavailable = 55,
    PolicyDenied = 56,
    ApprovalRejected = 57,
    ApprovalExpired = 58,
    ApprovalLost = 59,
    ClientGone = 60,
    CacheControlDenied = 61,
    EndpointEnded = 62,
}

/// The fixed part of a code: status, the OpenAI `type` and `code`, the Anthropic `type`, the source.
pub struct Facts {
    pub status: u16,
    pub kind: &'static str,
    pub code: &'static str,
    pub anthropic: &'static str,
    pub source: Source,
}

impl Code {
    pub const ALL: [Code; 48] = [
        Code::InvalidJson,
        Code::InvalidRequest,
        Code::BadHost,
        Code::MissingKey,
        Code::InvalidKey,
        Code::ExpiredKey,
        Code::BlockedKey,
        Code::ModelDenied,
        Code::EndpointDenied,
        Code::AddressDenied,
        Code::ModelNotFound,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::BodyTimeout,
        Code::BodyTooLarge,
        Code::UnsupportedEncoding,
        Code::HeadersTooLarge,
        Code::RateLimited,
        Code::ConcurrencyLimited,
        Code::Overloaded,
        Code::LedgerUnavailable,
        Code::ShellUnavailable,
        Code::Draining,
        Code::DialectUnsupported,
        Code::Internal,
        Code::BudgetExceeded,
        Code::UpstreamConnect,
        Code::UpstreamReset,
        Code::UpstreamInvalid,
        Code::UpstreamTimeout,
        Code::UpstreamStatus,
        Code::NoDeployment,
        Code::UpstreamAuth,
        Code::ClientGone,
        Code::PayloadMissing,
        Code::ParameterUnsupported,
        Code::FeatureUnsupported,
        Code::GuardrailBlocked,
        Code::IdempotencyMismatch,
        Code::UpgradeRequired,
        Code::ObjectNotFound,
        Code::StoreUnavailable,
        Code::PolicyDenied,
        Code::ApprovalRejected,
        Code::ApprovalExpired,
        Code::ApprovalLost,
        Code::CacheControlDenied,
        Code::EndpointEnded,
    ];

    #[rustfmt::skip]
    pub fn facts(self) -> Facts {
        use Source::{Client, Gateway, Upstream};
        let (status, kind, code, anthropic, source) = match self {
            Code::InvalidJson         => (400, "invalid_request_error", "invalid_json",            "invalid_request_error", Client),
            Code::InvalidRequest      => (400, "invalid_request_error", "invalid_request",         "invalid_request_error", Client),
            Code::BadHost             => (400, "invalid_request_error", "invalid_host",            "invalid_request_error", Client),
            Code::MissingKey          => (401, "authentication_error",  "missing_api_key",         "authentication_error",  Client),
            Code::InvalidKey          => (401, "authentication_error",  "invalid_api_key",         "authentication_error",  Client),
            Code::ExpiredKey          => (401, "authentication_error",  "expired_key",             "authentication_error",  Client),
            Code::BlockedKey          => (401, "authentication_error",  "blocked_key",             "authentication_error",  Client),
            Code::ModelDenied         => (403, "permission_error",      "model_access_denied",     "permission_error",      Client),
            Code::EndpointDenied      => (403, "permission_error",      "endpoint_access_denied",  "permission_error",      Client),
            Code::AddressDenied       => (403, "permission_error",      "address_not_allowed",     "permission_error",      Client),
            Code::ModelNotFound       => (404, "invalid_request_error", "model_not_found",         "not_found_error",       Client),
            Code::RouteNotFound       => (404, "invalid_request_error", "unknown_url",             "not_found_error",       Client),
            Code::ObjectNotFound      => (404, "invalid_request_error", "not_found",               "not_found_error",       Client),
            Code::StoreUnavailable    => (503, "api_error",             "store_unavailable",       "api_error",             Gateway),
            Code::MethodNotAllowed    => (405, "invalid_request_error", "method_not_allowed",      "invalid_request_error", Client),
            Code::BodyTimeout         => (408, "invalid_request_error", "request_timeout",         "invalid_request_error", Client),
            Code::BodyTooLarge        => (413, "invalid_request_error", "request_too_large",       "request_too_large",     Client),
            Code::UnsupportedEncoding => (415, "invalid_request_error", "unsupported_encoding",    "invalid_request_error", Client),
            Code::HeadersTooLarge     => (431, "invalid_request_error", "headers_too_large",       "invalid_request_error", Client),
            Code::RateLimited         => (429, "rate_limit_error",      "rate_limit_exceeded",     "rate_limit_error",      Client),
            Code::ConcurrencyLimited  => (429, "rate_limit_error",      "concurrency_limit_exceeded", "rate_limit_error",   Client),
            Code::Overloaded          => (503, "overloaded_error",      "gateway_overloaded",      "overloaded_error",      Gateway),
            Code::LedgerUnavailable   => (503, "api_error",             "accounting_unavailable",  "api_error",             Gateway),
            Code::ShellUnavailable    => (503, "api_error",             "control_plane_unavailable", "api_error",           Gateway),
            Code::Draining            => (503, "api_error",             "shutting_down",           "api_error",             Gateway),
            Code::DialectUnsupported  => (400, "invalid_request_error", "dialect_not_supported",   "invalid_request_error", Client),
            Code::BudgetExceeded      => (422, "budget_exceeded",       "budget_exceeded",         "billing_error",         Client),
            Code::Internal            => (500, "api_error",             "internal_error",          "api_error",             Gateway),
            Code::UpstreamConnect     => (502, "upstream_error",        "upstream_connect_failed", "api_error",             Upstream),
            Code::UpstreamReset       => (502, "upstream_error",        "upstream_connection_lost", "api_error",            Upstream),
            Code::UpstreamInvalid     => (502, "upstream_error",        "upstream_invalid_response", "api_error",           Upstream),
            Code::UpstreamTimeout     => (504, "timeout_error",         "upstream_timeout",        "timeout_error",         Upstream),
            Code::UpstreamStatus      => (502, "upstream_error",        "upstream_error",          "api_error",             Upstream),
            Code::UpstreamAuth        => (403, "upstream_auth",         "upstream_auth_failed",    "permission_error",      Upstream),
            Code::NoDeployment        => (503, "api_error",             "no_deployment_available", "overloaded_error",      Gateway),
            Code::ParameterUnsupported => (400, "invalid_request_error", "unsupported_parameter",  "invalid_request_error", Client),
            Code::PayloadMissing      => (400, "invalid_request_error", "missing_required_parameter", "invalid_request_error", Client),
            Code::FeatureUnsupported  => (400, "invalid_request_error", "unsupported_feature",     "invalid_request_error", Client),
            Code::GuardrailBlocked    => (400, "invalid_request_error", "content_policy_violation", "invalid_request_error", Client),
            Code::IdempotencyMismatch => (422, "invalid_request_error", "idempotency_mismatch",    "invalid_request_error", Client),
            Code::UpgradeRequired     => (426, "invalid_request_error", "upgrade_required",         "invalid_request_error", Client),
            Code::PolicyDenied        => (403, "permission_error",      "policy_denied",           "permission_error",      Client),
            Code::CacheControlDenied  => (403, "permission_error",      "cache_control_denied",    "permission_error",      Client),
            Code::ApprovalRejected    => (403, "permission_error",      "approval_rejected",       "permission_error",      Client),
            Code::ApprovalExpired     => (403, "permission_error",      "approval_expired",        "permission_error",      Client),
            Code::ApprovalLost        => (410, "invalid_request_error", "approval_outcome_lost",   "not_found_error",       Gateway),
            Code::EndpointEnded       => (410, "invalid_request_error", "endpoint_ended",          "not_found_error",       Client),
            Code::ClientGone          => (499, "api_error",             "client_disconnected",     "api_error",             Client),
        };
        Facts { status, kind, code, anthropic, source }
    }
}

/// A failed request: what to answer, and why.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Code,
    /// Overrides the status of the code, for provider errors that keep their own.
    pub status: Option<u16>,
    pub message: Cow<'static, str>,
    /// The request field at fault, as the OpenAI error shape names it.
    pub param: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// The rest of the request can no longer be trusted: answer and close the connection.
    pub close: bool,
    /// The provider's own error body, when it has the caller's dialect already.
    pub body: Option<Bytes>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Error { code, status: None, message: message.into(), param: None, retry_after: None, close: false, body: None }
    }

    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// OpenAI's `type`. A provider's own status says more than "it was the provider".
    pub fn kind(&self) -> &'static str {
        match (self.code, self.status) {
            (Code::UpstreamStatus, Some(400 | 404 | 413 | 422)) => "invalid_request_error",
            (Code::UpstreamStatus, Some(401)) => "authentication_error",
            (Code::UpstreamStatus, Some(403)) => "permission_error",
            (Code::UpstreamStatus, Some(429)) => "rate_limit_error",
            _ => self.code.facts().kind,
        }
    }

    /// Anthropic's `type`.
    pub fn anthropic_kind(&self) -> &'static str {
        match (self.code, self.status) {
            (Code::UpstreamStatus, Some(400 | 422)) => "invalid_request_error",
            (Code::UpstreamStatus | Code::UpstreamAuth, Some(401)) => "authentication_error",
            (Code::UpstreamStatus, Some(403)) => "permission_error",
            (Code::UpstreamStatus, Some(404)) => "not_found_error",
            (Code::UpstreamStatus, Some(413)) => "request_too_large",
            (Code::UpstreamStatus, Some(429)) => "rate_limit_error",
            (Code::UpstreamStatus, Some(504)) => "timeout_error",
            (Code::UpstreamStatus, Some(529)) => "overloaded_error",
            _ => self.code.facts().anthropic,
        }
    }

    /// The HTTP status the caller sees.
    pub fn http_status(&self) -> StatusCode {
        let status = self.status.unwrap_or(self.code.facts().status);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.facts().code, self.message)
    }
}

impl std::error::Error for Error {}
