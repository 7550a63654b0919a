//! What kind of failure an attempt died of: the retry policy, the fallbacks and the breaker go by it.

/// The classes LiteLLM's `retry_policy` knows, and those its fallbacks go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    BadRequest,
    Authentication,
    NotFound,
    Timeout,
    RateLimit,
    ContentPolicy,
    ContextWindow,
    ServerError,
    Connection,
}

impl Class {
    pub const COUNT: usize = 9;
    pub const ALL: [(Class, &'static str); Class::COUNT] = [
        (Class::BadRequest, "bad_request"),
        (Class::Authentication, "authentication"),
        (Class::NotFound, "not_found"),
        (Class::Timeout, "timeout"),
        (Class::RateLimit, "rate_limit"),
        (Class::ContentPolicy, "content_policy"),
        (Class::ContextWindow, "context_window"),
        (Class::ServerError, "server_error"),
        (Class::Connection, "connection"),
    ];

    pub fn name(self) -> &'static str {
        Class::ALL[self as usize].1
    }

    /// The class of a refusal by its status; what its body says may narrow a bad request down.
    pub fn of_status(status: u16) -> Class {
        match status {
            401..=403 => Class::Authentication,
            404 => Class::NotFound,
            408 | 504 => Class::Timeout,
            429 => Class::RateLimit,
            500.. => Class::ServerError,
            _ => Class::BadRequest,
        }
    }

    /// Another model may do what this one could not; a bad request stays one.
    pub fn falls_back(self) -> bool {
        self != Class::BadRequest
    }

    /// The same deployment may do better the next time; a refused credential will be refused again.
    pub fn repeats(self) -> bool {
        self != Class::Authentication
    }
}

/// How often a request is sent again, by the class of its last failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries(pub [u32; Class::COUNT]);

impl Retries {
    pub fn of(&self, class: Class) -> u32 {
        self.0[class as usize]
    }

    pub fn most(&self) -> u32 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}
