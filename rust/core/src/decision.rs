//! Why a request went where it went: kept only when somebody wants to know.

use smallvec::SmallVec;

use std::collections::VecDeque;

use http::{HeaderMap, HeaderName};

use parking_lot::Mutex;

use crate::clock::{monotonic_ns, wall_us};
use crate::endpoint::Endpoint;
use crate::exchange::RequestId;
use crate::kernel::breaker::State;
use crate::kernel::choice::{Candidate, How};
use crate::needs::Need;
use crate::snapshot::wire::Settings;
use crate::snapshot::{Model, Snapshot};

/// Most candidates of a model that are told, the best first.
const TOLD: usize = 16;
/// Longest header value.
const HEADER_MAX: usize = 4096;

/// Why a deployment was no candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It does not serve the operation in the caller's format.
    Dialect,
    /// It does not have the request's tags.
    Tags,
    /// What the request may not leave.
    Boundary,
    /// The request may not use its service tier.
    ServiceTier,
    /// Its breaker is open.
    Health,
    /// It cannot do what the request needs.
    Unable(Unable),
}

/// Why a deployment cannot serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unable {
    Need(Need),
    /// Its provider refuses this parameter, or misses it.
    Parameter(Box<str>),
    ContextWindow,
    MaxOutput,
    Region,
    Quota,
    /// It is dearer than the model's `max_cost`.
    Cost,
}

impl Unable {
    pub fn name(&self) -> String {
        match self {
            Unable::Need(need) => need.name().to_string(),
            Unable::Parameter(name) => format!("parameter:{name}"),
            Unable::ContextWindow => "context_window".to_string(),
            Unable::MaxOutput => "max_output".to_string(),
            Unable::Region => "region".to_string(),
            Unable::Quota => "quota".to_string(),
            Unable::Cost => "cost".to_string(),
        }
    }
}

/// The choice among the deployments of one model.
pub struct Choice {
    pub model: String,
    pub strategy: &'static str,
    how: Option<How>,
    candidates: Vec<Candidate>,
    order: SmallVec<[u32; 8]>,
    dropped: Vec<(u32, Dropped)>,
    redirected: Option<String>,
    /// Why a model that stands for others chose as it did.
    why: Option<serde_json::Value>,
}

/// One attempt, by the index of its deployment.
pub struct Tried {
    pub deployment: u32,
    pub result: String,
    pub status: Option<u16>,
    pub ms: u64,
}

/// Everything that was decided about one request.
#[derive(Default)]
pub struct Decision {
    /// The caller wants it in a header.
    pub header: bool,
    /// Nothing is to be sent: the decision is the answer.
    pub simulated: bool,
    /// For the ring.
    pub keep: bool,
    pub choices: Vec<Choice>,
    pub tried: Vec<Tried>,
    /// Why nothing could be asked.
    pub refused: Option<String>,
}

const EXPLAIN: HeaderName = HeaderName::from_static("x-ailink-explain");
/// The endpoint that answers what would happen.
const SIMULATE: &str = "/routing/simulate";

impl Decision {
    /// Whether the decision about a request is wanted: by its caller, or for the ring.
    pub fn wanted(settings: &Settings, headers: &HeaderMap, endpoint: &Endpoint) -> Option<Box<Decision>> {
        let simulated = endpoint.pattern == SIMULATE;
        let header = settings.explain_header && headers.contains_key(EXPLAIN);
        let kept = settings.explain_keep > 0 && fastrand::u32(..100) < settings.explain_percent;
        (simulated || header || kept)
            .then(|| Box::new(Decision { header, simulated, keep: kept, ..Decision::default() }))
    }

    pub fn model(&mut self, model: &Model, strategy: &'static str) {
        self.choices.push(Choice {
            model: model.name.to_string(),
            strategy,
            how: None,
            candidates: Vec::new(),
            order: SmallVec::new(),
            dropped: Vec::new(),
            redirected: None,
            why: None,
        });
    }

    /// A model that stands for others has chosen one of them.
    pub fn automatic(&mut self, model: &Model, to: &str, why: serde_json::Value) {
        self.redirected(model, to);
        if let Some(choice) = self.choices.last_mut() {
            choice.why = Some(why);
        }
    }

    /// A condition sent the request to another model.
    pub fn redirected(&mut self, model: &Model, to: &str) {
        self.model(model, model.routing.strategy.name());
        if let Some(choice) = self.choices.last_mut() {
            choice.redirected = Some(to.to_string());
        }
    }

    pub fn dropped(&mut self, indices: &[u32], why: &Dropped) {
        if let Some(choice) = self.choices.last_mut() {
            choice.dropped.extend(indices.iter().map(|index| (*index, why.clone())));
        }
    }

    pub fn chosen(&mut self, how: How, candidates: &[Candidate], order: &[u32]) {
        if let Some(choice) = self.choices.last_mut() {
            choice.how = Some(how);
            choice.candidates = candidates.to_vec();
            choice.order = SmallVec::from_slice(order);
        }
    }

    pub fn tried(&mut self, deployment: u32, result: &str, status: Option<u16>, ms: u64) {
        self.tried.push(Tried { deployment, result: result.to_string(), status, ms });
    }

