//! The compiled configuration: immutable, typed, swapped whole.
//!
//! [`wire`] is what Python sends (MessagePack, every key required, unknown keys refused); [`Snapshot`] is what requests
//! read. Whatever must outlive a swap (pools, budgets, counters, credentials) is referred to by `Arc` into `state`, found
//! again by stable id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::cache::terms::Policies as Caching;
use crate::dialect::family;
use crate::endpoint::{Dialect, Operation};
use crate::facts::Almanac;
use crate::guard;
use crate::kernel::price::Price;
use crate::kernel::{breaker, limiter, quota};
use crate::ledger::DictKind;
use crate::needs::Needs;
use crate::policy::{Policies, trial};
use crate::portkey;
use crate::probe::engine::Poll;
use crate::probe::health::Check;
use crate::rules::Rules;
use crate::sigv4::Signer;
use crate::state::{CredentialSlot, DeploymentState, KeyPool, ModelState, State};
use crate::upstream::origin::BaseUrl;
use crate::upstream::{Origin, Pool};
use crate::worded::Worded;

/// Version of the wire schema; both sides must agree.
pub const SCHEMA: u32 = 1;

pub mod auto;
pub mod boundary;
pub mod place;
mod probes;
pub mod refusals;
pub mod routing;
mod rows;
mod service_tiers;
mod template;
mod wild;
pub mod wire;

use boundary::Boundaries;
pub use place::Place;
use refusals::Refusals;
pub use routing::{HashOn, Hedge, Measures, Mirror, Plain, Routing, Strategy, Translation};
pub use rows::Rows;
pub use template::FORWARDED;
use template::{static_headers, template};
use wild::Wild;
pub use wild::{Listed, Unknown, escaped};

/// A snapshot that cannot be used; says which object is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SnapshotError(pub String);

fn bad(text: impl Into<String>) -> SnapshotError {
    SnapshotError(text.into())
}

/// How the credential travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    Bearer,
    /// `Authorization: Token …`
    Token,
    Header(String),
    Query(String),
    /// Signed by AWS Signature Version 4; a credential that is no access key is sent as a bearer token.
    SigV4(Signer),
}

impl Auth {
    /// Whether a header is the one that has the credential.
    pub fn travels_in(&self, name: &HeaderName) -> bool {
        matches!(self, Auth::Header(own) if name.as_str().eq_ignore_ascii_case(own))
    }
}

/// Where the `usage` of a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// Asked for with `stream_options.include_usage`.
    Inject,
    /// Sent anyhow.
    Builtin,
    /// Never sent: output is estimated.
    None,
}

/// Time-outs per phase of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub total: Duration,
}

/// The fixed part of a request to one deployment for one operation.
#[derive(Debug)]
pub struct RequestTemplate {
    /// `POST /v1/chat/completions`
    pub line: Bytes,
    /// ` HTTP/1.1`, host and every header that never changes, each line ended.
    pub block: Bytes,
    /// What is to be changed about the body for this provider.
    pub rules: Option<Box<Rules>>,
    /// The provider has words of its own for the request.
    pub worded: Option<Box<Worded>>,
}

