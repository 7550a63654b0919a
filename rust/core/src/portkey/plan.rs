//! A config made into steps for one request: which call first, and where to go when it fails with this or that status.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::config::{Caching, Config, Mode, Retry, Settings};
use super::drops::Drop;
use super::headers::{CONFIG, Headers};
use super::hooks::Hooks;
use crate::error::{Code, Error, Result};
use crate::exchange::{Call, Exchange};
use crate::facts::RequestFacts;
use crate::guard::hook::Hook;
use crate::kernel::condition::{Fact, Facts, Field};

/// Most calls a config may come to for one request.
const STEPS: usize = 64;

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
    drops: Vec<Drop>,
    /// Inner strategies first.
    next: SmallVec<[Next; 2]>,
}

/// At these statuses (None: at any failure) the step to go on with.
type Next = (Option<Arc<[u16]>>, usize);

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

    /// The plan of a request that brings or names a config, or says the like in headers; None without either.
    ///
    /// # Errors
    /// The config cannot be used: 400 with the path of the fault.
    pub fn of(exchange: &Exchange) -> Result<Option<Plan>> {
        let said = Headers::read(&exchange.headers)?;
        let mut config = match exchange.headers.get(&CONFIG) {
            None if !said.say_something() => return Ok(None),
            None => Cow::Owned(Config::plain()),
            Some(header) => Plan::config(exchange, header.as_bytes().trim_ascii())?,
        };
        if said.say_something() {
            said.complete(config.to_mut())?;
        }
        let facts = RequestFacts::new(exchange);
        let mut steps = Vec::new();
        let tree = Tree { facts: &facts, provider: said.provider.as_deref() };
        tree.flatten(&config, &Settings::default(), "config", &mut steps)?;
        let (body, model) = (exchange.call.body.clone(), exchange.call.model.clone());
        Ok(Some(Plan { steps, at: 0, applied: false, body, model, retries: 0 }))
    }

    /// The config that the header brings, or names.
    fn config<'e>(exchange: &'e Exchange, header: &[u8]) -> Result<Cow<'e, Config>> {
        if header.first() == Some(&b'{') {
            let read = Config::parse(header);
            return read.map(Cow::Owned).map_err(|fault| {
                refused(format!("The config in '{CONFIG}' cannot be used: {}: {}.", fault.path, fault.message))
            });
        }
        let name = String::from_utf8_lossy(header);
        let saved = exchange.snapshot.configs.get(&*name);
        saved
            .map(|saved| Cow::Borrowed(&**saved))
            .ok_or_else(|| refused(format!("No config is saved under the name '{name}'.")))
    }

    /// Which target answered, and how often it was asked again: -1 when that was in vain.
    pub fn tell(&self, status: StatusCode, response: &mut HeaderMap) {
        let Some(step) = self.step() else { return };
        if let Ok(path) = HeaderValue::from_str(&step.path) {
            response.insert(HeaderName::from_static("x-portkey-last-used-option-index"), path);
        }
        let wanted = |retry: &Retry| retry.attempts > 0 && retry.codes.contains(&status.as_u16());
        let in_vain = !status.is_success() && (self.retries > 0 || step.retry.as_ref().is_some_and(wanted));
        let count = if in_vain { HeaderValue::from_static("-1") } else { HeaderValue::from(self.retries) };
        response.insert(HeaderName::from_static("x-portkey-retry-attempt-count"), count);
    }

    /// Whether the step under way takes answers to similar questions.
    pub fn is_semantic(&self) -> bool {
        self.step().and_then(|step| step.cache).is_some_and(|cache| cache.semantic)
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
    let mut changed = Value::Object(members);
    step.drops.iter().for_each(|drop| drop.apply(&mut changed));
    serde_json::to_vec(&changed).map(Bytes::from).unwrap_or_default()
}

fn refused(text: String) -> Error {
    Error::new(Code::InvalidRequest, text).param("config")
}

/// What the targets of one request are chosen by.
struct Tree<'t> {
    facts: &'t RequestFacts<'t>,
    /// As the headers name it, for targets that pass it through.
    provider: Option<&'t str>,
}

impl Tree<'_> {
    fn flatten(&self, config: &Config, above: &Settings, path: &str, steps: &mut Vec<Step>) -> Result<()> {
        // The outermost object is the only one without a dot.
        let settings = inherited(&config.settings, above, path.matches('.').count());
        let into = |index: usize, steps: &mut Vec<Step>| match config.targets.get(index) {
            Some(target) => self.flatten(target, &settings, &format!("{path}.targets[{index}]"), steps),
            None => Err(refused(format!("The config has no target at {path}."))),
        };
        match &config.mode {
            Mode::Call => {
                if steps.len() >= STEPS {
                    return Err(refused(format!("The config comes to more than {STEPS} calls.")));
                }
                steps.push(self.step(&config.settings, &settings, path));
                Ok(())
            }
            Mode::Single => into(0, steps),
            Mode::LoadBalance { sticky } => into(drawn(config, sticky, self.facts), steps),
            Mode::Conditional { rules, default } => {
                let found = rules.iter().find(|(condition, _)| condition.holds(self.facts)).map(|(_, then)| then);
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

    fn step(&self, own: &Settings, settings: &Settings, path: &str) -> Step {
        let passed = self.provider.filter(|_| own.passthrough);
        Step {
            path: path.to_string(),
            // Credentials are not inherited.
            provider: own.provider.as_deref().or(passed).map(Arc::from),
            retry: settings.retry.clone(),
            timeout: settings.timeout,
            cache: settings.cache,
            hooks: guards(settings).flat_map(|hooks| hooks.hooks.iter().cloned()).collect(),
            guardrails: guards(settings).flat_map(|hooks| hooks.named.iter().cloned()).collect(),
            defaults: settings.defaults.clone(),
            overrides: settings.overrides.clone(),
            drops: settings.drops.clone(),
            next: SmallVec::new(),
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
        passthrough: own.passthrough,
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
