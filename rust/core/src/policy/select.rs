//! Which policies hold for a request: those of all requests, of everybody its key belongs to, of its model and its route.

use std::collections::HashMap;

use super::{Chosen, wire};
use crate::endpoint::Operation;
use crate::exchange::Exchange;
use crate::kernel::nearest::nearest;
use crate::state::subjects::Kind;

/// What policies may be attached to.
const KINDS: [&str; 8] = ["default", "organization", "team", "project", "user", "key", "model", "route"];

/// Policies by whom they are attached to.
#[derive(Debug, Default)]
pub(super) struct Attached {
    everywhere: Vec<u32>,
    subjects: HashMap<Kind, HashMap<String, Vec<u32>>>,
    models: HashMap<String, Vec<u32>>,
    routes: HashMap<&'static str, Vec<u32>>,
}

impl Attached {
    pub fn compile(attachments: &[wire::Attachment], places: &HashMap<u32, u32>) -> Result<Attached, String> {
        let mut attached = Attached::default();
        for wire::Attachment { kind, id, policies } in attachments {
            let mut found: Vec<u32> = Vec::with_capacity(policies.len());
            for policy in policies {
                found.push(*places.get(policy).ok_or_else(|| format!("there is no policy {policy}"))?);
            }
            found.sort_unstable();
            found.dedup();
            match kind.as_str() {
                "default" => attached.everywhere.extend(found),
                "model" => attached.models.entry(id.clone()).or_default().extend(found),
                "route" => {
                    let Some(operation) = Operation::parse(id) else {
                        return Err(format!("there is no route {id:?}"));
                    };
                    attached.routes.entry(operation.name()).or_default().extend(found);
                }
                kind => match Kind::parse(kind).filter(|_| KINDS.contains(&kind)) {
                    Some(of) => {
                        attached.subjects.entry(of).or_default().entry(id.clone()).or_default().extend(found);
                    }
                    None => {
                        let hint = nearest(kind, KINDS.into_iter());
                        let hint = hint.map_or(String::new(), |near| format!(", did you mean {near:?}?"));
                        return Err(format!("policies cannot be attached to a {kind:?}{hint}"));
                    }
                },
            }
        }
        attached.everywhere.sort_unstable();
        attached.everywhere.dedup();
        Ok(attached)
    }

    /// Each once, in the order they run.
    pub fn of(&self, exchange: &Exchange) -> Chosen {
        let mut chosen: Chosen = self.everywhere.iter().copied().collect();
        let before = chosen.len();
        if !self.subjects.is_empty()
            && let Some(key) = exchange.key.as_deref()
        {
            for subject in &key.subjects {
                let found = self.subjects.get(&subject.kind).and_then(|ids| ids.get(&*subject.id));
                chosen.extend(found.into_iter().flatten().copied());
            }
        }
        if !self.models.is_empty() {
            let names = exchange.model().into_iter().flat_map(|model| model.names());
            chosen.extend(names.filter_map(|name| self.models.get(name)).flatten().copied());
        }
        if !self.routes.is_empty() {
            let found = self.routes.get(exchange.endpoint.operation.name());
            chosen.extend(found.into_iter().flatten().copied());
        }
        if chosen.len() > before {
            chosen.sort_unstable();
            chosen.dedup();
        }
        chosen
    }
}

impl super::Policies {
    /// The policies that hold for a request whose key and model are known.
    pub fn chosen(&self, exchange: &Exchange) -> Chosen {
        self.attached.of(exchange)
    }
}