/// One model at one provider with one credential.
pub struct Deployment {
    pub id: Arc<str>,
    pub provider: Arc<str>,
    pub model: Arc<str>,
    /// The provider's name of the model as it stands in a JSON body and in a form.
    pub model_json: Bytes,
    pub model_text: Bytes,
    /// As a resource in a JSON body: `"models/NAME"`.
    pub resource_json: Bytes,
    pub id_header: HeaderValue,
    pub provider_header: HeaderValue,
    pub dialect: Dialect,
    pub origin: Origin,
    pub templates: Box<[Option<RequestTemplate>; Operation::COUNT]>,
    /// What is asked in place of operations that are not served, by operation.
    pub substitutes: [Option<Operation>; Operation::COUNT],
    /// What a conversation in a format that is not served is translated to.
    pub conversation: Option<Operation>,
    /// Headers sent unless the caller sends his own.
    pub defaults: Vec<(HeaderName, HeaderValue)>,
    pub auth: Auth,
    pub credential: Option<Arc<CredentialSlot>>,
    /// Several, used in turn; the first is `credential`.
    pub keys: Option<Arc<KeyPool>>,
    pub weight: u32,
    pub price: Option<Arc<Price>>,
    pub price_id: u32,
    pub ledger_id: u32,
    pub stream_usage: StreamUsage,
    pub timeouts: Timeouts,
    /// Its idle connections, shared with those at the same place.
    pub pool: Arc<Pool>,
    pub max_connections: u32,
    pub max_output: u32,
    /// Most tokens of a prompt; 0: not known.
    pub context_window: u32,
    /// What it cannot do: as its configuration says, and as far as is known otherwise.
    pub cannot: Needs,
    pub doubtful: Needs,
    /// Not in a region that requests of its model may go to.
    pub elsewhere: bool,
    /// What it asks its provider for.
    pub service_tier: Box<str>,
    /// The boundaries that it keeps within.
    pub kept: u64,
    /// Another takes what it has no room for: its 429 is no failure of the request.
    pub spills: bool,
    pub check: Option<Check>,
    pub engine: Option<Poll>,
    /// Beginnings of prompts are marked for the provider to keep.
    pub prompt_caching: bool,
    /// The path names the model, and the body must not.
    pub model_in_path: bool,
    /// The path says whether a stream is wanted, and the body must not.
    pub stream_in_path: bool,
    pub breaker: breaker::Settings,
    pub measures: Measures,
    pub overload: limiter::Settings,
    /// Lower ones are asked first.
    pub tier: u32,
    pub tags: Vec<Box<str>>,
    pub quota: quota::Limits,
    /// Of its id, the same on every node.
    pub hash: u64,
    pub state: Arc<DeploymentState>,
    /// What its row says about refusals.
    pub refusals: Refusals,
    /// Its headers that tell what is left of a quota, and the quota; empty: the common ones.
    pub quota_headers: Box<[(HeaderName, HeaderName)]>,
}

impl Deployment {
    pub fn template(&self, operation: Operation) -> Option<&RequestTemplate> {
        self.templates[operation as usize].as_ref()
    }

    /// The template of an operation, which may be another for streams.
    pub fn template_for(&self, operation: Operation, stream: bool) -> Option<&RequestTemplate> {
        let streamed = if stream && operation == Operation::Messages { Operation::MessagesStream } else { operation };
        self.template(streamed).or_else(|| self.template(operation))
    }

    /// What the model decides for all its deployments.
    fn belongs_to(&mut self, model: &Model) {
        self.breaker = model.routing.breaker.spilling(self.spills);
        self.overload = limiter::Settings {
            most: model.routing.overload.settings.most.min(self.max_connections),
            ..model.routing.overload.settings
        };
        self.measures = Measures {
            latency: model
                .routing
                .any(|strategy| matches!(strategy, Strategy::LowestLatency { .. } | Strategy::Custom { .. })),
            usage: model.routing.any(|strategy| strategy == Strategy::Usage) || self.quota != quota::Limits::default(),
        };
    }

    /// What it is asked for such a call: the caller's operation where it serves it, another one that the call is translated
    /// to otherwise.
    pub fn asked(&self, operation: Operation, stream: bool) -> Option<Operation> {
        if self.template(operation).is_some() {
            return Some(operation);
        }
        if operation.format().is_none() {
            return self.substitute(operation);
        }
        self.conversation.map(|conversation| conversation.for_stream(stream))
    }

    /// What is asked in place of an operation that is no conversation and is not served.
    pub fn substitute(&self, operation: Operation) -> Option<Operation> {
        self.substitutes[operation as usize]
    }
}

/// What clients ask for: a name over one or more deployments.
pub struct Model {
    pub name: Arc<str>,
    /// The wildcard that it was made of.
    pub wildcard: Option<Arc<str>>,
    pub name_json: Bytes,
    pub header: HeaderValue,
    pub deployments: Vec<u32>,
    /// The same, as routing looks at them.
    pub places: Box<[Place]>,
    pub routing: Routing,
    /// It stands for others.
    pub auto: Option<auto::Auto>,
    pub owned_by: String,
    pub created: i64,
    pub mode: String,
    pub info: Option<wire::ModelInfo>,
    pub cache: Caching,
    /// Its guardrails, in `Snapshot::plans`.
    pub plan: Option<u32>,
    pub ledger_id: u32,
    pub state: Arc<ModelState>,
}