    /// As JSON. Names are looked up in the snapshot the request ran on.
    pub fn json(&self, id: &RequestId, snapshot: &Snapshot) -> serde_json::Value {
        let name = |index: u32| snapshot.deployments.get(index as usize).map_or("?", |deployment| &*deployment.id);
        let choices: Vec<_> = self.choices.iter().map(|choice| choice_json(choice, snapshot)).collect();
        let tried: Vec<_> = self
            .tried
            .iter()
            .map(|tried| {
                let mut value = serde_json::json!({
                    "deployment": name(tried.deployment), "result": tried.result, "ms": tried.ms,
                });
                if let (Some(status), Some(map)) = (tried.status, value.as_object_mut()) {
                    map.insert("status".into(), status.into());
                }
                value
            })
            .collect();
        serde_json::json!({
            "request_id": id.to_string(), "at_us": wall_us(), "snapshot": snapshot.version,
            "choices": choices, "attempts": tried, "refused": self.refused,
        })
    }

    /// As a header's value: compact JSON in ASCII, shortened where it would be too long.
    pub fn header_value(&self, id: &RequestId, snapshot: &Snapshot) -> Option<http::HeaderValue> {
        let mut value = self.json(id, snapshot);
        let mut text = ascii(&value);
        if text.len() > HEADER_MAX {
            for choice in value.get_mut("choices").and_then(|choices| choices.as_array_mut()).into_iter().flatten() {
                for long in ["candidates", "dropped"] {
                    if let Some(list) = choice.get_mut(long).and_then(|list| list.as_array_mut()) {
                        list.truncate(2);
                    }
                }
            }
            text = ascii(&value);
        }
        (text.len() <= HEADER_MAX).then(|| http::HeaderValue::from_str(&text).ok()).flatten()
    }
}

/// The decisions of one I/O thread that were kept, newest last.
#[derive(Default)]
pub struct Decisions(Mutex<VecDeque<(RequestId, Box<str>)>>);

impl Decisions {
    /// Keeps one, and forgets the oldest beyond `most`.
    pub fn put(&self, id: RequestId, text: String, most: usize) {
        let mut kept = self.0.lock();
        while kept.len() >= most.max(1) {
            kept.pop_front();
        }
        kept.push_back((id, text.into_boxed_str()));
    }

    pub fn get(&self, id: &str) -> Option<String> {
        let kept = self.0.lock();
        kept.iter().rev().find(|(known, _)| known.text() == id.as_bytes()).map(|(_, text)| text.to_string())
    }
}

fn choice_json(choice: &Choice, snapshot: &Snapshot) -> serde_json::Value {
    let now = monotonic_ns();
    let of = |index: u32| snapshot.deployments.get(index as usize);
    let place = |index: u32| choice.order.iter().position(|ordered| *ordered == index).unwrap_or(usize::MAX);
    let mut candidates = choice.candidates.clone();
    candidates.sort_by_key(|candidate| place(candidate.index));
    let scored = matches!(choice.how, Some(How::Lowest { .. }));
    let told: Vec<_> = candidates
        .iter()
        .take(TOLD)
        .filter_map(|candidate| {
            let deployment = of(candidate.index)?;
            let mut told = serde_json::json!({
                "deployment": &*deployment.id, "provider": &*deployment.provider, "weight": deployment.weight,
            });
            let map = told.as_object_mut()?;
            if scored {
                map.insert("score".into(), candidate.score.into());
            }
            if candidate.tier > 0 {
                map.insert("order".into(), candidate.tier.into());
            }
            let state = deployment.state.health.state(now);
            if state != State::Closed {
                map.insert("state".into(), state.name().into());
            }
            Some(told)
        })
        .collect();
    let dropped: Vec<_> = choice
        .dropped
        .iter()
        .take(TOLD)
        .filter_map(|(index, why)| {
            let deployment = of(*index)?;
            let why = match why {
                Dropped::Dialect => "format".to_string(),
                Dropped::Tags => "tags".to_string(),
                Dropped::Boundary => "boundary".to_string(),
                Dropped::ServiceTier => format!("service_tier:{}", deployment.service_tier),
                Dropped::Health => deployment.state.health.cause().name().to_string(),
                Dropped::Unable(unable) => unable.name(),
            };
            Some(serde_json::json!({"deployment": &*deployment.id, "reason": why}))
        })
        .collect();
    let order: Vec<_> = choice.order.iter().filter_map(|index| Some(&*of(*index)?.id)).collect();
    if let (Some(to), Some(why)) = (&choice.redirected, &choice.why) {
        return serde_json::json!({"model": choice.model, "strategy": "auto", "then": to, "why": why,
            "candidates": [], "dropped": [], "order": []});
    }
    if let Some(to) = &choice.redirected {
        return serde_json::json!({"model": choice.model, "strategy": "condition", "then": to,
            "candidates": [], "dropped": [], "order": []});
    }
    serde_json::json!({
        "model": choice.model, "strategy": choice.strategy, "candidates": told, "dropped": dropped, "order": order,
    })
}

/// Compact JSON with everything beyond ASCII escaped.
fn ascii(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
