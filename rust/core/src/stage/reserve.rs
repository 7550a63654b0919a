//! What the request may use at most, set aside before anything is sent: tokens and spend of everybody it draws on, and the
//! limits of the deployment it is about to be sent to. All of them have room or none is touched.
//!
//! The reservation goes into the attempt and is settled with it. The next attempt, at another deployment with another
//! price, makes its own. Should the settlement be lost, the ledger's row is priced at what was reserved.

use std::sync::Arc;

use memchr::memmem;

use super::admit::announce;
use super::{Flow, Wait, exhausted, parts, share, units};
use crate::dialect;
use crate::endpoint::{Dialect, Operation};
use crate::error::Result;
use crate::exchange::{Counted, Exchange};
use crate::hold::{Extra, Hold};
use crate::kernel::cost::{Usage, cost};
use crate::kernel::price::{Price, Service};
use crate::kernel::tokens::Encoding;
use crate::snapshot::Deployment;
use crate::state::draw::{Ask, Refused, Told};
use crate::state::keys::Key;
use crate::state::line::Rank;
use crate::state::rules::{Amounts, Metric, Now};
use crate::state::scope::Aim;
use crate::state::subjects::{Kind, Subject};
use crate::wire::json::scan_object;

/// What one attempt has set aside.
pub struct Reservation {
    pub deployment: u32,
    pub hold: Hold,
    /// The most it may cost, pico-USD.
    pub pico: i64,
    /// Tokens of the request, estimated.
    pub input: u32,
}

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    exchange.reservation = None;
    if let Some(index) = exchange.candidates.first().copied() {
        match reserve(exchange, index) {
            Ok(reservation) => exchange.reservation = Some(reservation),
            Err(refused) if share::may_help(exchange, &refused) => return Ok(Flow::Wait(Wait::Share)),
            // Another deployment may have room: the attempt stage asks them in turn.
            Err(refused) if is_place(&refused) => {}
            Err(refused) if may_fit(exchange, index, &refused) => return Ok(Flow::Wait(Wait::Count(index))),
            Err(refused) => return exhausted::instead(exchange, &refused),
        }
        exchange.turn = None;
    }
    Ok(Flow::Next)
}

/// The reservation for an attempt at a deployment: the one that was made, or another.
///
/// # Errors
/// The limit that refuses.
pub async fn take(exchange: &mut Exchange, index: u32) -> Result<Reservation, Box<Refused>> {
    let made = exchange.reservation.take().filter(|reservation| reservation.deployment == index);
    let reservation = match made {
        Some(made) => made,
        None => Box::pin(another(exchange, index)).await?,
    };
    // Nothing refuses the request any more: it counts, whatever becomes of it.
    if let Some(admission) = &mut exchange.admission {
        admission.keep();
    }
    Ok(reservation)
}

async fn another(exchange: &mut Exchange, index: u32) -> Result<Reservation, Box<Refused>> {
    loop {
        match reserve(exchange, index) {
            Err(refused) if share::may_help(exchange, &refused) => share::run(exchange).await,
            other => return other,
        }
    }
}

/// Whether the limit is the deployment's, so that another one may do.
pub fn is_place(refused: &Refused) -> bool {
    refused.placed
}

fn reserve(exchange: &mut Exchange, index: u32) -> Result<Reservation, Box<Refused>> {
    let snapshot = exchange.snapshot.clone();
    let Some(deployment) = snapshot.deployments.get(index as usize) else {
        return Ok(Reservation { deployment: index, hold: Hold::default(), pico: 0, input: exchange.call.est_input });
    };
    let (input, margin) = input(exchange, deployment);
    let (output, elastic) = output(exchange, deployment);
    let places = places(exchange, deployment);
    let terms = Terms {
        payers: exchange.extra.iter().chain(&places).cloned().collect(),
        placed: !places.is_empty(),
        aim: aim(exchange, deployment),
        price: deployment.price.as_deref(),
        input: margin,
        output,
        units: Usage {
            service: urgency(exchange, deployment),
            ..paid_by_token(units::asked(exchange), deployment.price.as_deref())
        },
        elastic,
        now: exchange.now(),
        rank: exhausted::rank(exchange),
    };
    let mut told = Told { quotas: exchange.quotas, ..Told::default() };
    let taken = terms.take(exchange.key.as_ref(), &mut told);
    exchange.quotas = told.quotas;
    if !told.passed.is_empty() {
        announce(exchange, told.passed);
    }
    let (hold, pico) = taken?;
    Ok(Reservation { deployment: index, hold, pico, input })
}

