//! What Python is told: names in place of numbers, identifiers as hexadecimal digits. Structs are MessagePack lists, in the order
//! of `ailink.observe.spans`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Context, Done, Row, put_hex, span};
use crate::endpoint::Operation;
use crate::exchange::{CacheUse, RequestId};
use crate::ledger::Ledger;
use crate::metrics::Outcome;
use crate::plane::Plane;
use crate::state::DeploymentState;

#[derive(Serialize)]
struct Told {
    requests: Vec<Request>,
    attempts: Vec<Attempt>,
    dropped: u64,
}

/// Whose a request was; `None` for nobody's.
#[derive(Serialize)]
struct Owners {
    key: Option<String>,
    organization: Option<String>,
    team: Option<String>,
    user: Option<String>,
    project: Option<String>,
}

#[derive(Serialize)]
struct Request {
    request_id: String,
    trace_id: String,
    span_id: String,
    parent_id: Option<String>,
    start_us: i64,
    duration_us: u64,
    status: u16,
    error: Option<&'static str>,
    operation: &'static str,
    dialect: &'static str,
    stream: bool,
    attempts: u8,
    cache: &'static str,
    models: Vec<String>,
    deployment: Option<String>,
    provider: Option<String>,
    provider_model: Option<String>,
    chosen: u32,
    deployments: usize,
    owners: Owners,
}

#[derive(Serialize)]
struct Attempt {
    request_id: String,
    trace_id: String,
    span_id: String,
    parent_id: String,
    start_us: i64,
    duration_us: u32,
    ttft_us: u32,
    number: u8,
    flags: u16,
    source: u8,
    status: u16,
    outcome: &'static str,
    operation: &'static str,
    model: Option<String>,
    deployment: Option<String>,
    provider: Option<String>,
    provider_model: Option<String>,
    /// All tokens in, cached ones too, and all out.
    input: u64,
    output: u64,
    cache_read: u32,
    cache_write: u32,
    reasoning: u32,
    cost_pico: i64,
    owners: Owners,
}

impl Plane {
    /// Traces so many of a million requests whose callers do not say; `None`: none.
    pub fn set_tracing(&self, share: Option<u32>) {
        self.shared.state.ledger.traces().set(share);
    }

    /// What was traced since the last call: MessagePack.
    pub fn take_traces(&self) -> Vec<u8> {
        let ledger = &self.shared.state.ledger;
        let traces = ledger.traces();
        // Before the requests: an attempt's request is then mostly among them.
        let rows = std::mem::take(&mut *traces.rows.lock());
        let done: Vec<Done> = self.shards.iter().flat_map(|shard| shard.answered.take()).collect();
        let deployments = match rows.is_empty() {
            true => Vec::new(),
            false => self.shared.state.deployments(),
        };
        let places = deployments.iter().map(|state| (state.id.as_str(), state)).collect();
        let told = Told {
            requests: done.iter().map(|done| request(ledger, done)).collect(),
            attempts: rows.iter().map(|row| attempt(ledger, row, &places)).collect(),
            dropped: traces.dropped.swap(0, Ordering::Relaxed),
        };
        rmp_serde::to_vec(&told).unwrap_or_else(|_| vec![0x93, 0x90, 0x90, 0])
    }
}

fn request(ledger: &Ledger, done: &Done) -> Request {
    let Context { trace_id, parent, .. } = done.context;
    let models = done.models.iter().filter_map(|index| done.snapshot.models.get(*index as usize));
    let last = done.models.last().and_then(|index| done.snapshot.models.get(*index as usize));
    let deployment = done.deployment.and_then(|index| done.snapshot.deployments.get(index as usize));
    let owners = done.key.as_ref().map(|key| key.owners).unwrap_or_default();
    let text = |id| ledger.text(id).map(|text| text.to_string());
    Request {
        request_id: done.id.to_string(),
        trace_id: hex(&trace_id),
        span_id: hex(&span(&done.id, 0)),
        parent_id: (parent != [0; 8]).then(|| hex(&parent)),
        start_us: done.start_us,
        duration_us: done.duration_us,
        status: done.status,
        error: done.error.map(|code| code.facts().code),
        operation: done.endpoint.operation.name(),
        dialect: done.endpoint.dialect.name(),
        stream: done.stream,
        attempts: done.attempts,
        cache: match done.cache {
            CacheUse::Off => "",
            CacheUse::Bypass => "bypass",
            CacheUse::Miss => "miss",
            CacheUse::Refresh => "refresh",
            CacheUse::Hit => "hit",
            CacheUse::Semantic(_) => "semantic",
        },
        models: models.map(|model| model.name.to_string()).collect(),
        deployment: deployment.map(|deployment| deployment.id.to_string()),
        provider: deployment.map(|deployment| deployment.provider.to_string()),
        provider_model: deployment.map(|deployment| deployment.model.to_string()),
        chosen: done.chosen,
        deployments: last.map_or(0, |model| model.places.len()),
        owners: Owners {
            key: done.key.as_ref().map(|key| key.id.to_string()),
            organization: text(done.key.as_ref().map_or(0, |key| key.org_ledger_id)),
            team: text(owners.team),
            user: text(owners.user),
            project: text(owners.project),
        },
    }
}

fn attempt(ledger: &Ledger, row: &Row, places: &HashMap<&str, &Arc<DeploymentState>>) -> Attempt {
    let (intent, settle) = (&row.intent, &row.settle);
    let id = RequestId(intent.request_id);
    let text = |id| ledger.text(id).map(|text| text.to_string());
    let deployment = text(intent.deployment);
    let state = deployment.as_deref().and_then(|id| places.get(id));
    Attempt {
        request_id: id.to_string(),
        trace_id: hex(&intent.trace_id),
        span_id: hex(&span(&id, intent.attempt_no)),
        parent_id: hex(&span(&id, 0)),
        start_us: intent.at_us,
        duration_us: settle.duration_us,
        ttft_us: settle.ttft_us,
        number: intent.attempt_no,
        flags: intent.flags,
        source: settle.source as u8,
        status: settle.status,
        outcome: Outcome::ALL.get(usize::from(settle.class)).map_or("", |(_, name)| name),
        operation: Operation::ALL.get(usize::from(intent.operation)).map_or("", |operation| operation.name()),
        model: text(intent.model),
        provider: state.map(|state| state.provider.clone()),
        provider_model: state.map(|state| state.model.clone()),
        deployment,
        input: [settle.input, settle.cache_read, settle.cache_write, settle.audio_input].map(u64::from).iter().sum(),
        output: u64::from(settle.output) + u64::from(settle.audio_output),
        cache_read: settle.cache_read,
        cache_write: settle.cache_write,
        reasoning: settle.reasoning,
        cost_pico: settle.cost,
        owners: Owners {
            key: text(intent.key),
            organization: text(intent.org),
            team: text(intent.team),
            user: text(intent.user),
            project: text(intent.project),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = vec![b'0'; bytes.len() * 2];
    put_hex(&mut digits, bytes);
    String::from_utf8(digits).unwrap_or_default()
}
