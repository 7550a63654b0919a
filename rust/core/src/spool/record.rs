//! What one upstream attempt is: the intent, the settlement, the row made of both.

use std::fmt;

/// The number of an attempt: unique for the lifetime of a node's data directory, across crashes and
/// power loss; growing (I/O threads take turns in blocks), never 0, at most 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known before the first byte goes to the provider.
///
/// `key`, `org`, `model`, `deployment`, `price`, `team`, `user`, `project`, `customer` and `tags` are ids of the ledger's dictionary
/// ([`crate::ledger::Ledger::intern`]); 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// The logical request; all its attempts share it.
    pub request_id: [u8; 16],
    /// W3C trace id; all zero means none (as the specification has it).
    pub trace_id: [u8; 16],
    /// Wall clock at the attempt's start, µs since 1970 UTC. Decides the row's day.
    pub at_us: i64,
    /// What the attempt may cost at most, pico-USD: the price of the row if the settlement is lost.
    pub reserved_cost: i64,
    /// Dictionary id of the virtual key.
    pub key: u32,
    /// Dictionary id of the organization.
    pub org: u32,
    /// Dictionary id of the model as the client named it.
    pub model: u32,
    /// Dictionary id of the deployment.
    pub deployment: u32,
    /// Dictionary id of the price version in force when the attempt was admitted.
    pub price: u32,
    /// Dictionary id of the team.
    pub team: u32,
    /// Dictionary id of the user.
    pub user: u32,
    /// Dictionary id of the project.
    pub project: u32,
    /// Dictionary id of the end user.
    pub customer: u32,
    /// Dictionary id of the set of tags.
    pub tags: u32,
    /// 63 bits that are equal for equal requests, whoever asks, the lowest of them for one that wants a fresh answer; 0 for
    /// what no cache answers, and where nobody wants to know.
    pub question: u64,
    /// How its deployment was chosen: the strategy's code, and from the 9th bit on how many could have been; 0 if that is not known.
    pub decision: u32,
    /// Estimated input tokens; stands in for the count if the settlement is lost.
    pub est_input: u32,
    /// Code of the operation (chat, embeddings, …), defined by the endpoint table.
    pub operation: u16,
    /// Bits defined by the caller (streamed, retried, …).
    pub flags: u16,
    /// 1 for the first attempt of a request.
    pub attempt_no: u8,
}

/// How a row's figures were come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Source {
    /// The provider said what it used.
    #[default]
    Reported = 0,
    /// The provider did not say (client left, stream cut): counted by the gateway.
    Estimated = 1,
    /// The settlement was lost (crash, dropped slot): priced at its reservation.
    Unknown = 2,
    /// Corrected later against the provider's bill.
    Reconciled = 3,
}

impl Source {
    /// The source with this code, as stored in the ledger.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Reported),
            1 => Some(Self::Estimated),
            2 => Some(Self::Unknown),
            3 => Some(Self::Reconciled),
            _ => None,
        }
    }
}

/// What is known when the attempt is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settle {
    /// How the figures were come by.
    pub source: Source,
    /// Error class code, 0 for none.
    pub class: u8,
    /// HTTP status of the provider, 0 if none came.
    pub status: u16,
    /// Input tokens, cached ones not included or included as the provider's dialect normalizes them.
    pub input: u32,
    /// Output tokens.
    pub output: u32,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u32,
    /// Input tokens written to the provider's prompt cache.
    pub cache_write: u32,
    /// Output tokens spent on reasoning.
    pub reasoning: u32,
    /// Audio tokens in.
    pub audio_input: u32,
    /// Audio tokens out.
    pub audio_output: u32,
    /// What operations without tokens are priced by: images, characters, audio ms, searches.
    pub units: u32,
    /// Cost, pico-USD.
    pub cost: i64,
    /// From the attempt's start to its end, µs; saturates after 71 minutes.
    pub duration_us: u32,
    /// To the provider's first event, µs; 0 if none came.
    pub ttft_us: u32,
    /// The gateway's own share of the time, µs.
    pub overhead_us: u32,
}

/// One attempt as the ledger records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Unique on its node.
    pub attempt_id: u64,
    /// The node that made the attempt.
    pub node: u16,
    /// What was known at the start.
    pub intent: Intent,
    /// What was known at the end; for [`Source::Unknown`] made from the intent.
    pub settle: Settle,
}

impl Row {
    /// The row of an attempt whose settlement is lost: the reservation is its price.
    #[must_use]
    pub fn unknown(attempt_id: u64, node: u16, intent: Intent) -> Self {
        let settle = Settle {
            source: Source::Unknown,
            input: intent.est_input,
            cost: intent.reserved_cost,
            ..Settle::default()
        };
        Self { attempt_id, node, intent, settle }
    }
}