/// Tokens of the request, and what to set aside for them.
fn input(exchange: &Exchange, deployment: &Deployment) -> (u32, u64) {
    if let Some(Counted::Exactly(encoding, tokens)) = exchange.call.counted
        && exact_encoding(exchange, deployment) == Some(encoding)
    {
        return (tokens, u64::from(tokens));
    }
    let input = deployment.state.tokens.estimate(exchange.call.content_bytes);
    // Estimates are as often too low as too high; a reservation should seldom be too low.
    (input, u64::from(input) + u64::from(input / 8))
}

/// What the tokens of this request to this deployment can be counted with.
pub fn exact_encoding(exchange: &Exchange, deployment: &Deployment) -> Option<Encoding> {
    let counts = matches!(
        exchange.endpoint.operation,
        Operation::Chat | Operation::Completions | Operation::Embeddings | Operation::Fim
    );
    Some(Encoding::of(&deployment.model)).filter(|encoding| counts && *encoding != Encoding::Estimate)
}

/// Whether what was refused by its estimated size is close enough to the limit to fit when it is counted.
fn may_fit(exchange: &Exchange, index: u32, refused: &Refused) -> bool {
    let Some(deployment) = exchange.deployment(index).filter(|_| exchange.call.counted.is_none()) else { return false };
    if refused.rule.row.metric.bit() & Metric::USAGE == 0 || exact_encoding(exchange, deployment).is_none() {
        return false;
    }
    let (input, margin) = input(exchange, deployment);
    // An estimate is seldom off by more than half.
    let slack = margin - u64::from(input / 2);
    let slack = match refused.rule.row.metric {
        Metric::OutputTokens => return false,
        Metric::Spend => {
            let usage = Usage { input: slack, ..Usage::default() };
            let price = deployment.price.as_deref().and_then(|price| cost(price, &usage)).unwrap_or(0);
            u64::try_from(price).unwrap_or(0)
        }
        _ => slack,
    };
    refused.asked.saturating_sub(slack) <= refused.refusal.remaining
}

/// The service that is asked for, where it has prices of its own that may be higher. Where a provider has no room for it,
/// the standard is served: cheaper services are set aside for as that.
fn urgency(exchange: &Exchange, deployment: &Deployment) -> Service {
    let dear = [Service::Priority, Service::Ultrafast];
    let priced = |service: Service| deployment.price.as_deref().is_some_and(|price| price.has(service));
    if !dear.into_iter().any(priced) {
        return Service::Standard;
    }
    // What the deployment asks for stands over what the caller does.
    let asked = match Service::parse(&deployment.service_tier) {
        Service::Standard => asked_service(exchange),
        own => own,
    };
    if dear.contains(&asked) { asked } else { Service::Standard }
}

fn asked_service(exchange: &Exchange) -> Service {
    let (body, dialect) = (&exchange.call.body, exchange.endpoint.dialect);
    let (common, google) = ("service_tier", "serviceTier");
    let names = match dialect {
        Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic | Dialect::Cohere => &[common][..],
        Dialect::Bedrock => &[google],
        // Either name, as for all members.
        Dialect::Gemini => &[common, google],
    };
    // Hardly anybody says so.
    if exchange.call.root.is_none() || !names.iter().any(|name| memmem::find(body, name.as_bytes()).is_some()) {
        return Service::Standard;
    }
    let Ok(scan) = scan_object(body, &[common, google]) else { return Service::Standard };
    dialect::service(dialect, body, scan.fields.into_iter().flatten().next())
}

