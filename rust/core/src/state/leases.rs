//! Shares of limits that several nodes have in common: who needs more, and what the coordinator decided.
//!
//! Python asks the coordinator. A request whose share does not suffice puts its limit on the list of calls and waits a
//! little; nobody else waits for anything, and without a coordinator this is not there at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::rules::{Metric, Now, WindowRow};
use super::subjects::{Kind, Subjects};
use crate::clock::wall_us;
use crate::event::Wake;
use crate::kernel::lease::Decision;

/// A waiting request looks again after this, should it have missed the news.
const GLANCE: Duration = Duration::from_millis(20);

/// Which of the reports tell of a lease that rests: one of so many.
const RESTING: u64 = 128;

/// Where a lease is: subject and number of the counter.
pub(super) type Place = (Kind, Arc<str>, u64);

/// What a node says of one of its leases.
#[derive(Debug, Serialize)]
pub struct Standing {
    pub kind: Kind,
    pub id: String,
    pub serial: u64,
    pub metric: Metric,
    pub window: Option<WindowRow>,
    pub models: Option<Vec<String>>,
    pub endpoints: Option<Vec<String>>,
    pub providers: Option<Vec<String>>,
    pub max: u64,
    pub period: u64,
    pub taken: u64,
    pub granted: u64,
    pub wanted: u64,
    /// The smallest of the requests that wait.
    pub least: u64,
    pub idle_ms: u64,
}

/// Which leases to tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that changed since the last report, and those of which something is left.
    Changed,
    All,
    /// All, to a coordinator that knows nothing: of a sliding window what counts now.
    Anew,
}

/// What a lease does after it was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Active,
    /// It is told of less often.
    Rests,
    /// There is nothing to tell any more.
    Over,
}

/// A lease that is reported.
struct Held {
    kind: Kind,
    id: Arc<str>,
    rests: bool,
}

/// What became of a call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub kind: Kind,
    pub id: String,
    pub serial: u64,
    pub period: u64,
    pub granted: u64,
    pub low: u64,
    /// Set: the limit is reached over all nodes; ask again after so many ms, more may come after so many.
    pub exhausted_ms: Option<(u64, u64)>,
    /// What others might still give, then; less than anybody here asked for.
    pub elsewhere: u64,
}

impl Held {
    fn active(kind: Kind, id: Arc<str>) -> Held {
        Held { kind, id, rests: false }
    }
}

/// All leases of this node.
pub struct Leases {
    calls: Mutex<Vec<Place>>,
    held: Mutex<HashMap<u64, Held>>,
    reports: AtomicU64,
    wake: Wake,
    changed: Notify,
    online: AtomicBool,
    valid_ns: AtomicU64,
}

impl Leases {
    /// # Errors
    /// The system has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Leases {
            calls: Mutex::default(),
            held: Mutex::default(),
            reports: AtomicU64::new(0),
            wake: Wake::new()?,
            changed: Notify::new(),
            online: AtomicBool::new(false),
            valid_ns: AtomicU64::new(0),
        })
    }

    /// Readable while there are calls.
    pub fn fd(&self) -> i32 {
        self.wake.fd()
    }

    pub(super) fn call(&self, place: Place) {
        let mut calls = self.calls.lock();
        calls.push(place);
        if calls.len() == 1 {
            self.wake.signal();
        }
    }

    /// Whether the coordinator can be asked.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    /// Whether leases hold: long after the coordinator was heard last, others have them.
    pub(super) fn are_valid(&self, now: Now) -> bool {
        now.ns < self.valid_ns.load(Ordering::Relaxed)
    }

    /// The coordinator was heard (leases hold for so long from now on), or was not.
    pub fn heard(&self, online: bool, valid: Option<Duration>) {
        if let Some(valid) = valid {
            let until = clock().ns.saturating_add(u64::try_from(valid.as_nanos()).unwrap_or(u64::MAX));
            self.valid_ns.store(until, Ordering::Relaxed);
        }
        if self.online.swap(online, Ordering::Relaxed) && !online {
            self.changed.notify_waiters();
        }
    }

    /// Waits for news, at most until `until`.
    pub async fn news(&self, until: Instant) {
        let glance = GLANCE.min(until.saturating_duration_since(Instant::now()));
        let _either = tokio::time::timeout(glance, self.changed.notified()).await;
    }

    /// What the coordinator is to be asked for.
    pub fn take_calls(&self, subjects: &Subjects) -> Vec<Standing> {
        let calls = {
            let mut calls = self.calls.lock();
            // Under the lock: a call after it finds an empty list and signals anew.
            self.wake.drain();
            std::mem::take(&mut *calls)
        };
        let now = clock();
        let places = calls.into_iter();
        let found = places.filter_map(|(kind, id, serial)| subjects.cell(kind, &id).lease_call(serial, now));
        let found: Vec<Standing> = found.collect();
        let mut held = self.held.lock();
        held.extend(found.iter().map(|call| (call.serial, Held::active(call.kind, Arc::from(&*call.id)))));
        found
    }

    /// Leases as they stand.
    pub fn report(&self, subjects: &Subjects, which: Which) -> Vec<Standing> {
        let now = clock();
        let turn = self.reports.fetch_add(1, Ordering::Relaxed);
        let due = |serial: u64, held: &Held| {
            which != Which::Changed || !held.rests || (serial ^ turn).is_multiple_of(RESTING)
        };
        let held: Vec<(u64, Kind, Arc<str>)> = self
            .held
            .lock()
            .iter()
            .filter(|(serial, held)| due(**serial, held))
            .map(|(serial, held)| (*serial, held.kind, held.id.clone()))
            .collect();
        let mut found = Vec::new();
        let mut after = Vec::with_capacity(held.len());
        for (serial, kind, id) in held {
            let (standing, next) =
                subjects.cell(kind, &id).lease_report(serial, now, which).unwrap_or((None, After::Over));
            found.extend(standing);
            after.push((serial, next));
        }
        let mut held = self.held.lock();
        for (serial, next) in after {
            if next == After::Over {
                held.remove(&serial);
            } else if let Some(held) = held.get_mut(&serial) {
                held.rests = next == After::Rests;
            }
        }
        found
    }

    /// Puts decisions in force and wakes who waits for them.
    pub fn grant(&self, subjects: &Subjects, grants: &[Grant]) {
        let now = clock();
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        for grant in grants {
            let decision = Decision {
                period: grant.period,
                granted: grant.granted,
                low: grant.low,
                exhausted_ns: grant.exhausted_ms.map(|(again, renewed)| (ns(again), ns(renewed))),
                elsewhere: grant.elsewhere,
            };
            let subject = subjects.cell(grant.kind, &grant.id);
            if subject.lease_decide(grant.serial, &decision, now) {
                self.held.lock().insert(grant.serial, Held::active(subject.kind, subject.id.clone()));
            }
        }
        self.changed.notify_waiters();
    }

    /// Gives up all but `keep` of what is left of leases; how they stand then.
    pub fn shrink(&self, subjects: &Subjects, leases: &[(Kind, String, u64, u64)]) -> Vec<Standing> {
        let now = clock();
        let shrunk = leases
            .iter()
            .filter_map(|(kind, id, serial, keep)| subjects.cell(*kind, id).lease_shrink(*serial, *keep, now));
        shrunk.collect()
    }
}

fn clock() -> Now {
    Now::at(Instant::now(), wall_us())
}
