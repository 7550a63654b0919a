//! What must happen however a request ends: places given back, attempts settled, spend counted.
//!
//! Both guards act when dropped, so a refusal, a failover, a client that leaves and a panic need no code of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use crate::progress::Progress;

use crate::bill::Bill;
use crate::clock::ns_at;
use crate::hold::Hold;
use crate::kernel::breaker::{self, Sign};
use crate::kernel::cost::{Usage, cost};
use crate::kernel::limiter::{self, Class};
use crate::kernel::price::{Price, Service};
use crate::metrics::Outcome;
use crate::passive_health::{self, sign};
use crate::shard::Shard;
use crate::snapshot::Measures;
use crate::spool::{Settle, Slot, Source};
use crate::state::DeploymentState;
use crate::state::credentials::PooledKey;
use crate::state::deployments::InFlight;

/// Places a request holds while it is in flight.
pub struct Admission {
    shard: Arc<Shard>,
    body_bytes: i64,
    hold: Hold,
}

impl Admission {
    /// Counts a request in; bounds are the caller's to check.
    pub fn new(shard: Arc<Shard>) -> Self {
        shard.metrics.in_flight.add(1);
        Admission { shard, body_bytes: 0, hold: Hold::default() }
    }

    /// Counts body bytes in; false when this thread's part of the budget would be exceeded.
    pub fn hold_body(&mut self, bytes: u64) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let total = self.shard.metrics.body_bytes.add(bytes);
        self.body_bytes += bytes;
        total <= self.shard.bounds.body_bytes
    }

    /// Gives back what was taken from limits before, the request itself included: it is about to be taken again.
    pub fn let_go(&mut self) {
        std::mem::take(&mut self.hold).give_back();
    }

    /// What was taken from limits, given back when the request ends.
    pub fn holds(&mut self, hold: Hold) {
        self.hold = hold;
    }

    /// The request was not refused: it counts, however it ends.
    pub fn keep(&mut self) {
        self.hold.keep();
    }

    /// The body has been sent: its memory is free again.
    pub fn release_body(&mut self) {
        self.shard.metrics.body_bytes.add(-std::mem::take(&mut self.body_bytes));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shard.metrics.in_flight.add(-1);
        self.release_body();
    }
}

/// What an attempt is made of when it starts.
pub struct AttemptStart {
    pub slot: Slot,
    pub shard: Arc<Shard>,
    /// What it has reserved, and who pays.
    pub hold: Hold,
    pub deployment: Arc<DeploymentState>,
    /// Its place at the deployment, unless a session holds one.
    pub place: Option<InFlight>,
    pub price: Option<Arc<Price>>,
    pub breaker: breaker::Settings,
    pub measures: Measures,
    pub overload: limiter::Settings,
    pub stream: bool,
    pub est_input: u32,
    /// Bytes of the content the estimate was made of.
    pub content_bytes: u32,
    /// True once another attempt at the same request has answered.
    pub race: Option<Arc<AtomicBool>>,
    /// The one of several credentials that it is made with.
    pub key: Option<PooledKey>,
    pub now: Instant,
}

/// One attempt that may have reached a provider. Settled exactly once: by [`Attempt::close`], or as an estimate when
/// dropped.
pub struct Attempt {
    slot: Option<Slot>,
    shard: Arc<Shard>,
    hold: Hold,
    deployment: Arc<DeploymentState>,
    place: Option<InFlight>,
    price: Option<Arc<Price>>,
    breaker: breaker::Settings,
    measures: Measures,
    overload: limiter::Settings,
    stream: bool,
    est_input: u32,
    content_bytes: u32,
    race: Option<Arc<AtomicBool>>,
    key: Option<PooledKey>,
    started: Instant,
    first_byte: Option<Duration>,
    /// Content relayed so far, for the estimate of a stream that is cut short.
    pub progress: Progress,
    /// Who wants to know what it comes to.
    pub bill: Option<Arc<Bill>>,
    /// How urgently the provider works, where the head of its answer tells.
    pub service: Service,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// The provider said what it used.
    Reported { status: u16, usage: Usage },
    /// The provider refused or failed by status: nothing was generated.
    Refused { status: u16, outcome: Outcome, wait: Option<Duration> },
    /// Something may have been generated, nobody said how much.
    Estimated { status: u16, outcome: Outcome },
    /// Nothing but the request can have been seen by the provider.
    Unanswered { outcome: Outcome },
}

