//! A model that stands for others: which of them a request goes to is decided by what it asks for.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::event::Event;
use crate::exchange::Exchange;
use crate::kernel::features::{Features, complexity, features};
use crate::kernel::router::Estimates;
use crate::prompt;
use crate::snapshot::Model;
use crate::snapshot::auto::{Auto, Learned};

/// Where a request goes, and why.
pub struct Chosen {
    pub model: String,
    pub why: Value,
}

/// More work than this is none for a thread that carries requests.
const LONG: usize = 1_000;

/// A prompt as a router sees it.
pub struct Look {
    found: Features,
    /// The router that is being tried, not the one in force.
    tried: bool,
    /// What each of its models would be worth; empty until it was asked.
    estimates: Estimates,
}

impl Look {
    fn learned<'a>(&self, auto: &'a Auto) -> Option<&'a Learned> {
        if self.tried { auto.candidate.as_ref() } else { auto.incumbent.as_ref() }
    }

    /// Whether the router is to be asked elsewhere.
    pub fn takes_long(&self, auto: &Auto) -> bool {
        self.learned(auto).is_some_and(|learned| learned.router.work() > LONG)
    }

    /// With what the router says.
    pub fn asked(mut self, auto: &Auto) -> Look {
        if let Some(learned) = self.learned(auto) {
            self.estimates = learned.router.estimates(&self.found, &mut fastrand::f32);
        }
        self
    }
}

/// Looks at the prompt of a request.
pub fn look(exchange: &Exchange, auto: &Auto) -> Look {
    let found = features(&prompt::read(&exchange.call.body));
    Look { found, tried: is_tried(exchange, auto), estimates: Estimates::new() }
}

/// Asks the router on a thread that carries no requests.
pub async fn wait(exchange: &mut Exchange) {
    let (Some(look), Some(index)) = (exchange.look.take(), exchange.model) else { return };
    let snapshot = exchange.snapshot.clone();
    let unasked = Look { found: look.found.clone(), tried: look.tried, estimates: Estimates::new() };
    let asked = tokio::task::spawn_blocking(move || {
        match snapshot.models.get(index as usize).and_then(|model| model.auto.as_ref()) {
            Some(auto) => Box::new(look.asked(auto)),
            None => look,
        }
    });
    exchange.look = Some(asked.await.unwrap_or_else(|_| Box::new(unasked)));
}

/// The model that answers in place of `model`; None when the key may use none of them.
pub fn choose(exchange: &Exchange, model: &Model, auto: &Auto, look: &Look) -> Option<Chosen> {
    let found = &look.found;
    let score = complexity(&found.dense);
    let learned = look.learned(auto);
    let (order, mut why) = match learned {
        Some(learned) => by_learning(auto, learned, look),
        None => by_rules(auto, score),
    };
    let allowed = |at: &usize| {
        let index = *auto.models.get(*at)?;
        let target = exchange.snapshot.models.get(index as usize)?;
        let may = exchange.key.as_ref().is_some_and(|key| key.may_use(&target.name));
        (may && exchange.within(target) && !exchange.visited.contains(&index)).then(|| target.name.to_string())
    };
    let chosen = order.iter().find_map(allowed)?;
    let version = learned.map_or("rules", |learned| &learned.router.version);
    if let Some(map) = why.as_object_mut() {
        map.insert("complexity".into(), json!(round(score)));
        map.insert("version".into(), json!(version));
    }
    if auto.record > 0 && fastrand::u32(..100) < auto.record && exchange.decision.as_ref().is_none_or(|d| !d.simulated)
    {
        record(exchange, model, version, &chosen, found);
    }
    Some(Chosen { model: chosen, why })
}

/// Whether the new router is asked: for its share of the callers, who stay with it.
fn is_tried(exchange: &Exchange, auto: &Auto) -> bool {
    if auto.candidate.is_none() || auto.percent == 0 {
        return false;
    }
    let mut hasher = DefaultHasher::new();
    exchange.key.as_ref().map_or(0, |key| key.ledger_id).hash(&mut hasher);
    exchange.call.user.map(|user| user.raw(&exchange.call.body)).hash(&mut hasher);
    exchange.headers.get("x-ailink-session-id").map(http::HeaderValue::as_bytes).hash(&mut hasher);
    // Callers that cannot be told apart are drawn one by one.
    let draw = if exchange.call.user.is_some() || exchange.headers.contains_key("x-ailink-session-id") {
        hasher.finish()
    } else {
        fastrand::u64(..)
    };
    draw % 100 < u64::from(auto.percent)
}

fn by_rules(auto: &Auto, score: f32) -> (SmallVec<[usize; 8]>, Value) {
    let level = auto.thresholds.iter().filter(|threshold| score >= **threshold).count();
    // Then what is better, then what is simpler.
    let last = auto.models.len();
    let order = (level..last).chain((0..level.min(last)).rev()).collect();
    (order, json!({"router": "complexity"}))
}

fn by_learning(auto: &Auto, learned: &Learned, look: &Look) -> (SmallVec<[usize; 8]>, Value) {
    let router = &learned.router;
    let estimates = &look.estimates;
    let mut order: SmallVec<[usize; 8]> =
        router.order(estimates).iter().filter_map(|at| learned.places.get(*at).copied().flatten()).collect();
    // Models the router was not trained on stand behind.
    order.extend((0..auto.models.len()).filter(|at| !learned.places.contains(&Some(*at))));
    let scores: serde_json::Map<String, Value> =
        router.models.iter().cloned().zip(estimates.iter().map(|value| json!(round(*value)))).collect();
    (order, json!({"router": router.kind(), "estimates": scores}))
}

fn round(value: f32) -> f64 {
    (f64::from(value) * 1_000.0).round() / 1_000.0
}

/// What training needs of a request: never its words.
fn record(exchange: &Exchange, model: &Model, version: &str, chosen: &str, found: &Features) {
    let vector = found.vector.map(i8::cast_unsigned);
    let dense: Vec<u8> = found.dense.iter().flat_map(|value| value.to_le_bytes()).collect();
    let message = json!({
        "auto": &*model.name, "version": version, "model": chosen, "vector": STANDARD.encode(vector),
        "dense": STANDARD.encode(dense),
    });
    exchange.shard.shared.events.push(Event {
        kind: "auto_route",
        level: "debug",
        message: message.to_string(),
        request_id: Some(exchange.request_id.to_string()),
        ..Event::default()
    });
}
