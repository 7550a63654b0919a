//! What a provider's row says about its refusals and its rate-limit headers, where they are not like everybody's.

use super::wire;
use crate::dialect;
use crate::kernel::failure::Class;

/// How much of a body is searched for words.
const LOOKED_AT: usize = 4096;

#[derive(Debug)]
struct Rule {
    status: u16,
    words: Box<str>,
    of: Class,
}

/// Refusals that are of another class than their status says.
#[derive(Debug, Default)]
pub struct Refusals(Box<[Rule]>);

impl Refusals {
    /// # Errors
    /// A class that there is not.
    pub fn compile(rules: Vec<wire::ErrorRule>) -> Result<Refusals, String> {
        let rules = rules.into_iter().map(|rule| {
            let found = Class::ALL.iter().find(|(_, name)| **name == *rule.of);
            let (of, _) = found.ok_or_else(|| format!("errors: there is no class {:?}", rule.of))?;
            Ok(Rule { status: rule.status, words: rule.words.into(), of: *of })
        });
        Ok(Refusals(rules.collect::<Result<_, String>>()?))
    }

    /// The class of a refusal that the row speaks of.
    pub fn class(&self, status: u16, body: &[u8]) -> Option<Class> {
        if self.0.is_empty() {
            return None;
        }
        let head = String::from_utf8_lossy(body.get(..LOOKED_AT).unwrap_or(body)).to_lowercase();
        let said = || dialect::error_message(body).unwrap_or_default().to_lowercase();
        let says = |rule: &Rule| match rule.of {
            // A refused credential takes its deployment out: what a caller gets repeated in a message must not.
            Class::Authentication if !rule.words.is_empty() => said().starts_with(&*rule.words),
            _ => head.contains(&*rule.words),
        };
        let fits = |rule: &&Rule| (rule.status == 0 || rule.status == status) && says(rule);
        self.0.iter().find(fits).map(|rule| rule.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_by_status_or_words() {
        let rule = |status, words: &str, of: &str| wire::ErrorRule { status, words: words.into(), of: of.into() };
        let rules = vec![rule(498, "", "rate_limit"), rule(0, "at capacity", "server_error")];
        let refusals = Refusals::compile(rules).unwrap();
        assert_eq!(refusals.class(498, b""), Some(Class::RateLimit));
        assert_eq!(refusals.class(400, b"The model is At Capacity"), Some(Class::ServerError));
        assert_eq!(refusals.class(400, b"no"), None);
        assert_eq!(Refusals::default().class(498, b""), None);
        let refusals = Refusals::compile(vec![rule(0, "bad key", "authentication")]).unwrap();
        assert_eq!(refusals.class(400, br#"{"error":{"message":"Bad key: x"}}"#), Some(Class::Authentication));
        assert_eq!(refusals.class(400, br#"{"error":{"message":"no name 'bad key'"}}"#), None);
        assert!(Refusals::compile(vec![rule(498, "", "odd")]).is_err());
    }
}