/// Pictures have tokens only where these cost something.
fn paid_by_token(units: Usage, price: Option<&Price>) -> Usage {
    let tokens = Usage { image_output: units.image_output, ..Usage::default() };
    let bare = price.and_then(|price| cost(price, &Usage::default()));
    if price.and_then(|price| cost(price, &tokens)) == bare { Usage { image_output: 0, ..units } } else { units }
}

/// What is set aside, and with whom.
pub struct Terms<'a> {
    /// Who pays besides the key.
    pub payers: Extra,
    /// The deployment or its provider is among them.
    pub placed: bool,
    pub aim: Aim<'a>,
    pub price: Option<&'a Price>,
    /// Tokens, with a margin where they are an estimate.
    pub input: u64,
    pub output: u64,
    /// What is not text.
    pub units: Usage,
    /// The output is an assumption.
    pub elastic: bool,
    pub now: Now,
    pub rank: Rank,
}

impl Terms<'_> {
    /// What is asked for besides the assumed length of the answer.
    fn known(&self) -> Amounts {
        let usage = Usage { input: self.input, ..self.units };
        let pico = self.price.and_then(|price| cost(price, &usage)).unwrap_or(0);
        let output = usage.answer();
        [1, 1, self.input, output, self.input.saturating_add(output), u64::try_from(pico).unwrap_or(0)]
    }

    /// The hold, and the most it may cost in pico-USD.
    ///
    /// # Errors
    /// The limit that refuses.
    pub fn take(self, key: Option<&Arc<Key>>, told: &mut Told) -> Result<(Hold, i64), Box<Refused>> {
        let usage = Usage { input: self.input, output: self.output, ..self.units };
        let pico = self.price.and_then(|price| cost(price, &usage)).unwrap_or(0);
        let needed = |subject: &Arc<Subject>| subject.limits(Metric::USAGE | Metric::PLACED);
        let limited =
            self.placed || self.payers.iter().any(needed) || key.is_some_and(|key| key.subjects.iter().any(needed));
        if !limited {
            return Ok((Hold::nothing(key.cloned(), self.payers), pico));
        }
        let spend = u64::try_from(pico).unwrap_or(0);
        let output = usage.answer();
        let amounts: Amounts = [1, 1, self.input, output, self.input.saturating_add(output), spend];
        let elastic = self.elastic.then(|| self.known());
        let ask = Ask {
            aim: self.aim,
            metrics: Metric::USAGE | Metric::PLACED,
            amounts,
            elastic,
            now: self.now,
            rank: self.rank,
        };
        Ok((Hold::take(key, self.payers, &ask, told)?, pico))
    }
}

fn aim<'a>(exchange: &'a Exchange, deployment: &'a Deployment) -> Aim<'a> {
    Aim {
        model: exchange.model().map_or("", |model| &model.name),
        endpoint: exchange.endpoint.operation.name(),
        provider: &deployment.provider,
    }
}

/// Most tokens the answer may have, and whether that is an assumption because the caller gave no maximum.
pub fn output(exchange: &Exchange, deployment: &Deployment) -> (u64, bool) {
    let call = &exchange.call;
    if !exchange.endpoint.operation.generates() {
        return (call.max_output.unwrap_or(0), false);
    }
    let known = Some(u64::from(deployment.max_output)).filter(|most| *most > 0).unwrap_or(u64::MAX);
    let assumed = u64::from(exchange.snapshot.settings.assumed_output);
    let one = call.max_output.unwrap_or(assumed).min(known);
    (one.saturating_mul(call.choices), call.max_output.is_none())
}

/// The deployment and its provider, where they have limits.
pub fn places(exchange: &Exchange, deployment: &Deployment) -> Extra {
    let mut found = Extra::new();
    let subjects = &exchange.shard.shared.state.subjects;
    if subjects.has_scopes() {
        let names = [(Kind::Provider, &*deployment.provider), (Kind::Deployment, &*deployment.id)];
        subjects.scopes(&names, &mut found);
        if found.iter().any(|subject| subject.limits(Metric::PARTED)) {
            let mut more = Extra::new();
            parts::add(exchange, found.iter(), &mut more);
            found.append(&mut more);
        }
    }
    found
}
