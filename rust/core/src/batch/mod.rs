//! Batches: files of requests that a provider works through within a day. The shell keeps the files and follows the jobs;
//! what needs keys, limits, formats and the ledger is asked here. No request waits for any of this: everything is told and
//! answered in MessagePack, on a thread of the shell's.

mod call;
mod lines;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::wall_us;
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::hold::{Extra, Hold};
use crate::kernel::cost::{Usage, cost};
use crate::kernel::price::Service;
use crate::plane::{Plane, PlaneError};
use crate::refusal;
use crate::shard::Shard;
use crate::snapshot::{Deployment, Model, Snapshot};
use crate::stage::identify;
use crate::state::draw::{Ask, Told};
use crate::state::keys::Key;
use crate::state::line::Rank;
use crate::state::rules::{Amounts, Metric, Now};
use crate::state::scope::Aim;
use crate::state::subjects::Kind;

/// What batches that are under way have set aside, by their ids.
#[derive(Default)]
pub struct Holds(Mutex<HashMap<String, Hold>>);

/// A refusal, for the shell to tell.
#[derive(Serialize)]
struct Refusal {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
    param: Option<String>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal {
            status: error.http_status().as_u16(),
            kind: error.kind(),
            code: error.code.facts().code,
            message: error.message.to_string(),
            param: error.param.map(Into::into),
        }
    }
}

/// Who asks for what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(with = "crate::bytes32")]
    digest: [u8; 32],
    model: String,
    operation: String,
}

/// Where it may go.
#[derive(Default, Serialize)]
struct Found {
    error: Option<Refusal>,
    model: String,
    /// Ids, in the order of the configuration.
    deployments: Vec<String>,
}

/// What a batch may cost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    id: String,
    #[serde(with = "crate::bytes32")]
    digest: [u8; 32],
    model: String,
    operation: String,
    deployment: String,
    /// Requests, and bytes of them all.
    requests: u64,
    bytes: u64,
    /// Most tokens of the answers that say how long they may be, and how many do not.
    output: u64,
    open: u64,
}

#[derive(Serialize)]
struct Held {
    error: Option<Refusal>,
    /// This node's part of a limit is used up, the limit perhaps not: asking again may help.
    short: bool,
}

impl Plane {
    /// Whether a key may ask a model in a batch, and which deployments it has: a map of `error`, `model` and `deployments`.
    ///
    /// # Errors
    /// The bytes are no such question.
    pub fn batch_check(&self, asked: &[u8]) -> std::result::Result<Vec<u8>, PlaneError> {
        let asked: Asked = decoded(asked)?;
        let snapshot = self.first()?.snapshot();
        let found = checked(&snapshot, self.key(&asked.digest).as_ref(), &asked);
        encoded(&found.unwrap_or_else(|error| Found { error: Some(error.into()), ..Found::default() }))
    }

    /// Sets aside what a batch may cost, until it is settled or let go: a map of `error` and `short`.
    ///
    /// # Errors
    /// The bytes are no such question.
    pub fn batch_hold(&self, setting: &[u8]) -> std::result::Result<Vec<u8>, PlaneError> {
        let setting: Setting = decoded(setting)?;
        let shard = self.first()?;
        let snapshot = shard.snapshot();
        let key = self.key(&setting.digest);
        let mut short = false;
        let held = match deployment(&snapshot, &setting.deployment) {
            Some(deployment) => {
                let pico = most(deployment, &setting, u64::from(snapshot.settings.assumed_output));
                let payers = payers(shard, deployment, &setting.model, &setting.operation);
                let aim = Aim { model: &setting.model, endpoint: &setting.operation, provider: &deployment.provider };
                let ask = spending(aim, pico, None);
                Hold::take(key.as_ref(), payers, &ask, &mut Told::default()).map_err(|refused| {
                    let leases = self.shared.state.leases.as_ref();
                    short = refused.short && leases.is_some_and(|leases| leases.is_online());
                    refusal::error(&refused, snapshot.settings.budget_status)
                })
            }
            None => Err(gone(&setting.deployment)),
        };
        let error = match held {
            Ok(hold) => {
                self.shared.batches.0.lock().insert(setting.id, hold);
                None
            }
            Err(error) => Some(error.into()),
        };
        encoded(&Held { error, short })
    }

    /// Gives back what a batch had set aside.
    pub fn batch_release(&self, id: &str) {
        let hold = self.shared.batches.0.lock().remove(id);
        if let Some(hold) = hold {
            hold.give_back();
        }
    }

    fn first(&self) -> std::result::Result<&Arc<Shard>, PlaneError> {
        self.shards.first().ok_or_else(|| PlaneError("the plane has no threads".to_string()))
    }

    fn key(&self, digest: &[u8; 32]) -> Option<Arc<Key>> {
        self.shared.state.keys.find(digest)
    }
}

fn decoded<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> std::result::Result<T, PlaneError> {
    rmp_serde::from_slice(bytes).map_err(|error| PlaneError(format!("batch: {error}")))
}

