//! A stored answer, and what is known of one that is being made.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use super::flight::Lead;
use super::items::Items;
use super::key::CacheKey;
use super::lease::Lease;
use super::semantic::Question;
use crate::kernel::cost::Usage;
use crate::kernel::vector::Vector;

/// How the body of an answer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    Stream {
        /// The usage is told somewhere in it.
        usage: bool,
        /// Where the event stands that holds nothing but the usage, for callers who did not ask for it.
        usage_at: Option<(u32, u32)>,
    },
}

/// Whose an answer is, for purges and reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Of the tenant, as the key has it.
    pub tenant: Arc<[u8]>,
    pub key_id: Arc<str>,
    pub model: Arc<str>,
    pub namespace: Box<str>,
    pub tags: Box<[String]>,
}

impl About {
    /// The tenant as text: its kind and its id.
    pub fn tenant_text(&self) -> String {
        String::from_utf8_lossy(&self.tenant).replacen('\0', ":", 1)
    }
}

/// What an answer once cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    pub pico: i64,
    pub input: u64,
    pub output: u64,
    /// How long its provider took.
    pub micros: u64,
}

impl Worth {
    pub fn new(pico: i64, usage: Option<&Usage>, micros: u64) -> Self {
        Worth { pico, input: usage.map_or(0, Usage::prompt), output: usage.map_or(0, Usage::answer), micros }
    }
}

/// A complete, successful answer.
#[derive(Clone, Debug)]
pub struct Entry {
    pub form: Form,
    pub content_type: HeaderValue,
    pub body: Bytes,
    /// Microseconds since 1970.
    pub stored_us: i64,
    pub expires_us: i64,
    /// Until then it may still be given while a fresh one is fetched.
    pub stale_us: i64,
    pub worth: Worth,
    pub about: About,
}

impl Entry {
    /// What it weighs in memory.
    pub fn weight(&self) -> u64 {
        self.body.len() as u64 + 320
    }
}

/// Makes an entry of the answer to this request.
pub struct Fill {
    pub key: CacheKey,
    /// Purges so far: an answer that was asked for before one is not kept behind it.
    pub epoch: u64,
    pub ttl_us: i64,
    pub stale_us: i64,
    /// How long a refusal of the provider is told again.
    pub errors_us: i64,
    pub about: About,
    /// The answer is kept: `no-store` leaves only those who wait for it.
    pub keep: bool,
    pub lead: Option<Lead>,
    /// The right to ask among all nodes.
    pub lease: Option<Lease>,
    /// What is asked, where an answer to a similar question would do.
    pub question: Option<Arc<Question>>,
    /// What it means, once that is known: the answer can be found by it.
    pub meaning: Option<Arc<Vector>>,
    /// Inputs that are looked up one by one.
    pub items: Option<Box<Items>>,
    /// Oldest answer that will do.
    pub max_age_us: Option<i64>,
    /// When it was asked for, microseconds since 1970.
    pub asked_us: i64,
}

impl Fill {
    /// The answer did not come: those who wait ask for themselves.
    pub fn failed(self) {
        if let Some(lead) = self.lead {
            lead.fail();
        }
    }
}
