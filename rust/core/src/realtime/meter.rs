//! Money of a session: every response of the model is an attempt of its own, with its own reservation, its own row in the
//! ledger and its own refusal when a limit has no room or the key is not valid any more.
//!
//! The first reservation is made, as for any request, before the upgrade. A session without a response is one row without
//! tokens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::tap::Heard;
use crate::account::{Attempt, AttemptStart, Ending};
use crate::clock::wall_us;
use crate::connection::Connection;
use crate::error::{Code, Error, Result};
use crate::event::Event;
use crate::exchange::{Exchange, RequestId};
use crate::hold::Extra;
use crate::kernel::breaker;
use crate::kernel::cost::Usage;
use crate::kernel::limiter;
use crate::kernel::price::Price;
use crate::metrics::Outcome;
use crate::refusal;
use crate::shard::Shard;
use crate::snapshot::{Deployment, Measures};
use crate::spool::Intent;
use crate::stage::authorize::check_address;
use crate::stage::identify;
use crate::stage::reserve::{self, Terms};
use crate::state::DeploymentState;
use crate::state::deployments::InFlight;
use crate::state::draw::Told;
use crate::state::keys::Key;
use crate::state::line::Rank;
use crate::state::rules::Now;
use crate::state::scope::Aim;

/// The status of rows: the answer to the upgrade.
const SWITCHED: u16 = 101;

/// Who asked for the session, to be identified again.
struct Caller {
    headers: HeaderMap,
    query: Option<String>,
    connection: Arc<Connection>,
    client: IpAddr,
    key: Option<Arc<Key>>,
}

pub struct Meter {
    shard: Arc<Shard>,
    caller: Caller,
    model: Arc<str>,
    endpoint: &'static str,
    payers: Extra,
    placed: bool,
    output: (u64, bool),
    /// Tokens of the last prompt: the next one is hardly shorter.
    prompt: u64,
    intent: Intent,
    deployment: Arc<DeploymentState>,
    price: Option<Arc<Price>>,
    breaker: breaker::Settings,
    measures: Measures,
    budget_status: u16,
    overhead: Duration,
    /// The attempt of the response that comes, or of the first one that may.
    attempt: Option<Attempt>,
    /// A response is on its way.
    answering: bool,
    /// A response is over, and what it used is not told yet.
    owed: bool,
    _place: Option<InFlight>,
}

impl Meter {
    pub fn new(exchange: &Exchange, deployment: &Deployment, mut attempt: Attempt, intent: Intent) -> Self {
        let places = reserve::places(exchange, deployment);
        Meter {
            shard: exchange.shard.clone(),
            caller: Caller {
                headers: exchange.headers.clone(),
                query: exchange.query.clone(),
                connection: exchange.connection.clone(),
                client: exchange.client,
                key: exchange.key.clone(),
            },
            model: exchange.model().map_or_else(|| Arc::from(""), |model| model.name.clone()),
            endpoint: exchange.endpoint.operation.name(),
            placed: !places.is_empty(),
            payers: exchange.extra.iter().chain(&places).cloned().collect(),
            output: reserve::output(exchange, deployment),
            prompt: 0,
            intent,
            deployment: deployment.state.clone(),
            price: deployment.price.clone(),
            breaker: deployment.breaker,
            measures: deployment.measures,
            budget_status: exchange.snapshot.settings.budget_status,
            overhead: exchange.overhead(Instant::now()),
            _place: attempt.take_place(),
            attempt: Some(attempt),
            answering: false,
            owed: false,
        }
    }

    pub fn request_id(&self) -> String {
        RequestId(self.intent.request_id).to_string()
    }

    pub fn provider(&self) -> &str {
        &self.deployment.provider
    }

    /// A response is on its way.
    pub fn is_answering(&self) -> bool {
        self.answering
    }