impl Model {
    /// Looks its deployments up, once they are as they will be.
    fn find_places<'d>(&mut self, row: impl Fn(u32) -> Option<&'d Deployment>) {
        let places = self.deployments.iter().filter_map(|index| {
            let deployment = row(*index)?;
            Some(Place::of(*index, deployment, self.routing.service_tiers.number(&deployment.service_tier)))
        });
        self.places = places.collect();
    }

    /// Its own, and that of the wildcard that it was made of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.name).chain(self.wildcard.as_deref())
    }
}

/// A provider whose own paths may be asked for: how its models' names begin here, and the path of its base URL.
#[derive(Clone, Debug)]
pub struct PassThrough {
    pub head: String,
    pub prefix: String,
    pub dialect: Dialect,
}

pub struct Snapshot {
    pub version: u64,
    pub settings: wire::Settings,
    pub cache: wire::Cache,
    pub deployments: Rows<Deployment>,
    pub models: Rows<Model>,
    pub configs: HashMap<String, Arc<portkey::Config>>,
    /// Sets of guardrails that hold together for a model.
    pub plans: Vec<guard::Plan>,
    /// The set of one guardrail alone, by its name.
    pub named_plans: HashMap<String, u32>,
    /// Who is told what a guardrail found, by its name.
    pub notices: HashMap<String, Arc<wire::Notice>>,
    /// Of the rules of each plan: what was answered under others is not what these let pass.
    pub guard_prints: Vec<[u8; 32]>,
    pub boundaries: Boundaries,
    pub policies: Policies,
    /// Zones and holidays that conditions ask about.
    pub almanac: Almanac,
    /// Some deployment is asked how it does.
    pub probed: bool,
    /// Providers whose own paths may be asked for, by each of their names.
    pub pass_through: HashMap<String, PassThrough>,
    by_name: HashMap<String, u32>,
    wild: Option<Box<Wild>>,
}

impl Snapshot {
    /// What is served before the first publish: nothing.
    pub fn empty() -> Self {
        Snapshot {
            version: 0,
            settings: wire::Settings {
                keepalive_comment_ms: 0,
                restamp_model: false,
                assumed_output: 0,
                budget_status: 422,
                explain_header: false,
                explain_keep: 0,
                explain_percent: 0,
                block_status: 400,
            },
            cache: wire::Cache {
                enabled: false,
                max_bytes: 0,
                max_entry_bytes: 0,
                single_flight: false,
                measure: false,
                redis: None,
                objects: None,
                semantic: None,
            },
            deployments: Rows::default(),
            models: Rows::default(),
            configs: HashMap::new(),
            plans: Vec::new(),
            named_plans: HashMap::new(),
            notices: HashMap::new(),
            guard_prints: Vec::new(),
            boundaries: Boundaries::default(),
            policies: Policies::default(),
            almanac: Almanac::default(),
            probed: false,
            pass_through: HashMap::new(),
            by_name: HashMap::new(),
            wild: None,
        }
    }