impl Ending {
    /// What the provider said it used.
    pub fn usage(&self) -> Option<&Usage> {
        match self {
            Ending::Reported { usage, .. } => Some(usage),
            Ending::Refused { .. } | Ending::Estimated { .. } | Ending::Unanswered { .. } => None,
        }
    }
}

impl Attempt {
    pub fn new(start: AttemptStart) -> Self {
        Attempt {
            slot: Some(start.slot),
            shard: start.shard,
            hold: start.hold,
            deployment: start.deployment,
            place: start.place,
            price: start.price,
            breaker: start.breaker,
            measures: start.measures,
            overload: start.overload,
            stream: start.stream,
            est_input: start.est_input,
            content_bytes: start.content_bytes,
            race: start.race,
            key: start.key,
            started: start.now,
            first_byte: None,
            progress: Progress::default(),
            bill: None,
            service: Service::Standard,
        }
    }

    /// The provider began to answer.
    pub fn answered(&mut self, status: u16, now: Instant) {
        self.progress.answered = true;
        self.progress.status = status;
        let wait = now - self.started;
        self.first_byte = Some(wait);
        self.deployment.metrics.of(self.shard.index).first_byte(wait);
        if (200..300).contains(&status) {
            if self.overload.most > 0 {
                let class = if self.stream { Class::Stream } else { Class::Whole };
                let ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                self.deployment.limiter.answered(class, ns, ns_at(now), &self.overload);
            }
            if self.measures.latency {
                self.deployment.first_byte.record(wait.as_secs_f64() * 1e6, ns_at(now));
            }
        }
    }

    /// Its answer has begun, and as it should: the deployment is well.
    pub fn begun(&self, now: Instant) {
        self.tell(Sign::Success, now);
    }

    /// What is left of a sign for the deployment, where it has several credentials.
    fn heard(&self, sign: Sign, now: Instant) -> Option<Sign> {
        let Some(key) = &self.key else { return Some(sign) };
        let heard = key.heard(sign, ns_at(now), &self.breaker);
        if matches!(sign, Sign::RateLimited { .. } | Sign::Credential) {
            passive_health::key_rests(&self.shard.shared, &self.deployment, key);
        }
        heard
    }

    fn tell(&self, sign: Sign, now: Instant) {
        passive_health::tell(&self.shard, &self.deployment, &self.breaker, sign, now);
    }

    /// Gives its place at the deployment to what goes on after it.
    pub fn take_place(&mut self) -> Option<InFlight> {
        self.place.take()
    }

