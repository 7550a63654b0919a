//! A config made into steps for one request: which call first, and where to go when it fails with this or that status.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::config::{Caching, Config, Mode, Retry, Settings};
use super::hooks::Hooks;
use crate::error::{Code, Error, Result};
use crate::exchange::{Call, Exchange};
use crate::facts::RequestFacts;
use crate::guard::hook::Hook;
use crate::kernel::condition::{Fact, Facts, Field};

/// Most calls a config may come to for one request.
const STEPS: usize = 64;
/// Brings a config, or names a saved one.
pub const HEADER: HeaderName = HeaderName::from_static("x-portkey-config");

/// One call.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where its target stands: `config.targets[1]`.
    pub path: String,
    pub provider: Option<Arc<str>>,
    pub retry: Option<Retry>,
    pub timeout: Option<Duration>,
    pub cache: Option<Caching>,
    /// Guardrails that it brings, and those of the gateway that it names.
    pub hooks: Vec<Arc<Hook>>,
    pub guardrails: Vec<Arc<str>>,
    defaults: Map<String, Value>,
    overrides: Map<String, Value>,
    drops: Vec<String>,
    /// Inner strategies first.
    next: SmallVec<[Next; 2]>,
}

/// At these statuses (None: at any failure) the step to go on with.
type Next = (Option<Arc<[u16]>>, usize);

const TRACE: HeaderName = HeaderName::from_static("x-portkey-trace-id");

/// What a request's config came to.
pub struct Plan {
    steps: Vec<Step>,
    at: usize,
    /// The step has been made the request.
    applied: bool,
    /// The request as it was sent.
    body: Bytes,
    model: String,
    /// Retries of the step that answered.
    pub retries: u32,
}

impl Plan {
    pub fn step(&self) -> Option<&Step> {
        self.steps.get(self.at)
    }

    /// Which step is under way.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Whether the step has still to be made the request; once.
    pub fn is_due(&mut self) -> bool {
        !std::mem::replace(&mut self.applied, true)
    }

    /// The plan of a request that brings or names a config; None without one.
    ///
    /// # Errors
    /// The config cannot be used: 400 with the path of the fault.
    pub fn of(exchange: &Exchange) -> Result<Option<Plan>> {
        let Some(header) = exchange.headers.get(&HEADER) else { return Ok(None) };
        let bytes = header.as_bytes().trim_ascii();
        let saved;
        let inline;
        let config = if bytes.first() == Some(&b'{') {
            inline = Config::parse(bytes).map_err(|fault| {
                refused(format!("The config in '{HEADER}' cannot be used: {}: {}.", fault.path, fault.message))
            })?;
            &inline
        } else {
            let name = String::from_utf8_lossy(bytes);
            saved = exchange.snapshot.configs.get(&*name).cloned();
            saved.as_deref().ok_or_else(|| refused(format!("No config is saved under the name '{name}'.")))?
        };
        let facts = RequestFacts::new(exchange);
        let mut steps = Vec::new();
        flatten(config, &Settings::default(), "config", &facts, &mut steps)?;
        let (body, model) = (exchange.call.body.clone(), exchange.call.model.clone());
        Ok(Some(Plan { steps, at: 0, applied: false, body, model, retries: 0 }))
    }

    /// The headers Portkey's clients read.
    pub fn tell(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if let Some(path) = self.step().and_then(|step| HeaderValue::from_str(&step.path).ok()) {
            response.insert(HeaderName::from_static("x-portkey-last-used-option-index"), path);
        }
        response.insert(HeaderName::from_static("x-portkey-retry-attempt-count"), HeaderValue::from(self.retries));
        if let Some(trace) = request.get(&TRACE) {
            response.insert(TRACE, trace.clone());
        }
    }

    /// Goes on to the step that stands in for one that failed with these statuses; false when there is none.
    pub fn advance(&mut self, statuses: &[u16]) -> bool {
        let Some(step) = self.step() else { return false };
        let jump = step.next.iter().find(|(codes, _)| match codes {
            None => true,
            Some(codes) => statuses.iter().any(|status| codes.contains(status)),
        });
        let Some((_, to)) = jump else { return false };
        (self.at, self.retries, self.applied) = (*to, 0, false);
        true
    }

    /// Whether the step under way says what stands in for this very status.
    pub fn names(&self, status: u16) -> bool {
        let lists = |(codes, _): &Next| codes.as_ref().is_some_and(|codes| codes.contains(&status));
        self.step().is_some_and(|step| step.next.iter().any(lists))
    }

    /// The call as the step wants it: its model, and a body that differs only where the step says so.
    ///
    /// # Errors
    /// The changed body is no request.
    pub fn call(&self, before: &Call, parse: impl Fn(&Bytes) -> Result<Call>) -> Result<Call> {
        let Some(step) = self.step() else { return Err(Error::new(Code::Internal, "the plan has no step")) };
        let unchanged = step.defaults.is_empty() && step.overrides.is_empty() && step.drops.is_empty();
        if before.root.is_none() && !unchanged {
            return Err(refused("A config can change the parameters of JSON requests only.".to_string()));
        }
        let body = if unchanged { self.body.clone() } else { changed(&self.body, step) };
        let mut call = if before.root.is_some() { parse(&body)? } else { Call { ..take(before) } };
        call.body = body;
        call.cache.clone_from(&before.cache);
        call.content_type.clone_from(&before.content_type);
        if call.model.is_empty() || before.root.is_none() {
            call.model.clone_from(&self.model);
        }
        Ok(call)
    }
}