    /// Decodes and compiles; nothing is changed anywhere unless all of it is valid.
    ///
    /// # Errors
    /// Says which object is at fault and why.
    pub fn compile(bytes: &[u8], state: &State) -> Result<Snapshot, SnapshotError> {
        let wire: wire::Snapshot = rmp_serde::from_slice(bytes).map_err(|error| bad(format!("snapshot: {error}")))?;
        if wire.schema != SCHEMA {
            return Err(bad(format!("snapshot schema {} is not {SCHEMA}", wire.schema)));
        }
        let mut names = HashMap::with_capacity(wire.models.len() + wire.aliases.len());
        for (index, model) in wire.models.iter().enumerate() {
            if names.insert(model.name.clone(), index as u32).is_some() {
                return Err(bad(format!("model {:?} appears twice", model.name)));
            }
        }
        let boundaries = Boundaries::compile(&wire.boundaries).map_err(bad)?;
        let mut deployments = wire
            .deployments
            .into_iter()
            .map(|deployment| compile_deployment(deployment, &boundaries, state))
            .collect::<Result<Vec<_>, _>>()?;
        share_prices(&mut deployments);
        let all = || wire.models.iter().chain(wire.wildcards.iter().map(|wildcard| &wildcard.model));
        let guard_prints = guard_prints(all(), &wire.guardrails);
        let (mut plans, plan_of) = plans(all(), &wire.guardrails, &wire.settings, state)?;
        let mut models = wire
            .models
            .into_iter()
            .map(|model| compile_model(model, &names, &deployments, state))
            .collect::<Result<Vec<_>, _>>()?;
        for (model, plan) in models.iter_mut().zip(&plan_of) {
            model.plan = *plan;
            for index in &model.deployments {
                if let Some(deployment) = deployments.get_mut(*index as usize) {
                    deployment.belongs_to(model);
                }
            }
            model.find_places(|index| deployments.get(index as usize));
        }
        let policies = Policies::compile(
            &wire.policies,
            |name| state.policies.rule(name),
            |rules| {
                let place = plans.len() as u32;
                plans.push(guard::compile(&wire.guardrails, rules, &state.guards, wire.settings.block_status)?);
                Ok(place)
            },
        );
        let policies = policies.map_err(bad)?;
        let mut named_plans = HashMap::new();
        let told = wire.guardrails.iter().filter_map(|rule| Some((rule.name.clone(), rule.webhook.clone()?.into())));
        let notices = told.collect();
        for (number, rule) in wire.guardrails.iter().enumerate() {
            named_plans.insert(rule.name.clone(), plans.len() as u32);
            let alone = guard::compile(&wire.guardrails, &[number as u32], &state.guards, wire.settings.block_status);
            plans.push(alone.map_err(bad)?);
        }
        for hook in plans.iter().flat_map(|plan| &plan.hooks) {
            hook.bind(|id| state.credential(id));
        }
        let configs = wire.configs.into_iter().map(|(name, text)| {
            let config = portkey::Config::parse(text.as_bytes());
            let config = config.map_err(|fault| bad(format!("config {name:?}: {}: {}", fault.path, fault.message)))?;
            Ok((name, Arc::new(config)))
        });
        let configs = configs.collect::<Result<_, SnapshotError>>()?;
        let mut by_name = names.clone();
        for (alias, target) in wire.aliases {
            let index = names.get(&target).ok_or_else(|| bad(format!("alias {alias:?}: no model {target:?}")))?;
            by_name.entry(alias).or_insert(*index);
        }
        let passed = wire.pass_through.into_iter().map(pass_through).collect::<Result<Vec<_>, _>>()?;
        let passed = passed.into_iter().flatten().collect();
        let wildcard_plans = plan_of.get(models.len()..).unwrap_or_default();
        let wild = Wild::compile(wire.wildcards, wildcard_plans, &by_name)?;
        let room = wild.as_ref().map_or((0, 0), |wild| wild.room());
        Ok(Snapshot {
            version: wire.version,
            settings: wire.settings,
            cache: wire.cache,
            probed: wild.as_ref().is_some_and(|wild| wild.probed())
                || deployments.iter().any(|one| one.check.is_some() || one.engine.is_some()),
            deployments: Rows::new(deployments, room.1),
            models: Rows::new(models, room.0),
            configs,
            plans,
            named_plans,
            notices,
            guard_prints,
            boundaries,
            almanac: trial::almanac(&wire.policies),
            policies,
            pass_through: passed,
            by_name,
            wild,
        })
    }

    /// Whether some deployment of a model keeps within these boundaries, or one of those it stands for.
    pub fn within(&self, model: &Model, bounds: u64) -> bool {
        let own = |model: &Model| model.places.iter().any(|place| bounds & !place.kept == 0);
        let others = model.auto.iter().flat_map(|auto| &auto.models);
        bounds == 0 || own(model) || others.filter_map(|index| self.models.get(*index as usize)).any(own)
    }

