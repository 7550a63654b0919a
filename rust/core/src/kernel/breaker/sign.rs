//! What opens a breaker: signs, and the causes that are told.

/// Why it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    None = 0,
    Consecutive = 1,
    Share = 2,
    RateLimited = 3,
    Credential = 4,
    Outlier = 5,
    Probe = 6,
}

impl Cause {
    pub const ALL: [(Cause, &'static str); 7] = [
        (Cause::None, "none"),
        (Cause::Consecutive, "consecutive_failures"),
        (Cause::Share, "failure_rate"),
        (Cause::RateLimited, "rate_limited"),
        (Cause::Credential, "credential_refused"),
        (Cause::Outlier, "outlier"),
        (Cause::Probe, "health_check"),
    ];

    pub fn name(self) -> &'static str {
        Cause::ALL[self as usize].1
    }

    pub(super) fn of(code: u8) -> Cause {
        Cause::ALL.get(usize::from(code)).map_or(Cause::None, |(cause, _)| *cause)
    }

    /// A deployment that still answers now and then is better than none at all.
    pub fn is_soft(self) -> bool {
        matches!(self, Cause::Share | Cause::Outlier | Cause::Probe)
    }
}

/// What became of a request, as far as it tells about the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Success,
    /// It answered that the request was wrong.
    Refusal,
    /// It answered, but could not do it (5xx).
    Failure,
    /// It could not be reached, broke off or fell silent.
    Outage,
    /// 429, and for how long it asked to be left alone.
    RateLimited {
        wait_ms: Option<u64>,
    },
    /// 401, 402, 403: its credential does not serve.
    Credential,
}

impl Sign {
    /// Server errors, outages, rate limits, credentials.
    pub(super) fn kind(self) -> Option<usize> {
        match self {
            Sign::Success | Sign::Refusal => None,
            Sign::Failure => Some(0),
            Sign::Outage => Some(1),
            Sign::RateLimited { .. } => Some(2),
            Sign::Credential => Some(3),
        }
    }
}
