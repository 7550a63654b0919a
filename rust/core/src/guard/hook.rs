//! A guardrail's checks made for one request or answer, and what came of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::check::{Change, Check, Fault, Kind, Outcome, Scope, View};
use super::record::RuleCell;
use super::texts;
use super::{Action, Then};
use crate::clock::wall_us;
use crate::state::credentials::CredentialSlot;

/// Most checks of one guardrail.
const CHECKS: usize = 64;

/// When checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Before the request is sent, or its answer leaves.
    Before,
    /// While the provider answers; the answer waits for them.
    During,
    /// Behind; nobody waits for them, and they have no effect.
    Async,
}

#[derive(Debug)]
pub struct Hook {
    pub name: Arc<str>,
    pub input: bool,
    pub output: bool,
    pub action: Action,
    pub then: Then,
    pub shadow: bool,
    /// A check that cannot be made counts as failed.
    pub fails_closed: bool,
    pub run: Run,
    pub sequential: bool,
    pub scope: Scope,
    pub on_success: Option<Map<String, Value>>,
    pub on_fail: Option<Map<String, Value>>,
    pub checks: Vec<Check>,
    pub cell: Arc<RuleCell>,
    /// It came with a config object, whose callers read results and statuses.
    pub told: bool,
}

/// One check that was made.
pub struct Made {
    id: String,
    outcome: Outcome,
    passed: bool,
    fail_on_error: bool,
    ms: u128,
    at_us: i64,
}

/// A guardrail whose checks were made.
pub struct Ran {
    pub hook: Arc<Hook>,
    pub output: bool,
    pub passed: bool,
    pub change: Option<Change>,
    pub made: Vec<Made>,
    ms: u128,
    at_us: i64,
}

impl Hook {
    /// Whether somebody has to be waited for.
    pub fn waits(&self) -> bool {
        self.checks.iter().any(|check| check.enabled && check.waits())
    }

    /// Gives the identities of checks their slots.
    pub fn bind(&self, slot: impl Fn(&str) -> Arc<CredentialSlot>) {
        for check in &self.checks {
            if let Kind::Remote(remote) = &check.kind {
                remote.bind(&slot);
            }
        }
    }

    /// Reads the list of checks, and how they are made.
    ///
    /// # Errors
    /// Where in it, and what is wrong.
    pub fn read(mut self, told: &Map<String, Value>, guarded: bool) -> Result<Hook, Fault> {
        let Some(Value::Array(items)) = told.get("checks") else {
            return Err(("checks".into(), "expected a list of checks".into()));
        };
        if items.is_empty() || items.len() > CHECKS {
            return Err(("checks".into(), format!("expected 1 to {CHECKS} checks")));
        }
        for (at, item) in items.iter().enumerate() {
            let place = format!("checks[{at}]");
            let id = item.get("id").and_then(Value::as_str);
            let id = id.ok_or((format!("{place}.id"), "is missing".to_string()))?;
            let parameters = item.get("parameters").unwrap_or(&Value::Null);
            let check = Check::parse(id, parameters, guarded).map_err(|(inner, text)| {
                (if inner.is_empty() { format!("{place}.{id}") } else { format!("{place}.{id}.{inner}") }, text)
            })?;
            let id = item.get("name").and_then(Value::as_str).unwrap_or(id);
            let check = Check { id: id.to_string(), ..check };
            let enabled = item.get("is_enabled").and_then(Value::as_bool).unwrap_or(true);
            self.checks.push(Check { enabled, ..check });
        }
        let flag = |name: &str| told.get(name).and_then(Value::as_bool).unwrap_or(false);
        self.sequential = flag("sequential");
        self.run = match told.get("run").and_then(Value::as_str) {
            Some("during") => Run::During,
            Some("async") => Run::Async,
            _ if flag("async") => Run::Async,
            _ => Run::Before,
        };
        self.scope = match told.get("scope").and_then(Value::as_str) {
            Some("all") => Scope::All,
            Some("user") => Scope::User,
            Some("last") => Scope::Last,
            _ => self.scope,
        };
        let feedback = |name: &str| told.get(name)?.get("feedback")?.as_object().cloned();
        self.on_success = feedback("on_success").or_else(|| feedback("onSuccess"));
        self.on_fail = feedback("on_fail").or_else(|| feedback("onFail"));
        Ok(self)
    }
}