    /// The model a name or alias stands for.
    pub fn find(&self, name: &str) -> Option<(u32, &Model)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.models.get(index as usize)?))
    }

    /// The model of a name that only a wildcard knows, made when it is first asked for.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find_or_make(&self, name: &str, state: &State) -> Result<(u32, &Model), Unknown> {
        let Some(wild) = &self.wild else { return Err(Unknown::NoModel) };
        let index = wild.find(name, self, state)?;
        Ok((index, self.models.get(index as usize).ok_or(Unknown::NoModel)?))
    }

    /// Whether what stands behind a name of the list keeps within these boundaries.
    pub fn lists(&self, one: &Listed<'_>, bounds: u64) -> bool {
        match (one.model, &self.wild) {
            (Some(name), _) => self.find(name).is_some_and(|(_, model)| self.within(model, bounds)),
            (None, Some(wild)) => wild.within(&one.name, &self.boundaries, bounds),
            (None, None) => false,
        }
    }

    /// Every name a client is told of, aliases and what is known behind wildcards included, unordered.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        let own = self.by_name.iter().filter_map(|(name, index)| {
            let model = self.models.get(*index as usize)?;
            Some(Listed::of(name.as_str().into(), model))
        });
        let behind = self.wild.iter().flat_map(|wild| wild.listed());
        own.chain(behind.filter(|listed| !self.by_name.contains_key(&*listed.name)))
    }
}

/// A provider by each of its names.
fn pass_through(wire: wire::PassThrough) -> Result<Vec<(String, PassThrough)>, SnapshotError> {
    let dialect = Dialect::parse(&wire.dialect);
    let dialect = dialect.ok_or_else(|| bad(format!("pass-through {:?}: no dialect {:?}", wire.head, wire.dialect)))?;
    let place = PassThrough { head: wire.head, prefix: wire.prefix, dialect };
    Ok(wire.names.into_iter().map(|name| (name, place.clone())).collect())
}

fn id_hash(id: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(id, &mut hasher);
    std::hash::Hasher::finish(&hasher)
}

fn header(value: &str, what: &str) -> Result<HeaderValue, SnapshotError> {
    HeaderValue::from_str(value).or_else(|_| {
        // A name outside visible ASCII still needs a header form.
        HeaderValue::from_str(&value.escape_default().to_string()).map_err(|_| bad(format!("{what} {value:?}")))
    })
}

/// The prints of the plans, in their order.
fn guard_prints<'a>(models: impl Iterator<Item = &'a wire::Model>, rules: &[wire::Guardrail]) -> Vec<[u8; 32]> {
    let mut known: Vec<&[u32]> = Vec::new();
    let mut prints = Vec::new();
    for chosen in models.map(|model| model.guardrails.as_slice()).filter(|chosen| !chosen.is_empty()) {
        if known.contains(&chosen) {
            continue;
        }
        known.push(chosen);
        let mut hasher = Sha256::new();
        for rule in chosen.iter().filter_map(|index| rules.get(*index as usize)) {
            hasher.update(format!("{rule:?}"));
        }
        prints.push(hasher.finalize().into());
    }
    prints
}

/// The plans, and which of them each model has.
fn plans<'a>(
    models: impl Iterator<Item = &'a wire::Model>,
    rules: &[wire::Guardrail],
    settings: &wire::Settings,
    state: &State,
) -> Result<(Vec<guard::Plan>, Vec<Option<u32>>), SnapshotError> {
    let mut known: HashMap<&[u32], u32> = HashMap::new();
    let mut plans = Vec::new();
    let mut plan_of = Vec::new();
    for model in models {
        let chosen = model.guardrails.as_slice();
        plan_of.push(match (chosen.is_empty(), known.get(chosen)) {
            (true, _) => None,
            (false, Some(plan)) => Some(*plan),
            (false, None) => {
                let plan = plans.len() as u32;
                plans.push(guard::compile(rules, chosen, &state.guards, settings.block_status).map_err(bad)?);
                known.insert(chosen, plan);
                Some(plan)
            }
        });
    }
    Ok((plans, plan_of))
}

/// Deployments of one model stand together and often have one price: it is reckoned once for all of them.
fn share_prices(deployments: &mut [Deployment]) {
    let mut last: Option<Arc<Price>> = None;
    for deployment in deployments {
        if last.is_some() && last == deployment.price {
            deployment.price.clone_from(&last);
        }
        last.clone_from(&deployment.price);
    }
}

