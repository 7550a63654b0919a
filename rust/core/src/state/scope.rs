//! What a limit is about, beyond whose it is: models, endpoints and providers by name, together or each caller by itself.

use serde::{Deserialize, Serialize};

use super::keys::Pattern;
use super::rules::LimitRule;

/// A limit that holds for each of these by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// Client address; of IPv6 its /64.
    Ip,
    /// What the caller says belongs together.
    Session,
    Key,
    User,
    Team,
    Customer,
    /// The model that is asked for.
    Model,
}

impl Each {
    /// What people call one of them.
    pub fn noun(self) -> &'static str {
        match self {
            Each::Ip => "address",
            Each::Session => "session",
            Each::Key => "key",
            Each::User => "user",
            Each::Team => "team",
            Each::Customer => "customer",
            Each::Model => "model",
        }
    }
}

/// What a request is for, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aim<'a> {
    pub model: &'a str,
    pub endpoint: &'a str,
    /// Empty until a deployment is chosen.
    pub provider: &'a str,
}

/// Lists of a limit, compiled; one that is not there lets everything pass.
#[derive(Debug)]
pub struct Scope {
    models: Option<Vec<Pattern>>,
    endpoints: Option<Vec<Pattern>>,
    providers: Option<Vec<Pattern>>,
}

impl Scope {
    pub fn new(row: &LimitRule) -> Scope {
        let compiled = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| names.iter().map(|name| Pattern::new(name)).collect())
        };
        Scope {
            models: compiled(&row.models),
            endpoints: compiled(&row.endpoints),
            providers: compiled(&row.providers),
        }
    }

    #[inline]
    pub fn holds(&self, aim: &Aim<'_>) -> bool {
        let holds = |list: &Option<Vec<Pattern>>, name: &str| {
            list.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
        };
        holds(&self.models, aim.model) && holds(&self.endpoints, aim.endpoint) && holds(&self.providers, aim.provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::rules::{Exhausted, Metric};

    #[test]
    fn all_lists_have_to_hold() {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_string()).collect());
        let row = LimitRule {
            name: String::new(),
            metric: Metric::Requests,
            max: 1,
            window: None,
            models: list(&["gpt-*", "o3"]),
            endpoints: None,
            providers: list(&["openai"]),
            each: None,
            soft: false,
            on_exhausted: Exhausted::Refuse,
            reserved: [0; 2],
        };
        let scope = Scope::new(&row);
        for (model, provider, expected) in [
            ("gpt-4o", "openai", true),
            ("o3", "openai", true),
            ("o3", "azure", false),
            ("o3", "", false),
            ("llama", "openai", false),
        ] {
            assert_eq!(scope.holds(&Aim { model, endpoint: "chat", provider }), expected, "{model} {provider}");
        }
    }
}