/// Makes the checks of a guardrail. `thread`: the I/O thread they are made on.
pub async fn run(hook: Arc<Hook>, view: &View, thread: usize) -> Ran {
    let (started, at_us) = (Instant::now(), wall_us());
    let checks: Vec<&Check> = hook.checks.iter().filter(|check| check.enabled).collect();
    let mut made = Vec::with_capacity(checks.len());
    let mut own: Option<View> = None;
    if hook.sequential {
        for check in checks {
            let seen = own.as_ref().unwrap_or(view);
            let one = made_of(&hook, check, seen, thread).await;
            if let Some(changed) = one.outcome.change.as_ref().and_then(|change| after(seen, change)) {
                own = Some(changed);
            }
            made.push(one);
        }
    } else if hook.waits() {
        let all = checks.iter().map(|check| made_of(&hook, check, view, thread));
        made = futures_util::future::join_all(all).await;
    } else {
        for check in checks {
            made.push(made_of(&hook, check, view, thread).await);
        }
    }
    let passed = made.iter().all(|one| one.passed);
    let change = match own {
        Some(view) => Some(Change::Document(view.document().to_vec())),
        None => merged(&mut made, view),
    };
    Ran { output: view.output, passed, change, made, ms: started.elapsed().as_millis(), at_us, hook }
}

async fn made_of(hook: &Hook, check: &Check, view: &View, thread: usize) -> Made {
    let (started, at_us) = (Instant::now(), wall_us());
    let outcome = check.made(view, hook.scope, thread).await;
    let passed = match &outcome.error {
        None => outcome.passed,
        Some(_) if outcome.empty => !check.fail_on_error,
        Some(_) => {
            hook.cell.errors.fetch_add(1, Ordering::Relaxed);
            !(check.fail_on_error || hook.fails_closed)
        }
    };
    let ms = started.elapsed().as_millis();
    Made { id: check.id.clone(), outcome, passed, fail_on_error: check.fail_on_error, ms, at_us }
}

/// What the next check sees.
fn after(view: &View, change: &Change) -> Option<View> {
    let document = document(view, change)?;
    let mut next = view.again();
    next.change_document(document);
    Some(next)
}

fn document(view: &View, change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Document(document) => Some(document.clone()),
        Change::Pieces(changes) => texts::replaced(view.document(), &view.pieces, changes),
    }
}

/// The changes of all checks as one: a document wins over texts, and of two texts for one place the first.
fn merged(made: &mut [Made], view: &View) -> Option<Change> {
    let mut pieces: Vec<(usize, String)> = Vec::new();
    let mut whole = None;
    for one in made.iter_mut() {
        match one.outcome.change.take() {
            Some(Change::Document(document)) => {
                one.outcome.change = Some(Change::Pieces(Vec::new()));
                whole.get_or_insert(document);
            }
            Some(Change::Pieces(found)) => {
                one.outcome.change = Some(Change::Pieces(Vec::new()));
                for (at, text) in found {
                    if pieces.iter().all(|(known, _)| *known != at) {
                        pieces.push((at, text));
                    }
                }
            }
            None => {}
        }
    }
    match whole {
        Some(document) => Some(Change::Document(document)),
        None if pieces.is_empty() => None,
        None => texts::replaced(view.document(), &view.pieces, &pieces)
            .map(Change::Document)
            .or(Some(Change::Pieces(pieces))),
    }
}

impl Ran {
    /// What is done about it.
    pub fn effect(&self) -> Action {
        match (self.passed, self.hook.shadow || self.hook.run == Run::Async) {
            (true, _) | (false, true) => Action::Log,
            (false, false) => self.meant(),
        }
    }

