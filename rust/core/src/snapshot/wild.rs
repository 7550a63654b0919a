//! Models behind names with a `*`: `openai/*` serves `openai/gpt-4o`, whatever its provider calls by the name behind the slash.
//!
//! A model is made of its wildcard when it is first asked for, and stays as long as the snapshot. Names that are known
//! (from the price catalogue, or because a server was asked what it has) have always room; of others, which only callers
//! know, [`STRANGERS`] are made at most.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::boundary::Boundaries;
use super::{Model, Snapshot, SnapshotError, bad, compile_deployment, compile_model, wire};
use crate::state::State;

/// Most models of names that nobody knew beforehand, so that callers cannot fill the memory with invented ones.
const STRANGERS: usize = 1024;
/// Longest name that a `*` stands for.
const LONGEST: usize = 200;

/// Why a name has no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    NoModel,
    /// A wildcard would serve it, but serves too many names already.
    NoRoom,
}

/// A name that clients are told of.
pub struct Listed<'a> {
    pub name: Cow<'a, str>,
    /// The model that it is a name of.
    pub model: Option<&'a str>,
    pub created: i64,
    pub owned_by: &'a str,
    pub mode: &'a str,
    pub info: Option<&'a wire::ModelInfo>,
}

impl<'a> Listed<'a> {
    pub fn of(name: Cow<'a, str>, model: &'a Model) -> Self {
        Listed {
            name,
            model: Some(&model.name),
            created: model.created,
            owned_by: &model.owned_by,
            mode: &model.mode,
            info: model.info.as_ref(),
        }
    }
}

/// The wildcards, those that leave least to the `*` first.
pub struct Wild {
    wildcards: Vec<Wildcard>,
    /// Fallbacks and the like: names of models and their numbers.
    names: HashMap<String, u32>,
    made: ArcSwap<HashMap<Box<str>, u32>>,
    used: Mutex<Used>,
}

/// How many rows were added.
#[derive(Default)]
struct Used {
    models: usize,
    deployments: usize,
    strangers: usize,
}

struct Wildcard {
    name: Arc<str>,
    head: String,
    tail: String,
    model: wire::Model,
    deployments: Vec<wire::Deployment>,
    open: Vec<u32>,
    known: HashMap<String, wire::Known>,
    plan: Option<u32>,
}

impl Wild {
    /// `None` without wildcards. `plans`: the guardrails of each; `names`: what fallbacks may name.
    pub fn compile(
        wildcards: Vec<wire::Wildcard>,
        plans: &[Option<u32>],
        names: &HashMap<String, u32>,
    ) -> Result<Option<Box<Wild>>, SnapshotError> {
        if wildcards.is_empty() {
            return Ok(None);
        }
        let mut compiled = wildcards
            .into_iter()
            .zip(plans.iter().copied().chain(std::iter::repeat(None)))
            .map(|(wildcard, plan)| Wildcard::compile(wildcard, plan))
            .collect::<Result<Vec<_>, _>>()?;
        compiled.sort_by_key(|wildcard| std::cmp::Reverse(wildcard.head.len() + wildcard.tail.len()));
        let wild = Wild { wildcards: compiled, names: names.clone(), made: ArcSwap::default(), used: Mutex::default() };
        Ok(Some(Box::new(wild)))
    }

    /// The most models and deployments that will be added.
    pub fn room(&self) -> (usize, usize) {
        let widest = self.wildcards.iter().map(|wildcard| wildcard.deployments.len()).max().unwrap_or(0);
        let known = self.wildcards.iter().map(|wildcard| wildcard.known.len()).sum::<usize>();
        let places = self.wildcards.iter().flat_map(|wildcard| wildcard.known.values()).map(|known| known.places.len());
        (known + STRANGERS, places.sum::<usize>() + STRANGERS * widest)
    }