fn compile_model(
    model: wire::Model,
    names: &HashMap<String, u32>,
    deployments: &[Deployment],
    state: &State,
) -> Result<Model, SnapshotError> {
    let name = &model.name;
    if let Some(index) = model.deployments.iter().find(|index| **index as usize >= deployments.len()) {
        return Err(bad(format!("model {name:?}: no deployment {index}")));
    }
    Ok(Model {
        routing: routing::compile(&model, names, deployments)?,
        auto: model.auto.as_ref().map(|auto| auto::compile(name, auto, names)).transpose()?,
        header: header(name, "model name")?,
        name_json: serde_json::to_vec(name).map_err(|error| bad(error.to_string()))?.into(),
        ledger_id: state.intern(DictKind::Model, name).map_err(bad)?,
        state: state.model(name),
        cache: Caching::compile(&model).map_err(|error| bad(format!("model {name:?}: {error}")))?,
        name: model.name.into(),
        wildcard: None,
        places: Box::default(),
        deployments: model.deployments,
        owned_by: model.owned_by,
        created: model.created,
        mode: model.mode,
        info: model.info,
        plan: None,
    })
}

/// What requests begin with, by operation.
fn templates(
    wire: &wire::Deployment,
    base: &BaseUrl,
    fixed: &[u8],
) -> Result<[Option<RequestTemplate>; Operation::COUNT], String> {
    let mut templates = [const { None }; Operation::COUNT];
    for (operation, suffix) in &wire.operations {
        let operation = Operation::parse(operation).ok_or_else(|| format!("operation {operation:?} is not known"))?;
        let method = if operation.is_session() { "GET" } else { "POST" };
        let mut template = template(base, method, suffix, fixed)?;
        if let Some(rules) = wire.rules.get(operation.name()) {
            template.rules = Rules::compile(rules).map_err(|error| error.to_string())?;
        }
        if let Some(worded) = wire.requests.get(operation.name()) {
            template.worded = Some(Worded::compile(worded, &wire.model)?);
        }
        templates[operation as usize] = Some(template);
    }
    if let Some(responses) = &templates[Operation::Responses as usize] {
        // The path of one is the path of all, and its id.
        let (line, block) = (responses.line.clone(), responses.block.clone());
        templates[Operation::StoredResponse as usize] =
            Some(RequestTemplate { line, block, rules: None, worded: None });
    }
    Ok(templates)
}