    /// What would be done about it without shadow mode: the strongest of what its failed checks come to.
    pub fn meant(&self) -> Action {
        let failed = self.made.iter().filter(|one| !one.passed).map(|one| {
            let meant = one.outcome.does.unwrap_or(self.hook.action);
            // Nothing can be put into the place of what was sent already, or of what nobody names.
            let stuck = one.outcome.hard || one.outcome.change.is_none() || self.hook.run == Run::During;
            if meant.alters() && stuck { Action::Block } else { meant }
        });
        // What changes and passes is as if it had been cut out.
        failed.max().unwrap_or(Action::Redact)
    }

    /// What is put in the place of what was seen, where anything is.
    pub fn applied(&mut self) -> Option<Change> {
        let applies = !self.hook.shadow && self.hook.run == Run::Before && (self.passed || self.effect().replaces());
        self.change.take().filter(|_| applies)
    }

    /// The first check that failed: its name, and why.
    pub fn why(&self) -> (String, String) {
        let Some(one) = self.made.iter().find(|one| !one.passed) else { return (String::new(), String::new()) };
        let explained = one.outcome.data.get("explanation").and_then(Value::as_str).map(str::to_string);
        let why = match &one.outcome.error {
            Some(_) => "The check could not be made.".to_string(),
            None => one.outcome.reason.clone().or(explained).unwrap_or_default(),
        };
        (one.id.clone(), why)
    }

    /// Why checks could not be made, for the operator.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let failed = self.made.iter().filter(|one| !one.outcome.empty);
        failed.filter_map(|one| Some((one.id.as_str(), one.outcome.error.as_deref()?)))
    }

    /// As Portkey's clients read it.
    pub fn json(&self) -> Value {
        let ids = |wanted: &dyn Fn(&Made) -> bool| {
            self.made.iter().filter(|one| wanted(one)).map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ")
        };
        let feedback = if self.passed { &self.hook.on_success } else { &self.hook.on_fail };
        let feedback = feedback.clone().map(|mut feedback| {
            let mut metadata = feedback.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
            metadata.insert("successfulChecks".into(), ids(&|one| one.passed).into());
            metadata.insert("failedChecks".into(), ids(&|one| !one.passed).into());
            metadata.insert("erroredChecks".into(), ids(&|one| one.outcome.error.is_some()).into());
            feedback.insert("metadata".into(), metadata.into());
            Value::Object(feedback)
        });
        let checks: Vec<Value> = self.made.iter().map(Made::json).collect();
        json!({
            "verdict": self.passed,
            "id": &*self.hook.name,
            "transformed": self.change.is_some(),
            "checks": checks,
            "feedback": feedback,
            "execution_time": u64::try_from(self.ms).unwrap_or(u64::MAX),
            "async": self.hook.run == Run::Async,
            "type": "guardrail",
            "created_at": stamp(self.at_us),
            "deny": self.hook.action == Action::Block,
        })
    }
}

impl Made {
    fn json(&self) -> Value {
        let mut told = json!({
            "id": self.id,
            "verdict": self.passed,
            "data": self.outcome.data,
            "transformed": self.outcome.change.is_some(),
            "execution_time": u64::try_from(self.ms).unwrap_or(u64::MAX),
            "created_at": stamp(self.at_us),
            "log": null,
            "fail_on_error": self.fail_on_error,
        });
        if let (Some(error), Some(map)) = (&self.outcome.error, told.as_object_mut()) {
            // Addresses and answers of services are for the operator.
            let text = if self.outcome.empty { error.as_str() } else { "The check could not be made." };
            map.insert("error".into(), json!({"name": "CheckError", "message": text}));
        }
        told
    }
}

/// `2026-01-31T12:00:00.000Z`
fn stamp(us: i64) -> String {
    use crate::kernel::civil::date_text;
    let (seconds, day) = (us.div_euclid(1_000_000), us.div_euclid(86_400_000_000));
    let of_day = seconds.rem_euclid(86_400);
    let ms = us.rem_euclid(1_000_000) / 1_000;
    format!("{}T{:02}:{:02}:{:02}.{ms:03}Z", date_text(day), of_day / 3_600, of_day / 60 % 60, of_day % 60)
}