fn encoded<T: Serialize>(told: &T) -> std::result::Result<Vec<u8>, PlaneError> {
    rmp_serde::to_vec_named(told).map_err(|error| PlaneError(format!("batch: {error}")))
}

fn deployment<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Deployment> {
    snapshot.deployments.iter().find(|deployment| &*deployment.id == id)
}

fn gone(id: &str) -> Error {
    Error::new(Code::NoDeployment, format!("The deployment '{id}' is not in the configuration any more."))
}

fn operation(name: &str) -> std::result::Result<Operation, PlaneError> {
    Operation::parse(name).ok_or_else(|| PlaneError(format!("batch: operation {name:?} is not known")))
}

/// The same questions that a request is asked, but for the limits on requests.
fn checked(snapshot: &Snapshot, key: Option<&Arc<Key>>, asked: &Asked) -> Result<Found> {
    let key = key.ok_or_else(|| Error::new(Code::InvalidKey, "This API key is not known."))?;
    identify::check(key)?;
    let allowed = Operation::parse(&asked.operation).is_some_and(|operation| key.may_call(operation));
    if !allowed {
        let text = format!("This API key may not call the endpoint '{}'.", asked.operation);
        return Err(Error::new(Code::EndpointDenied, text));
    }
    let Some((_, model)) = snapshot.find(&asked.model) else {
        let text = format!("The model '{}' does not exist or you do not have access to it.", asked.model);
        return Err(Error::new(Code::ModelNotFound, text).param("model"));
    };
    if !key.may_use(&asked.model) && !key.may_use(&model.name) {
        let text = format!("This API key may not use the model '{}'.", asked.model);
        return Err(Error::new(Code::ModelDenied, text).param("model"));
    }
    unguarded(snapshot, model, key, asked.operation == Operation::Realtime.name())?;
    let ids = model.deployments.iter().filter_map(|index| snapshot.deployments.get(*index as usize));
    Ok(Found {
        error: None,
        model: model.name.to_string(),
        deployments: ids.map(|deployment| deployment.id.to_string()).collect(),
    })
}

/// What has to be looked at one by one cannot go by file.
fn unguarded(snapshot: &Snapshot, model: &Model, key: &Key, session: bool) -> Result<()> {
    let what = match () {
        () if model.plan.is_some() => "The model has guardrails",
        () if !key.guardrails.is_empty() => "The key has guardrails",
        // Sessions are asked for with the policies' leave.
        () if !session && snapshot.policies.govern() => "The gateway has policies",
        () => return Ok(()),
    };
    let into = if session { "realtime session" } else { "batch. Send the requests one by one" };
    let text = format!("{what}, and they cannot look into a {into}.");
    Err(Error::new(Code::FeatureUnsupported, text).param("model"))
}

/// Who pays besides the key's own subjects.
fn payers(shard: &Shard, deployment: &Deployment, model: &str, endpoint: &str) -> Extra {
    let mut found = Extra::new();
    let subjects = &shard.shared.state.subjects;
    if subjects.has_scopes() {
        let names = [
            (Kind::Global, ""),
            (Kind::Model, model),
            (Kind::Endpoint, endpoint),
            (Kind::Provider, &*deployment.provider),
            (Kind::Deployment, &*deployment.id),
        ];
        subjects.scopes(&names, &mut found);
    }
    found
}

/// Budgets are asked; limits on requests and tokens are about what goes out at once.
fn spending(aim: Aim<'_>, pico: i64, elastic: Option<Amounts>) -> Ask<'_> {
    let mut amounts = [0; Metric::COUNT];
    amounts[Metric::Spend as usize] = u64::try_from(pico).unwrap_or(0);
    let now = Now::at(Instant::now(), wall_us());
    Ask { aim, metrics: Metric::Spend.bit() | Metric::PLACED, amounts, elastic, now, rank: Rank::default() }
}

/// The most that a batch may cost, by its mean request: tiers are told apart by single prompts.
fn most(deployment: &Deployment, setting: &Setting, assumed: u64) -> i64 {
    let requests = setting.requests.max(1);
    let known = Some(u64::from(deployment.max_output)).filter(|most| *most > 0).unwrap_or(u64::MAX);
    let bytes = u32::try_from(setting.bytes / requests).unwrap_or(u32::MAX);
    let input = u64::from(deployment.state.tokens.estimate(bytes));
    let generates = Operation::parse(&setting.operation).is_some_and(Operation::generates);
    let open = if generates { setting.open.saturating_mul(assumed.min(known)) } else { 0 };
    let usage = Usage {
        input: input + input / 8,
        output: setting.output.saturating_add(open).div_ceil(requests),
        service: Service::Batch,
        ..Usage::default()
    };
    let one = deployment.price.as_deref().and_then(|price| cost(price, &usage)).unwrap_or(0);
    one.saturating_mul(i64::try_from(requests).unwrap_or(i64::MAX))
}