fn compile_deployment(
    wire: wire::Deployment,
    boundaries: &Boundaries,
    state: &State,
) -> Result<Deployment, SnapshotError> {
    let id = wire.id.clone();
    let fail = |text: String| bad(format!("deployment {id}: {text}"));
    let dialect =
        Dialect::parse(&wire.dialect).ok_or_else(|| fail(format!("dialect {:?} is not known", wire.dialect)))?;
    let base = BaseUrl::parse(&wire.base_url).map_err(&fail)?;
    let mut origin = base.origin.clone();
    if wire.public_only {
        origin = origin.guarded().ok_or_else(|| fail("a socket of this machine is not public".to_string()))?;
    }
    let (fixed, defaults) = static_headers(&wire.headers).map_err(&fail)?;
    let templates = templates(&wire, &base, &fixed).map_err(&fail)?;
    let mut substitutes = [None; Operation::COUNT];
    for operation in Operation::ALL {
        let serves = |by: Operation| templates[by as usize].is_some();
        substitutes[*operation as usize] = family::substitute(*operation, &wire.model, serves);
    }
    let auth = auth(wire.auth, &base).map_err(&fail)?;
    let stream_usage = match wire.stream_usage.as_str() {
        "inject" => StreamUsage::Inject,
        "builtin" => StreamUsage::Builtin,
        "none" => StreamUsage::None,
        other => return Err(fail(format!("stream_usage {other:?} is not inject, builtin or none"))),
    };
    let ms = Duration::from_millis;
    Ok(Deployment {
        id_header: header(&wire.id, "deployment id")?,
        provider_header: header(&wire.provider, "provider")?,
        price_id: state.intern(DictKind::Price, &wire.price_version).map_err(bad)?,
        ledger_id: state.intern(DictKind::Deployment, &wire.id).map_err(bad)?,
        pool: state.pools.of(&origin, ms(wire.pool_idle_ms), state.threads),
        state: state.deployment(&wire.id, &wire.provider, &wire.model),
        keys: KeyPool::new(wire.credential.iter().chain(&wire.credentials).map(|id| state.credential(id)).collect()),
        credential: wire.credential.map(|credential| state.credential(&credential)),
        model_json: serde_json::to_vec(&wire.model).map_err(|error| fail(error.to_string()))?.into(),
        model_text: wire.model.clone().into_bytes().into(),
        resource_json: serde_json::to_vec(&resource(&wire.base_url, &wire.model))
            .map_err(|error| fail(error.to_string()))?
            .into(),
        id: wire.id.into(),
        provider: wire.provider.into(),
        model: wire.model.into(),
        dialect,
        origin,
        conversation: Operation::CONVERSATIONS.into_iter().find(|operation| templates[*operation as usize].is_some()),
        templates: Box::new(templates),
        substitutes,
        defaults,
        auth,
        weight: wire.weight,
        price: wire.price.as_ref().map(|listed| Arc::new(Price::new(listed))),
        stream_usage,
        timeouts: Timeouts {
            connect: ms(wire.timeouts.connect_ms),
            first_byte: ms(wire.timeouts.first_byte_ms),
            idle: ms(wire.timeouts.idle_ms),
            total: ms(wire.timeouts.total_ms),
        },
        max_connections: wire.max_connections,
        max_output: wire.max_output,
        context_window: wire.context_window,
        cannot: needs(&wire.cannot).map_err(&fail)?,
        doubtful: needs(&wire.doubtful).map_err(&fail)?,
        elsewhere: wire.elsewhere,
        service_tier: wire.service_tier.into(),
        spills: wire.spills,
        kept: boundaries.kept(&wire.region, wire.keeps_nothing),
        check: wire.check.map(|check| probes::check(check, &base, &fixed)).transpose().map_err(&fail)?,
        engine: wire.engine.map(|poll| probes::poll(&poll, &base, &fixed)).transpose().map_err(&fail)?,
        prompt_caching: wire.prompt_caching,
        model_in_path: wire.model_in_path,
        stream_in_path: wire.stream_in_path,
        // Its model's, see `compile`.
        breaker: breaker::Settings::default(),
        measures: Measures::default(),
        overload: limiter::Settings::default(),
        tier: wire.tier,
        tags: wire.tags.into_iter().map(String::into_boxed_str).collect(),
        quota: quota::Limits { requests: wire.rpm, tokens: wire.tpm },
        hash: id_hash(&id),
        refusals: Refusals::compile(wire.errors).map_err(&fail)?,
        quota_headers: quota_headers(&wire.rate_limit_headers).map_err(&fail)?,
    })
}

fn auth(wire: wire::Auth, base: &BaseUrl) -> Result<Auth, String> {
    Ok(match wire.scheme.as_str() {
        "none" => Auth::None,
        "bearer" => Auth::Bearer,
        "token" => Auth::Token,
        "header" if HeaderName::from_bytes(wire.name.as_bytes()).is_ok() => Auth::Header(wire.name),
        "query" if !wire.name.is_empty() => Auth::Query(wire.name),
        "sigv4" => match wire.region {
            Some(region) if !wire.name.is_empty() => {
                Auth::SigV4(Signer { region, service: wire.name, host: base.authority.clone(), operation: None })
            }
            _ => return Err("auth scheme \"sigv4\" needs a service and a region".to_string()),
        },
        scheme => return Err(format!("auth scheme {scheme:?} with name {:?} is not valid", wire.name)),
    })
}

fn needs(names: &[String]) -> Result<Needs, String> {
    Needs::parse(names).map_err(|name| format!("{name:?} is nothing that a deployment could not do"))
}

fn quota_headers(pairs: &[(String, String)]) -> Result<Box<[(HeaderName, HeaderName)]>, String> {
    let name =
        |text: &str| HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("header {text:?} is not valid"));
    pairs.iter().map(|(left, of)| Ok((name(left)?, name(of)?))).collect()
}

/// The model's name as Google's requests give it; Vertex AI's says in which project.
fn resource(base_url: &str, model: &str) -> String {
    if model.contains('/') {
        return model.to_string();
    }
    match base_url.find("/projects/").and_then(|at| base_url.get(at + 1..)) {
        Some(project) => format!("{}/models/{model}", project.trim_end_matches('/')),
        None => format!("models/{model}"),
    }
}