    /// Takes note of an event of the provider.
    ///
    /// # Errors
    /// The response that begins is one too many: the session must end.
    pub fn hear(&mut self, heard: Heard) -> Result<()> {
        match heard {
            Heard::Nothing => {}
            Heard::Begun if self.answering => {}
            Heard::Begun => {
                self.answering = true;
                if std::mem::take(&mut self.owed) {
                    self.settle(None)?;
                }
                if self.attempt.is_none() {
                    self.begin()?;
                }
            }
            Heard::Text(bytes) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.progress.content(bytes);
                }
            }
            Heard::Turned => self.owed |= std::mem::take(&mut self.answering),
            Heard::Done(usage) => {
                self.answering = false;
                self.owed = false;
                if let Some(usage) = usage {
                    self.prompt = usage.prompt();
                }
                self.settle(usage)?;
            }
            Heard::Transcribed(usage) => {
                let answering = self.attempt.take().filter(|_| self.answering);
                self.settle(Some(usage))?;
                self.attempt = answering;
            }
        }
        Ok(())
    }

    /// Settles a response; the one that was not announced is an attempt all the same.
    fn settle(&mut self, usage: Option<Usage>) -> Result<()> {
        if self.attempt.is_none() {
            self.begin()?;
        }
        let Some(mut attempt) = self.attempt.take() else { return Ok(()) };
        let ending = match usage {
            Some(usage) => Ending::Reported { status: SWITCHED, usage },
            None => Ending::Estimated { status: SWITCHED, outcome: Outcome::Success },
        };
        attempt.close(ending, std::mem::take(&mut self.overhead), Instant::now());
        Ok(())
    }

    /// The key as it is now: it may have been blocked since, or be gone.
    fn key(&self) -> Result<Option<Arc<Key>>> {
        let caller = &self.caller;
        if caller.key.is_none() {
            return Ok(None);
        }
        let keys = &self.shard.shared.state.keys;
        let parent = caller.key.as_ref().and_then(|key| key.stands_for);
        let key = match parent {
            // A key for a while opens sessions; what goes on goes on as long as the one that it stands for.
            Some(digest) => keys.find(&digest).ok_or_else(|| Error::new(Code::InvalidKey, "The API key is gone."))?,
            None => identify::find(keys, &caller.headers, caller.query.as_deref(), &caller.connection)?,
        };
        identify::check(&key)?;
        if parent.is_none() {
            check_address(&key, caller.client)?;
        }
        if !key.may_use(&self.model) && caller.key.as_ref().is_some_and(|old| old.may_use(&self.model)) {
            let text = format!("This API key may not use the model '{}' any more.", self.model);
            return Err(Error::new(Code::ModelDenied, text));
        }
        Ok(Some(key))
    }

    /// Another attempt: reserved and recorded like the first.
    fn begin(&mut self) -> Result<()> {
        let key = self.key()?;
        let (now, wall) = (Instant::now(), wall_us());
        let terms = Terms {
            payers: self.payers.clone(),
            placed: self.placed,
            aim: Aim { model: &self.model, endpoint: self.endpoint, provider: &self.deployment.provider },
            price: self.price.as_deref(),
            input: self.prompt + self.prompt / 8,
            output: self.output.0,
            units: Usage::default(),
            elastic: self.output.1,
            now: Now::at(now, wall),
            rank: Rank::default(),
        };
        let mut told = Told::default();
        let (mut hold, pico) =
            terms.take(key.as_ref(), &mut told).map_err(|refused| refusal::error(&refused, self.budget_status))?;
        for passed in told.passed {
            let message =
                format!("{} passed its soft limit of {} {}", passed.who, passed.rule.row.max, passed.rule.words);
            let event = Event { kind: "soft_limit", level: "warning", message, ..Event::default() };
            self.shard.shared.events.push(event);
        }
        hold.keep();
        let est_input = u32::try_from(self.prompt).unwrap_or(u32::MAX);
        let attempt_no = self.intent.attempt_no.saturating_add(1);
        self.intent = Intent { at_us: wall, reserved_cost: pico, est_input, attempt_no, ..self.intent };
        let slot = self.shard.intent(&self.intent).map_err(|_| {
            Error::new(Code::LedgerUnavailable, "The record of spending cannot be written (disk full?).")
        })?;
        let mut attempt = Attempt::new(AttemptStart {
            slot,
            shard: self.shard.clone(),
            hold,
            deployment: self.deployment.clone(),
            place: None,
            price: self.price.clone(),
            breaker: self.breaker,
            measures: self.measures,
            // How fast it answers cannot be seen from here.
            overload: limiter::Settings::default(),
            stream: true,
            est_input,
            content_bytes: 0,
            race: None,
            key: None,
            now,
        });
        attempt.progress.answered = true;
        attempt.progress.status = SWITCHED;
        self.attempt = Some(attempt);
        Ok(())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Some(mut attempt) = self.attempt.take() else { return };
        // A response that was cut short settles as an estimate when it is dropped.
        if !self.answering && !self.owed {
            let ending = Ending::Reported { status: SWITCHED, usage: Usage::default() };
            attempt.close(ending, self.overhead, Instant::now());
        }
    }
}
