//! Policies as Python sends them. Every default has been filled in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    pub policies: Vec<Policy>,
    pub attachments: Vec<Attachment>,
    /// Zones by number: moments (seconds since 1970) and the seconds ahead of UTC from then on. 0 is UTC.
    pub zones: Vec<Vec<(i64, i32)>>,
    /// Days since 1970 by name.
    pub calendars: BTreeMap<String, Vec<i64>>,
    /// Requests kept for replay.
    pub keep: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: String,
    pub version: u32,
    pub phase: String,
    pub shadow: bool,
    /// Lower ones run first.
    pub priority: i32,
    /// JSON, or an expression; null: always.
    pub when: Option<String>,
    /// A JSON list of actions.
    pub then: String,
    pub zone: u16,
}

/// Policies by number that hold for somebody or something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub kind: String,
    pub id: String,
    pub policies: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    Allow(Allow),
    Deny(Deny),
    Redact(Redact),
    Transform(Transform),
    Override(Override),
    Route(Route),
    Split(Split),
    RateLimit(RateLimit),
    Throttle(Throttle),
    Cache(Cache),
    Tag(Tag),
    Log(Log),
    Webhook(Webhook),
    ToolScope(ToolScope),
    ValidateSchema(ValidateSchema),
    Guardrail(Guardrail),
    SpendCap(SpendCap),
    Alert(Alert),
    RequireApproval(RequireApproval),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    pub status: u16,
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    /// Rules by number that look for what is cut out.
    pub guardrails: Vec<u32>,
    /// Paths whose values are blanked.
    pub fields: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    pub ops: Vec<Op>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    SetHeader { name: String, value: String },
    RemoveHeader { name: String },
    SetBodyField { field: String, value: Value },
    RemoveBodyField { field: String },
    AppendSystemPrompt { text: String },
    PrependSystemPrompt { text: String },
    RegexReplace { pattern: String, replacement: String },
    AddMessage { role: String, content: String, position: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub set: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub model: Option<String>,
    pub provider: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    pub by: String,
    pub variants: Vec<Variant>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub name: String,
    pub weight: u32,
    pub model: Option<String>,
    pub set: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub requests: u64,
    pub window_ms: u64,
    pub by: String,
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    pub delay_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub message: String,
    pub fields: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    pub timeout_ms: u64,
    pub on_fail: String,
    pub wait: bool,
    pub body: bool,
    pub secret: Option<String>,
    /// Private addresses are refused.
    pub guarded: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolScope {
    pub allowed: Option<Vec<String>>,
    pub blocked: Vec<String>,
    pub otherwise: String,
    pub arguments: BTreeMap<String, Value>,
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateSchema {
    pub schema: Value,
    pub not: bool,
    pub field: Option<String>,
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    pub guardrails: Vec<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendCap {
    pub usd: f64,
    pub window_ms: u64,
    pub by: String,
    pub message: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequireApproval {
    /// `hold` or `accept`.
    pub mode: String,
    pub reviewers: Reviewers,
    pub quorum: u32,
    pub expiry_ms: u64,
    /// `reject` or `approve`.
    pub default: String,
    /// Only where one of these is called.
    pub tools: Vec<String>,
    pub message: String,
    /// Who is told; null: everybody.
    pub channels: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviewers {
    pub roles: Vec<String>,
    pub users: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub severity: String,
    pub message: String,
    pub every_ms: u64,
    pub url: Option<String>,
    pub secret: Option<String>,
    pub guarded: bool,
}