    /// Nothing was sent: no row, no cost.
    pub fn release(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.release();
        }
    }

    /// Settles. Returns the cost in pico-USD.
    pub fn close(&mut self, ending: Ending, overhead: Duration, now: Instant) -> i64 {
        let Some(slot) = self.slot.take() else { return 0 };
        let (source, status, usage, outcome) = match ending {
            Ending::Reported { status, usage } => (Source::Reported, status, usage, Outcome::Success),
            Ending::Refused { status, outcome, .. } => (Source::Reported, status, Usage::default(), outcome),
            Ending::Estimated { status, outcome } => (Source::Estimated, status, self.estimate(), outcome),
            Ending::Unanswered { outcome } => (Source::Estimated, 0, self.estimate(), outcome),
        };
        // The row's counts have 32 bits; the cost is that of what the row says.
        let mut usage = narrowed(usage);
        if usage.service == Service::Standard {
            usage.service = self.service;
        }
        // Per-request prices are owed for answers, not for refusals.
        let billed = !matches!(ending, Ending::Refused { .. });
        let cost = self.price.as_deref().filter(|_| billed).map_or(0, |price| cost(price, &usage).unwrap_or(i64::MAX));
        if let Some(sign) = sign(&ending).and_then(|sign| self.heard(sign, now)) {
            self.tell(sign, now);
        }
        let latency = now - self.started;
        let strained = matches!(
            ending,
            Ending::Refused { status: 503 | 529, .. } | Ending::Unanswered { outcome: Outcome::Timeout }
        );
        if self.overload.most > 0 && strained {
            self.deployment.limiter.failed(ns_at(now), &self.overload);
        }
        if self.measures != Measures::default() {
            self.measure(outcome, &usage, latency, now);
        }
        slot.settle(&Settle {
            source,
            class: outcome as u8,
            status,
            cost,
            duration_us: micros(latency),
            ttft_us: self.first_byte.map_or(0, micros),
            overhead_us: micros(overhead),
            ..figures(&usage, billed)
        });
        let (input, output) = totals(&usage);
        let used = [1, 0, input, output, input + output, u64::try_from(cost).unwrap_or(0)];
        self.hold.tell(cost, &used);
        self.hold.bill(cost, &used);
        if let Some(bill) = &self.bill {
            bill.put(input, output, cost);
        }
        if source == Source::Reported && outcome == Outcome::Success {
            self.deployment.tokens.learn(self.content_bytes, input);
        }
        self.deployment.metrics.of(self.shard.index).record(outcome, &usage, cost, latency);
        cost
    }

    /// What strategies go by.
    fn measure(&self, outcome: Outcome, usage: &Usage, latency: Duration, now: Instant) {
        let now = ns_at(now);
        let output = usage.output + usage.audio_output;
        if self.measures.usage {
            self.deployment.quota.request(now);
            self.deployment.quota.tokens(usage.input + usage.audio_input + output, now);
        }
        if self.measures.latency && matches!(outcome, Outcome::Timeout | Outcome::Superseded) {
            self.deployment.first_byte.record(latency.as_secs_f64() * 1e6, now);
            self.deployment.per_token.record(latency.as_secs_f64() * 1e9, now);
        } else if self.measures.latency && output > 0 && outcome == Outcome::Success {
            self.deployment.per_token.record(latency.as_secs_f64() * 1e9 / output as f64, now);
        }
    }

    fn estimate(&self) -> Usage {
        let output = self.progress.output();
        match self.progress.told {
            Some(told) => Usage { output: told.output.max(output), ..told },
            None => Usage { input: u64::from(self.est_input), output, ..Usage::default() },
        }
    }

    pub fn deployment(&self) -> &Arc<DeploymentState> {
        &self.deployment
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.slot.is_some() {
            let lost = self.race.as_ref().is_some_and(|race| race.load(Ordering::Relaxed));
            let outcome = if lost && !self.progress.answered { Outcome::Superseded } else { Outcome::ClientGone };
            let ending = Ending::Estimated { status: self.progress.status, outcome };
            self.close(ending, Duration::ZERO, Instant::now());
        }
    }
}

/// What was used, as a row of the ledger tells it.
pub fn figures(usage: &Usage, billed: bool) -> Settle {
    Settle {
        input: narrow(usage.input.saturating_add(usage.image_input)),
        output: narrow(usage.output.saturating_add(usage.image_output)),
        cache_read: narrow(usage.cached()),
        cache_write: narrow(usage.written()),
        reasoning: narrow(usage.reasoning),
        audio_input: narrow(usage.audio_input),
        audio_output: narrow(usage.audio_output),
        units: units(usage).max(u32::from(billed)),
        ..Settle::default()
    }
}

fn narrowed(usage: Usage) -> Usage {
    let cap = |count: u64| count.min(u64::from(u32::MAX));
    Usage {
        input: cap(usage.input),
        output: cap(usage.output),
        cache_read: cap(usage.cache_read),
        cache_write: cap(usage.cache_write),
        audio_input: cap(usage.audio_input),
        audio_output: cap(usage.audio_output),
        reasoning: cap(usage.reasoning),
        cache_write_long: cap(usage.cache_write_long),
        cache_read_audio: cap(usage.cache_read_audio),
        image_input: cap(usage.image_input),
        image_output: cap(usage.image_output),
        cache_read_image: cap(usage.cache_read_image),
        ..usage
    }
}

/// All tokens in and all out, as limits count them.
fn totals(usage: &Usage) -> (u64, u64) {
    (usage.prompt(), usage.answer())
}

/// What is paid by other units than tokens; an operation has one of them.
fn units(usage: &Usage) -> u32 {
    usage.images.saturating_add(usage.seconds).saturating_add(usage.characters)
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
