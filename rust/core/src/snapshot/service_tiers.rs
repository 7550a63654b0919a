//! Service tiers of a model's deployments by number, and which of them each rule lets requests use.

use super::wire;
use crate::kernel::condition::{Condition, Facts};

/// What a deployment without a service tier of its own has.
const USUAL: &str = "default";

/// Where each tier stands in the order of a rule, by the tier's number; `None`: it may not be used.
pub type Ranks = Box<[Option<u32>]>;

/// Empty: all tiers are alike.
#[derive(Default)]
pub struct ServiceTiers {
    names: Vec<Box<str>>,
    /// The first that holds counts; without a condition it always does.
    rules: Vec<(Option<Condition>, Ranks)>,
    /// Where none holds: what asks for nothing special.
    otherwise: Ranks,
}

impl ServiceTiers {
    /// `of`: the tiers that deployments have.
    ///
    /// # Errors
    /// A condition that is none.
    pub fn compile<'d>(rules: &[wire::ServiceTiers], of: impl Iterator<Item = &'d str>) -> Result<Self, String> {
        if rules.is_empty() {
            return Ok(ServiceTiers::default());
        }
        let mut names: Vec<Box<str>> = Vec::new();
        for name in of {
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        let ranks = |order: &[String]| -> Ranks {
            let rank = |name: &str| order.iter().position(|allowed| allowed == name);
            names.iter().map(|name| rank(name).and_then(|rank| u32::try_from(rank).ok())).collect()
        };
        let compile = |rule: &wire::ServiceTiers| {
            let when = rule.when.as_deref().map(Condition::parse).transpose();
            let when = when.map_err(|fault| format!("service tiers: {}: {}", fault.path, fault.message))?;
            Ok((when, ranks(&rule.tiers)))
        };
        let rules = rules.iter().map(compile).collect::<Result<_, String>>()?;
        let otherwise = ranks(&[USUAL.to_string()]);
        Ok(ServiceTiers { names, rules, otherwise })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The number of a tier; 0 where it does not matter.
    pub fn number(&self, name: &str) -> u32 {
        self.names.iter().position(|known| **known == *name).unwrap_or(0) as u32
    }

    /// By the first rule that holds.
    pub fn ranks(&self, facts: &impl Facts) -> &[Option<u32>] {
        let mut rules = self.rules.iter();
        let rule = rules.find(|(when, _)| when.as_ref().is_none_or(|when| when.holds(facts)));
        rule.map_or(&self.otherwise, |(_, ranks)| ranks)
    }
}