    /// Whether deployments that are made of one are asked how they do.
    pub fn probed(&self) -> bool {
        let mut all = self.wildcards.iter().flat_map(|wildcard| &wildcard.deployments);
        all.any(|deployment| deployment.check.is_some() || deployment.engine.is_some())
    }

    /// The number of the model behind a name that is none of the snapshot's own.
    pub fn find(&self, name: &str, snapshot: &Snapshot, state: &State) -> Result<u32, Unknown> {
        if let Some(index) = self.made.load().get(name) {
            return Ok(*index);
        }
        let found = self.wildcards.iter().find_map(|wildcard| {
            let part = wildcard.part(name)?;
            wildcard.serves(part).then_some((wildcard, part))
        });
        let Some((wildcard, part)) = found else { return Err(Unknown::NoModel) };
        self.add(wildcard, part, snapshot, state)
    }

    fn add(&self, wildcard: &Wildcard, part: &str, snapshot: &Snapshot, state: &State) -> Result<u32, Unknown> {
        let mut used = self.used.lock();
        let name = wildcard.named(part);
        if let Some(index) = self.made.load().get(&*name) {
            return Ok(*index);
        }
        let known = wildcard.known.get(part);
        if known.is_none() && used.strangers >= STRANGERS {
            return Err(Unknown::NoRoom);
        }
        let places: Vec<u32> = match known {
            Some(known) => known.places.iter().map(|place| place.deployment).collect(),
            None => wildcard.open.clone(),
        };
        let made = wildcard.make(part, known, &places, &self.names, (&snapshot.boundaries, state));
        let (mut model, deployments) = made.map_err(|_| Unknown::NoModel)?;
        let first = snapshot.deployments.fixed() + used.deployments;
        model.deployments = (first..first + deployments.len()).map(|place| place as u32).collect();
        model.find_places(|index| deployments.get(index as usize - first));
        used.deployments += deployments.len();
        for (place, deployment) in (first..).zip(deployments) {
            if !snapshot.deployments.add(place, deployment) {
                return Err(Unknown::NoRoom);
            }
        }
        let index = snapshot.models.fixed() + used.models;
        if !snapshot.models.add(index, model) {
            return Err(Unknown::NoRoom);
        }
        used.models += 1;
        used.strangers += usize::from(known.is_none());
        let mut next = HashMap::clone(&self.made.load());
        next.insert(name.into(), index as u32);
        self.made.store(Arc::new(next));
        Ok(index as u32)
    }

    /// Whether some deployment behind a name keeps within the boundaries.
    pub fn within(&self, name: &str, boundaries: &Boundaries, bounds: u64) -> bool {
        self.wildcards.iter().any(|wildcard| {
            let Some(part) = wildcard.part(name) else { return false };
            let known = wildcard.known.get(part).map(|known| known.places.iter().map(|place| place.deployment));
            let places: Vec<u32> = known.map_or_else(|| wildcard.open.clone(), Iterator::collect);
            let mut behind = places.iter().filter_map(|place| wildcard.deployments.get(*place as usize));
            behind.any(|place| bounds & !boundaries.kept(&place.region, place.keeps_nothing) == 0)
        })
    }

    /// What is known to be there, each name once.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.wildcards.iter().enumerate().flat_map(move |(at, wildcard)| {
            let before = self.wildcards.get(..at).unwrap_or_default();
            wildcard.known.values().filter(|known| known.listed).filter_map(move |known| {
                let name = wildcard.named(&known.part);
                let taken = before.iter().any(|other| other.part(&name).is_some_and(|part| other.serves(part)));
                (!taken).then(|| wildcard.listed(name, known))
            })
        })
    }
}