/// A form's fields stand where they stood.
fn take(call: &Call) -> Call {
    Call {
        model_span: call.model_span,
        boundary: call.boundary.clone(),
        stream: call.stream,
        choices: call.choices,
        est_input: call.est_input,
        ..Call::default()
    }
}

fn changed(body: &Bytes, step: &Step) -> Bytes {
    let mut members: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    for (name, value) in &step.defaults {
        members.entry(name.clone()).or_insert_with(|| value.clone());
    }
    members.extend(step.overrides.clone());
    for path in &step.drops {
        let (parents, last) = path.rsplit_once('.').map_or(("", path.as_str()), |(parents, last)| (parents, last));
        let parent = parents
            .split('.')
            .filter(|name| !name.is_empty())
            .try_fold(&mut members, |members, name| members.get_mut(name)?.as_object_mut());
        if let Some(parent) = parent {
            parent.remove(last);
        }
    }
    serde_json::to_vec(&members).map(Bytes::from).unwrap_or_default()
}

fn refused(text: String) -> Error {
    Error::new(Code::InvalidRequest, text).param("config")
}

fn flatten(
    config: &Config,
    above: &Settings,
    path: &str,
    facts: &RequestFacts<'_>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    // The outermost object is the only one without a dot.
    let settings = inherited(&config.settings, above, path.matches('.').count());
    let into = |index: usize, steps: &mut Vec<Step>| match config.targets.get(index) {
        Some(target) => flatten(target, &settings, &format!("{path}.targets[{index}]"), facts, steps),
        None => Err(refused(format!("The config has no target at {path}."))),
    };
    match &config.mode {
        Mode::Call => {
            if steps.len() >= STEPS {
                return Err(refused(format!("The config comes to more than {STEPS} calls.")));
            }
            steps.push(Step {
                path: path.to_string(),
                // Credentials are not inherited.
                provider: config.settings.provider.as_deref().map(Arc::from),
                retry: settings.retry.clone(),
                timeout: settings.timeout,
                cache: settings.cache,
                hooks: guards(&settings).flat_map(|hooks| hooks.hooks.iter().cloned()).collect(),
                guardrails: guards(&settings).flat_map(|hooks| hooks.named.iter().cloned()).collect(),
                defaults: settings.defaults.clone(),
                overrides: settings.overrides.clone(),
                drops: settings.drops.clone(),
                next: SmallVec::new(),
            });
            Ok(())
        }
        Mode::Single => into(0, steps),
        Mode::LoadBalance { sticky } => into(drawn(config, sticky, facts), steps),
        Mode::Conditional { rules, default } => {
            let found = rules.iter().find(|(condition, _)| condition.holds(facts)).map(|(_, then)| then);
            let Some(name) = found.or(default.as_ref()) else {
                return Err(refused(format!("No condition of {path} holds, and it has no default.")));
            };
            let index = config.targets.iter().position(|target| target.name.as_ref() == Some(name));
            into(index.unwrap_or(usize::MAX), steps)
        }
        Mode::Fallback { codes } => {
            let codes: Option<Arc<[u16]>> = codes.as_deref().map(Arc::from);
            for index in 0..config.targets.len() {
                let from = steps.len();
                into(index, steps)?;
                let to = steps.len();
                if index + 1 < config.targets.len() {
                    for step in steps.iter_mut().skip(from) {
                        step.next.push((codes.clone(), to));
                    }
                }
            }
            Ok(())
        }
    }
}

/// All guardrails of a call.
fn guards(settings: &Settings) -> impl Iterator<Item = &Hooks> {
    settings.input.iter().chain(&settings.output).chain(&settings.always)
}

fn inherited(own: &Settings, above: &Settings, depth: usize) -> Settings {
    let merged = |above: &Map<String, Value>, own: &Map<String, Value>| {
        let mut merged = above.clone();
        merged.extend(own.clone());
        merged
    };
    Settings {
        provider: own.provider.clone(),
        defaults: merged(&above.defaults, &own.defaults),
        overrides: merged(&above.overrides, &own.overrides),
        drops: above.drops.iter().chain(&own.drops).cloned().collect(),
        retry: own.retry.clone().or_else(|| above.retry.clone()),
        timeout: own.timeout.or(above.timeout),
        cache: own.cache.or(above.cache),
        input: own.input.clone().or_else(|| above.input.clone()),
        output: own.output.clone().or_else(|| above.output.clone()),
        always: if depth == 0 { own.always.clone() } else { above.always.clone() },
    }
}

/// The target a request falls to: by chance, or always the same for the same fields.
fn drawn(config: &Config, sticky: &[String], facts: &RequestFacts<'_>) -> usize {
    let total: f64 = config.targets.iter().map(|target| target.weight).sum();
    let unit = if sticky.is_empty() {
        fastrand::f64()
    } else {
        let mut hasher = DefaultHasher::new();
        for name in sticky {
            if let Some(Fact::Text(text)) = Field::parse(name, 0).map(|field| facts.fact(&field)) {
                text.hash(&mut hasher);
            }
        }
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut ticket = unit * total;
    for (index, target) in config.targets.iter().enumerate() {
        if ticket < target.weight {
            return index;
        }
        ticket -= target.weight;
    }
    config.targets.iter().rposition(|target| target.weight > 0.0).unwrap_or(0)
}
