//! What is known before routing is admitted or refused: requests and concurrent requests, of everybody the request draws
//! on, and requests in flight on this thread. All limits have room or none is touched; should a later stage refuse, what
//! was taken here is given back by its guard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::{Flow, Wait, exhausted, parts, share};
use crate::account::Admission;
use crate::arrival::{Arrival, Caller};
use crate::clock::monotonic_ns;
use crate::error::{Code, Error, Result};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::hold::{Extra, Hold};
use crate::refusal;
use crate::state::draw::{Ask, Passed, Told, peek};
use crate::state::line::Rank;
use crate::state::rules::{Amounts, Exhausted, Metric, Now};
use crate::state::scope::Aim;
use crate::state::sessions;
use crate::state::subjects::Kind;
use crate::tags;
use crate::wire::json::{self, Kind as Json, scan_value_object};

/// Headers that name the end user, as LiteLLM's clients send them.
const CUSTOMER_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-litellm-end-user-id"), HeaderName::from_static("x-litellm-customer-id")];

/// One request, one in flight.
const ONE: Amounts = [1, 1, 0, 0, 0, 0];

/// Turns a caller whose limits have no room away as soon as he is known, before his body is read. Takes nothing yet.
///
/// # Errors
/// The refusal of the tightest limit.
pub fn at_the_door(arrival: &Arrival, headers: &HeaderMap, caller: &mut Caller) -> Result<()> {
    let low = || headers.get("x-ailink-priority").is_some_and(|priority| priority == "low");
    if arrival.shard.pressure.part() > 0 && arrival.shard.pressure.sheds(low()) {
        let text = "The gateway has more work than it can do. Retry shortly.";
        return Err(Error::new(Code::Overloaded, text).retry_after(Duration::from_secs(1)));
    }
    let key = &caller.key;
    if !key.subjects.iter().any(|subject| subject.limits(Metric::ARRIVAL)) {
        return Ok(());
    }
    let now = Now::at(arrival.started, arrival.wall_us);
    let aim = Aim::default();
    let ask = Ask { aim, metrics: Metric::ARRIVAL, amounts: ONE, elastic: None, now, rank: Rank::FIRST };
    match peek(key.subjects.iter().map(|subject| &**subject), &ask, &mut caller.quotas) {
        // What else may become of it is seen when it has been read.
        Err(refused) if refused.rule.row.on_exhausted == Exhausted::Refuse => {
            Err(refusal::error(&refused, arrival.shard.snapshot().settings.budget_status))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    if exchange.due.take().is_some() {
        return Ok(Flow::Next);
    }
    let shard = exchange.shard.clone();
    if !std::mem::replace(&mut exchange.admitted, true) {
        exchange.admission.get_or_insert_with(|| Admission::new(shard.clone()));
        if shard.metrics.in_flight.get() > shard.bounds.requests {
            return Err(Error::new(
                Code::Overloaded,
                "The gateway has as many requests in flight as it may. Retry shortly.",
            )
            .retry_after(Duration::from_secs(1)));
        }
    }
    exchange.extra = extra(exchange);
    if let Some(blocked) = exchange.extra.iter().find(|subject| subject.is_blocked()) {
        let text = format!("The {} of this request is blocked. Ask the gateway's operator.", blocked.kind.name());
        return Err(Error::new(Code::BlockedKey, text));
    }
    let limited = |key: &crate::state::keys::Key| key.subjects.iter().any(|subject| subject.limits(Metric::ARRIVAL));
    if exchange.extra.is_empty() && !exchange.key.as_ref().is_some_and(|key| limited(key)) {
        return Ok(Flow::Next);
    }
    let (rank, now) = (exhausted::rank(exchange), exchange.now());
    let Some(admission) = &mut exchange.admission else { return Ok(Flow::Next) };
    // A fallback asks again, because limits may depend on the model: what was taken for the former one is given back.
    admission.let_go();
    let model = exchange.model.and_then(|index| exchange.snapshot.models.get(index as usize));
    let ask = Ask {
        aim: Aim {
            model: model.map_or("", |model| &model.name),
            endpoint: exchange.endpoint.operation.name(),
            provider: "",
        },
        metrics: Metric::ARRIVAL,
        amounts: ONE,
        elastic: None,
        now,
        rank,
    };
    let mut told = Told { quotas: exchange.quotas, ..Told::default() };
    let taken = Hold::take(exchange.key.as_ref(), exchange.extra.clone(), &ask, &mut told);
    exchange.quotas = told.quotas;
    match taken {
        Ok(hold) => admission.holds(hold),
        Err(refused) if share::may_help(exchange, &refused) => return Ok(Flow::Wait(Wait::Share)),
        Err(refused) => return exhausted::instead(exchange, &refused),
    }
    let turn = exchange.turn.take();
    announce(exchange, told.passed);
    if let Some(pace) = told.pace {
        let due = Instant::now() + pace;
        exchange.due = Some(turn.map_or(due, |turn| due.min(turn.until())));
        return Ok(Flow::Wait(Wait::Turn));
    }
    Ok(Flow::Next)
}

/// Tells of soft limits that were passed.
pub fn announce(exchange: &Exchange, passed: Vec<Passed>) {
    for passed in passed {
        let message = refusal::passed(&passed);
        exchange.shard.shared.events.push(Event {
            kind: "soft_limit",
            level: "warning",
            message,
            request_id: Some(exchange.request_id.to_string()),
            ..Event::default()
        });
    }
}

/// Subjects beyond the key's own: the customer and tags it names, the model and endpoint it asks for.
fn extra(exchange: &mut Exchange) -> Extra {
    let subjects = exchange.shard.shared.state.subjects.clone();
    let mut extra = Extra::new();
    if subjects.has(Kind::Customer) {
        let customer = customer_id(exchange).and_then(|id| subjects.find(Kind::Customer, &id));
        exchange.customer = customer.as_ref().map_or(0, |customer| customer.ledger_id());
        extra.extend(customer);
    }
    if subjects.has(Kind::Tag) {
        exchange.tags = tags::of(exchange);
        let ids = exchange.tags.iter().map(|tag| own(exchange, tag.to_string()));
        extra.extend(ids.filter_map(|id| subjects.find(Kind::Tag, &id)));
    }
    if subjects.has_scopes() {
        let model = exchange.model().map_or("", |model| &model.name);
        let endpoint = exchange.endpoint.operation.name();
        subjects.scopes(&[(Kind::Global, ""), (Kind::Model, model), (Kind::Endpoint, endpoint)], &mut extra);
        if let Some(wildcard) = exchange.model().and_then(|model| model.wildcard.as_deref()) {
            subjects.scopes(&[(Kind::Model, wildcard)], &mut extra);
        }
    }
    if exchange.snapshot.policies.sessions
        && let Some(key) = exchange.key.as_ref()
        && let Some(id) = sessions::own(&key.id, &exchange.headers)
    {
        extra.extend(exchange.shard.shared.state.sessions.of(&id, monotonic_ns()));
    }
    let own = exchange.key.iter().flat_map(|key| &key.subjects);
    if own.chain(&extra).any(|subject| subject.limits(Metric::PARTED)) {
        let mut found = Extra::new();
        let own = exchange.key.iter().flat_map(|key| &key.subjects);
        parts::add(exchange, own.chain(&extra), &mut found);
        extra.append(&mut found);
    }
    // Nobody pays twice.
    if let Some(key) = exchange.key.as_ref().filter(|_| !extra.is_empty()) {
        extra.retain(|one| !key.subjects.iter().any(|known| Arc::ptr_eq(known, one)));
    }
    extra
}

/// The id of a customer or tag: names are an organization's own, so that no tenant spends another's.
fn own(exchange: &Exchange, name: String) -> String {
    let mut subjects = exchange.key.iter().flat_map(|key| &key.subjects);
    match subjects.find(|subject| subject.kind == Kind::Organization) {
        Some(organization) => format!("{}/{name}", organization.id),
        None => name,
    }
}

/// The id of the end user this request is for, whether he is known or not.
pub fn customer_id(exchange: &Exchange) -> Option<String> {
    customer(exchange).map(|name| own(exchange, name))
}

/// The end user this request is for: LiteLLM's headers, OpenAI's `user`, Anthropic's `metadata.user_id`.
fn customer(exchange: &Exchange) -> Option<String> {
    let text = |name: &HeaderName| exchange.headers.get(name)?.to_str().ok().map(str::to_string);
    if let Some(id) = CUSTOMER_HEADERS.iter().find_map(text) {
        return Some(id);
    }
    let call = &exchange.call;
    if let Some(user) = call.user.filter(|user| user.kind == Json::String) {
        return json::string(&call.body, user).map(std::borrow::Cow::into_owned);
    }
    let metadata = call.metadata.filter(|metadata| metadata.kind == Json::Object)?;
    let found = scan_value_object(&call.body, metadata, &["user_id"]).ok()?.fields[0]?;
    json::string(&call.body, found).map(std::borrow::Cow::into_owned)
}
