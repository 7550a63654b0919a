//! Whom a request counts for where limits hold for each address, session, key, … by itself.

use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::exchange::Exchange;
use crate::hold::Extra;
use crate::state::rules::Metric;
use crate::state::scope::Each;
use crate::state::sessions;
use crate::state::subject::Subject;
use crate::state::subjects::Kind;

/// Longer names are told apart by their digest.
const LONGEST: usize = 128;

/// Adds the parts of `whole` that the request draws on.
pub fn add<'s>(exchange: &Exchange, whole: impl Iterator<Item = &'s Arc<Subject>>, found: &mut Extra) {
    let state = &exchange.shard.shared.state;
    for subject in whole.filter(|subject| subject.limits(Metric::PARTED)) {
        state.subjects.parts(subject, state.leases.as_ref(), |each| value(exchange, each), found);
    }
}

/// By what a part is found, and what people call it; `None` where the request says nothing of the kind.
fn value(exchange: &Exchange, each: Each) -> Option<(String, String)> {
    let holder = |kind: Kind| {
        let key = exchange.key.as_ref()?;
        let subject = key.subjects.iter().find(|subject| subject.kind == kind)?;
        let shown = subject.alias().map_or_else(|| subject.id.to_string(), |alias| alias.to_string());
        Some((subject.id.to_string(), shown))
    };
    match each {
        Each::Ip => {
            let network = network(exchange.client);
            Some((network.clone(), network))
        }
        Each::Session => {
            let named = String::from_utf8_lossy(sessions::named(&exchange.headers)?).into_owned();
            let shown = named.chars().take(LONGEST).collect();
            // A caller's own: nobody uses up another's.
            let key = exchange.key.as_ref().map_or("", |key| &key.id);
            Some((format!("{key} {}", short(named)), shown))
        }
        Each::Key => holder(Kind::Key),
        Each::User => holder(Kind::User),
        Each::Team => holder(Kind::Team),
        Each::Customer => {
            let named = super::admit::customer_id(exchange)?;
            let shown = named.chars().take(LONGEST).collect();
            Some((short(named), shown))
        }
        Each::Model => exchange.model().map(|model| (model.name.to_string(), model.name.to_string())),
    }
}

fn short(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The address; of IPv6 the network that one customer of a provider has at least.
fn network(client: IpAddr) -> String {
    match client {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
        IpAddr::V4(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        for (address, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().expect("an address")), expected);
        }
    }

    #[test]
    fn long_names_are_told_apart() {
        let (one, other) = (short("a".repeat(200)), short("a".repeat(201)));
        assert!(one != other && one.len() == 32);
        assert_eq!(short("abc".to_string()), "abc");
    }
}
