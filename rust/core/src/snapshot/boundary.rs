//! Where requests may go for whose they are: certain regions only, providers that keep nothing only. They fail closed: what
//! cannot be served within them is refused.

use super::wire;
use crate::facts::identity;
use crate::kernel::condition::{Condition, Fact, Facts, Field};
use crate::state::keys::Key;

/// Most of them: each is a bit.
const MOST: usize = 64;

struct Boundary {
    /// None: for everybody.
    when: Option<Condition>,
    /// Empty: anywhere.
    regions: Vec<String>,
    keeps_nothing: bool,
}

#[derive(Default)]
pub struct Boundaries(Vec<Boundary>);

/// Whose a request is, and nothing else about it: the list of models is filtered by the same.
struct Identity<'k>(&'k Key);

impl Facts for Identity<'_> {
    fn fact(&self, field: &Field) -> Fact<'_> {
        identity::of_key(self.0, field).unwrap_or(Fact::Missing)
    }
}

/// A condition of a boundary.
///
/// # Errors
/// Where it is wrong, and why; it may ask whose the request is and nothing else.
pub fn condition(text: &str) -> Result<Condition, (String, String)> {
    let condition = Condition::parse(text).map_err(|fault| (fault.path, fault.message))?;
    if condition.asks(&|field| !identity::is_of_key(field)) {
        let message = "may only ask whose a request is: `key.id`, `team.id`, `organization.id`, …".to_string();
        return Err((String::new(), message));
    }
    Ok(condition)
}

impl Boundaries {
    /// # Errors
    /// Too many, or a condition that is wrong.
    pub fn compile(rules: &[wire::Boundary]) -> Result<Boundaries, String> {
        if rules.len() > MOST {
            return Err(format!("more than {MOST} boundaries"));
        }
        let compile = |rule: &wire::Boundary| {
            let when = rule.when.as_deref().map(condition).transpose();
            let when = when.map_err(|(path, message)| format!("boundary: {path}: {message}"))?;
            Ok(Boundary { when, regions: rule.regions.clone(), keeps_nothing: rule.keeps_nothing })
        };
        Ok(Boundaries(rules.iter().map(compile).collect::<Result<_, String>>()?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self, holds: impl Fn(&Boundary) -> bool) -> u64 {
        let places = self.0.iter().enumerate().filter(|(_, boundary)| holds(boundary));
        places.fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Those that a deployment keeps within.
    pub fn kept(&self, region: &str, keeps_nothing: bool) -> u64 {
        self.bits(|boundary| {
            let near = boundary.regions.is_empty() || boundary.regions.iter().any(|allowed| allowed == region);
            near && (keeps_nothing || !boundary.keeps_nothing)
        })
    }

    /// Those that hold for a key; without one all do.
    pub fn of(&self, key: Option<&Key>) -> u64 {
        let Some(key) = key else { return self.bits(|_| true) };
        self.bits(|boundary| boundary.when.as_ref().is_none_or(|when| when.holds(&Identity(key))))
    }

    /// In words, for who is refused.
    pub fn told(&self, bits: u64) -> String {
        let held = self.0.iter().enumerate().filter(|(place, _)| bits & 1 << place != 0);
        let words = held.flat_map(|(_, boundary)| {
            let near = (!boundary.regions.is_empty()).then(|| format!("in {}", boundary.regions.join(" or ")));
            near.into_iter().chain(boundary.keeps_nothing.then(|| "with providers that keep nothing".to_string()))
        });
        let mut words: Vec<String> = words.collect();
        words.sort_unstable();
        words.dedup();
        words.join(" and ")
    }
}