impl Wildcard {
    fn compile(wire: wire::Wildcard, plan: Option<u32>) -> Result<Wildcard, SnapshotError> {
        let name = wire.model.name.clone();
        let Some((head, tail)) = name.split_once('*').filter(|(_, tail)| !tail.contains('*')) else {
            return Err(bad(format!("wildcard {name:?}: one `*` is needed")));
        };
        let count = wire.deployments.len() as u32;
        let mut places =
            wire.open.iter().chain(wire.known.iter().flat_map(|known| known.places.iter().map(|at| &at.deployment)));
        if let Some(place) = places.find(|place| **place >= count) {
            return Err(bad(format!("wildcard {name:?}: no deployment {place}")));
        }
        Ok(Wildcard {
            head: head.to_string(),
            tail: tail.to_string(),
            name: name.as_str().into(),
            model: wire.model,
            deployments: wire.deployments,
            open: wire.open,
            known: wire.known.into_iter().map(|known| (known.part.clone(), known)).collect(),
            plan,
        })
    }

    /// What the `*` stands for in a name, unless it is another kind of name.
    fn part<'n>(&self, name: &'n str) -> Option<&'n str> {
        let part = name.strip_prefix(self.head.as_str())?.strip_suffix(self.tail.as_str())?;
        let sound =
            !part.is_empty() && part.len() <= LONGEST && !part.contains('*') && !part.contains(char::is_control);
        sound.then_some(part)
    }

    fn named(&self, part: &str) -> String {
        format!("{}{part}{}", self.head, self.tail)
    }

    fn serves(&self, part: &str) -> bool {
        !self.open.is_empty() || self.known.contains_key(part)
    }

    fn listed<'a>(&'a self, name: String, known: &'a wire::Known) -> Listed<'a> {
        Listed {
            name: name.into(),
            model: None,
            created: self.model.created,
            owned_by: &self.model.owned_by,
            mode: &known.mode,
            info: known.info.as_ref(),
        }
    }

    /// The model, and its deployments, which its own numbers do not yet count.
    fn make(
        &self,
        part: &str,
        known: Option<&wire::Known>,
        places: &[u32],
        names: &HashMap<String, u32>,
        (boundaries, state): (&Boundaries, &State),
    ) -> Result<(Model, Vec<super::Deployment>), SnapshotError> {
        let deployments = places.iter().filter_map(|place| {
            let at = known.and_then(|known| known.places.iter().find(|at| at.deployment == *place));
            Some(named(self.deployments.get(*place as usize)?, part, at))
        });
        let deployments = deployments.map(|wire| compile_deployment(wire, boundaries, state));
        let mut deployments = deployments.collect::<Result<Vec<_>, SnapshotError>>()?;
        let mut wire = self.model.clone();
        wire.name = self.named(part);
        wire.deployments = (0..deployments.len() as u32).collect();
        wire.info = known.and_then(|known| known.info.clone());
        if let Some(known) = known {
            wire.mode.clone_from(&known.mode);
        }
        let mut model = compile_model(wire, names, &deployments, state)?;
        model.plan = self.plan;
        model.wildcard = Some(self.name.clone());
        for deployment in &mut deployments {
            deployment.belongs_to(&model);
        }
        Ok((model, deployments))
    }
}

/// The deployment of a wildcard for one name.
fn named(template: &wire::Deployment, part: &str, known: Option<&wire::KnownAt>) -> wire::Deployment {
    let mut made = template.clone();
    made.model = template.model.replacen('*', part, 1);
    made.id = format!("{}:{}", template.id, made.model);
    let escaped = escaped(part);
    for path in made.operations.values_mut() {
        *path = path.replace("%2A", &escaped);
    }
    // Its body is JSON.
    if let Some(check) = &mut made.check
        && let Ok(name) = serde_json::to_string(&made.model)
    {
        let unnamed = serde_json::to_string(&template.model).unwrap_or_default();
        check.body = check.body.replacen(&unnamed, &name, 1);
    }
    if let Some(known) = known {
        made.price.clone_from(&known.price);
        made.price_version.clone_from(&known.price_version);
        made.max_output = known.max_output;
    }
    made
}

/// As one segment of a path (RFC 3986, 2.3).
pub fn escaped(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
